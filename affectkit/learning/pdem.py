"""The layers of PDEM, see `models.pdem`: a speech transformer and a regression head on the mean of its states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.learning import speech_backbone
from affectkit.learning import speech_files as files

if TYPE_CHECKING:
    from torch import nn

NAME = "pdem"
SAMPLING_RATE = 16_000
DIMENSIONS = ["arousal", "dominance", "valence"]

ARCHITECTURE = {
    "model_type": "wav2vec2", "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16,
    "intermediate_size": 4096, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
}  # fmt: skip
"""What random weights are drawn for."""


def build(folder: Path | None) -> tuple[files.SpeechArchitecture, nn.Module, nn.Module]:
    """Architecture, encoder and head, from a folder or seeded. Raises UsageError when the weights do not fit."""
    from affectkit.checkpoints import load_strictly, state_dict
    from affectkit.learning.image_backbone import seeded

    if folder is None:
        architecture = files.SpeechArchitecture.model_validate(ARCHITECTURE)
        encoder = speech_backbone.random_encoder(architecture, ARCHITECTURE, Path(files.CONFIG))
        with seeded():
            return architecture, encoder, regression(architecture.hidden_size)
    architecture, config = files.architecture(folder / files.CONFIG)
    path = next(p for p in (folder / files.SAFETENSORS, folder / files.PICKLED) if p.exists())
    tensors = state_dict(path)
    encoder = speech_backbone.encoder(architecture, config, tensors, path)
    head = regression(architecture.hidden_size)
    tensors_of_head = {
        name.removeprefix("classifier."): t.float() for name, t in tensors.items() if name.startswith("classifier.")
    }
    load_strictly(head, tensors_of_head, path)
    return architecture, encoder, head


def regression(width: int) -> nn.Module:
    """The head, as it runs after training: its dropouts do nothing."""
    from collections import OrderedDict

    from torch import nn

    layers = {"dense": nn.Linear(width, width), "tanh": nn.Tanh(), "out_proj": nn.Linear(width, len(DIMENSIONS))}
    return nn.Sequential(OrderedDict(layers))
