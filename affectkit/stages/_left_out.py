"""What of the clips that a head is fitted on says nothing: a line each, for the report and the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from affectkit.errors import listed
from affectkit.plugins import Example
from affectkit.tasks import Task
from affectkit.types import Bools, Floats


def lines(splits: Mapping[str, Sequence[Example]], task: Task) -> list[str]:
    """Clips that are invalid or unlabelled throughout, or whose features never change; rows without a label; classes
    that a split has no row of; feature dimensions that are constant over the train clips."""
    examples = [one for some in splits.values() for one in some]
    found = [
        f"{what}: {listed(clips)}"
        for what, clips in (
            ("no valid row of features (no face or speech) throughout", _blind(examples)),
            ("no labelled row", [one.clip for one in examples if not _labelled(one).any()]),
            ("the same features in every row, as of silence or a still", _unchanging(examples)),
        )
        if clips
    ]
    unlabelled = sum(int((~_labelled(one)).sum()) for one in examples)
    if unlabelled and task.level == "time":
        found.append(f"rows without a label: {unlabelled} of {sum(len(_labelled(one)) for one in examples)}")
    for split, some in splits.items():
        if some and (missing := _absent(some, task)):
            found.append(f"split {split} has no row of {listed(missing, 'classes')}")
    return found + _constant(splits["train"])


def _labelled(example: Example) -> Bools:
    labels = example.labels
    assert labels is not None
    return np.asarray(np.isfinite(labels).all(axis=1))


def _blind(examples: Sequence[Example]) -> list[str]:
    return [one.clip for one in examples if not all(np.any(sequence.valid) for sequence in one.inputs)]


def _unchanging(examples: Sequence[Example]) -> list[str]:
    return [one.clip for one in examples if any(_never_changes(number, one) for number in range(len(one.inputs)))]


def _never_changes(number: int, example: Example) -> bool:
    rows = _rows(example, number)
    return len(rows) > 1 and bool((rows == rows[:1]).all())


def _absent(examples: Sequence[Example], task: Task) -> list[str]:
    """Classes without a labelled row; of labels, those that are never there."""
    labels = np.concatenate([one.labels[_labelled(one)] for one in examples if one.labels is not None])
    if task.kind == "multiclass":
        return [name for number, name in enumerate(task.targets) if not (labels[:, 0] == number).any()]
    if task.kind == "multilabel":
        return [name for number, name in enumerate(task.targets) if not (labels[:, number] == 1).any()]
    return []


def _constant(examples: Sequence[Example]) -> list[str]:
    """Of each input the dimensions in which no train clip differs from another."""
    found = []
    for number in range(len(examples[0].inputs)):
        clips = [rows for one in examples if len(rows := _rows(one, number))]
        if sum(map(len, clips)) < 2:
            continue
        low = np.min([rows.min(axis=0) for rows in clips], axis=0)
        high = np.max([rows.max(axis=0) for rows in clips], axis=0)
        count, which = int((low == high).sum()), f" of input {number + 1}" if len(examples[0].inputs) > 1 else ""
        if count:
            found.append(f"{count} of {len(low)} feature dimensions{which} are constant over the train clips")
    return found


def _rows(example: Example, number: int) -> Floats:
    """The valid rows of an input."""
    sequence = example.inputs[number]
    return np.asarray(sequence.values)[np.asarray(sequence.valid).astype(bool)]
