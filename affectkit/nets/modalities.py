"""Networks of several modalities: recurrent nets side by side, and cross-modal attention.

x [B,T,sum(dims)+M] has the modalities side by side and a flag each, 1 where it is there; of one modality, x [B,T,D]
has no flag. As in `nets.layers`, mask [B,T] marks the valid steps, which come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectkit.nets.layers import EncoderLayer, LastState, Masked, MeanPool, Recurrent, sinusoid


class Modalities(Masked):
    """x and mask -> each modality projected to a common width, [B,T,W], and which are there [B,T,M].

    While training, each is taken from whole windows at the rate `dropout`. Where one is missing, a learnt vector of its
    own stands for it.
    """

    def __init__(self, dims: Sequence[int], width: int, dropout: float) -> None:
        super().__init__()
        self.dims, self.rate = list(dims), dropout
        self.project = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.absent = nn.Parameter(torch.zeros(len(dims), width)) if len(dims) > 1 else None

    def forward(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        if self.absent is None:
            return [self.project[0](x)], mask.unsqueeze(-1)
        *parts, flags = x.split([*self.dims, len(self.dims)], dim=-1)
        there = (flags >= 0.5) & mask.unsqueeze(-1)
        if self.training and self.rate:
            there = there & kept(there.any(dim=1), self.rate).unsqueeze(1)
        states = [
            torch.where(there[..., number, None], project(part), self.absent[number])
            for number, (project, part) in enumerate(zip(self.project, parts, strict=True))
        ]
        return states, there


def kept(present: Tensor, rate: float) -> Tensor:
    """Which modalities [B,M] a window keeps when each is dropped at `rate`; of those that are present in it, always the
    one whose draw is highest."""
    draw = torch.rand(present.shape, device=present.device)
    best = draw.masked_fill(~present, -1).argmax(dim=1, keepdim=True)
    return (draw >= rate).scatter(1, best, True)


class ConcatNet(Masked):
    """A recurrent net for each modality; what they say, side by side, goes through a fusion layer."""

    def __init__(
        self, dims: Sequence[int], outputs: int, *, width: int, layers: int, bidirectional: bool, dropout: float,
        layer_dropout: float, modality_dropout: float, pool: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modalities = Modalities(dims, width, modality_dropout)
        self.nets = nn.ModuleList(Recurrent("lstm", width, width, layers, bidirectional, layer_dropout) for _ in dims)
        self.last = LastState(bidirectional) if pool else None
        self.output = nn.Sequential(
            nn.Linear(len(dims) * width * (2 if bidirectional else 1), width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, outputs),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        parts, _ = self.modalities(x, mask)
        states = [net(part, mask) for net, part in zip(self.nets, parts, strict=True)]
        if self.last is not None:
            states = [self.last(state, mask) for state in states]
        return cast(Tensor, self.output(torch.cat(states, dim=-1)))


class CrossAttention(nn.Module):
    """Steps of one modality attend to those of the others, with a residual connection and a LayerNorm after it.

    Besides the steps there is a key of zeros whose value is zero: attention to nothing, where nothing is there.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.query, self.key_value):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, others: Tensor, there: Tensor) -> Tensor:
        """x [B,T,W], others [B,S,W], of which only those that are there [B,S] are seen."""
        query = self._split(self.query(x))
        key, value = (self._split(part) for part in self.key_value(others).chunk(2, dim=-1))
        nothing = torch.zeros_like(key[:, :, :1])
        seen = functional.pad(there, (0, 1), value=True)[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(
            query,
            torch.cat([key, nothing], dim=2),
            torch.cat([value, nothing], dim=2),
            attn_mask=seen,
            dropout_p=self.rate if self.training else 0.0,
        )
        return cast(Tensor, self.norm(x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))))

    def _split(self, x: Tensor) -> Tensor:
        """[B,T,W] -> [B,H,T,W/H]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CrossModalLayer(Masked):
    """Each modality attends to the others, then to itself: `CrossAttention` and `EncoderLayer` of its own."""

    def __init__(self, count: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.itself = nn.ModuleList(EncoderLayer(width, heads, width, dropout) for _ in range(count))
        self.others = nn.ModuleList(CrossAttention(width, heads, dropout) for _ in range(count if count > 1 else 0))

    def forward(self, states: Sequence[Tensor], there: Tensor, mask: Tensor) -> list[Tensor]:
        """states: [B,T,W] of each modality; there [B,T,M]."""
        if self.others:
            placed = [state + sinusoid(state) for state in states]
            states = [self._cross(number, placed, there) for number in range(len(states))]
        return [
            layer(state, _or_all(there[..., number], mask))
            for number, (layer, state) in enumerate(zip(self.itself, states, strict=True))
        ]

    def _cross(self, number: int, states: Sequence[Tensor], there: Tensor) -> Tensor:
        rest = [other for other in range(len(states)) if other != number]
        others = torch.cat([states[other] for other in rest], dim=1)
        seen = torch.cat([there[..., other] for other in rest], dim=1)
        return cast(Tensor, self.others[number](states[number], others, seen))


def _or_all(there: Tensor, mask: Tensor) -> Tensor:
    """`there` [B,T], or the valid steps for windows without any: attention needs something to attend to."""
    return torch.where(there.any(dim=1, keepdim=True), there, mask)


class Gates(nn.Module):
    """The modalities' weighted mean at each step: learnt gates, for each dimension, over those that are there (all of
    them where none is); cf. the gated multimodal unit (Arevalo et al. 2017)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.scores = nn.ModuleList(nn.Linear(width, width) for _ in range(count))

    def forward(self, states: Sequence[Tensor], there: Tensor) -> Tensor:
        """states: [B,T,W] of each of M modalities; there [B,T,M] -> [B,T,W]."""
        logits = torch.stack([score(state) for score, state in zip(self.scores, states, strict=True)], dim=2)
        shut = ~there & there.any(dim=-1, keepdim=True)
        weights = logits.masked_fill(shut.unsqueeze(-1), -torch.inf).softmax(dim=2)
        return (weights * torch.stack(list(states), dim=2)).sum(dim=2)


class CrossModal(Masked):
    """Cross-modal attention, gates, and an output at each step, or of their mean."""

    def __init__(
        self, dims: Sequence[int], outputs: int, *, width: int, layers: int, heads: int, dropout: float,
        modality_dropout: float, pool: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        count = len(dims)
        self.modalities = Modalities(dims, width, modality_dropout)
        self.embedding = nn.Parameter(torch.randn(count, width) * 0.02) if count > 1 else None
        self.layers = nn.ModuleList(CrossModalLayer(count, width, heads, dropout) for _ in range(layers))
        self.gates = Gates(count, width) if count > 1 else None
        self.pool = MeanPool() if pool else None
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        states, there = self.modalities(x, mask)
        if self.embedding is not None:
            states = [state + one for state, one in zip(states, self.embedding, strict=True)]
        for layer in self.layers:
            states = layer(states, there, mask)
        joined = states[0] if self.gates is None else self.gates(states, there)
        return cast(Tensor, self.output(joined if self.pool is None else self.pool(joined, mask)))
