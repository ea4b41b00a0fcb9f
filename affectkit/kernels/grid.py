"""Kernel extreme learning machines over a grid of C: every C's solution and held-out predictions, in closed form."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.kernels._dual import DualGrid, Solver
from affectkit.kernels._folds import Folds
from affectkit.kernels._primal import PrimalGrid
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
    kernel: Kernel = Kernel(),  # noqa: B008 (frozen)
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
