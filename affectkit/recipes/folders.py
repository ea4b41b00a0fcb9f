"""Data sets of a recipe that need no reader: media as `extract` takes them, and tables of labels and splits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.media import MEDIA_SUFFIXES, VIDEO_SUFFIXES
from affectkit.recipes._settings import filled, validated
from affectkit.recipes.draft import Draft
from affectkit.recipes.steps import DataSet, Step
from affectkit.tables.label_tables import check_labels
from affectkit.tables.sources import clips_of
from affectkit.tasks import Task
from affectkit.types import Clip


class FolderKeys(Config):
    """The keys of such a data set. Paths are relative to the recipe, or to the root where one is said."""

    media: str | list[str] = Field([], description="media files, a folder or a manifest CSV; or a list of them")
    labels: str | None = Field(None, description="CSV: clip[,start,end][,split][,subject],<targets>")
    splits: str | None = Field(None, description="CSV clip,split that overrides other splits")
    allow_outside: bool = Field(False, description="a manifest may name media outside its own directory")
    root: str | None = Field(None, description="the folder that the others are relative to  [default: the recipe's]")


_OWN = ("media", "labels", "splits", "allow_outside")


@dataclass(frozen=True)
class Folders(DataSet):
    """Media and tables that lie anywhere."""

    media: tuple[Path, ...] = ()
    labels: Path | None = None
    splits: Path | None = None
    allow_outside: bool = False
    is_sound: bool = True

    def clips(self, suffixes: Collection[str]) -> list[Clip]:
        """The media with one of these suffixes. Raises UsageError."""
        return clips_of([str(path) for path in self.media], suffixes, allow_outside=self.allow_outside)

    def labels_file(self) -> Path:
        """The table of labels. Raises UsageError where it is not there."""
        assert self.labels is not None
        if not self.labels.is_file():
            raise UsageError(f"labels {self.labels} is not a file")
        return self.labels


def are_meant(table: Mapping[str, Any]) -> bool:
    """Whether a table `[data.NAME]` is of such a data set."""
    return "dataset" not in table and any(key in table for key in _OWN)


def mixed(table: Mapping[str, Any]) -> list[str]:
    """The keys that a data set with a reader has none of."""
    return [key for key in _OWN if key in table and "dataset" in table]


def folders_of(draft: Draft, name: str, roots: Mapping[str, Path]) -> DataSet:
    """The data set of a table `[data.NAME]`; problems for what is wrong with it."""
    root = roots[name]
    keys: FolderKeys | None = validated(
        draft, ("data", name), FolderKeys, filled(draft.data[name], roots), "key of a data set"
    )
    if keys is None:
        return Folders(name, "", (), root, is_sound=False)
    listed = [keys.media] if isinstance(keys.media, str) else keys.media
    for key, text in [("media", one) for one in listed] + [("labels", keys.labels), ("splits", keys.splits)]:
        if text is not None and not text.strip():
            draft.problem(["data", name, key], f"{key} is empty")

    def path(key: str, text: str) -> Path:
        by_hand = draft.where("data", name, key).startswith("--set")
        return (Path() if by_hand else root) / Path(text).expanduser()

    labels, splits = (None if one is None else path(key, one)
                      for key, one in (("labels", keys.labels), ("splits", keys.splits)))  # fmt: skip
    return Folders(name, "", (), root, tuple(path("media", one) for one in listed), labels, splits, keys.allow_outside)


def with_folders(draft: Draft, steps: Mapping[str, Step], data: Mapping[str, DataSet]) -> dict[str, Step]:
    """The steps, each with the splits of the data set that its labels are of. A step whose data set has no media or no
    labels is a problem, and left out."""
    found = {}
    for step in steps.values():
        named = [(key, one) for key, name in _named(step) if isinstance(one := data.get(name), Folders)]
        lacking = [(key, one) for key, one in named if not (one.media if key == ("data",) else one.labels)]
        for key, one in lacking:
            what, how = ("media", '"FOLDER/"') if key == ("data",) else ("labels", '"FILE.csv"')
            if one.is_sound:
                told = f"data set {one.name} has no {what}: {what} = {how} in [data.{one.name}]"
                draft.problem(["steps", step.name, *key], told)
        if not lacking:
            splits = [one.splits for key, one in named if key == ("labels",) and one.splits is not None]
            found[step.name] = replace(step, paths={"splits": splits[0], **step.paths}) if splits else step
    return found


def _named(step: Step) -> Iterator[tuple[tuple[str, ...], str]]:
    """The data sets (or tables) that a step names, each with its key."""
    for key in ("data", "labels"):
        if (name := getattr(step.keys, key, None)) is not None:
            yield (key,), name
    for number, one in enumerate(step.aux):
        yield ("aux", str(number), "labels"), one.labels


class FolderMedia:
    """A data set of folders and tables, and its clips."""

    def __init__(self, data: Folders) -> None:
        self._data = data
        self._clips = cache(data.clips)

    @property
    def labels(self) -> Path:
        """As stages take it. Raises UsageError."""
        return self._data.labels_file()

    def check(self, task: Task) -> None:
        """That the table has labels of a task. Raises UsageError."""
        check_labels(self.labels, task)

    def clips(self, makes: str) -> list[Clip]:
        """Media for a stage that makes crops or sound. Raises UsageError."""
        return list(self._clips(MEDIA_SUFFIXES if makes == "sound" else VIDEO_SUFFIXES))

    def missing(self, step: Step) -> Iterator[tuple[str, str]]:
        """Which key of the data set names what is not there, for a step, and what is wrong with it."""
        for key, name in _named(step):
            if name != self._data.name:
                continue
            try:
                _ = self.clips(step.stage.makes) if key == ("data",) else self.labels
            except UsageError as error:
                yield ("media" if key == ("data",) else "labels"), str(error)
            splits = self._data.splits
            if key == ("labels",) and splits is not None and step.paths["splits"] == splits and not splits.is_file():
                yield "splits", f"splits {splits} is not a file"
