"""The layers of `models.wavlm_msp_vad`: WavLM, attentive statistics of its hidden states, and a small head.

Attentive statistics pooling (Okabe et al. 2018, arXiv 1803.10963): each frame has a weight, the softmax over time of a
learnt product with tanh of a linear layer; weighted mean and standard deviation of the frames are put side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from affectkit.checkpoints import load_strictly
from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.learning import speech_backbone as speech
from affectkit.learning import wavlm_msp_vad as published
from affectkit.learning.image_backbone import seeded
from affectkit.learning.speech_backbone import Listener
from affectkit.learning.speech_files import SpeechArchitecture, described

_ENCODER, _POOL, _HEAD = "ssl_model.", "pool_model.", "ser_model."
_LEAST_VARIANCE = 1e-5
_CONVOLUTION = "feature_extractor.conv_layers.{}.conv.weight"


class AttentiveStatistics(nn.Module):
    """[1,F,H] -> weighted mean and standard deviation over time [1,2H]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.randn(width, 1) / width**0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        weights = (self.sap_linear(hidden).tanh() @ self.attention).softmax(dim=1)
        mean = (hidden * weights).sum(dim=1)
        variance = (hidden.square() * weights).sum(dim=1) - mean.square()
        return torch.cat([mean, variance.clamp_min(_LEAST_VARIANCE).sqrt()], dim=1)


class Regression(nn.Module):
    """Layers of a linear map, a layer norm and ReLU, and a last linear map: [1,2H] -> what it reads [1,H], [1,3]."""

    def __init__(self, width: int, layers: int, values: int) -> None:
        super().__init__()
        widths = [2 * width, *[width] * layers]
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU())
            for before, after in pairwise(widths)
        )
        self.out = nn.Sequential(nn.Linear(width, values))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.fc:
            pooled = layer(pooled)
        return pooled, self.out(pooled)


class AttributeNetwork(Listener):
    """Windows [N,S] of sound -> `values` [N,1,H] and `attributes` [N,1,3]."""

    def __init__(self, folder: Path | None, config: published.AttributeConfig, numerics: Numerics) -> None:
        super().__init__(numerics)
        self._mean, self._std = config.mean, config.std
        with seeded():
            self._pool = AttentiveStatistics(config.hidden_size)
            self._head = Regression(config.hidden_size, config.classifier_hidden_layers, len(published.ATTRIBUTES))
        if folder is None:
            self._encoder: Any = speech.random_encoder(
                published.architecture(config), published.wavlm(config), Path("config.json")
            )
        else:
            tensors = speech.read_tensors(folder)
            self._encoder = _encoder(config, _part(tensors, _ENCODER), folder)
            load_strictly(self._pool, _part(tensors, _POOL), folder)
            load_strictly(self._head, _part(tensors, _HEAD), folder)
            if strange := [name for name in tensors if not name.startswith((_ENCODER, _POOL, _HEAD))]:
                raise UsageError(f"{folder} holds {len(strange)} tensors of no part of this network ({strange[0]})")
        for module in (self._encoder, self._pool, self._head):
            module.eval().requires_grad_(False).to(self._device)
        if numerics.compile:
            for module in (self._encoder.feature_extractor, *self._encoder.encoder.layers):
                module.compile(dynamic=True)

    def prepare(self, waves: Tensor) -> Tensor:
        """On the device, by the mean and the deviation of the training waveforms."""
        return (waves.to(self._device) - self._mean) / (self._std + published.EPSILON)

    def forward(self, prepared: Tensor) -> Mapping[str, Tensor]:
        """Prepared windows [N,S] -> outputs on the device."""
        hidden = self._encoder(prepared, return_dict=True).last_hidden_state.float()
        # A window at a time: on some processors the bits of so narrow a product depend on the place in the batch.
        results = [self._head(self._pool(window)) for window in hidden.split(1)]
        return {
            "values": torch.stack([value for value, _ in results]),
            "attributes": torch.stack([attributes for _, attributes in results]),
        }


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t.float() for name, t in tensors.items() if name.startswith(prefix)}


def _encoder(config: published.AttributeConfig, tensors: dict[str, Tensor], folder: Path) -> nn.Module:
    told = published.wavlm(config) | _sizes(tensors)
    architecture: SpeechArchitecture = described(told, folder / "config.json")
    return speech.encoder(architecture, told, tensors, folder)


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the config leaves to WavLM's own, which lies in another repository, as the tensors' shapes say it."""
    sizes: dict[str, Any] = {}
    if "encoder.layers.0.feed_forward.intermediate_dense.weight" in tensors:
        sizes["intermediate_size"] = len(tensors["encoder.layers.0.feed_forward.intermediate_dense.weight"])
    count = len(published.WAVLM_LARGE["conv_kernel"])
    if all(_CONVOLUTION.format(layer) in tensors for layer in range(count)):
        sizes["conv_dim"] = [len(tensors[_CONVOLUTION.format(layer)]) for layer in range(count)]
    for name, tensor in tensors.items():
        if name.endswith(("pos_conv_embed.conv.weight_v", "pos_conv_embed.conv.parametrizations.weight.original1")):
            sizes["num_conv_pos_embeddings"] = tensor.shape[2]
            sizes["num_conv_pos_embedding_groups"] = max(1, tensor.shape[0] // max(1, tensor.shape[1]))
        if name.endswith("attention.rel_attn_embed.weight"):
            sizes["num_buckets"] = len(tensor)
    sizes["conv_bias"] = "feature_extractor.conv_layers.0.conv.bias" in tensors
    return sizes
