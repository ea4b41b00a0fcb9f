"""Building blocks of temporal networks, for heads of any package (docs/plugins.md lists them). Imports torch: import
this module inside functions only.

A network takes x [B,T,D] and mask [B,T], True on valid steps, which come first; it returns [B,T,K], or [B,1,K] once a
pooling block has run. What stands on padded steps must not reach a valid one: blocks that mix steps derive from
`Masked` and are given the mask.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectkit.errors import UsageError


class Masked(nn.Module):
    """A block whose `forward` takes (x, mask)."""


class Stack(nn.Module):
    """Blocks one after another; those that are `Masked` get the mask, any other module gets x alone."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask) if isinstance(block, Masked) else block(x)
        return x


class BatchNorm(Masked):
    """BatchNorm over features whose statistics count valid steps only (eps and momentum as torch's)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            weight = mask.unsqueeze(-1).to(x.dtype)
            count = weight.sum().clamp_min(1)
            seen_mean = (x * weight).sum(dim=(0, 1)) / count
            seen_var = ((x - seen_mean).square() * weight).sum(dim=(0, 1)) / count
            with torch.no_grad():
                mean.lerp_(seen_mean, self.momentum)
                var.lerp_(seen_var * (count / (count - 1).clamp_min(1)), self.momentum)
            mean, var = seen_mean, seen_var
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (x - mean) * scale + self.bias


class EncoderLayer(Masked):
    """A transformer encoder layer (Vaswani et al. 2017) that adds the sinusoidal position itself.

    Post-norm: x = norm(x + attention(x)); x = norm(x + feedforward(x)), with ReLU. Pre-norm (Xiong et al. 2020):
    x = x + attention(norm(x)); x = x + feedforward(norm(x)). Parameters are those of
    `torch.nn.TransformerEncoderLayer`.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, pre_norm: bool = False) -> None:
        super().__init__()
        if width % heads:
            near = max(heads, round(width / heads) * heads)
            raise UsageError(f"{width} features cannot be shared by {heads} attention heads: set option width={near}")
        self.heads, self.rate, self.pre_norm = heads, dropout, pre_norm
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feedforward_in = nn.Linear(width, feedforward)
        self.feedforward_out = nn.Linear(feedforward, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.attention_in.weight)
        nn.init.zeros_(self.attention_in.bias)
        nn.init.zeros_(self.attention_out.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + sinusoid(x)
        if self.pre_norm:
            x = x + self.dropout(self._attend(self.norm1(x), mask))
            return x + self.dropout(self._feed(self.norm2(x)))
        x = self.norm1(x + self.dropout(self._attend(x, mask)))
        return cast(Tensor, self.norm2(x + self.dropout(self._feed(x))))

    def _feed(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.feedforward_out(self.dropout(functional.relu(self.feedforward_in(x)))))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, steps, width = x.shape
        parts = self.attention_in(x).view(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B,H,T,D/H]
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :], dropout_p=self.rate if self.training else 0.0
        )
        return cast(Tensor, self.attention_out(mixed.transpose(1, 2).reshape(batch, steps, width)))


def sinusoid(x: Tensor) -> Tensor:
    """Positions [T,D] for x [B,T,D]: sin(t / 10000^(2i/D)) in even columns, cos in odd ones."""
    steps, width = x.shape[-2:]
    even = torch.arange(0, width, 2, device=x.device, dtype=torch.float32)
    angle = torch.arange(steps, device=x.device, dtype=torch.float32)[:, None] * torch.exp(
        even * (-math.log(10_000.0) / width)
    )
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(x.dtype)


class Recurrent(Masked):
    """LSTM or GRU over the valid steps: [B,T,D] -> [B,T,H], or [B,T,2H] when bidirectional.

    Padding follows the valid steps, so the forward direction needs no packing; the backward one does.
    """

    def __init__(
        self,
        kind: Literal["lstm", "gru"],
        inputs: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        cell = nn.LSTM if kind == "lstm" else nn.GRU
        self.net = cell(
            inputs,
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.width = hidden * (2 if bidirectional else 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if not self.net.bidirectional:
            return cast(Tensor, self.net(x)[0])
        lengths = mask.sum(dim=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.net(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class LastState(Masked):
    """What a net of one direction says last [B,1,H]: at the last valid step, and for a backward half at the first."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, x.shape[-1])
        state = x.gather(1, last)
        if not self.bidirectional:
            return state
        half = x.shape[-1] // 2
        return torch.cat([state[..., :half], x[:, :1, half:]], dim=-1)


class MeanPool(Masked):
    """Mean over the valid steps: [B,T,D] -> [B,1,D]."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weight = mask.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp_min(1)


class MaxPool(Masked):
    """Maximum over the valid steps: [B,T,D] -> [B,1,D]; zeros where there is none."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        largest = x.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1, keepdim=True)
        return largest.masked_fill(~mask.any(dim=1)[:, None, None], 0.0)


class Affine(nn.Module):
    """shift + scale * x per target, both fixed: a linear output on the scale of the training labels."""

    shift: Tensor
    scale: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.shift + self.scale * x


class Scorer(nn.Module):
    """A head's network and its last activation."""

    def __init__(self, network: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return cast(Tensor, self.output(self.network(x, mask)))


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
