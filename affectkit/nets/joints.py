"""What stands around a network: weights of its input layers before it, an activation a task behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from affectkit.nets.layers import Affine
from affectkit.plugins import Outputs
from affectkit.tasks import Task
from affectkit.types import Floats


class LayerWeights(nn.Module):
    """A network on the weighted mean of L layers, with softmax weights that are learnt (Peters et al. 2018)."""

    def __init__(self, layers: int, network: nn.Module) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))
        self.network = network

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B,T,L*D], layer by layer; mask [B,T]."""
        weights = self.logits.softmax(dim=0)
        mixed = torch.einsum("btld,l->btd", x.unflatten(-1, (len(weights), -1)), weights)
        return cast(Tensor, self.network(mixed, mask))


class Tasks(nn.Module):
    """Each task's own last activation on its own columns."""

    def __init__(self, outputs: Sequence[int], activations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.outputs = list(outputs)
        self.activations = nn.ModuleList(activations)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.outputs, dim=-1)
        return torch.cat([activate(part) for activate, part in zip(self.activations, parts, strict=True)], dim=-1)


def output_layer(outputs: Sequence[Outputs]) -> nn.Module:
    """The activations over scores [B,T,K], K of all tasks together."""
    activations = [_activation(each) for each in outputs]
    return activations[0] if len(outputs) == 1 else Tasks([each.count for each in outputs], activations)


def scale_outputs(output: nn.Module, tasks: Sequence[Task], labels: Sequence[Floats]) -> None:
    """Start linear regression outputs on mean and deviation of their task's training labels [N,K]: ratings from 1 to 9
    are then as easy to learn as standardised ones."""
    activations = list(output.activations) if isinstance(output, Tasks) else [output]
    for activation, task, values in zip(activations, tasks, labels, strict=True):
        if isinstance(activation, Affine) and task.kind == "regression":
            values = values[np.isfinite(values).all(axis=1)]
            deviation = values.std(axis=0)
            activation.shift = torch.tensor(values.mean(axis=0), dtype=torch.float32)
            activation.scale = torch.tensor(np.where(deviation > 0, deviation, 1.0), dtype=torch.float32)


def _activation(outputs: Outputs) -> nn.Module:
    if outputs.activation == "linear":
        return Affine(outputs.count)
    return nn.Tanh() if outputs.activation == "tanh" else nn.Sigmoid()
