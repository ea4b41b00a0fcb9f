"""Fine-tuned networks on their device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.learning.image_backbone import ImageNetwork, Preprocessing
from affectkit.learning.saved import Finetuned
from affectkit.learning.speech_backbone import Listener

PROBE = Preprocessing((112, 112), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")
"""A size to probe with; resizing and normalising are in the network itself."""


class CropNetwork(ImageNetwork):
    """Crops in, as units of one image; what the network's head reads out."""

    def __init__(self, opened: Finetuned, numerics: Numerics) -> None:
        def forward(crops: Tensor) -> Tensor:
            found: Tensor = opened.network.embed(opened.module, crops.unsqueeze(1))
            return found

        super().__init__(opened.module, forward, PROBE, numerics)

    def prepare(self, batch: Tensor) -> Tensor:
        """uint8 [N,3,h,w] on the device."""
        if self._device.type == "cuda" and batch.device.type == "cpu":
            batch = batch.pin_memory()
        return batch.to(self._device, non_blocking=True)


class WindowNetwork(Listener):
    """Windows in, one embedding of each out."""

    def __init__(self, opened: Finetuned, numerics: Numerics) -> None:
        super().__init__(numerics)
        if numerics.compile:
            raise UsageError("--compile is for backbones that see, and for wav2vec2 and pdem as they are: leave it out")
        self._opened = opened
        opened.module.eval().requires_grad_(False).to(self._device)

    def prepare(self, waves: Tensor) -> Tensor:
        """On the device; the network normalises."""
        return waves.to(self._device, torch.float32)

    def forward(self, prepared: Tensor) -> Mapping[str, Tensor]:
        """values [N,1,D]."""
        return {"values": self._opened.network.embed(self._opened.module, prepared).unsqueeze(1)}
