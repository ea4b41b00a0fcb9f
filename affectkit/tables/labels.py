"""Where labels come from, a table or a data set in its own layout, and the clips that have both features and labels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import plugins
from affectkit.config import Config
from affectkit.digests import sha256_file
from affectkit.errors import Notice, UsageError, listed, no_folder
from affectkit.tables.label_tables import read_labels
from affectkit.tables.predictions import identity as identity_of_table
from affectkit.tables.sources import clips_of
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels


@dataclass(frozen=True)
class LabelMatch:
    """Clips that have both features and labels, and what is left on either side; all sorted."""

    clips: tuple[str, ...]
    without_labels: tuple[str, ...]
    without_features: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """A line for each side that has clips left over."""
        return [
            f"left out, {what}: {listed(left)}"
            for left, what in (
                (self.without_features, "labels but no features"),
                (self.without_labels, "features but no labels"),
            )
            if left
        ]


def match_labels(features: Collection[str], labels: Collection[str]) -> LabelMatch:
    """Pair the clips that have features with those that have labels.

    Raises UsageError if no clip has both: the ids are then of another form, and the message shows one of each.
    """
    embedded, labelled = set(features), set(labels)
    sides = (embedded & labelled, embedded - labelled, labelled - embedded)
    match = LabelMatch(*(tuple(sorted(clips)) for clips in sides))
    if not match.clips:
        shown = [min(clips, default="none") for clips in (embedded, labelled)]
        raise UsageError(
            f"none of the {len(labelled)} labelled clips has features: features have ids such as '{shown[0]}', labels "
            f"'{shown[1]}' (an id is the path below the folder of media, without suffix)"
        )
    return match


@dataclass(frozen=True)
class DatasetLabels:
    """`--dataset NAME --root DIR`, with the reader's options as key=value."""

    name: str
    root: Path
    option: tuple[str, ...] = ()

    def open(self) -> Any:
        """The reader. Raises UsageError."""
        plugin = plugins.get("datasets", self.name)
        if not self.root.is_dir():
            raise UsageError(f"--root {no_folder(self.root)}: it is where data set {self.name} lies")
        options = plugins.parse_options(plugin, self.option, self.name)
        return plugins.instance("datasets", self.name, plugin, options, self.root)


@dataclass(frozen=True)
class LaggedLabels:
    """Labels that come `lag` seconds after what they are about, and are taken so much earlier."""

    labels: Path | DatasetLabels
    lag: float


Labels = Path | DatasetLabels | LaggedLabels
LONGEST_LAG = 60.0
"""Seconds. No rater takes a minute to react."""


def lagged(labels: Labels, lag: float) -> Labels:
    """Labels taken `lag` seconds earlier; as they are where that is 0."""
    return labels if not lag or isinstance(labels, LaggedLabels) else LaggedLabels(labels, lag)


class DatasetChoice(Config):
    """What the command line says of a data set in its own layout."""

    dataset: str | None = Field(None, description="a data set in its own layout (affectkit list datasets)")
    root: Path | None = Field(None, description="where the data set lies")
    dataset_option: list[str] = Field([], description="an option of the data set's reader, key=value (repeatable)")

    def data_set(self) -> DatasetLabels | None:
        """The data set, if there is one. Raises UsageError where half of it is said."""
        if self.dataset is not None and self.root is not None:
            return DatasetLabels(self.dataset, self.root, tuple(self.dataset_option))
        if self.dataset is not None or self.root is not None or self.dataset_option:
            raise UsageError("a data set is --dataset NAME and --root DIR: give both")
        return None


class MediaChoice(DatasetChoice):
    """What the command line says of media."""

    allow_outside: bool = Field(False, description="a manifest may name media outside its own directory")

    def clips(self, sources: Sequence[str], suffixes: Collection[str]) -> list[Clip]:
        """The media of arguments or of the data set. Raises UsageError for both and for none."""
        dataset = self.data_set()
        if (dataset is None) == (not sources):
            raise UsageError("media come from arguments, or from --dataset NAME --root DIR: give one of them")
        if dataset is not None:
            return list(dataset.open().clips())
        return clips_of(sources, suffixes, allow_outside=self.allow_outside)


class LagChoice(Config):
    """What the command line says of the raters' reaction."""

    label_lag: float = Field(
        0.0, ge=0, le=LONGEST_LAG, allow_inf_nan=False,
        description="labels come so many seconds late, as raters react: they are taken that much earlier",
    )  # fmt: skip


class LabelChoice(LagChoice, DatasetChoice):
    """What the command line says of labels."""

    labels: Path | None = Field(None, description="CSV: clip[,start,end][,split][,subject],<targets>")

    def source_if_any(self) -> Labels | None:
        """The table of labels or the data set, None for neither. Raises UsageError for both, and for a lag of none."""
        if self.labels is not None or self.data_set() is not None:
            return self.source()
        if self.label_lag:
            raise UsageError(f"--label-lag {self.label_lag:g} is of labels: give --labels CSV as well")
        return None

    def source(self) -> Labels:
        """The table of labels, or the data set that has them. Raises UsageError for both and for neither."""
        dataset = self.data_set()
        if (dataset is None) == (self.labels is None):
            raise UsageError("labels come from --labels CSV, or from --dataset NAME --root DIR: give one of them")
        return lagged(self.labels or dataset, self.label_lag)  # type: ignore[arg-type]


def read(labels: Labels, task: Task, notes: list[str] | None = None) -> dict[str, ClipLabels]:
    """Labels by clip; what a data set's reader assumed or left out is added to `notes`. Raises UsageError that names
    file and line."""
    if isinstance(labels, LaggedLabels):
        return _earlier(read(labels.labels, task, notes), labels.lag, task)
    if isinstance(labels, Path):
        return read_labels(labels, task)
    reader = labels.open()
    by_clip: dict[str, ClipLabels] = reader.labels(task)
    if notes is not None:
        notes += reader.notes()
    if not by_clip:
        raise UsageError(f"{labels.root} holds no labels of task {task.name} as data set {labels.name} lays them out")
    return by_clip


def identity(labels: Labels, task: Task) -> str:
    """What the labels are: the digest of a table's bytes, or of a reader, its options and every file it reads."""
    if isinstance(labels, LaggedLabels):
        return sha256(f"{identity(labels.labels, task)} lag {labels.lag!r}".encode()).hexdigest()
    if isinstance(labels, Path):
        return identity_of_table(labels)
    reader = labels.open()
    total = sha256(f"{labels.name} {reader.version} {sorted(labels.option)} ".encode())
    for path in sorted(reader.label_files(task)):
        total.update(f"{os.path.relpath(path, labels.root)} {sha256_file(path)} ".encode())
    return total.hexdigest()


def _earlier(by_clip: Mapping[str, ClipLabels], lag: float, task: Task) -> dict[str, ClipLabels]:
    """Labels with their times moved; what would lie before the start of its clip is left out, and what reaches across
    it is cut. A label of a whole clip stays. Raises UsageError for a task of whole clips, whose labels have no time."""
    if task.level == "clip":
        raise UsageError(f"--label-lag {lag:g}: labels of {task.name} are of whole clips, and have no time to be moved")
    moved, dropped, shifted = 0, 0, {}
    for clip, labels in by_clip.items():
        timed = np.isfinite(labels.end)
        start, end = np.where(timed, np.maximum(labels.start - lag, 0.0), labels.start), labels.end - lag
        kept = end > 0
        moved, dropped = moved + int((timed & kept).sum()), dropped + int((~kept).sum())
        shifted[clip] = replace(labels, start=start[kept], end=end[kept], values=labels.values[kept])
    if not moved:
        raise UsageError(f"--label-lag {lag:g}: no label has a time after {lag:g} s, so that there is none to be moved")
    left_out = f"; left out, before the start of their clips: {dropped}" if dropped else ""
    told = f"labels are taken {lag:g} s earlier (--label-lag): {moved} rows of {len(shifted)} clips{left_out}"
    warnings.warn(told, Notice, stacklevel=3)
    return shifted
