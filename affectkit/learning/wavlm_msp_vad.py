"""What the files of `models.wavlm_msp_vad` say, and the WavLM that they leave to another repository. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from affectkit.errors import UsageError
from affectkit.learning import speech_files as files
from affectkit.learning.speech_files import SpeechArchitecture, Width

NAME = "wavlm-msp-vad"
REPOSITORY = "3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes"
SAMPLING_RATE = 16_000
ATTRIBUTES = ("arousal", "dominance", "valence")
EPSILON = 1e-6
"""Added to the deviation of the waveform."""

WAVLM_LARGE: dict[str, Any] = {
    "model_type": "wavlm", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": False,
    "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16, "num_buckets": 320,
    "max_bucket_distance": 800,
}  # fmt: skip
"""`microsoft/wavlm-large`, which the config names as `ssl_type`."""


class AttributeConfig(BaseModel):
    """What `config.json` says. Its `auto_map` names code of the repository, which is never run: the network is here."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    hidden_size: Width = 1024
    num_hidden_layers: Annotated[int, Field(ge=1, le=256)] = 24
    num_attention_heads: Width = 16
    classifier_hidden_layers: Annotated[int, Field(ge=1, le=16)] = 1
    mean: float = Field(0.0, allow_inf_nan=False)
    std: float = Field(1.0, ge=0, allow_inf_nan=False)
    sampling_rate: int = SAMPLING_RATE
    ssl_type: str = "microsoft/wavlm-large"
    id2label: dict[str, str] = {str(number): name for number, name in enumerate(ATTRIBUTES)}


def read(path: Path) -> AttributeConfig:
    """A config file. Raises UsageError where it is of another network, or its values come in another order."""
    told = files.read_json(path)
    for key in ("mean", "std", "id2label"):
        if key not in told:
            raise UsageError(f"{path} is no config of {REPOSITORY}: it has no {key}")
    config = files.validated(AttributeConfig, told, path)
    order = tuple(config.id2label.get(str(number), "").lower() for number in range(len(config.id2label)))
    if order != ATTRIBUTES:
        raise UsageError(f"{path}: its values are {', '.join(order) or 'none'}; needed are {', '.join(ATTRIBUTES)}")
    if config.sampling_rate != SAMPLING_RATE or "wavlm" not in config.ssl_type.lower():
        raise UsageError(
            f"{path} is of {config.ssl_type} at {config.sampling_rate} Hz; needed is WavLM at {SAMPLING_RATE} Hz"
        )
    return config


def wavlm(config: AttributeConfig) -> dict[str, Any]:
    """WavLM-large's config with the sizes that this one states."""
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    return WAVLM_LARGE | {name: getattr(config, name) for name in sizes}


def architecture(config: AttributeConfig) -> SpeechArchitecture:
    """Its sizes, by which frames are counted."""
    return SpeechArchitecture.model_validate(wavlm(config))
