"""The module of network `static`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from affectkit.nets.joints import output_layer
from affectkit.nets.trunk import Encoder
from affectkit.plugins import Outputs


class StaticModule(nn.Module):
    """uint8 [B,1,3,h,w] -> scores [B,1,K]."""

    def __init__(self, encoder: Encoder, width: int, dropout: float, outputs: Sequence[Outputs]) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(encoder.dim, width), nn.BatchNorm1d(width), nn.Tanh()
        )  # fmt: skip
        self.scores = nn.Linear(width, sum(one.count for one in outputs))
        self.output = output_layer(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.output(self.scores(self.embed(images)).unsqueeze(1)))

    def embed(self, images: Tensor) -> Tensor:
        """uint8 [B,1,3,h,w] -> [B,width]."""
        return cast(Tensor, self.neck(self.encoder(images.flatten(0, 1))))
