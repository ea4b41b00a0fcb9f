"""The last activation of a network's scores for each task, chosen by the range of the training labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from affectkit.errors import UsageError
from affectkit.learning.options import Output
from affectkit.plugins import Outputs
from affectkit.plugins.outputs import Activation
from affectkit.tasks import Task
from affectkit.types import Floats


def chosen(option: Output, tasks: Sequence[Task], labels: Sequence[Floats]) -> list[Outputs]:
    """The outputs of each task by its own training labels; `option` is about the first one, `auto` about others."""
    return [
        Outputs(count=task.outputs, activation=choose("auto" if number else option, task, labels[number]))
        for number, task in enumerate(tasks)
    ]


def choose(option: Output, task: Task, labels: Floats) -> Activation:
    """The activation meant by `option` for a task's training labels [N,K] (NaN = unlabelled).

    auto: sigmoid for regression labels within [0,1], tanh within [-1,1], else linear; classes and labels are linear
    (logits). Raises UsageError for another choice there, and for labels that the activation cannot reach.

    >>> from affectkit import tasks
    >>> choose("auto", tasks.get("va"), np.array([[-0.5, 0.2]]))
    'tanh'
    """
    if task.kind != "regression":
        if option not in ("auto", "linear"):
            raise UsageError(f"option output={option} is for regression; {task.kind} scores are logits (linear)")
        return "linear"
    low, high = float(np.nanmin(labels)), float(np.nanmax(labels))
    unit, signed = low >= 0 and high <= 1, low >= -1 and high <= 1
    if option == "auto":
        return "sigmoid" if unit else "tanh" if signed else "linear"
    if (option == "sigmoid" and not unit) or (option == "tanh" and not signed):
        raise UsageError(f"option output={option} cannot reach labels from {low:g} to {high:g}: use output=linear")
    return option
