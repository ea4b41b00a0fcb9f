"""The module of network `pyramid`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectkit.learning.pyramid import Layout
from affectkit.nets.joints import output_layer
from affectkit.nets.pyramid import Scales
from affectkit.nets.trunk import Encoder
from affectkit.plugins import Outputs

CHUNK = 32
"""Crops that go through the backbone at once when predicting: always so many, whatever the batch."""


class CropPyramid(nn.Module):
    """uint8 [B,I,3,h,w] -> scores [B,1,K]; I crops are S sequences of L steps, one after another.

    Predicting, equal crops of a batch (neighbouring units share most of theirs) go through the backbone once, in chunks
    of one size, so that a crop's features are the same bits beside whatever other crops.
    """

    def __init__(self, encoder: Encoder, layout: Layout, centred: bool, outputs: Sequence[Outputs]) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(layout.dropout)
        self.scales = Scales(encoder.dim, sum(each.count for each in outputs), layout, centred)
        self.output = output_layer(outputs)

    def forward(self, images: Tensor) -> Tensor:
        features = self.dropout(self.features(images))
        there = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        return cast(Tensor, self.output(self.scales(features, there)))

    def features(self, images: Tensor) -> Tensor:
        """[B,I,D] of uint8 [B,I,3,h,w]."""
        crops = images.flatten(0, 1)
        if self.training:
            return cast(Tensor, self.encoder(crops)).unflatten(0, images.shape[:2])
        first, places = distinct(crops)
        parts = [self._chunk(crops[some]) for some in first.split(CHUNK)]
        return torch.cat(parts)[places].unflatten(0, images.shape[:2])

    def _chunk(self, crops: Tensor) -> Tensor:
        missing = CHUNK - len(crops)
        padded = functional.pad(crops, (0, 0) * 3 + (0, missing)) if missing else crops
        return cast(Tensor, self.encoder(padded))[: len(crops)]


def distinct(crops: Tensor) -> tuple[Tensor, Tensor]:
    """Where each distinct one of N crops stands first [U], and which of these each crop is [N].

    Crops are compared by a random linear hash of 64 bits.

    >>> crops = torch.tensor([[7, 1], [0, 3], [7, 1]], dtype=torch.uint8)
    >>> first, places = distinct(crops)
    >>> torch.equal(crops[first][places], crops), len(first)
    (True, 2)
    """
    flat = crops.flatten(1)
    flat = functional.pad(flat, (0, -flat.shape[1] % 8)).view(torch.int64)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(1 << 62), 1 << 62, (flat.shape[1],), generator=generator) * 2 + 1
    keys = (flat * weights.to(flat.device)).sum(dim=1)
    _, places = torch.unique(keys, return_inverse=True)
    numbers = torch.arange(len(places), device=places.device)
    first = torch.full((int(places.max()) + 1,), len(places), device=places.device)
    return first.scatter_reduce(0, places, numbers, "amin"), places
