"""The network of EfficientNet-Lite0 in timm, see `backbones.efficientnet_lite0`."""

from __future__ import annotations

import timm
from torch import nn

from affectkit.checkpoints import load_strictly, state_dict
from affectkit.learning.image_backbone import Preprocessing, seeded
from affectkit.weights import WeightsFile

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


def preprocessing(side: int) -> Preprocessing:
    """How images of so many pixels a side are prepared."""
    return Preprocessing((side, side), MEAN, STD, "bilinear")


def build(weights: WeightsFile) -> nn.Module:
    """The network, from either layout of names; every key is used and none left over. Raises UsageError."""
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
