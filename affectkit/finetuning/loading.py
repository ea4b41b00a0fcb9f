"""Batches of units, read and augmented in threads while the device works on the one before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.plugins import Units
from affectkit.prefetch import ahead

if TYPE_CHECKING:
    from torch import Tensor

Indices = NDArray[np.int64]


def batches(
    units: Units, order: Indices, size: int, *, seed: Sequence[int], augmented: bool, workers: int = 0
) -> Iterator[tuple[Indices, Tensor]]:
    """The units of `order`, `size` at a time (the last batch may be smaller), as (which units, what `load` gives).

    Batch i is augmented by a generator of its own, seeded by [*seed, i]: what it holds depends neither on the threads
    nor on whether the batches before it were read. `workers` batches are made at a time (0: one a core) and at most
    one more waits. What `load` raises is raised here, at its batch; an iterator that is closed early, or that Ctrl-C
    ends, stops its threads.
    """

    def read(item: tuple[int, Indices]) -> Tensor:
        number, which = item
        tensor: Tensor = units.load(which, np.random.default_rng([*seed, number]) if augmented else None)
        return tensor

    order = np.asarray(order, np.int64)
    cut = ((number, order[first : first + size]) for number, first in enumerate(range(0, len(order), size)))
    with closing(ahead(cut, read, workers or len(os.sched_getaffinity(0)))) as made:
        for (_, which), tensor in made:
            yield which, tensor
