"""What a TOML file beside an ONNX file says of it: everything that the file itself does not.

`my.onnx` is a model by the card `my.toml`. The card names the model and its results, the crop or the sound that it
wants, how pixels become numbers, and which results are probabilities already; docs/models.md has a whole one. A missing
or wrong entry is an error that names the file and the key: nothing is guessed where a guess could turn scores round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from affectkit.config import Config, canonical_json, explain
from affectkit.errors import UsageError
from affectkit.learning.stated_crop import StatedCrop
from affectkit.plugins import CAUTION, ModelCard
from affectkit.tasks import Kind, Level, Metric, Task
from affectkit.types import Contract
from affectkit.untrusted import read_toml

Activation = Literal["softmax", "sigmoid", "none"]
Side = Annotated[int, Field(ge=8, le=2048)]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
_METRICS: dict[Kind, Metric] = {"regression": "ccc", "multiclass": "macro-f1", "multilabel": "binary-f1"}


class OnnxPicture(Config):
    """How a crop becomes the network's input."""

    size: Side | tuple[Side, Side] = Field(description="pixels a side, or [height, width]")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="order of the input's axes")
    colour: Literal["rgb", "bgr", "grey"] = Field("rgb", description="order of the channels, or one of luma")
    mean: tuple[float, ...] | None = Field(None, description="of each channel, of pixels in 0..1; with std")
    std: tuple[float, ...] | None = Field(None, description="of each channel, of pixels in 0..1; with mean")
    scale: float | None = Field(None, description="what pixels in 0..255 are multiplied by; with offset")
    offset: float | None = Field(None, description="what is added after that; with scale")
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="of the resizing, antialiased")

    @model_validator(mode="after")
    def _normalised_in_one_way(self) -> OnnxPicture:
        by_mean, by_scale = (self.mean, self.std), (self.scale, self.offset)
        if (None in by_mean) == (None in by_scale) or any(by_mean) == any(value is not None for value in by_scale):
            raise ValueError("the normalisation is mean and std (of pixels in 0..1), or scale and offset (of 0..255)")
        if self.mean is not None and self.std is not None:
            if not len(self.mean) == len(self.std) == self.channels:
                raise ValueError(f"mean and std have a number for each of {self.channels} channels")
            if min(self.std) <= 0:
                raise ValueError("std is above 0")
        if self.scale == 0:
            raise ValueError("scale is not 0")
        return self

    @property
    def channels(self) -> int:
        """Of the input."""
        return 1 if self.colour == "grey" else 3

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def factors(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What each channel of pixels in 0..255 is multiplied by, and what is added then."""
        if self.mean is not None and self.std is not None:
            pairs = list(zip(self.mean, self.std, strict=True))
            return tuple(1 / (255 * std) for _, std in pairs), tuple(-mean / std for mean, std in pairs)
        assert self.scale is not None and self.offset is not None
        return (self.scale,) * self.channels, (self.offset,) * self.channels

    @property
    def words(self) -> str:
        """The normalisation, for people."""
        how = (
            f"(pixels/255 - {list(self.mean)}) / {list(self.std)}"
            if self.mean is not None and self.std is not None
            else f"pixels * {self.scale:g} + {self.offset:g}"
        )
        return f"{how}, {self.layout}, {self.colour}"


class OnnxSound(Config):
    """How a window of sound becomes the network's input, float32 [1,S]."""

    sampling_rate: int = Field(ge=1000, le=192_000, description="Hz")
    normalise: bool = Field(description="each window to zero mean and unit variance")
    channel: bool = Field(False, description="the input is [1,1,S]")
    shortest: float = Field(0.1, gt=0, le=600, description="seconds: a shorter window has no row")


class OnnxTask(Config):
    """Scores of one kind: columns of one of the network's results."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[\w.-]+$")
    kind: Kind
    targets: tuple[Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")], ...] = Field(
        min_length=1, max_length=4096, description="classes or values, in the order of the columns"
    )
    activation: Activation = Field(description="softmax or sigmoid of logits; none where the file gives them itself")
    output: str | None = Field(None, description="the network's result; its only one where left out")
    level: Level = Field("time", description="time: a score a frame or a window")
    metric: Metric | None = None

    @model_validator(mode="after")
    def _fits(self) -> OnnxTask:
        if self.activation == "softmax" and self.kind != "multiclass":
            raise ValueError("activation softmax is for kind multiclass")
        return self

    @property
    def task(self) -> Task:
        """As affectkit has tasks."""
        metric = self.metric or _METRICS[self.kind]
        return Task(name=self.name, kind=self.kind, level=self.level, targets=self.targets, metric=metric)


class OnnxLicences(Config):
    """Of weights, code and data."""

    weights: Text
    code: Text = "not stated"
    data: Text = "not stated"


class OnnxCard(Config):
    """A whole card."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,99}$", description="what its artifacts are called")
    summary: Text
    kind: Literal["image", "audio"]
    trained_on: Text
    licences: OnnxLicences
    tasks: tuple[OnnxTask, ...] = Field(min_length=1, max_length=64)
    image: OnnxPicture | None = None
    contract: StatedCrop | None = None
    audio: OnnxSound | None = None
    input: str | None = Field(None, description="the network's input; its only one where left out")
    embedding: str = Field("auto", description="a tensor of the network, none, or auto: what its last layer reads")
    reported: Text = "no figures are known"
    verified: Text = "not verified by affectkit"
    failures: Text = "none are recorded"
    intended: Text = f"Research on expressions. {CAUTION}"

    @model_validator(mode="after")
    def _is_whole(self) -> OnnxCard:
        wanted: dict[str, Any] = {"image": self.image, "contract": self.contract}
        strange_tables: dict[str, Any] = {"audio": self.audio}
        if self.kind == "audio":
            wanted, strange_tables = strange_tables, wanted
        if missing := [key for key, table in wanted.items() if table is None]:
            raise ValueError(f"kind {self.kind} needs the table [{missing[0]}]")
        if strange := [key for key, table in strange_tables.items() if table is not None]:
            raise ValueError(f"the table [{strange[0]}] is not for kind {self.kind}")
        targets = [target for task in self.tasks for target in task.targets]
        if len(set(targets)) < len(targets):
            raise ValueError(f"a target is named twice: {next(t for t in targets if targets.count(t) > 1)}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all that it says; comments and the order of keys do not matter."""
        return sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()

    def card(self) -> ModelCard:
        """As every model has one."""
        return ModelCard(
            name=self.name, summary=self.summary, outputs=tuple(task.task for task in self.tasks),
            contract=self._contract, sampling_rate=self.audio.sampling_rate if self.audio else 16_000,
            licences=self.licences.model_dump(), trained_on=self.trained_on,
            reported=self.reported, verified=self.verified, failures=self.failures, intended=self.intended,
        )  # fmt: skip

    @property
    def _contract(self) -> Contract | None:
        if self.image is None or self.contract is None:
            return None
        colour: Literal["rgb", "grey"] = "grey" if self.image.colour == "grey" else "rgb"
        return self.contract.contract(max(self.image.sides), colour, self.image.words)


def read(path: Path) -> OnnxCard:
    """The card in a TOML file. Raises UsageError that names the file and the key."""
    _, tree = read_toml(path, "the card of an ONNX model")
    try:
        return OnnxCard.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)[:1000]}") from None


def probabilities(columns: Sequence[float], within: float) -> bool:
    """Whether numbers are probabilities of classes: 0..1, and 1 together but for `within`.

    >>> probabilities([0.25, 0.7501], 1e-3), probabilities([0.25, 0.7501], 1e-5), probabilities([2, -1], 1e-3)
    (True, False, False)
    """
    return all(-1e-6 <= value <= 1 + 1e-6 for value in columns) and math.isclose(sum(columns), 1, abs_tol=within)
