"""Temporal convolution over padded windows. Imports torch: import this module inside functions only."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from affectkit.heads._layers import Masked


class ConvBlock(Masked):
    """A residual block (Bai et al. 2018): relu(x + f(x)), where f is twice a dilated convolution, LayerNorm over the
    channels, ReLU and dropout: [B,T,D] -> [B,T,C].

    Where a convolution reaches past the valid steps it reads zeros, be that past the tensor's edge or on padding.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, dilation: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, channels, kernel, dilation=dilation)
        self.conv2 = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.shortcut = nn.Linear(inputs, channels) if inputs != channels else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        reach = (kernel - 1) * dilation
        before = reach if causal else reach // 2
        self.edges = (before, reach - before)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = self.dropout(functional.relu(self.norm1(self._convolve(self.conv1, x, mask))))
        hidden = self.dropout(functional.relu(self.norm2(self._convolve(self.conv2, hidden, mask))))
        return functional.relu(self.shortcut(x) + hidden)

    def _convolve(self, conv: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2)
        return cast(Tensor, conv(functional.pad(x, self.edges)).transpose(1, 2))
