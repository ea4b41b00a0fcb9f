"""Which units are in which batch of which process."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from affectkit.errors import UsageError
from affectkit.plugins import Units
from affectkit.prefetch import ahead
from affectkit.tasks import Task
from affectkit.types import Bools, Indices

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """A pass over units: `steps` steps of `parts` batches, each of `size` units in every one of `processes`.

    All batches are of one size. The last units of a pass, fewer than there are batches, are left out; another epoch
    leaves out others.
    """

    steps: int
    parts: int
    processes: int
    size: int

    @staticmethod
    def of(units: int, batch_size: int, parts: int, processes: int) -> Cut:
        """The largest batches that need no more steps than `batch_size`. Raises UsageError for too few units.

        >>> Cut.of(63, 32, 1, 1)
        Cut(steps=2, parts=1, processes=1, size=31)
        """
        together = parts * processes
        if units < together:
            raise UsageError(
                f"{units} training units cannot be shared by {parts} batches a step (accumulate) and {processes} "
                "processes: lower one of them"
            )
        steps = -(-units // (batch_size * together))
        return Cut(steps, parts, processes, units // (steps * together))

    @property
    def units(self) -> int:
        """Units in a pass."""
        return self.steps * self.parts * self.processes * self.size

    def orders(self, order: Indices) -> Indices:
        """An order of units, as [step, part, process, unit]."""
        return order[: self.units].reshape(self.steps, self.parts, self.processes, self.size)


def passes(units: Units, task: Task, cut: Cut, balanced: bool, steps: int, seed: Sequence[int]) -> Indices:
    """The units of `steps` steps [step, part, process, unit]: as many passes as are needed, each shuffled anew."""
    each = [
        cut.orders(epoch_order(units, balanced, task, np.random.default_rng([*seed, number])))
        for number in range(-(-steps // cut.steps))
    ]
    return np.concatenate(each)[:steps]


def labelled(units: Units) -> Bools:
    """[U] units with a score about a row that has a whole label."""
    known = np.append(np.asarray(np.isfinite(units.labels).all(axis=1)), False)  # the last is what -1 means
    return np.asarray(known[units.targets].any(axis=1))


def epoch_order(units: Units, balanced: bool, task: Task, rng: np.random.Generator) -> Indices:
    """The numbers of an epoch's units, shuffled: all that have a label, each once.

    Balanced: as many, but of every class equally many (to within one); a class that has fewer units repeats them, each
    as often as the others to within one, and of one that has more a part is drawn. The class of a unit is the one that
    most of its scores are about. Raises UsageError where no unit has a label, and for balancing anything but classes.
    """
    if balanced and task.kind != "multiclass":
        raise UsageError(f"balanced sampling takes classes; {task.name} is a {task.kind} task: leave balanced=false")
    chosen = np.flatnonzero(labelled(units))
    if not len(chosen):
        raise UsageError(f"no unit of the {len(units.clips)} clips has a label of task {task.name}")
    if balanced:
        chosen = _equal_classes(chosen, _classes(units, chosen, task.outputs), rng)
    return rng.permutation(chosen).astype(np.int64)


def _classes(units: Units, chosen: Indices, classes: int) -> Indices:
    """[N] the most frequent class among the labelled targets of each chosen unit; of equals, the lowest."""
    targets = units.targets[chosen]
    labels = np.where(targets >= 0, units.labels[targets, 0], np.nan)
    counts = np.stack([(labels == k).sum(axis=1) for k in range(classes)], axis=1)
    return np.asarray(counts.argmax(axis=1))


def _equal_classes(chosen: Indices, classes: Indices, rng: np.random.Generator) -> Indices:
    present = rng.permutation(np.unique(classes))  # which classes get the units that are left over
    shares = np.full(len(present), len(chosen) // len(present)) + (np.arange(len(present)) < len(chosen) % len(present))
    drawn = []
    for label, share in zip(present.tolist(), shares.tolist(), strict=True):
        members = chosen[classes == label]
        repeats, rest = divmod(share, len(members))
        drawn += [np.tile(members, repeats), rng.permutation(members)[:rest]]
    return np.concatenate(drawn)


def batches(
    units: Units, order: Indices, size: int, *, seed: Sequence[int], augmented: bool, workers: int = 0
) -> Generator[tuple[Indices, Tensor]]:
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
