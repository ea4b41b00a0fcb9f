"""Audio classifiers of transformers over the encoders that are read here: heads, which read pooled hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from affectkit.checkpoints import load_strictly
from affectkit.config import Numerics
from affectkit.learning import speech_backbone as speech
from affectkit.learning.hub_files import Problem
from affectkit.learning.image_backbone import seeded
from affectkit.learning.speech_backbone import SpeechNetwork
from affectkit.learning.speech_files import SpeechArchitecture, Width, validated
from affectkit.nets.hub_images import activated

_HEAD = ("projector.", "classifier.", "layer_weights")


class HeadSizes(BaseModel):
    """What a config says of the head; the defaults are those of transformers."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    classifier_proj_size: Width = 256
    use_weighted_layer_sum: bool = False


class AudioClassifier:
    """Encoder and head with a file's tensors; without any, seeded random ones. `width` is what the last layer reads.

    Raises UsageError where tensors are missing, unknown or of another shape.
    """

    def __init__(
        self, architecture: SpeechArchitecture, config: dict[str, Any], tensors: Mapping[str, Tensor] | None,
        names: int, problem: Problem, path: Path,
    ) -> None:  # fmt: skip
        sizes = validated(HeadSizes, config, path)
        self.width, self._problem = sizes.classifier_proj_size, problem
        last = architecture.num_hidden_layers
        self._layers = list(range(last + 1)) if sizes.use_weighted_layer_sum else [last]
        with seeded():
            self._head = nn.ModuleDict({
                "projector": nn.Linear(architecture.hidden_size, self.width),
                "classifier": nn.Linear(self.width, names),
            })  # fmt: skip
        if sizes.use_weighted_layer_sum:
            self._head.register_parameter("layer_weights", nn.Parameter(torch.zeros(last + 1)))
        if tensors is None:
            self._encoder = speech.random_encoder(architecture, config, path)
            return
        head = {name: tensor.float() for name, tensor in tensors.items() if name.startswith(_HEAD)}
        load_strictly(self._head, head, path)
        encoder = {name: tensor for name, tensor in tensors.items() if name not in head}
        self._encoder = speech.encoder(architecture, config, encoder, path)

    def network(self, numerics: Numerics, *, normalise: bool) -> SpeechNetwork:
        """On its device."""
        return SpeechNetwork(
            self._encoder, self._layers, "mean", self._outputs, numerics, normalise=normalise, extra=self._head
        )

    def _outputs(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        # A window at a time: on some processors the bits of so narrow a product depend on the place in the batch.
        windows = [
            {layer: hidden[row : row + 1] for layer, hidden in states.items()}
            for row in range(len(states[self._layers[0]]))
        ]
        values = [self._head["projector"](self._pooled(window)) for window in windows]
        scores = [activated(self._head["classifier"](value)[:, 0], self._problem)[:, None] for value in values]
        return {"values": torch.cat(values), "scores": torch.cat(scores)}

    def _pooled(self, window: Mapping[int, Tensor]) -> Tensor:
        """Mean hidden state [1,1,H]: of the last layer, or the learnt mean of all."""
        if len(self._layers) == 1:
            return window[self._layers[0]]
        shares = self._head.get_parameter("layer_weights").softmax(0)
        return (torch.stack([window[layer] for layer in self._layers]) * shares.view(-1, 1, 1, 1)).sum(0)
