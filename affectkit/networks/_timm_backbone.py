"""A timm backbone that is trained: crops as they are cached in, pooled features out.

Imports torch: import this module inside functions only. What timm says of the tag that was trained from (its pinned
name, input size, mean and deviation) is kept as `Architecture`, so that a saved network reads its crops in the same way
with a timm whose defaults have changed.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from timm.models import group_parameters
from torch import Tensor, nn

from affectkit.backbones import _timm_names
from affectkit.backbones import timm as plugin
from affectkit.backbones._image import Preprocessing
from affectkit.backbones.timm import TimmOptions
from affectkit.config import Config, validate
from affectkit.errors import UsageError
from affectkit.weights import WeightsFile, random

Channels = tuple[float, float, float]


class Architecture(Config):
    """Which timm model, by pinned name, and how its images are prepared."""

    model: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    input_size: int | None = Field(None, ge=16, le=1024, description="as the option gave it")
    size: tuple[int, int] = Field(description="height and width of the input")
    mean: Channels
    std: Channels
    interpolation: Literal["bilinear", "bicubic"]

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared."""
        return Preprocessing(self.size, self.mean, self.std, self.interpolation)


class Encoder(nn.Module):
    """uint8 [N,3,h,w] -> pooled features [N,dim] of a timm network without its classifier.

    With `checkpointing`, timm computes activations again in the backward pass. Batch norms would count every batch
    twice then: outside of the forward pass their momentum is 0. Raises UsageError for models that cannot.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, checkpointing: bool) -> None:
        super().__init__()
        network.reset_classifier(0)  # type: ignore[operator]
        self.network = network
        self.dim = int(network.head_hidden_size)  # type: ignore[arg-type]
        self._preprocessing = preprocessing
        self._momenta = _checkpoint(network) if checkpointing else {}

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
    model: str, input_size: int | None, weights: WeightsFile | None, known: dict[str, Any], checkpointing: bool = False
) -> tuple[Encoder, dict[str, Any]]:
    """The backbone and its architecture as JSON: with the given weights, or as `known` describes it, without any.

    Raises UsageError for weights that do not fit, and for a description that the installed timm cannot build.
    """
    if weights is None:
        described = validate(Architecture, known, "the saved network's architecture")
        options = TimmOptions(model=described.model, input_size=described.input_size)
        return Encoder(plugin.build(options, random(model)), described.preprocessing, checkpointing=False), known
    options = TimmOptions(model=_timm_names.resolve(model).name, input_size=input_size)
    network = plugin.build(options, weights)
    prepared = plugin.preprocessing(network, input_size)
    described = Architecture(
        model=options.model, input_size=input_size, size=prepared.size, mean=prepared.mean, std=prepared.std,
        interpolation=prepared.interpolation,
    )  # fmt: skip
    return Encoder(network, prepared, checkpointing), described.model_dump(mode="json")


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
