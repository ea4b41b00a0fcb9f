"""The grid of C in the primal: D x D, the linear kernel on D features. N x N is never formed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from affectkit.kernels._dual import inverse_of
from affectkit.kernels._folds import Folds
from affectkit.kernels._linalg import Array, linalg_on
from affectkit.kernels.functions import Matrix


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
