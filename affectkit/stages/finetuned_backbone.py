"""A fine-tuned network as a backbone: `affectkit embed ARTIFACT --weights FINETUNED`.

It is not chosen by name (there is nothing to choose but the folder that finetune printed), so it is no plugin of the
registry, but it follows the same protocols. The embedding is what the network's own head reads of a crop or a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config, Numerics
from affectkit.learning import saved
from affectkit.plugins.from_code import NoOptions
from affectkit.types import Floats
from affectkit.weights import WeightsFile


class FinetunedImages:
    """Embeds crops."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    Options: ClassVar[type[Config]] = NoOptions

    @classmethod
    def weights(cls, options: NoOptions, choice: str) -> WeightsFile:
        """The network in the folder `choice`. Raises UsageError and HostileFile; imports no torch."""
        return saved.weights_of(Path(choice))

    def __init__(self, options: NoOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.nets.finetuned import CropNetwork

        assert weights.path is not None
        self.network = CropNetwork(saved.open_network(weights.path), numerics)
        self.dim = self.network.dim

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,D]."""
        return self.network(batch)


class FinetunedSound:
    """Embeds windows of sound, each as one row. A short window is passed as it is."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    Options: ClassVar[type[Config]] = NoOptions
    images = False

    @classmethod
    def weights(cls, options: NoOptions, choice: str) -> WeightsFile:
        """The network in the folder `choice`. Raises UsageError and HostileFile; imports no torch."""
        return saved.weights_of(Path(choice))

    def __init__(self, options: NoOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.nets.finetuned import WindowNetwork

        assert weights.path is not None
        opened = saved.open_network(weights.path)
        self._opened = cast(Any, opened.network)  # a network of sound has more than others
        self.sampling_rate: int = self._opened.sampling_rate
        self.outputs: Mapping[str, int] = {"values": opened.network.dim}
        self.names: Mapping[str, list[str]] = {}
        self.network = WindowNetwork(opened, numerics)

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window."""
        found: tuple[Floats, Floats] = self._opened.frames(samples)
        return found

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> values [N,1,D]."""
        from affectkit.learning.speech_backbone import embedded

        return embedded(self, batch)


def backbone(folder: Path) -> tuple[str, type[Any], Config]:
    """As `plugins.backbone`: the artifact's name, the backbone for what the folder's network reads, its options.

    Raises UsageError where the folder holds no fine-tuned network, HostileFile where it is not what it claims.
    """
    header = saved.read_header(folder)
    plugin: type[Any] = FinetunedImages if header.kind == "image" else FinetunedSound
    return f"finetuned-{header.network}", plugin, NoOptions()
