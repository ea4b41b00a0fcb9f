"""Folds of rows that keep groups whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def folds_of(groups: ArrayLike, count: int, seed: int | None = None) -> NDArray[np.int64]:
    """Folds [N] of about equal size that keep each group (clip or subject) whole: largest first, to the smallest fold.

    `seed`: groups of one size come in random order, not in that of their names. Raises ValueError for fewer groups than
    folds, or fewer than 2 folds.

    >>> folds_of(["a", "b", "b", "c"], 2).tolist()
    [1, 0, 0, 1]
    """
    found, which, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= count <= len(found):
        raise ValueError(f"{count} folds of {len(found)} groups: at least 2 folds, and a group for each")
    order = np.arange(len(found)) if seed is None else np.random.default_rng(seed).permutation(len(found))
    fold, filled = np.zeros(len(found), np.int64), np.zeros(count, np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[which]
