"""The last activation of a network, chosen by the range of the training labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from affectkit.errors import UsageError
from affectkit.heads._options import Output
from affectkit.tasks import Task
from affectkit.types import Floats

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["tanh", "sigmoid", "linear"]


def choose(option: Output, task: Task, labels: Floats) -> Activation:
    """The activation meant by `option` for training labels [N,K] (NaN = unlabelled).

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


def module(activation: Activation, outputs: int) -> nn.Module:
    """The activation over scores [B,T,K]."""
    from torch import nn

    from affectkit.heads._layers import Affine

    if activation == "linear":
        return Affine(outputs)
    return nn.Tanh() if activation == "tanh" else nn.Sigmoid()


def scale(output: nn.Module, task: Task, labels: Floats) -> None:
    """Start a linear regression output on the mean and deviation of the training labels [N,K]: ratings from 1 to 9 are
    then as easy to learn as standardised ones."""
    import torch

    from affectkit.heads._layers import Affine

    if isinstance(output, Affine) and task.kind == "regression":
        labels = labels[np.isfinite(labels).all(axis=1)]
        deviation = labels.std(axis=0)
        output.shift = torch.tensor(labels.mean(axis=0), dtype=torch.float32)
        output.scale = torch.tensor(np.where(deviation > 0, deviation, 1.0), dtype=torch.float32)
