"""The speech transformer that training starts from. Imports torch: import this module inside functions only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from affectkit.backbones import _speech as speech
from affectkit.backbones import _speech_files as files
from affectkit.backbones import pdem
from affectkit.config import Config, validate
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from affectkit.networks.speech import SpeechOptions

SAVED = Path("network.json")
TINY_CONFIG: dict[str, Any] = {
    "model_type": "wav2vec2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "conv_dim": [64] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
}  # fmt: skip


class Known(Config):
    """What a saved network keeps of the files that it began with."""

    config: dict[str, Any]
    normalise: bool
    sampling_rate: int = Field(ge=1000, le=192_000)


@dataclass(frozen=True)
class Start:
    """A transformers encoder, and what is known of it."""

    encoder: Any
    architecture: files.Architecture
    normalise: bool
    sampling_rate: int
    config: dict[str, Any]

    @property
    def known(self) -> dict[str, Any]:
        """As JSON."""
        said = Known(config=self.config, normalise=self.normalise, sampling_rate=self.sampling_rate)
        return said.model_dump(mode="json")


def begin(options: SpeechOptions, weights: WeightsFile) -> Start:
    """With the weights that `Speech.weights` found. Raises UsageError where they do not fit."""
    if options.model == "tiny":
        return _random(TINY_CONFIG, files.Hearing(), SAVED)
    if options.model == pdem.NAME:
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
    said = validate(Known, known, "the saved network's architecture")
    architecture = files.described(said.config, SAVED)
    encoder = speech.create(architecture, said.config, SAVED)
    return Start(encoder, architecture, said.normalise, said.sampling_rate, said.config)


def _random(config: dict[str, Any], hearing: files.Hearing, path: Path) -> Start:
    architecture = files.described(config, path)
    encoder = speech.random_encoder(architecture, config, path)
    return Start(encoder, architecture, hearing.do_normalize, hearing.sampling_rate, config)
