"""Any image model of timm, by name (`resnet18`) or pinned tag (`resnet50.tv_in1k`).

A bare name means the tag that the installed timm takes by default, which can change from release to release and is
seldom the one a paper used: recipes pin the tag. Input size, mean, standard deviation and interpolation are those of
the tag's own data config.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.learning import timm_names
from affectkit.weights import WeightsFile


class TimmOptions(Config):
    """What is computed: the model, the layer and the size of its input."""

    model: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$", description="timm model, with its tag after a dot to pin the weights"
    )
    layer: str = Field("pooled", description="pooled, logits, fc1 or fc2 (VGG), or the path of a module (layer3)")
    input_size: int | None = Field(None, ge=16, le=1024, description="pixels a side (default: the model's own)")


class Timm:
    """A timm network, its pooled features by default."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    Options: ClassVar[type[Config]] = TimmOptions

    @classmethod
    def weights(cls, options: TimmOptions, choice: str) -> WeightsFile:
        """`auto`: the tag's file on the Hugging Face hub; `random`: seeded, only if asked for; else a path.

        Imports timm only where the installed timm has not been asked about this name before. Raises UsageError for an
        unknown name, or where the file is neither in the local hub cache nor to be had.
        """
        pinned = timm_names.resolve(options.model)
        if choice == "random":
            return weight_files.random(pinned.name)
        if choice != "auto":
            return weight_files.local(Path(choice), pinned.name)
        if not pinned.hub_id:
            give = weight_files.by_path("give {}, or random") or "take another model"
            raise UsageError(f"timm publishes no weights for '{options.model}': {give}")
        file = weight_files.hub(pinned.hub_id, pinned.filename)
        return replace(file, name=pinned.name, licence=pinned.licence or file.licence)

    def __init__(self, options: TimmOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.image_backbone import ImageNetwork, output
        from affectkit.nets.timm_models import build, preprocessing

        module = build(options.model, options.layer, options.input_size, weights)
        forward = output(module, options.layer)
        self.network = ImageNetwork(module, forward, preprocessing(module, options.input_size), numerics)
        self.dim = self.network.dim

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,D]."""
        return self.network(batch)


PLUGIN = Timm
