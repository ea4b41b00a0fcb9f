"""What the files of a classifier of the Hugging Face hub say: its classes, its input, which network it is.

A model is `config.json`, `preprocessor_config.json` and safetensors, in a repository or a folder. No code of a
repository is run, nothing is unpickled, and what a config declares is bounded before a network is made of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.learning import speech_files as files
from affectkit.learning.stated_crop import StatedCrop, canonical_margin
from affectkit.plugins import CAUTION, UNSTATED_CROP, ModelCard
from affectkit.tasks import Kind, Metric, Task
from affectkit.types import Contract
from affectkit.weights import WeightsFile

Problem = Literal["single-label", "multi-label", "regression"]
_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single-label", "multi_label_classification": "multi-label",
    "regression": "regression",
}  # fmt: skip
KINDS: dict[Problem, tuple[Kind, Metric]] = {
    "single-label": ("multiclass", "macro-f1"), "multi-label": ("multilabel", "binary-f1"),
    "regression": ("regression", "ccc"),
}  # fmt: skip
_NO_NAME = re.compile(r"(LABEL|CLASS)?[_ -]?\d+", re.IGNORECASE)
_LARGEST, _MOST_LAYERS, _MOST_CLASSES, _LONGEST_NAME = 1 << 20, 512, 4096, 200


class HubOptions(Config):
    """Which classifier, and what its files do not say."""

    model: str | None = Field(
        None, min_length=1, description="a hub repository (USER/REPO) or a folder; --weights FOLDER is another way"
    )
    revision: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="commit, tag or branch of the repository, to pin it"
    )
    classes: str | None = Field(
        None, min_length=1, description="names of its classes or values in order, a,b,c, where its config has none"
    )
    problem: Literal["auto", "single-label", "multi-label", "regression"] = Field(
        "auto", description="what its outputs are: one class, several at once, or values (auto: as its config says)"
    )


class HubImageOptions(HubOptions):
    """Of a classifier that sees: also the crop that it was trained on, which no file of the hub says."""

    margin: str | None = Field(
        None, description="crop that it was trained on: margin of the face's box, 0.2 or 10px  [default: not stated]"
    )
    shape: Literal["square", "letterbox"] = Field("square", description="with margin: shape of that crop")
    align: bool = Field(False, description="with margin: whether that crop is aligned")

    @field_validator("margin", mode="before")
    @classmethod
    def _canonical(cls, margin: Any) -> str | None:
        return None if margin is None else canonical_margin(margin)

    @model_validator(mode="after")
    def _shape_goes_with_margin(self) -> HubImageOptions:
        if self.margin is None and (self.shape != "square" or self.align):
            raise ValueError("shape and align state a crop together with margin: give margin too")
        return self

    def crop(self) -> StatedCrop | None:
        """The crop that was stated."""
        return None if self.margin is None else StatedCrop(margin=self.margin, shape=self.shape, align=self.align)


Triple = tuple[float, float, float]
Channels = Annotated[Triple, Field(min_length=3, max_length=3)]
Pixels = Annotated[int, Field(ge=8, le=2048)]


class Sight(BaseModel):
    """What an image processor's config says, of the processors that are read here: `Seen` classes do nothing else."""

    model_config = ConfigDict(frozen=True, extra="allow")
    image_processor_type: str | None = None
    feature_extractor_type: str | None = None
    size: Pixels | dict[str, Pixels] | None = None
    crop_size: Pixels | dict[str, Pixels] | None = None
    crop_pct: float | None = Field(None, gt=0, le=1)
    resample: int | None = None
    do_resize: bool = True
    do_center_crop: bool | None = None
    do_rescale: bool = True
    do_normalize: bool | None = True
    do_flip_channel_order: bool | None = None
    rescale_factor: float = Field(1 / 255, gt=0, le=1)
    image_mean: Channels | None = None
    image_std: Channels | None = None

    @property
    def processor(self) -> str:
        """The class's name, without what tells its versions apart."""
        name = self.image_processor_type or self.feature_extractor_type or ""
        return re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name)


_RESAMPLES: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
_PROCESSORS = frozenset(("ViT", "DeiT", "Beit", "Bit", "CLIP", "Siglip", "ConvNext", "MobileNetV2"))
_CROPPING = frozenset(("DeiT", "Bit", "CLIP", "MobileNetV2"))
"""Processors that cut out the centre unless their config says otherwise."""


class Seeing(BaseModel):
    """How a picture becomes the network's input: resized to `resized` (height, width, or the shorter side), its centre
    `cropped` out, then pixels in 0..255 times `factor`, less `mean`, over `std`."""

    model_config = ConfigDict(frozen=True)
    resized: tuple[int, int] | int | None
    cropped: tuple[int, int] | None
    interpolation: Literal["bilinear", "bicubic"]
    factor: float
    mean: Triple
    std: Triple

    @property
    def side(self) -> int:
        """Pixels a side, the larger."""
        shape = self.cropped or self.resized or 0
        return shape if isinstance(shape, int) else max(shape)

    @property
    def words(self) -> str:
        """For people."""
        return f"(pixels * {self.factor:.6g} - {list(self.mean)}) / {list(self.std)}"


def seeing(path: Path) -> Seeing:
    """What a preprocessor's config says. Raises UsageError for what is not read here."""
    told = files.read_json(path)
    if "auto_map" in told:
        raise UsageError(f"{path} wants code of its repository to be run (auto_map), which affectkit never does")
    sight = files.validated(Sight, told, path)
    if sight.processor not in _PROCESSORS:
        named = sight.image_processor_type or sight.feature_extractor_type
        raise UsageError(
            f"{path}: images are prepared by {named or 'nothing that has a name'}; read here are "
            f"those of {', '.join(sorted(_PROCESSORS))}. Export the model to ONNX with a card instead"
        )
    strange = [name for name, value in (sight.model_extra or {}).items() if value is True and _changes_pixels(name)]
    if strange or sight.do_flip_channel_order:
        raise UsageError(f"{path}: {(strange or ['do_flip_channel_order'])[0]} is not read here")
    if sight.resample not in (None, *_RESAMPLES):
        raise UsageError(f"{path}: resample {sight.resample} is not read here (2 bilinear, 3 bicubic)")
    if sight.resample is None:
        raise UsageError(f"{path} does not say how images are resized: resample is missing (2 bilinear, 3 bicubic)")
    size, crop = _shape(sight.size), _shape(sight.crop_size)
    if size is None and sight.do_resize:
        raise UsageError(f"{path}: size must be pixels, {{height, width}} or {{shortest_edge}} (given {sight.size!r})")
    does_crop = sight.processor in _CROPPING if sight.do_center_crop is None else sight.do_center_crop
    if sight.processor == "ConvNext":
        size, crop, does_crop = _as_convnext(size, sight.crop_pct)
    elif isinstance(size, int) and not does_crop and isinstance(sight.size, int):
        size = (size, size)
    if isinstance(crop, int):
        crop = (crop, crop)
    is_scaled = bool(sight.do_normalize)
    if is_scaled and (sight.image_mean is None or sight.image_std is None or min(sight.image_std) <= 0):
        raise UsageError(f"{path}: image_mean and image_std are needed, three numbers each, std above 0")
    return Seeing(
        resized=size if sight.do_resize else None, cropped=crop if does_crop else None,
        interpolation=_RESAMPLES[sight.resample], factor=sight.rescale_factor if sight.do_rescale else 1.0,
        mean=sight.image_mean if is_scaled and sight.image_mean else (0, 0, 0),
        std=sight.image_std if is_scaled and sight.image_std else (1, 1, 1),
    )  # fmt: skip


def _changes_pixels(name: str) -> bool:
    return (name.startswith("do_") and name != "do_convert_rgb") or name in ("include_top", "rescale_offset")


def _shape(size: int | dict[str, int] | None) -> tuple[int, int] | int | None:
    if not isinstance(size, dict):
        return size
    if size.keys() == {"height", "width"}:
        return size["height"], size["width"]
    return size["shortest_edge"] if size.keys() == {"shortest_edge"} else None


def _as_convnext(
    size: tuple[int, int] | int | None, share: float | None
) -> tuple[tuple[int, int] | int | None, tuple[int, int] | None, bool]:
    """Below 384 pixels the centre of a larger picture, from there on all of it."""
    side = size if isinstance(size, int) else size[0] if size else None
    if side is None or side >= 384:
        return (side, side) if side else None, None, False
    return int(side / (share or 224 / 256)), (side, side), True


def described(path: Path) -> dict[str, Any]:
    """A model's config. Raises UsageError for code of its own, and for sizes that no classifier has."""
    config = files.read_json(path)
    if "auto_map" in config:
        raise UsageError(f"{path} wants code of its repository to be run (auto_map), which affectkit never does")
    if not isinstance(config.get("model_type"), str):
        raise UsageError(f"{path} names no architecture: model_type is missing")
    for key, value in _numbers(config):
        if abs(value) > (_MOST_LAYERS if "layers" in key or "depth" in key or "blocks" in key else _LARGEST):
            raise UsageError(f"{path}: {key} is {value}, more than any classifier has")
    return config


def _numbers(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, int]]:
    for key, value in config.items():
        if key in ("id2label", "label2id"):
            continue
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{key}.")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int) and not isinstance(each, bool):
                yield before + key, each


def problem(config: Mapping[str, Any], options: HubOptions, count: int, path: Path) -> Problem:
    """What the outputs are: as the options or the config say, else one of several classes. Raises UsageError where
    nothing says it."""
    if options.problem != "auto":
        return options.problem
    told = config.get("problem_type")
    if told in _PROBLEMS:
        return _PROBLEMS[str(told)]
    if told is not None:
        raise UsageError(f"{path}: problem_type is {told!r}; accepted are {', '.join(_PROBLEMS)}")
    if count == 1:
        raise UsageError(
            f"{path}: one output may be a value or a probability: say -o problem=regression or multi-label"
        )
    return "single-label"


def classes(config: Mapping[str, Any], options: HubOptions, path: Path) -> tuple[str, ...]:
    """The names of the outputs, in order. Raises UsageError where they are none, or not as many as there are."""
    table = config.get("id2label")
    labels = _in_order(table, path) if isinstance(table, dict) and table else None
    if options.classes is not None:
        names = tuple(name.strip() for name in options.classes.split(","))
        if labels is not None and len(labels) != len(names):
            raise UsageError(f"classes={options.classes}: {path} has {len(labels)} outputs, and {len(names)} are named")
    elif labels is None or all(_NO_NAME.fullmatch(name) for name in labels):
        told = f"names its classes only {', '.join(labels[:3])}" if labels else "names no classes (id2label)"
        raise UsageError(f"{path} {told}: say what they are, in their order, with -o classes=a,b,c")
    else:
        names = labels
    wrong = [name for name in names if not name or len(name) > _LONGEST_NAME or not name.isprintable()]
    if wrong or len(set(names)) < len(names):
        raise UsageError(f"{path}: classes are distinct, printable names (given {', '.join(map(repr, names[:8]))})")
    return names


def _in_order(table: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    numbers = [str(number) for number in range(len(table))]
    if len(table) > _MOST_CLASSES or set(table) != set(numbers):
        raise UsageError(
            f"{path}: id2label must number its classes from 0 to {len(table) - 1}, {_MOST_CLASSES} at most"
        )
    return tuple(str(table[number]).strip() for number in numbers)


def task(names: tuple[str, ...], what: Problem) -> Task:
    """The task that a classifier's outputs are."""
    kind, metric = KINDS[what]
    return Task(name="hub", kind=kind, level="time", targets=names, metric=metric)


def place(options: HubOptions, choice: str, plugin: str) -> files.Place:
    """Where the files are. Raises UsageError."""
    if options.model is None and choice in ("auto", "random"):
        raise UsageError(f"{plugin}: which one? -o model=USER/REPO of the Hugging Face hub, or a folder")
    return files.place(options.model or "", options.revision, choice)


def folder_of(weights: WeightsFile) -> Path:
    """The folder of a classifier's files. Raises UsageError without them: they alone say what it is."""
    if weights.path is None:
        raise UsageError(f"{weights.name}: what it is the files of -o model=USER/REPO (or a folder) say")
    return weights.path


def resolved(where: files.Place, choice: str) -> WeightsFile:
    """Config, preprocessor's config and weights as one choice (`random`: without the weights). Raises UsageError."""
    files.config_file(where)
    return files.resolved(where, [] if choice == "random" else files.safetensors(where))


def card(
    name: str, weights: WeightsFile, outputs: tuple[Task, ...], contract: Contract | None, *, sees: bool,
    sampling_rate: int = 16_000,
) -> ModelCard:  # fmt: skip
    """What is known of any classifier of the hub: little."""
    return ModelCard(
        name=name,
        summary=f"{weights.name}, an {'image' if sees else 'audio'} classifier of the Hugging Face hub.",
        outputs=outputs, contract=contract, sampling_rate=sampling_rate,
        licences={"code": "Apache-2.0 (transformers)", "weights": weights.licence, "data": "not stated"},
        trained_on="not stated in its files: see the repository's card",
        failures=UNSTATED_CROP if sees and contract is None else "none are recorded",
        intended=f"What its own card says. {CAUTION}",
    )  # fmt: skip


def parameters(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())
