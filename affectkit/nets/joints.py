"""What stands around a head's network: weights of its input layers before it, an activation a task behind it.

Imports torch: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


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
