"""What every reader of a data set keeps, on a root that holds one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from affectkit import tasks
from affectkit.errors import UsageError
from affectkit.plugins.contracts.candidate import Candidate, Obligation, hold, refused


def refuses_a_root_that_is_none(candidate: Candidate) -> None:
    """A root that does not exist is a UsageError."""
    with TemporaryDirectory() as name:
        absent = Path(name) / "none"
        refused(lambda: candidate.plugin(candidate.options, absent), UsageError, "a root that does not exist")


def sorts_what_it_gives(candidate: Candidate) -> None:
    """Clips, labels, rows, splits and files are sorted, and clips lie below the root."""
    if candidate.root is None or candidate.task is None:
        return
    own, task = candidate.instance, candidate.task
    for name in ("labels", "rows", "splits"):
        found = list(getattr(own, name)(task))
        hold(found == sorted(found), f"{name} are not sorted by clip")
    clips, files = own.clips(), own.label_files(task)
    ids = [clip.id for clip in clips]
    hold(ids == sorted(set(ids)), "clips are not sorted by id, each once")
    for clip in clips:
        hold(clip.path.exists(), f"clip '{clip.id}' has no file {clip.path}")
        hold(clip.path.is_relative_to(candidate.root), f"clip '{clip.id}' lies outside the root: {clip.path}")
    hold(files == sorted(files), "label_files are not sorted")


def gives_labels_with_times(candidate: Candidate) -> None:
    """Labels have times that grow, a column a target, NaN in whole rows, and the split that `splits` says."""
    if candidate.root is None or candidate.task is None:
        return
    own, task = candidate.instance, candidate.task
    labels, rows, splits = own.labels(task), own.rows(task), own.splits(task)
    hold(bool(labels), f"there are no labels of task {task.name}")
    hold(set(labels) <= set(rows), "a clip has labels and no rows")
    for clip, at in labels.items():
        columns = len(task.label_columns)
        hold(at.values.dtype == np.float64, f"labels of '{clip}' are {at.values.dtype}")
        hold(at.values.shape[1] == columns, f"labels of '{clip}' have {at.values.shape[1]} columns, not {columns}")
        hold((at.end > at.start).all(), f"labels of '{clip}' end before they start")
        hold(at.split == splits.get(clip), f"'{clip}' is {at.split} in labels, {splits.get(clip)} in splits")
    hold({raw.path for raw in rows.values()} <= set(own.label_files(task)), "label_files misses a file of rows")


def refuses_tasks_that_it_has_no_labels_of(candidate: Candidate) -> None:
    """A task without labels is a UsageError, for its labels, files and splits."""
    if candidate.root is None or not candidate.instance.tasks:
        return
    own = candidate.instance
    for task in tasks.BUILT_IN.values():
        if task.name not in own.tasks:
            for name in ("labels", "label_files", "splits"):
                refused(lambda: getattr(own, name)(task), UsageError, f"{name} of task {task.name}")  # noqa: B023


OBLIGATIONS: list[Obligation] = [
    refuses_a_root_that_is_none, sorts_what_it_gives, gives_labels_with_times, refuses_tasks_that_it_has_no_labels_of,
]  # fmt: skip
