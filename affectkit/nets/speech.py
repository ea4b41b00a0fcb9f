"""The module of network `speech`.

Windows of one batch hold different amounts of sound; what is past a window's end is NaN. Nothing there can reach a
result: statistics count real samples, the attention and the tail see real frames, and the two places where encoders of
transformers would let zeros through (a group norm over time, and data2vec's stacked position convolutions) are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from affectkit.config import Config, validate
from affectkit.errors import UsageError
from affectkit.learning import pdem
from affectkit.learning import speech_backbone as speech
from affectkit.learning import speech_files as files
from affectkit.learning.speech_backbone import EPSILON
from affectkit.nets.joints import output_layer
from affectkit.nets.layers import EncoderLayer, Recurrent, Stack
from affectkit.plugins import Outputs
from affectkit.weights import WeightsFile


class SpeechModule(nn.Module):
    """float32 [B,S] -> scores [B,L,K]; L steps a window, `rate` a second (None: the one is the whole window)."""

    def __init__(
        self, start: Start, tail: Tail, steps: int, rate: float | None, outputs: Sequence[Outputs], checkpointing: bool
    ) -> None:
        super().__init__()
        self.hearing = SpeechHearing(start, checkpointing)
        self.tail, self.dim = tail.build(start.architecture.hidden_size)
        self.scores = nn.Linear(self.dim, sum(each.count for each in outputs))
        self.output = output_layer(outputs)
        self.steps, self.rate = steps, rate

    def forward(self, waves: Tensor) -> Tensor:
        states, there = self.states(waves)
        weight = there.unsqueeze(1).to(states.dtype) * self._shares(states)  # [B,L,F]
        pooled = weight @ states / weight.sum(dim=2, keepdim=True).clamp_min(1)
        return cast(Tensor, self.output(self.scores(pooled)))

    def embed(self, waves: Tensor) -> Tensor:
        """[B,D] the mean of the tail's states over real frames."""
        states, there = self.states(waves)
        weight = there.unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)

    def states(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """What the tail makes of each frame [B,F,D], and which frames are real [B,F]."""
        hidden, there = self.hearing(waves)
        return self.tail(hidden, there), there

    def blocks(self) -> list[list[nn.Parameter]]:
        """The parameters that may be trained, from below."""
        return [
            *self.hearing.blocks(),
            list(chain(self.tail.parameters(), self.scores.parameters(), self.output.parameters())),
        ]

    def _shares(self, states: Tensor) -> Tensor:
        """[L,F] 1 where the middle of a frame lies in a step."""
        middle = self.hearing.middles(states.shape[1], states.device)
        if self.rate is None:
            return torch.ones(1, len(middle), device=states.device, dtype=states.dtype)
        step = torch.arange(self.steps, device=states.device)
        return ((middle * self.rate).floor() == step.unsqueeze(1)).to(states.dtype)


class SpeechHearing(nn.Module):
    """A speech transformer over windows of unequal length: float32 [B,S], NaN past the end -> hidden states [B,F,H] of
    its last layer, and which frames are real [B,F]."""

    def __init__(self, start: Start, checkpointing: bool) -> None:
        super().__init__()
        self.encoder: Any = start.encoder
        self.architecture, self.sampling_rate, self._normalise = (
            start.architecture,
            start.sampling_rate,
            start.normalise,
        )
        config = self.encoder.config
        if getattr(config, "conv_pos_batch_norm", False):
            raise UsageError("this model has a batch norm over its position convolution, which padding would change")
        config.apply_spec_augment, config.layerdrop = False, 0.0
        self.encoder.requires_grad_(True)
        self.encoder.feature_extractor.requires_grad_(False)
        self.encoder.feature_extractor._requires_grad = False
        if getattr(self.encoder, "masked_spec_embed", None) is not None:
            self.encoder.masked_spec_embed.requires_grad_(False)
        if checkpointing:
            name = "activation_checkpointing_enable"  # as transformers calls it since version 5
            enable = getattr(self.encoder, name if hasattr(self.encoder, name) else "gradient_checkpointing_enable")
            enable({"use_reentrant": False})
        first = self.encoder.feature_extractor.conv_layers[0]
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            first.layer_norm = RealGroupNorm(first.layer_norm)
        self._frames: Tensor | None = None
        for layer in getattr(self.encoder.encoder.pos_conv_embed, "layers", []):
            layer.register_forward_pre_hook(self._silence)

    def forward(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        count = self.architecture.frames(waves.shape[1])
        # Past the end of all windows: transformers takes another way where nothing is padded, with other last digits.
        waves = functional.pad(waves, (0, self.architecture.hop), value=torch.nan)
        real = ~waves.isnan()
        lengths = real.sum(dim=1)
        waves = torch.where(real, waves, 0.0)
        if self._normalise:
            waves = standardised(waves, real, lengths)
        self._limit(lengths)
        counts = self._counts(lengths, len(self.architecture.conv_kernel))
        there = torch.arange(self.architecture.frames(waves.shape[1]), device=waves.device) < counts.unsqueeze(1)
        self._frames = there
        hidden = self.encoder(waves, attention_mask=real.long(), return_dict=True).last_hidden_state
        self._frames = None
        return hidden[:, :count], there[:, :count]

    def middles(self, frames: int, device: torch.device) -> Tensor:
        """[F] (s) of each frame, from the window's start."""
        first = self.architecture.receptive_field / 2
        return (torch.arange(frames, device=device) * self.architecture.hop + first) / self.sampling_rate

    def blocks(self) -> list[list[nn.Parameter]]:
        """What lies between the convolutions and the layers, then each layer; the closing norm goes with its
        neighbour."""
        encoder = self.encoder.encoder
        layers = [list(layer.parameters()) for layer in encoder.layers]
        known = {id(p) for p in chain(*layers, self.encoder.feature_extractor.parameters())}
        closing = list(encoder.layer_norm.parameters()) if self._ends_with_norm() else []
        known |= {id(p) for p in closing}
        rest = [p for p in self.encoder.parameters() if id(p) not in known and p.requires_grad]
        return [rest, *layers[:-1], [*layers[-1], *closing]]

    def _ends_with_norm(self) -> bool:
        return bool(getattr(self.encoder.config, "do_stable_layer_norm", False))

    def _limit(self, lengths: Tensor) -> None:
        norm = getattr(self.encoder.feature_extractor.conv_layers[0], "layer_norm", None)
        if isinstance(norm, RealGroupNorm):
            norm.lengths = self._counts(lengths, 1)

    def _counts(self, lengths: Tensor, layers: int) -> Tensor:
        """Frames that are left of so many samples after some of the convolutions, as `Architecture.frames`."""
        for kernel, stride in zip(self.architecture.conv_kernel[:layers], self.architecture.conv_stride, strict=False):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp_min(0)

    def _silence(self, _layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Zeros in [B,H,F] past the end, before each of several convolutions over time."""
        if self._frames is None:
            return given
        return (given[0] * self._frames.unsqueeze(1).to(given[0].dtype), *given[1:])


class RealGroupNorm(nn.GroupNorm):
    """A group norm with one channel a group, [B,C,T], whose statistics are those of the first lengths[b] steps."""

    lengths: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, norm.affine, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        there = (torch.arange(x.shape[2], device=x.device) < self.lengths.unsqueeze(1)).unsqueeze(1)
        count = self.lengths.clamp_min(1).view(-1, 1, 1)
        mean = (x * there).sum(dim=2, keepdim=True) / count
        centred = x - mean
        variance = (centred.square() * there).sum(dim=2, keepdim=True) / count
        return centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]


def standardised(waves: Tensor, real: Tensor, lengths: Tensor) -> Tensor:
    """[B,S] -> zero mean and unit variance of each window's real samples, zeros elsewhere. One window at a time: sums
    over a batch run in an order of its own."""
    return torch.stack([_standardised(*window) for window in zip(waves, real, lengths.clamp_min(1), strict=True)])


def _standardised(wave: Tensor, real: Tensor, count: Tensor) -> Tensor:
    centred = torch.where(real, wave - wave.sum() / count, 0.0)
    return centred / (centred.square().sum() / count + EPSILON).sqrt()


@dataclass(frozen=True)
class Tail:
    """The layers over the hidden states: a GRU of so many `layers` and `hidden` units, or an encoder layer for each
    number of attention `heads`."""

    kind: Literal["gru", "transformer"]
    hidden: int
    layers: int
    heads: Sequence[int]
    dropout: float

    def build(self, width: int) -> tuple[nn.Module, int]:
        """The layers for states of `width`, and the width that they end with. Raises UsageError for heads that cannot
        share it."""
        if self.kind == "gru":
            return Stack(Recurrent("gru", width, self.hidden, self.layers, False, self.dropout)), self.hidden
        return Stack(*(EncoderLayer(width, heads, width, self.dropout) for heads in self.heads)), width


SAVED = Path("network.json")
TINY_CONFIG: dict[str, Any] = {
    "model_type": "wav2vec2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "conv_dim": [64] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
}  # fmt: skip


class SavedArchitecture(Config):
    """What a saved network keeps of the files that it began with."""

    config: dict[str, Any]
    normalise: bool
    sampling_rate: int = Field(ge=1000, le=192_000)


@dataclass(frozen=True)
class Start:
    """A transformers encoder, and what is known of it."""

    encoder: Any
    architecture: files.SpeechArchitecture
    normalise: bool
    sampling_rate: int
    config: dict[str, Any]

    @property
    def saved_architecture(self) -> dict[str, Any]:
        """As JSON."""
        said = SavedArchitecture(config=self.config, normalise=self.normalise, sampling_rate=self.sampling_rate)
        return said.model_dump(mode="json")


def begin(model: str, weights: WeightsFile) -> Start:
    """The encoder of `model` with the weights that `Speech.weights` chose. Raises UsageError where they do not fit."""
    if model == "tiny":
        return _random(TINY_CONFIG, files.Hearing(), SAVED)
    if model == pdem.NAME:
        architecture, encoder, _ = pdem.build(weights.path)
        config = pdem.ARCHITECTURE if weights.path is None else files.architecture(weights.path / files.CONFIG)[1]
        return Start(encoder, architecture, True, pdem.SAMPLING_RATE, config)
    assert weights.path is not None
    path = weights.path / files.CONFIG
    architecture, config = files.architecture(path)
    hearing = files.hearing(weights.path / files.PREPROCESSOR)
    if files.is_random(weights):
        return _random(config, hearing, path)
    encoder = speech.encoder(architecture, config, speech.read_tensors(weights.path), weights.path)
    return Start(encoder, architecture, hearing.do_normalize, hearing.sampling_rate, config)


def again(known: dict[str, Any]) -> Start:
    """The architecture alone, as a saved network describes it. Raises UsageError."""
    said = validate(SavedArchitecture, known, "the saved network's architecture")
    architecture = files.described(said.config, SAVED)
    encoder = speech.create(architecture, said.config, SAVED)
    return Start(encoder, architecture, said.normalise, said.sampling_rate, said.config)


def _random(config: dict[str, Any], hearing: files.Hearing, path: Path) -> Start:
    architecture = files.described(config, path)
    encoder = speech.random_encoder(architecture, config, path)
    return Start(encoder, architecture, hearing.do_normalize, hearing.sampling_rate, config)
