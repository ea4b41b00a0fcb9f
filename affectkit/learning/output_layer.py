"""The last activation of a network's scores for each task, chosen by the range of the training labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from affectkit.errors import UsageError
from affectkit.learning.options import Output
from affectkit.plugins import Outputs
from affectkit.plugins.outputs import Activation
from affectkit.tasks import Task
from affectkit.types import Floats

if TYPE_CHECKING:
    from torch import nn


def choose(option: Output, task: Task, labels: Floats) -> Outputs:
    """The outputs of a task with the activation meant by `option` for training labels [N,K] (NaN = unlabelled).

    auto: sigmoid for regression labels within [0,1], tanh within [-1,1], else linear; classes and labels are linear
    (logits). Raises UsageError for another choice there, and for labels that the activation cannot reach.

    >>> from affectkit import tasks
    >>> choose("auto", tasks.get("va"), np.array([[-0.5, 0.2]])).activation
    'tanh'
    """
    return Outputs(count=task.outputs, activation=_choose(option, task, labels))


def _choose(option: Output, task: Task, labels: Floats) -> Activation:
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


def module(outputs: Sequence[Outputs]) -> nn.Module:
    """The activations over scores [B,T,K], K of all tasks together."""
    from affectkit.nets.joints import Tasks

    activations = [_activation(one) for one in outputs]
    return activations[0] if len(outputs) == 1 else Tasks([one.count for one in outputs], activations)


def scale(output: nn.Module, tasks: Sequence[Task], labels: Sequence[Floats]) -> None:
    """Start linear regression outputs on mean and deviation of their task's training labels [N,K]: ratings from 1 to 9
    are then as easy to learn as standardised ones."""
    from affectkit.nets.joints import Tasks

    activations = list(output.activations) if isinstance(output, Tasks) else [output]
    for activation, task, known in zip(activations, tasks, labels, strict=True):
        _scale(activation, task, known)


def _activation(outputs: Outputs) -> nn.Module:
    from torch import nn

    from affectkit.nets.layers import Affine

    if outputs.activation == "linear":
        return Affine(outputs.count)
    return nn.Tanh() if outputs.activation == "tanh" else nn.Sigmoid()


def _scale(output: nn.Module, task: Task, labels: Floats) -> None:
    import torch

    from affectkit.nets.layers import Affine

    if isinstance(output, Affine) and task.kind == "regression":
        labels = labels[np.isfinite(labels).all(axis=1)]
        deviation = labels.std(axis=0)
        output.shift = torch.tensor(labels.mean(axis=0), dtype=torch.float32)
        output.scale = torch.tensor(np.where(deviation > 0, deviation, 1.0), dtype=torch.float32)
