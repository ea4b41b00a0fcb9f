"""What a stage reads, said once: the command line, recipes and Python each give it in their own way.

A stage's `Inputs` is a frozen dataclass whose fields are made by the functions here. Fields without `option` are
positions of the command line and `from` of a recipe; the others are options, keys and keyword arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import MISSING, dataclass
from typing import Any, Literal

REQUIRED: Any = object()
Makes = Literal["crops", "sound", "features", "head", "network", "system", "model", "predictions", "report", "file"]
WORDS: dict[Makes, str] = {
    "crops": "crops", "sound": "sound", "features": "features", "head": "a head", "network": "a network",
    "system": "a fused system", "model": "a published model",
    "predictions": "predictions", "report": "a report", "file": "a file",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Input:
    """What every input has: its help, the word for its value, whether it is an option, and whether there are several.

    name: the field's; default: REQUIRED where it must be given; in_recipes: whether it is a key of a
    recipe's step; panel: where the command's help has it.
    """

    help: str
    name: str = ""
    metavar: str = ""
    option: bool = False
    many: bool = False
    least: int = 1
    default: Any = REQUIRED
    in_recipes: bool = True
    panel: str = "Inputs"

    @property
    def is_required(self) -> bool:
        """Whether there must be one."""
        return self.default is REQUIRED

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class ArtifactsInput(Input):
    """What other stages make. Features are `Features`, predictions a path (of an artifact or a CSV file), all else an
    `Artifact`; `or_media`: media stand in for them, where a recipe can be replayed; `or_model`: a published model's
    name stands in, a `PublishedModel`; `or_table`: a CSV file does, and its path is the value."""

    makes: tuple[Makes, ...]
    or_media: bool = False
    or_model: bool = False
    or_table: bool = False


@dataclass(frozen=True, kw_only=True)
class MediaInput(Input):
    """Clips: media arguments, or a data set in its own layout. `suffixes`: what counts as media in a folder."""

    suffixes: Collection[str]


@dataclass(frozen=True, kw_only=True)
class LabelsInput(Input):
    """Labels of clips: a CSV file, or a data set in its own layout."""


@dataclass(frozen=True, kw_only=True)
class FileInput(Input):
    """A file or a folder that is there; `made`: one that the stage writes."""

    kind: Literal["file", "folder", "made"] = "file"


@dataclass(frozen=True, kw_only=True)
class RatesInput(Input):
    """Frames a second that are assumed: one rate, or a table clip,fps. The value is `FrameRates` or a number."""


@dataclass(frozen=True, kw_only=True)
class ClipsInput(Input):
    """Some of the clips of what is read: a file of ids, a pattern, or in Python a list."""


@dataclass(frozen=True, kw_only=True)
class AuxiliaryInput(Input):
    """Tasks that are learnt along, each from features (or crops, sound) and labels of its own."""

    makes: tuple[Makes, ...]


@dataclass(frozen=True, kw_only=True)
class ValueInput(Input):
    """A plain value of this type."""

    type: Any
    least_value: float | None = None
    most_value: float | None = None
    option_name: str = ""

    @property
    def flag(self) -> str:
        """Its option on the command line, which may have a name of its own."""
        return self.option_name or super().flag

    @property
    def is_pairs(self) -> bool:
        """Whether its values are NAME=PATH."""
        return self.metavar == "NAME=PATH"


def field(one: Input) -> Any:
    """The dataclass field of an input."""
    if one.many and one.option and one.is_required:
        return dataclasses.field(default=(), metadata={"input": one}, kw_only=True)
    default: Any = MISSING if one.is_required else one.default
    return dataclasses.field(default=default, metadata={"input": one}, kw_only=True)


def artifacts(*makes: Makes, help: str, **more: Any) -> Any:
    """One artifact or more."""
    return field(ArtifactsInput(makes=makes, help=help, **more))


def media(suffixes: Collection[str], help: str) -> Any:
    """The clips that a map stage begins with."""
    return field(MediaInput(suffixes=suffixes, help=help, many=True))


def labels(default: Any = REQUIRED) -> Any:
    """Labels, which a stage learns from or scores against; `default` None: where there are some."""
    return field(LabelsInput(help="CSV: clip[,start,end][,split][,subject],<targets>", option=True, default=default))


def splits() -> Any:
    """A table of splits that wins over what labels and manifests say."""
    help = "CSV clip,split that overrides the labels' and the manifest's splits"
    return field(FileInput(help=help, option=True, default=None))


def file(
    help: str, *, kind: Literal["file", "folder", "made"] = "file", default: Any = None, position: bool = False,
    **more: Any,
) -> Any:  # fmt: skip
    """A file or folder."""
    return field(FileInput(help=help, kind=kind, option=not position, default=default, **more))


def rates(help: str) -> Any:
    """A rate that is assumed, or a table of them."""
    return field(RatesInput(help=help, option=True, default=None, metavar="RATE|TABLE"))


def clips() -> Any:
    """Only some clips."""
    help = "only these clips: a file of ids, or a pattern like 'subject1/*'"
    return field(ClipsInput(help=help, option=True, default=None))


def auxiliary(*makes: Makes) -> Any:
    """Tasks to learn along."""
    source = "FEATURES" if "features" in makes else "ARTIFACT"
    return field(AuxiliaryInput(
        help="another task to learn along, from clips of its own (repeatable)", makes=makes, option=True, many=True,
        metavar=f"{source}:LABELS:TASK",
    ))  # fmt: skip


def value(type: Any, default: Any, help: str, **more: Any) -> Any:
    """A plain value."""
    return field(ValueInput(help=help, type=type, option=True, default=default, **more))


def of(inputs: type[Any]) -> list[Input]:
    """The inputs of a dataclass, by its fields."""
    return [dataclasses.replace(each.metadata["input"], name=each.name) for each in dataclasses.fields(inputs)]
