"""Which rows are held out together, and the recursion that holds each of them out in turn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.kernels._linalg import Array, Linalg

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
