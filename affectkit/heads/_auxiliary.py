"""Clips of another task, made ready to be learnt beside a head's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from affectkit.errors import UsageError
from affectkit.heads._options import Missing
from affectkit.heads._sequences import Table, labelled
from affectkit.plugins import Auxiliary
from affectkit.tasks import Task
from affectkit.types import Floats


def auxiliary_table(auxiliary: Auxiliary, task: Task, missing: Missing, dim: int) -> Table:
    """The clips of an auxiliary task, for a head of `task` that reads `dim` dimensions.

    A head with one score a clip learns from labels over time as their mean (classes: the most frequent); one with a
    score a step learns from a clip's label by the mean of its steps. Raises UsageError, as `labelled` does.
    """
    own, examples = auxiliary.task, auxiliary.train
    if task.level == "clip" and own.level == "time":
        examples = [replace(example, labels=of_clip(example.labels, own)) for example in examples]
        own = own.model_copy(update={"level": "clip"})
    return labelled(f"auxiliary {own.name}", examples, own, missing, dim)


def refuse(auxiliary: Sequence[Auxiliary], head: str) -> None:
    """For heads that learn one task only. Raises UsageError if there is another."""
    if auxiliary:
        raise UsageError(f"head {head} learns one task: leave out --aux, or choose a head that is trained by gradient")


def of_clip(labels: Floats | None, task: Task) -> Floats:
    """[1,K] one label of the valid rows' labels [T,K]: their mean, the most frequent class, what half of them have."""
    labels = np.asarray(labels, float)
    labels = labels[np.isfinite(labels).all(axis=1)]
    if not len(labels):
        return np.full((1, len(task.label_columns)), np.nan)
    if task.kind == "regression":
        return labels.mean(axis=0, keepdims=True)
    if task.kind == "multilabel":
        return (labels.mean(axis=0, keepdims=True) >= 0.5).astype(float)
    return np.array([[float(np.bincount(labels[:, 0].astype(int)).argmax())]])
