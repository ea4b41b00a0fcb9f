"""Any image model of timm, by name (`resnet18`) or pinned tag (`resnet50.tv_in1k`).

A bare name means the tag that the installed timm takes by default, which can change from release to release and is
seldom the one a paper used: recipes pin the tag. Input size, mean, standard deviation and interpolation are those of
the tag's own data config.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.learning import timm_names
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectkit.learning.image_backbone import Preprocessing


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
            raise UsageError(f"timm publishes no weights for '{options.model}': give --weights PATH, or random")
        file = weight_files.hub(pinned.hub_id, pinned.filename)
        return replace(file, name=pinned.name, licence=pinned.licence or file.licence)

    def __init__(self, options: TimmOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.image_backbone import ImageNetwork, output

        module = build(options, weights)
        forward = output(module, options.layer)
        self.network = ImageNetwork(module, forward, preprocessing(module, options.input_size), numerics)
        self.dim = self.network.dim

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,D]."""
        return self.network(batch)


def preprocessing(module: nn.Module, input_size: int | None) -> Preprocessing:
    """The model's own data config, at `input_size` if given."""
    from timm.data import resolve_model_data_config

    from affectkit.learning.image_backbone import Preprocessing

    config = resolve_model_data_config(module)
    height, width = (input_size, input_size) if input_size else config["input_size"][1:]
    mode = config["interpolation"]
    if mode not in ("bilinear", "bicubic"):
        raise UsageError(f"this model wants its images resized by '{mode}'; bilinear and bicubic are here")
    return Preprocessing((height, width), tuple(config["mean"]), tuple(config["std"]), mode)


def build(options: TimmOptions, weights: WeightsFile) -> nn.Module:
    """The network with its weights, strictly loaded. Raises UsageError when they do not fit.

    timm itself brings a checkpoint into its own layout (torchvision's VGG, position embeddings of another input size).
    The number of classes is that of the file; a file without a classifier serves every layer but `logits`.
    """
    from affectkit.checkpoints import load_strictly, state_dict

    if weights.path is None:
        return _create(options)
    state = state_dict(weights.path)
    reason = ""
    for classes in _classes(options, state):
        try:
            return _create(options, state, classes)
        except (RuntimeError, KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
            reason = str(error).partition("\n")[0]  # timm's converters may raise any for a foreign file
    load_strictly(_create(options), state, weights.path)  # says what does not fit
    raise UsageError(f"timm cannot load {weights.path} into {options.model}: {reason}")


def _create(options: TimmOptions, state: dict[str, Tensor] | None = None, classes: int | None = None) -> nn.Module:
    """The network with random weights, or with those of `state` for a number of classes."""
    import timm

    from affectkit.learning.image_backbone import seeded

    config = timm.get_pretrained_cfg(options.model)
    arguments: dict[str, Any] = {}
    if options.input_size and config and config.fixed_input_size:
        arguments["img_size"] = options.input_size
    if state is not None:
        overlay = {"state_dict": dict(state), "num_classes": classes, "custom_load": False}
        if config and classes != config.num_classes:
            overlay["label_offset"] = 0
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": overlay, "num_classes": classes}
    try:
        with seeded():
            module: Any = timm.create_model(options.model, **arguments)
    except AssertionError as error:
        raise UsageError(f"{options.model} cannot be built for input_size={options.input_size}: {error}") from None
    module.pretrained_cfg.pop("state_dict", None)  # else the tensors are held twice
    return cast("nn.Module", module)


def _classes(options: TimmOptions, state: dict[str, Tensor]) -> list[int]:
    """Numbers of classes to try: what the file's classifier says, else the tag's own, then none."""
    import timm

    config = timm.get_pretrained_cfg(options.model)
    assert config is not None
    names: Any = config.classifier
    first = names if isinstance(names, str) or not names else names[0]
    if f"{first}.weight" in state:
        rows = len(state[f"{first}.weight"])
        return [config.num_classes if rows == config.num_classes + (config.label_offset or 0) else rows]
    return [config.num_classes] if options.layer == "logits" else [config.num_classes, 0]


PLUGIN = Timm
