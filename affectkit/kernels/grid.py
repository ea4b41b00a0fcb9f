"""Kernel extreme learning machines over a grid of C: every C's solution and held-out predictions, in closed form."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.kernels._linalg import Array, Linalg, linalg_on
from affectkit.kernels.functions import Kernel, Matrix
from affectkit.kernels.nystroem import ApproximationWarning, Landmarks, draw_landmarks, exact_bytes, landmarks_within


@dataclass(frozen=True, repr=False)
class KernelMachine:
    """One C's solution: K(x, rows) coef, or x coef where `rows` is None. rows [M,D], coef [M,K] or [D,K]."""

    kernel: Kernel
    rows: Matrix | None
    coef: Matrix

    def __call__(self, x: Matrix) -> Matrix:
        """x [N,D] (precomputed: the kernel [N,M] against the training rows) -> scores [N,K]."""
        known = x if self.rows is None else self.kernel(x, self.rows)
        return np.asarray(known @ self.coef, np.float64)


class Grid:
    """What `fit_grid` returns. `cs` are the values of C; methods that take a C accept any."""

    def __init__(
        self, cs: list[float], kernel: Kernel, x: Matrix, solution: DualGrid | PrimalGrid, landmarks: Landmarks | None
    ) -> None:
        self.cs = cs
        self.solution = solution
        self.landmarks = landmarks
        self._kernel = kernel
        self._x = x

    @property
    def form(self) -> str:
        """primal, dual, or nystroem (approximated)."""
        return "nystroem" if self.landmarks else "primal" if isinstance(self.solution, PrimalGrid) else "dual"

    def dual(self, c: float) -> Matrix:
        """beta [N,K] = (W K + I/C)^-1 W T; under Nystroem of the approximated K."""
        return self.solution.dual(_above_0(c))

    def machine(self, c: float) -> KernelMachine:
        """What predicts at this C."""
        _above_0(c)
        if isinstance(self.solution, DualGrid):
            rows = None if self._kernel.name == "precomputed" else self._x
            return KernelMachine(self._kernel, rows, self.solution.dual(c))
        if self.landmarks is None:
            return KernelMachine(self._kernel, None, self.solution.primal(c))
        return KernelMachine(self._kernel, self.landmarks.rows, self.landmarks.map @ self.solution.primal(c))

    def held_out(self, folds: ArrayLike) -> Matrix:
        """Predictions [len(cs),N,K] of each row by the solution on the rows of all other folds.

        folds [N]: a row's fold, >= 0, or -1 for rows that are always trained on (their predictions are NaN). The
        weights, and landmarks, stay those of all N rows, as a normaliser fitted on them does. Exact: the same as
        refitting. Raises ValueError for folds that do not fit.
        """
        return self.solution.held_out(Folds(folds, len(self._x)), self.cs)

    def loo(self, c: float | None = None) -> Matrix:
        """Leave-one-out predictions [len(cs),N,K], or [N,K] for one C."""
        folds = Folds(np.arange(len(self._x)), len(self._x))
        if c is not None:
            return self.solution.held_out(folds, [_above_0(c)])[0]
        return self.solution.held_out(folds, self.cs)


def fit_grid(
    x: ArrayLike,
    targets: ArrayLike,
    cs: Iterable[float],
    kernel: Kernel = Kernel(),  # noqa: B008
    *,
    weights: ArrayLike | None = None,
    device: str = "cpu",
    solver: Solver = "auto",
    memory_limit: int | None = None,
    seed: int = 0,
) -> Grid:
    """Fit a kernel extreme learning machine (Huang et al. 2012) for every C.

    beta = (K + I/C)^-1 T, weighted (Zong et al. 2013) beta = (W K + I/C)^-1 W T, predictions K(x, X) beta, in float64.
    The linear kernel with D < N is solved in the primal, D x D. Otherwise `solver` chooses between one
    eigendecomposition of the kernel for all C and a factorisation for each (auto: by their cost).

    x [N,D] or the kernel [N,N] (precomputed); targets [N,K]; weights [N] > 0; device cpu or cuda[:N]. Where the dual
    needs more bytes than `memory_limit`, a kernel of features is approximated by as many random landmarks as fit
    (drawn by `seed`), and an `ApproximationWarning` says so. Raises ValueError for input that is not accepted.

    >>> x, targets = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [2.0]])
    >>> fit_grid(x, targets, [1.0, 100.0]).held_out([0, 0, 1]).round(2)[:, :, 0].tolist()
    [[0.0, 0.8, 1.0], [0.0, 1.0, 1.98]]
    """
    rows, t, w = _checked(x, targets, weights)
    listed = [_above_0(c) for c in cs]
    if solver not in ("auto", "eigh", "cholesky"):
        raise ValueError(f"solver {solver!r} is not auto, eigh or cholesky")
    if kernel.name == "linear" and rows.shape[1] < len(rows):
        return Grid(listed, kernel, rows, PrimalGrid(rows, t, w, device), None)
    if kernel.name == "precomputed":
        _check_symmetric(rows)
    elif memory_limit is not None and exact_bytes(len(rows)) > memory_limit:
        landmarks = _approximate(kernel, rows, memory_limit, seed)
        return Grid(listed, kernel, rows, PrimalGrid(landmarks(rows), t, w, device), landmarks)
    k = kernel(rows, rows)
    return Grid(listed, kernel, rows, DualGrid(k, t, len(listed), w, device, solver, kernel.positive), None)


def one_hot(classes: NDArray[np.integer], count: int, *, signed: bool = False) -> Matrix:
    """Targets [N,count] of class indices [N]: 1 for the class, else 0, or -1 if signed.

    >>> one_hot(np.array([1, 0]), 2, signed=True).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    hot = np.eye(count)[classes]
    return 2 * hot - 1 if signed else hot


def class_weights(classes: NDArray[np.integer]) -> Matrix:
    """Weights [N]: 1 / the number of rows of the row's class. classes [N] are indices.

    >>> class_weights(np.array([0, 0, 2])).tolist()
    [0.5, 0.5, 1.0]
    """
    weights: Matrix = 1 / np.bincount(classes)[classes]
    return weights


def _approximate(kernel: Kernel, rows: Matrix, limit: int, seed: int) -> Landmarks:
    count = landmarks_within(limit, len(rows))
    told = (
        f"the {kernel.name} kernel of {len(rows)} rows needs {exact_bytes(len(rows)) / 2**20:,.1f} MiB, the limit is "
        f"{limit / 2**20:,.1f} MiB: approximated by {count} landmarks (Nystroem)"
    )
    warnings.warn(told, ApproximationWarning, stacklevel=3)
    return draw_landmarks(kernel, rows, count, seed)


def _checked(x: ArrayLike, targets: ArrayLike, weights: ArrayLike | None) -> tuple[Matrix, Matrix, Matrix]:
    rows, t = np.asarray(x, np.float64), np.asarray(targets, np.float64)
    if rows.ndim != 2 or t.ndim != 2 or not len(rows) == len(t) > 0:
        raise ValueError(f"rows [N,D] and targets [N,K] with N > 0, not {list(rows.shape)} and {list(t.shape)}")
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(rows),) or not (w > 0).all():
        raise ValueError(f"weights: one above 0 for each of {len(rows)} rows")
    if not (np.isfinite(rows).all() and np.isfinite(t).all() and np.isfinite(w).all()):
        raise ValueError("rows, targets or weights hold NaN or infinity")
    return rows, t, w


def _check_symmetric(kernel: Matrix) -> None:
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"precomputed: the training kernel is square, not {list(kernel.shape)}")
    if not np.allclose(kernel, kernel.T, rtol=1e-7, atol=1e-10 * float(np.abs(kernel).max())):
        raise ValueError("precomputed: the training kernel is not symmetric")


def _above_0(c: float) -> float:
    if not (np.isfinite(c) and c > 0):
        raise ValueError(f"C {c!r} is not above 0")
    return float(c)


Solver = Literal["auto", "eigh", "cholesky"]
FACTORISATIONS = 12
"""Values of C from which one eigendecomposition costs less than a factorisation for each (measured: about 10 n^3
operations' time against 0.8 n^3)."""


class DualGrid:
    """Solutions of (W K + I/C) beta = W T and their held-out predictions, for any C.

    With S = W^1/2, K~ = S K S and T~ = S T it is the symmetric (K~ + I/C) beta~ = T~, beta = S beta~. Write
    G = (K~ + I/C)^-1. The residuals of a fold F, fitted on all other rows with their weights unchanged, are

        e_F = S_F^-1 (G_FF)^-1 (G T~)_F,    the same as (I - H_FF)^-1 (T - H T)_F with H = K (W K + I/C)^-1 W,

    since I - H = S^-1 G S / C. kernel [N,N], targets [N,K], weights [N] > 0; `count` values of C are expected.
    `positive`: negative eigenvalues are rounding. An indefinite kernel (sigmoid) is solved by its eigendecomposition,
    whatever `solver` says.
    """

    def __init__(
        self, kernel: Matrix, targets: Matrix, count: int, weights: Matrix, device: str, solver: Solver, positive: bool
    ) -> None:
        self.lg = linalg_on(device)
        self.root = np.sqrt(weights)[:, None]
        self.targets = targets
        self.k = kernel if (weights == 1).all() else kernel * self.root * self.root.T
        self.t = targets * self.root
        self.positive = positive
        self.solver = solver if solver != "auto" else "eigh" if count > FACTORISATIONS else "cholesky"

    @cached_property
    def _eigen(self) -> tuple[Array, Array, Array]:
        """l [N], Q [N,N] and Q^T T~ of K~ = Q diag(l) Q^T."""
        values, vectors = self.lg.eigh(self.lg.put(self.k))
        values = values.clip(0) if self.positive else values
        return values, vectors, vectors.T @ self.lg.put(self.t)

    def dual(self, c: float) -> Matrix:
        """beta [N,K]. Raises ValueError where K + I/C is singular."""
        if self.solver == "cholesky":
            try:
                a = self.lg.shifted(self.lg.put(self.k), 1 / c)
                return self.root * self.lg.get(self.lg.solve(a, self.lg.put(self.t)))
            except np.linalg.LinAlgError:
                pass  # indefinite
        values, vectors, projected = self._eigen
        return self.root * self.lg.get(vectors @ (inverse_of(values, c)[:, None] * projected))

    def held_out(self, folds: Folds, cs: list[float]) -> Matrix:
        """Predictions [len(cs),N,K]; NaN for rows that are never held out. Raises ValueError as `dual` does."""
        residuals = np.full((len(cs), *self.t.shape), np.nan)
        if folds.counts:
            residuals[:, folds.order] = self._residuals(folds, cs)
        return self.targets - residuals / self.root

    def _residuals(self, folds: Folds, cs: list[float]) -> Matrix:
        """Of K~ and T~, in the order of the folds."""
        if self.solver == "cholesky":
            try:
                return self._by_cholesky(folds, cs)
            except np.linalg.LinAlgError:
                pass  # indefinite
        return self._by_eigh(folds, cs)

    def _by_cholesky(self, folds: Folds, cs: list[float]) -> Matrix:
        residuals = np.full((len(cs), *self.t.shape), np.nan)
        k = self.lg.put(self.k if folds.sorted else self.k[np.ix_(folds.order, folds.order)])
        t = self.lg.put(self.t[folds.order])
        for row, c in enumerate(cs):
            a, left = self.lg.shifted(k, 1 / c), t
            if folds.always:
                a, left = self.lg.eliminate(a, t, slice(folds.always, len(self.t)), slice(0, folds.always))
            parts = held_out_residuals(self.lg, a, left, folds.counts)
            residuals[row, folds.always :] = np.concatenate([self.lg.get(part) for part in parts])
        return residuals

    def _by_eigh(self, folds: Folds, cs: list[float]) -> Matrix:
        residuals = np.full((len(cs), *self.t.shape), np.nan)
        values, vectors, projected = self._eigen
        inverses = [inverse_of(values, c) for c in cs]
        for span in folds.singles:  # all rows that are folds of their own at once: only the diagonal of G is needed
            q = vectors[folds.order[span]]
            for row, g in enumerate(inverses):
                residuals[row, span] = self.lg.get(q @ (g[:, None] * projected) / ((q * q) @ g)[:, None])
        for span in folds.blocks:
            q = vectors[folds.order[span]]
            for row, g in enumerate(inverses):
                solved = self.lg.solve_general((q * g) @ q.T, q @ (g[:, None] * projected))
                residuals[row, span] = self.lg.get(solved)
        return residuals


def inverse_of(values: Array, c: float) -> Array:
    """1 / (values + 1/C). Raises ValueError where one of them is zero to working precision."""
    shifted = values + 1 / c
    if float(abs(shifted).min()) <= np.finfo(np.float64).eps * float(abs(shifted).max()):
        raise ValueError(f"K + I/C is singular at C = {c:g}: normalise the features, or take a smaller C")
    return 1 / shifted


class PrimalGrid:
    """Solutions w = X^T beta of (X^T W X + I/C) w = X^T W T, and their held-out predictions, for any C.

    With X~ = W^1/2 X, T~ = W^1/2 T and X~^T X~ = V diag(l) V^T, w = V diag(1 / (l + 1/C)) V^T X~^T T~ and
    beta = C W (T - X w). Held-out residuals of a fold F: from the solution on the other rows' Gram matrix where F is
    large, else (I - H_FF)^-1 e_F with the blocks H_FF = Z_F diag(1 / (l + 1/C)) Z_F^T, Z = X~ V, of the symmetric hat
    matrix. rows [N,D], targets [N,K], weights [N] > 0.
    """

    def __init__(self, rows: Matrix, targets: Matrix, weights: Matrix, device: str) -> None:
        self.lg = linalg_on(device)
        self.root = np.sqrt(weights)[:, None]
        self.targets = targets
        self.rows = rows
        self.x = self.lg.put(rows * self.root)
        self.t = self.lg.put(targets * self.root)
        self.moment = self.x.T @ self.t

    @cached_property
    def _gram(self) -> Array:
        return self.x.T @ self.x

    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        values, vectors = self.lg.eigh(self._gram)
        return values.clip(0), vectors

    def primal(self, c: float) -> Matrix:
        """w [D,K]."""
        values, vectors = self._eigen
        solved = vectors @ (inverse_of(values, c)[:, None] * (vectors.T @ self.moment))
        return self.lg.get(solved)

    def dual(self, c: float) -> Matrix:
        """beta [N,K]."""
        return c * self.root**2 * (self.targets - self.rows @ self.primal(c))

    def held_out(self, folds: Folds, cs: list[float]) -> Matrix:
        """Predictions [len(cs),N,K]; NaN for rows that are never held out."""
        predicted = np.full((len(cs), *self.targets.shape), np.nan)
        if folds.singles or any(not self._large(span) for span in folds.blocks):
            self._by_hat_blocks(folds, cs, predicted)
        for span in filter(self._large, folds.blocks):
            rows = folds.order[span]
            predicted[:, rows] = self._without(rows, cs)
        return predicted

    def _large(self, span: slice) -> bool:
        """Whether refitting on the Gram matrix, D^3 / 3, is cheaper than the block, n^2 D."""
        return 3 * (span.stop - span.start) ** 2 > self.rows.shape[1] ** 2

    def _without(self, rows: NDArray[np.intp], cs: list[float]) -> Matrix:
        """Predictions [len(cs),n,K] for `rows` of the solution on all others."""
        x = self.x[rows]
        gram, moment = self._gram - x.T @ x, self.moment - x.T @ self.t[rows]
        solved = [self.lg.get(self.lg.solve(self.lg.shifted(gram, 1 / c), moment)) for c in cs]
        return self.rows[rows] @ np.stack(solved)

    def _by_hat_blocks(self, folds: Folds, cs: list[float], predicted: Matrix) -> None:
        values, vectors = self._eigen
        z = self.x @ vectors
        projected = z.T @ self.t
        inverses = [inverse_of(values, c) for c in cs]
        residuals = [self.t - z @ (g[:, None] * projected) for g in inverses]
        for span in (*folds.singles, *(span for span in folds.blocks if not self._large(span))):
            rows = folds.order[span]
            block, single = z[rows], span in folds.singles
            for row, (g, residual) in enumerate(zip(inverses, residuals, strict=True)):
                if single:
                    left = residual[rows] / (1 - (block * block) @ g)[:, None]
                else:
                    i_h = self.lg.shifted(-(block * g) @ block.T, 1.0)
                    left = self.lg.solve_general(i_h, residual[rows])
                predicted[row, rows] = self.targets[rows] - self.lg.get(left) / self.root[rows]


NEVER = -1
"""The fold of a row that is always trained on."""
LEAF = 128
"""Rows below which one inverse is cheaper than further elimination."""


class Folds:
    """Rows in the order of their folds: `order` [n], those that are never held out first.

    `spans` are the folds in that order and `counts` their rows; `always` rows are in none. `singles` holds runs of
    folds of one row, `blocks` the others. Raises ValueError unless folds [n] are integers >= -1 and each leaves a row
    to train on.
    """

    def __init__(self, folds: ArrayLike, rows: int) -> None:
        given = np.asarray(folds)
        if given.shape != (rows,) or given.dtype.kind not in "iu" or given.min(initial=0) < NEVER:
            raise ValueError(f"folds: one integer >= {NEVER} a row, [{rows}], not {given.dtype} {list(given.shape)}")
        found, given_counts = np.unique(given[given != NEVER], return_counts=True)
        if given_counts.max(initial=0) == rows:
            raise ValueError(f"fold {found[0]} holds all rows ({rows}): nothing is left to train on")
        # By size within, so that folds of one row lie together.
        size = np.zeros(rows, int)
        size[given != NEVER] = given_counts[np.searchsorted(found, given[given != NEVER])]
        self.order: NDArray[np.intp] = np.lexsort((given, size))
        self.sorted = bool((self.order == np.arange(rows)).all())
        self.counts: list[int] = np.sort(given_counts).tolist()
        self.always = rows - sum(self.counts)
        ends = np.cumsum([self.always, *self.counts]).tolist()
        self.spans = [slice(start, end) for start, end in pairwise(ends)]
        ones = self.counts.count(1)
        self.singles = [slice(self.always, self.always + ones)] if ones else []
        self.blocks = self.spans[ones:]


def held_out_residuals(lg: Linalg, a: Array, t: Array, counts: list[int]) -> list[Array]:
    """t_F - a_F,-F (a_-F,-F)^-1 t_-F for consecutive folds F of `counts` rows, as parts to concatenate.

    a [n,n] positive definite, t [n,k]. The residual is the right-hand side that is left on F once all other rows are
    eliminated. Halves share the work: each half is eliminated from the other, which recurs: about 0.8 n^3 operations
    however many folds there are, where one factorisation takes n^3 / 3 and one for each of k folds k n^3 / 3.
    """
    rows = sum(counts)
    if len(counts) == 1:
        return [t]
    if rows <= LEAF:
        return _by_inverse(lg, a, t, counts)
    ends = np.cumsum(counts)
    half = 1 + int(np.argmin(np.abs(ends[:-1] - rows / 2)))
    first, second = slice(0, int(ends[half - 1])), slice(int(ends[half - 1]), rows)
    one = held_out_residuals(lg, *lg.eliminate(a, t, first, second), counts[:half])
    return one + held_out_residuals(lg, *lg.eliminate(a, t, second, first), counts[half:])


def _by_inverse(lg: Linalg, a: Array, t: Array, counts: list[int]) -> list[Array]:
    """The residual as (G_FF)^-1 (G t)_F with G = a^-1."""
    g = lg.inverse(a)
    gt = g @ t
    if max(counts) == 1:
        return [gt / g.diagonal()[:, None]]
    ends = np.cumsum([0, *counts]).tolist()
    return [lg.solve(g[start:end, start:end], gt[start:end]) for start, end in pairwise(ends)]
