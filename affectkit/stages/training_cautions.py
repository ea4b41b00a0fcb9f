"""What speaks against the examples that a head is fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from affectkit.errors import listed
from affectkit.plugins import Example
from affectkit.tasks import Task
from affectkit.types import Bools, Floats


def cautions(splits: Mapping[str, Sequence[Example]], task: Task) -> list[str]:
    """What speaks against the examples of each split: clips that are invalid or unlabelled throughout, or whose
    features never change; rows without a label; classes that a split has no row of; feature dimensions that are
    constant over the train clips."""
    examples = [example for some in splits.values() for example in some]
    said = [
        f"{what}: {listed(clips)}"
        for what, clips in (
            ("no valid row of features (no face or speech) throughout", _blind(examples)),
            ("no labelled row", [example.clip for example in examples if not labelled(example).any()]),
            ("the same features in every row, as of silence or a still", _unchanging(examples)),
        )
        if clips
    ]
    unlabelled = sum(int((~labelled(example)).sum()) for example in examples)
    if unlabelled and task.level == "time":
        said.append(f"rows without a label: {unlabelled} of {sum(len(labelled(example)) for example in examples)}")
    for split, some in splits.items():
        if some and (missing := _absent(some, task)):
            said.append(f"split {split} has no row of {listed(missing, 'classes')}")
    return said + _constant(splits["train"])


def labelled(example: Example) -> Bools:
    """[T] rows with a whole label."""
    labels = example.labels
    assert labels is not None
    return np.asarray(np.isfinite(labels).all(axis=1))


def _blind(examples: Sequence[Example]) -> list[str]:
    return [example.clip for example in examples if not all(np.any(sequence.valid) for sequence in example.inputs)]


def _unchanging(examples: Sequence[Example]) -> list[str]:
    return [example.clip for example in examples if any(_never_changes(n, example) for n in range(len(example.inputs)))]


def _never_changes(number: int, example: Example) -> bool:
    rows = _rows(example, number)
    return len(rows) > 1 and bool((rows == rows[:1]).all())


def _absent(examples: Sequence[Example], task: Task) -> list[str]:
    """Classes without a labelled row; of labels, those that are never there."""
    labels = np.concatenate([example.labels[labelled(example)] for example in examples if example.labels is not None])
    if task.kind == "multiclass":
        return [name for number, name in enumerate(task.targets) if not (labels[:, 0] == number).any()]
    if task.kind == "multilabel":
        return [name for number, name in enumerate(task.targets) if not (labels[:, number] == 1).any()]
    return []


def _constant(examples: Sequence[Example]) -> list[str]:
    """Of each input the dimensions in which no train clip differs from another."""
    said = []
    for number in range(len(examples[0].inputs)):
        clips = [rows for example in examples if len(rows := _rows(example, number))]
        if sum(map(len, clips)) < 2:
            continue
        low = np.min([rows.min(axis=0) for rows in clips], axis=0)
        high = np.max([rows.max(axis=0) for rows in clips], axis=0)
        count, which = int((low == high).sum()), f" of input {number + 1}" if len(examples[0].inputs) > 1 else ""
        if count:
            said.append(f"{count} of {len(low)} feature dimensions{which} are constant over the train clips")
    return said


def _rows(example: Example, number: int) -> Floats:
    """The valid rows of an input."""
    sequence = example.inputs[number]
    return np.asarray(sequence.values)[np.asarray(sequence.valid).astype(bool)]
