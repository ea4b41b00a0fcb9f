"""The best that can be predicted without looking: one value for all rows. What does not beat it has learnt nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from affectkit import metrics
from affectkit.tasks import Task
from affectkit.types import Floats

NAME = "best constant"


def report(task: Task, truth: Floats) -> dict[str, Any]:
    """What the constant is, and its scores on these rows, from whose own labels it is taken: truth [N,K] (multiclass
    [N,1]).

    >>> from affectkit import tasks
    >>> report(tasks.get("va"), np.array([[0.0, 1.0], [1.0, 0.0]]))["scores"]["ccc"]
    0.0
    """
    what, value = _value(task, truth)
    scores = np.broadcast_to(value, (len(truth), task.outputs))
    return {"what": what, "value": value.tolist(), "scores": metrics.score(task, truth, scores)}


def _value(task: Task, truth: Floats) -> tuple[str, Floats]:
    """[K] what is best by the task's kind and metric: a constant's CCC and correlation are 0 whatever it is."""
    if task.kind == "multiclass":
        counts = np.bincount(truth[:, 0].astype(int), minlength=task.outputs)
        return "the most frequent class of the rows scored", np.eye(task.outputs)[counts.argmax()]
    if task.kind == "multilabel":  # F1 of a label never predicted is 0
        return "every label present", np.ones(task.outputs)
    if task.metric == "mae":
        return "the median of the rows scored", np.asarray(np.median(truth, axis=0))
    return "the mean of the rows scored", np.asarray(truth.mean(axis=0))
