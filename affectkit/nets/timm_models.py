"""Models of timm by name, with weights and preprocessing."""

from __future__ import annotations

from typing import Any, cast

import timm
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from affectkit.checkpoints import load_strictly, state_dict
from affectkit.errors import UsageError
from affectkit.learning.image_backbone import Preprocessing, seeded
from affectkit.weights import WeightsFile


def preprocessing(module: nn.Module, input_size: int | None) -> Preprocessing:
    """The model's own data config, at `input_size` if given."""
    config = resolve_model_data_config(module)
    height, width = (input_size, input_size) if input_size else config["input_size"][1:]
    mode = config["interpolation"]
    if mode not in ("bilinear", "bicubic"):
        raise UsageError(f"this model wants its images resized by '{mode}'; bilinear and bicubic are here")
    return Preprocessing((height, width), tuple(config["mean"]), tuple(config["std"]), mode)


def build(model: str, layer: str, input_size: int | None, weights: WeightsFile) -> nn.Module:
    """The network with its weights, strictly loaded. Raises UsageError when they do not fit.

    timm itself brings a checkpoint into its own layout (torchvision's VGG, position embeddings of another input size).
    The number of classes is that of the file; a file without a classifier serves every layer but `logits`.
    """
    if weights.path is None:
        return _create(model, input_size)
    state = state_dict(weights.path)
    reason = ""
    for classes in _classes(model, layer, state):
        try:
            return _create(model, input_size, state, classes)
        except (RuntimeError, KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
            reason = str(error).partition("\n")[0]  # timm's converters may raise any for a foreign file
    load_strictly(_create(model, input_size), state, weights.path)  # says what does not fit
    raise UsageError(f"timm cannot load {weights.path} into {model}: {reason}")


def _create(
    model: str, input_size: int | None, state: dict[str, Tensor] | None = None, classes: int | None = None
) -> nn.Module:
    """The network with random weights, or with those of `state` for a number of classes."""
    config = timm.get_pretrained_cfg(model)
    arguments: dict[str, Any] = {}
    if input_size and config and config.fixed_input_size:
        arguments["img_size"] = input_size
    if state is not None:
        overlay = {"state_dict": dict(state), "num_classes": classes, "custom_load": False}
        if config and classes != config.num_classes:
            overlay["label_offset"] = 0
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": overlay, "num_classes": classes}
    try:
        with seeded():
            module: Any = timm.create_model(model, **arguments)
    except AssertionError as error:
        raise UsageError(f"{model} cannot be built for input_size={input_size}: {error}") from None
    module.pretrained_cfg.pop("state_dict", None)  # else the tensors are held twice
    return cast(nn.Module, module)


def _classes(model: str, layer: str, state: dict[str, Tensor]) -> list[int]:
    """Numbers of classes to try: what the file's classifier says, else the tag's own, then none."""
    config = timm.get_pretrained_cfg(model)
    assert config is not None
    names: Any = config.classifier
    first = names if isinstance(names, str) or not names else names[0]
    if f"{first}.weight" in state:
        rows = len(state[f"{first}.weight"])
        return [config.num_classes if rows == config.num_classes + (config.label_offset or 0) else rows]
    return [config.num_classes] if layer == "logits" else [config.num_classes, 0]
