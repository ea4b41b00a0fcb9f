"""Tiny speech models of transformers' own classes, saved in folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TINY = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 11,
}  # fmt: skip
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2-stable": ("Wav2Vec2", STABLE),
    "hubert": ("Hubert", {}),
    "hubert-stable": ("Hubert", STABLE),
    "wavlm": ("WavLM", {"num_buckets": 32, "max_bucket_distance": 80}),
    "wavlm-stable": ("WavLM", {"num_buckets": 32, "max_bucket_distance": 80, **STABLE}),
    "data2vec": ("Data2VecAudio", {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}),
}
"""Name -> class prefix in transformers, and what it differs in from `TINY`."""


def model(kind: str, head: str = "Model", **changes: Any) -> Any:
    """A model with random weights, whose norms are no identities."""
    import torch
    import transformers

    prefix, own = KINDS[kind]
    config = getattr(transformers, f"{prefix}Config")(**TINY | own | changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = getattr(transformers, f"{prefix}{head}")(config).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def save(network: Any, folder: Path, preprocessor: dict[str, Any] | None = None, **options: Any) -> Path:
    """The folder with config, safetensors and, unless None, the preprocessor's config."""
    network.save_pretrained(folder, **options)
    if preprocessor is not None:
        given = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000} | preprocessor
        (folder / "preprocessor_config.json").write_text(json.dumps(given))
    return folder


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def windows(count: int, seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """float32 [N,S] at 16 kHz: noise that swells, of another loudness and offset in each window."""
    rng = np.random.default_rng(seed)
    samples = round(16_000 * seconds)
    swell = 1 + np.sin(np.arange(samples) / 3000)
    level, offset = rng.uniform(0.01, 0.3, (2, count, 1))
    waves: NDArray[np.float32] = (level * swell * rng.standard_normal((count, samples)) + offset / 10).astype(
        np.float32
    )
    return waves


def save_pdem(folder: Path, *, pickled: bool = True) -> Path:
    """A tiny model of PDEM's architecture and names: an encoder under `wav2vec2.`, a head under `classifier.`."""
    import torch

    network = model("wav2vec2-stable")
    width = network.config.hidden_size
    generator = torch.Generator().manual_seed(2)
    head = {
        "classifier.dense.weight": torch.randn((width, width), generator=generator) / 8,
        "classifier.dense.bias": torch.randn(width, generator=generator) / 8,
        "classifier.out_proj.weight": torch.randn((3, width), generator=generator) / 8,
        "classifier.out_proj.bias": torch.randn(3, generator=generator) / 8,
    }
    folder.mkdir(parents=True)
    network.config.save_pretrained(folder)
    tensors = {old_name(f"wav2vec2.{name}"): tensor for name, tensor in network.state_dict().items()} | head
    if pickled:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        from safetensors.torch import save_file

        save_file(tensors, folder / "model.safetensors")
    return folder


def old_name(name: str) -> str:
    """The name of a weight norm's part as checkpoints of before 2023 have it."""
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"parametrizations.weight.{new}", old)
    return name
