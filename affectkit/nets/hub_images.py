"""Image classifiers of transformers: weights out of safetensors, preprocessing of their own, what they read last."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
import transformers
from torch import Tensor, nn

from affectkit.errors import UsageError
from affectkit.learning import hub_files
from affectkit.learning.hub_files import Problem, Seeing
from affectkit.learning.image_backbone import Preprocessing, seeded
from affectkit.learning.speech_backbone import NOT_OURS

_SPARE = 1.05
"""A config may describe so many times the numbers of the file: tied and derived tensors are not stored."""


class HubPreprocessing(Preprocessing):
    """What an image processor does to a whole picture, in floating point: resize, cut out the centre, normalise.

    Processors work on whole grey levels, along rows and then along columns: what bicubic overshoots is cut off between.
    So it is here; only the rounding, of at most one grey level, is left out.
    """

    def __init__(self, seeing: Seeing) -> None:
        factor = 255 * seeing.factor
        mean = cast(tuple[float, float, float], tuple(value / factor for value in seeing.mean))
        std = cast(tuple[float, float, float], tuple(value / factor for value in seeing.std))
        shape = seeing.cropped or (seeing.resized if isinstance(seeing.resized, tuple) else (seeing.side, seeing.side))
        super().__init__(shape, mean, std, seeing.interpolation)
        object.__setattr__(self, "_seeing", seeing)

    def resize(self, pixels: Tensor) -> Tensor:
        """float32 [N,3,h,w] in 0..255 -> [N,3,H,W] in 0..255, antialiased."""
        seeing: Seeing = self.__dict__["_seeing"]
        if seeing.resized is None and seeing.cropped is None:
            return pixels
        height, width = self._whole(pixels, seeing)
        for shape in ((pixels.shape[2], width), (height, width)):
            pixels = Preprocessing(shape, self.mean, self.std, self.interpolation).resize(pixels)
        if seeing.cropped is None:
            return pixels
        height, width = seeing.cropped
        missing = max(height - pixels.shape[2], width - pixels.shape[3], 0)
        if missing:  # processors fill up with black
            pixels = nn.functional.pad(pixels, (missing // 2 + 1,) * 4)
        top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
        return pixels[:, :, top : top + height, left : left + width].contiguous()

    @staticmethod
    def _whole(pixels: Tensor, seeing: Seeing) -> tuple[int, int]:
        height, width = pixels.shape[2:]
        if seeing.resized is None:
            return height, width
        if isinstance(seeing.resized, tuple):
            return seeing.resized
        side = seeing.resized
        return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)


@dataclass(frozen=True)
class Classifier:
    """A network that ends before its last layer, and that layer (None: the network gives logits, no embedding)."""

    body: nn.Module
    last: nn.Module | None
    width: int
    problem: Problem

    @property
    def dim(self) -> int:
        """Of the embedding."""
        return self.width if self.last is not None else 0

    def forward(self, batch: Tensor) -> Tensor:
        """Normalised [N,3,H,W] -> embedding and scores side by side, [N,D+K]."""
        result = self.body(pixel_values=batch).logits
        if self.last is None:
            return activated(result, self.problem)
        embedding = result.flatten(1)
        # A row at a time: on some processors the bits of so narrow a product depend on the place in the batch.
        logits = torch.cat([self.last(row) for row in embedding.split(1)])
        return torch.cat([embedding, activated(logits, self.problem).to(embedding.dtype)], dim=1)


def activated(logits: Tensor, problem: Problem) -> Tensor:
    """Logits [N,K] as probabilities of one class or of each, or values as they are, in float32."""
    if problem == "regression":
        return logits.float()
    return logits.float().softmax(1) if problem == "single-label" else logits.float().sigmoid()


def classifier(
    config: dict[str, Any], tensors: dict[str, Tensor] | None, names: int, problem: Problem, size: int, path: Path
) -> Classifier:
    """The network of a config with the file's tensors; without any, seeded random ones. Raises UsageError."""
    network = _loaded(config, tensors, names, path)
    name = _last_layer(network, size, path)
    if name is None:
        return Classifier(network, None, 0, problem)
    last = network.get_submodule(name)
    network.set_submodule(name, nn.Identity())
    return Classifier(network, last, int(cast(Any, last).in_features), problem)


def _loaded(config: dict[str, Any], tensors: dict[str, Tensor] | None, names: int, path: Path) -> nn.Module:
    described = _config(config, names, path)
    kind: Any = transformers.AutoModelForImageClassification
    try:
        with torch.device("meta"):
            blank = kind.from_config(described)
        if tensors is None:
            with seeded():
                return cast(nn.Module, kind.from_config(described).eval())
    except Exception as error:  # transformers checks a config in many ways
        raise _refused(path, config, error) from None
    wanted = {name: tuple(tensor.shape) for name, tensor in blank.state_dict().items()}
    in_file = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if hub_files.parameters(wanted) > _SPARE * hub_files.parameters(in_file) + 1_000_000:
        raise UsageError(
            f"{path} describes a network of {hub_files.parameters(wanted):,} numbers, and the file of weights holds "
            f"{hub_files.parameters(in_file):,}"
        )
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        with seeded(), warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            network, told = type(blank).from_pretrained(
                None, config=described, state_dict=floats, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:
        raise _refused(path, config, error) from None
    _require_all(told, path)
    return cast(nn.Module, network.float().eval())


def _config(config: dict[str, Any], names: int, path: Path) -> Any:
    left_out = {*NOT_OURS, "model_type", "id2label", "label2id", "num_labels"}
    fields = {key: value for key, value in config.items() if key not in left_out}
    fields |= {"num_labels": names, "architectures": config.get("architectures") or []}
    try:
        described = transformers.AutoConfig.for_model(config["model_type"], **fields)
        classifiers = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
        is_known = type(described) in classifiers and config["model_type"] != "timm_wrapper"
    except Exception as error:
        raise _refused(path, config, error) from None
    if not is_known:
        raise UsageError(f"{path}: transformers has no image classifier of model_type '{config['model_type']}'")
    return described


def _refused(path: Path, config: dict[str, Any], error: Exception) -> UsageError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UsageError(f"{path} describes no {config.get('model_type')} network that can be built: {reason[:300]}")


def _require_all(told: dict[str, Any], path: Path) -> None:
    """Raises UsageError where tensors are missing, of another shape or strange: nothing is left at random."""
    kinds = {
        "missing": sorted(map(str, told["missing_keys"])),
        "unknown": sorted(map(str, told["unexpected_keys"])),
        "of another shape": sorted(
            str(each[0] if isinstance(each, tuple) else each) for each in told["mismatched_keys"]
        ),
    }
    wrong = [f"{len(names)} {kind} ({names[0]})" for kind, names in kinds.items() if names]
    if wrong:
        raise UsageError(f"the weights beside {path} are other tensors than this network needs: {', '.join(wrong)}")


def _last_layer(network: nn.Module, size: int, path: Path) -> str | None:
    """The name of the linear layer whose result the logits are; None where they are made in another way."""
    results: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, inputs, result, name=name: results.update({name: (inputs, result)})
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.inference_mode():
            logits = network(pixel_values=torch.zeros(1, 3, size, size)).logits
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path}: the network cannot see an image of {size} x {size} pixels: {reason}") from None
    finally:
        for hook in hooks:
            hook.remove()
    if logits.ndim != 2:
        raise UsageError(f"{path}: the network gives {list(logits.shape)} for one image, not scores of classes")
    for name, (inputs, result) in reversed(results.items()):
        if result is logits and inputs and inputs[0].ndim == 2:
            return name
    return None


class _quiet:
    """transformers reports what it loads on its own; `_require_all` says what matters."""

    def __enter__(self) -> None:
        self._level = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()

    def __exit__(self, *_: object) -> Literal[False]:
        transformers.logging.set_verbosity(self._level)
        return False
