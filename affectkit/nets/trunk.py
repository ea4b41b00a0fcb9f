"""A timm backbone that is trained: crops as they are cached in, pooled features (or logits) out.

EfficientNet-Lite0, whose weights come as a package, is one of them by the name of its own plugin. What timm says of
the tag that was trained from (its pinned name, input size, mean and deviation) is kept as `TimmArchitecture`, so that a
saved network reads its crops in the same way with a timm whose defaults have changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import group_parameters
from torch import Tensor, nn

from affectkit.config import Config, validate
from affectkit.errors import UsageError
from affectkit.learning import timm_names
from affectkit.learning.image_backbone import Preprocessing
from affectkit.learning.timm_names import LITE0, LITE0_SIDE
from affectkit.nets import efficientnet_lite0, timm_models
from affectkit.weights import WeightsFile, random

Channels = tuple[float, float, float]
Side = Annotated[int, Field(ge=16, le=1024)]
Layer = Literal["pooled", "logits"]


class TimmArchitecture(Config):
    """Which timm model, by pinned name, and how its images are prepared."""

    model: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    input_size: int | None = Field(None, ge=16, le=1024, description="as the option gave it")
    size: tuple[Side, Side] = Field(description="height and width of the input")
    mean: Channels
    std: Channels
    interpolation: Literal["bilinear", "bicubic"]
    layer: Layer = "pooled"
    classes: int | None = Field(None, ge=1, le=1 << 20, description="width of the logits, where these are read")

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared."""
        return Preprocessing(self.size, self.mean, self.std, self.interpolation)


class Encoder(nn.Module):
    """uint8 [N,3,h,w] -> [N,dim]: pooled features of a timm network without its classifier, or its logits.

    With `checkpointing`, timm computes activations again in the backward pass. Batch norms would count every batch
    twice then: outside of the forward pass their momentum is 0. Raises UsageError for models that cannot.
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, checkpointing: bool, layer: Layer = "pooled"
    ) -> None:
        super().__init__()
        if layer == "pooled":
            network.reset_classifier(0)  # type: ignore[operator]
        self.network = network
        self.dim = int(network.head_hidden_size if layer == "pooled" else network.num_classes)  # type: ignore[arg-type]
        self._preprocessing = preprocessing
        self._momenta = _checkpoint(network) if checkpointing else {}

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that crops are resized to."""
        return self._preprocessing.size

    def forward(self, images: Tensor) -> Tensor:
        pixels = self._preprocessing.resize(images.to(torch.float32))
        self._count(True)
        features = self.network(self._preprocessing.normalise(pixels))
        self._count(False)
        return cast(Tensor, features)

    def _count(self, counted: bool) -> None:
        for name, momentum in self._momenta.items():
            self.network.get_submodule(name).momentum = momentum if counted else 0.0  # type: ignore[assignment]


def build(
    model: str, input_size: int | None, weights: WeightsFile | None, known: dict[str, Any],
    checkpointing: bool = False, layer: Layer = "pooled", imagenet: bool = False,
    channels_last: bool = False,
) -> tuple[Encoder, dict[str, Any]]:  # fmt: skip
    """The backbone and its architecture as JSON: with the given weights, or as `known` describes it, without any.

    `imagenet`: pixels are normalised by ImageNet's mean and deviation, whatever the model's own are. `channels_last`:
    its weights lie in NHWC, and what they are applied to follows. Raises UsageError for weights that do not fit, and
    for a description that the installed timm cannot build.
    """
    if weights is None:
        described = validate(TimmArchitecture, known, "the saved network's architecture")
        if described.model != LITE0:
            timm_names.resolve(described.model)
        network = _network(described.model, described.input_size, random(model), described.layer)
        if described.classes not in (None, network.num_classes):
            network.reset_classifier(described.classes)  # type: ignore[operator]
        return Encoder(network, described.preprocessing, False, described.layer), known
    name = model if model == LITE0 else timm_names.resolve(model).name
    network = _network(name, input_size, weights, layer)
    prepared = _preprocessing(name, network, input_size)
    if imagenet:
        prepared = replace(prepared, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    described = TimmArchitecture(
        model=name, input_size=input_size, size=prepared.size, mean=prepared.mean, std=prepared.std,
        interpolation=prepared.interpolation, layer=layer, classes=network.num_classes if layer == "logits" else None,
    )  # fmt: skip
    if channels_last:
        network.to(memory_format=torch.channels_last)
    return Encoder(network, prepared, checkpointing, layer), described.model_dump(mode="json")


def _network(name: str, input_size: int | None, weights: WeightsFile, layer: Layer) -> nn.Module:
    if name == LITE0:
        return efficientnet_lite0.build(weights)
    return timm_models.build(name, layer, input_size, weights)


def _preprocessing(name: str, network: nn.Module, input_size: int | None) -> Preprocessing:
    if name != LITE0:
        return timm_models.preprocessing(network, input_size)
    return efficientnet_lite0.preprocessing(input_size or LITE0_SIDE)


def blocks(encoder: Encoder) -> list[list[nn.Parameter]]:
    """The parameters in timm's own groups, from the stem to the last block (with what follows it)."""
    network: Any = encoder.network
    groups = group_parameters(network, network.group_matcher(coarse=False))
    parameters = dict(network.named_parameters())
    return [[parameters[name] for name in groups[number] if name in parameters] for number in sorted(groups)]


def _checkpoint(network: nn.Module) -> dict[str, float | None]:
    """Switch it on; the momentum of every batch norm."""
    try:
        network.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AssertionError, AttributeError, NotImplementedError):
        name = type(network).__name__
        raise UsageError(f"option checkpointing: {name} cannot compute its activations again: leave it out") from None
    return {name: m.momentum for name, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
