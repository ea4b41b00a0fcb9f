"""What counting over blocks of rows needs: rows sorted into blocks, bounds of sums, draws shared out to threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Floats

Counts = NDArray[np.int64]
_MARGIN = 1e-9  # of the largest score: far above what rounding moves a weighted sum by
_CELLS = 1 << 21  # weights expanded at a time
_DRAWS = 256  # that a thread counts at a time: their weights stay in a second-level cache


def bounds(scores: Floats) -> tuple[Floats, Floats, float]:
    """Least and largest score of the models, and how far apart two must be for rounding not to matter."""
    least, largest = np.fmin.reduce(scores, axis=0), np.fmax.reduce(scores, axis=0)  # of those that are no NaN
    return least, largest, _MARGIN * max(1.0, float(np.abs(least).max()), float(np.abs(largest).max()))


@dataclass(frozen=True)
class Places:
    """Rows in blocks of one key each: the `order` [N] that they are taken in, the `block` and the `slot` in it that
    each of them then has; of each block the `first` of its rows [T], in the old order, and how many it has."""

    order: NDArray[np.intp]
    block: NDArray[np.intp]
    slot: NDArray[np.intp]
    first: NDArray[np.intp]
    rows: NDArray[np.intp]

    @staticmethod
    def of(*keys: NDArray[np.intp]) -> Places:
        """keys [N] each."""
        from affectkit.fusers._kernels import BLOCK

        order = np.lexsort(keys[::-1])
        new = np.ones(len(order), bool)
        new[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
        place = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]  # within the rows of one key
        slot = place % BLOCK
        block = np.cumsum(slot == 0) - 1
        return Places(order, block, slot, order[slot == 0], np.bincount(block))


def chunk(cells: int) -> int:
    """Draws to take at a time where each has as many weights over all patterns of missing scores."""
    return int(np.clip(_CELLS // cells, 1, 32 * _DRAWS))


def in_threads(work: Callable[[slice], None], draws: int) -> None:
    """Do the work on all draws; each thread takes the next few when it is done with its last."""
    threads = len(os.sched_getaffinity(0))
    step = max(1, min(_DRAWS, -(-draws // threads)))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [slice(first, first + step) for first in range(0, draws, step)]))


def share(part: Counts, whole: Counts) -> Floats:
    """part / whole, and 0 where whole is; in an array of its own, whose rows sum as `metrics` sums them."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
