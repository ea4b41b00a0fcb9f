"""The grid of C in the dual: N x N, any kernel."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from affectkit.kernels._folds import Folds, held_out_residuals
from affectkit.kernels._linalg import Array, linalg_on
from affectkit.kernels.functions import Matrix

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
