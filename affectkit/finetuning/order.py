"""Which units are in which batch of which process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.finetuning.sampling import epoch_order
from affectkit.plugins import Units
from affectkit.tasks import Task

Indices = NDArray[np.int64]


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
