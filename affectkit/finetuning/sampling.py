"""Which units an epoch trains on, and in which order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.plugins import Units
from affectkit.tasks import Task
from affectkit.types import Bools

Indices = NDArray[np.int64]


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
