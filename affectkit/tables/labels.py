"""Labels CSV: `clip[,start,end][,split][,subject],<targets>`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import plugins
from affectkit.config import Config
from affectkit.digests import sha256_file
from affectkit.errors import UsageError, listed, no_folder
from affectkit.tables.csv import CsvTable, Words, read_table
from affectkit.tables.csv_text import NOT_A_NUMBER, read_text
from affectkit.tables.ids import split_name
from affectkit.tables.predictions import identity as identity_of_table
from affectkit.tables.sources import clips_of
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels, Floats

Times = NDArray[np.float64]
_TOUCHING = 1e-3
_OPTIONAL = ("start", "end", "split", "subject")


def read_labels(path: Path, task: Task) -> dict[str, ClipLabels]:
    """Labels by clip id, sorted; intervals of a clip sorted by time.

    Regression and multilabel tasks have one column a target; multiclass ones have `label`, a class name or its index.
    An empty cell is an invalid label (NaN). So is the whole row when a cell has one of the task's invalid markers
    (-5, -1) and, for regression, when one target is empty: valence without arousal is not used.

    Without times (or with both cells empty) a label holds for the whole clip, 0 to infinity; for a clip-level task it
    always does. Intervals are half open. Ones that overlap by a millisecond or less (rounded times) are taken to touch.

    Raises UsageError with file and line: wrong columns, text or infinity where a number is needed, an unknown class,
    labels of a multilabel task other than 0 and 1, start >= end, two labels for one time, two splits or subjects for
    one clip.
    """
    text, numbers = _columns(task)
    return labels_of(read_table(path, f"labels for {task.name}", text=text, numbers=numbers, optional=_OPTIONAL), task)


def check_labels(path: Path, task: Task) -> None:
    """Raises UsageError for a file without the columns that `read_labels` needs; rows are not looked at."""
    text, numbers = _columns(task)
    read_text(path).find(f"labels for {task.name}", [*text, *numbers], frozenset(_OPTIONAL))


def _columns(task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of text, and those of numbers."""
    classes = task.kind == "multiclass"
    text = ("clip", "split", "subject", *(task.label_columns if classes else ()))
    return text, ("start", "end", *(() if classes else task.label_columns))


def labels_of(table: CsvTable, task: Task) -> dict[str, ClipLabels]:
    """The same of a table that has been read."""
    values = _class_indices(table, task) if task.kind == "multiclass" else _numbers(table, task)
    start, end = table.intervals()
    if task.level == "clip":
        start, end = np.zeros(len(table)), np.full(len(table), np.inf)
    clips = table.clips()
    order = np.lexsort((start, clips.codes))
    code, start, end, values = clips.codes[order], start[order], end[order], values[order]
    _trim_touching(table, clips, order, start, end)
    splits, subjects = of_clip(table, "split", clips, split_name), of_clip(table, "subject", clips, str)
    bounds = np.searchsorted(code, np.arange(len(clips.values) + 1))
    return {
        name: ClipLabels(start[a:b], end[a:b], values[a:b], splits.get(name), subjects.get(name))
        for name, a, b in zip(clips.values, bounds[:-1], bounds[1:], strict=True)
    }


def _numbers(table: CsvTable, task: Task) -> Floats:
    """[N,K] targets of a regression or multilabel task."""
    values = np.column_stack([table.numbers[name] for name in task.targets])
    infinite = np.isinf(values)
    marked = np.isin(values, task.invalid)
    refused = infinite | (
        ~np.isnan(values) & ~marked & ~np.isin(values, (0, 1)) if task.kind == "multilabel" else False
    )
    if refused.any():
        row, column = (int(place) for place in np.argwhere(refused)[0])
        accepted = "0 or 1" if task.kind == "multilabel" else "a finite number"
        raise table.error(row, f"{task.targets[column]} is {values[row, column]:g}, needed is {accepted}")
    dropped = marked.any(axis=1)
    if task.kind == "regression":
        dropped |= np.isnan(values).any(axis=1)
    values[dropped] = np.nan
    return values


def _class_indices(table: CsvTable, task: Task) -> Floats:
    """[N,1] class index; a name wins over an index where classes are called by numbers."""
    words = table.text["label"]
    indices = np.empty(len(words.values))
    for code, text in enumerate(words.values):
        index = _class_index(text, task)
        if index is None:
            accepted = ", ".join(f"{number} {name}" for number, name in enumerate(task.targets))
            counted = ": classes are numbered from 0, these from 1?" if text.strip() == str(task.outputs) else ""
            raise table.error(
                words.row_of(code), f"label '{text}' is no class of {task.name} (accepted: {accepted}){counted}"
            )
        indices[code] = index
    return indices[words.codes][:, None]


def _class_index(text: str, task: Task) -> float | None:
    """The class meant by a cell, NaN for none, None for a mistake."""
    if text in task.targets:
        return task.targets.index(text)
    alike = [index for index, name in enumerate(task.targets) if name.casefold() == text.casefold()]
    if len(alike) == 1:
        return alike[0]
    if text in NOT_A_NUMBER:
        return np.nan
    try:
        number = float(text)
    except ValueError:
        return None
    if number in task.invalid or np.isnan(number):
        return np.nan
    return number if number in range(task.outputs) else None


def _trim_touching(table: CsvTable, clips: Words, order: NDArray[np.intp], start: Times, end: Times) -> None:
    """End intervals (sorted by clip and time, `order` their rows in the table) where the next one begins; raises
    UsageError for real overlaps."""
    follows = np.flatnonzero((end[:-1] > start[1:]) & (clips.codes[order[:-1]] == clips.codes[order[1:]]))
    overlap = end[follows] - start[follows + 1]
    shorter = np.minimum(end[follows] - start[follows], end[follows + 1] - start[follows + 1])
    bad = overlap > np.minimum(_TOUCHING, shorter / 2)
    if bad.any():
        place = follows[np.argmax(bad)]
        first, second = sorted(order[place : place + 2].tolist())
        where = f"the other is on line {table.line(first)}"
        raise table.error(second, f"clip '{clips[first]}' has two labels for one time ({where})")
    end[follows] = start[follows + 1]


def of_clip(table: CsvTable, column: str, clips: Words, parse: Callable[[str], str]) -> Mapping[str, str]:
    """The one value that a column has for each clip; empty cells say nothing."""
    if column not in table.text:
        return {}
    words = table.words(column, lambda text: parse(text) if text else "")
    pairs, rows = np.unique(clips.codes * len(words.values) + words.codes, return_index=True)
    found: dict[str, str] = {}
    for pair, row in zip(pairs.tolist(), rows.tolist(), strict=True):
        name, value = clips.values[pair // len(words.values)], words.values[pair % len(words.values)]
        if value and found.setdefault(name, value) != value:
            raise table.error(row, f"clip '{name}' has two values of {column}: {found[name]} and {value}")
    return found


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
    here, labelled = set(features), set(labels)
    match = LabelMatch(*(tuple(sorted(group)) for group in (here & labelled, here - labelled, labelled - here)))
    if not match.clips:
        shown = [min(group, default="none") for group in (here, labelled)]
        raise UsageError(
            f"none of the {len(labelled)} labelled clips has features: features have ids such as '{shown[0]}', labels "
            f"'{shown[1]}' (an id is the path below the SOURCE, without suffix)"
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


Labels = Path | DatasetLabels


class DatasetChoice(Config):
    """What the command line says of a data set in its own layout."""

    dataset: str | None = Field(None, description="a data set in its own layout (affectkit list datasets)")
    root: Path | None = Field(None, description="where the data set lies")
    dataset_option: list[str] = Field([], description="an option of the data set's reader, key=value (repeatable)")

    def given(self) -> DatasetLabels | None:
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
        """The media of SOURCE arguments or of the data set. Raises UsageError for both and for none."""
        dataset = self.given()
        if (dataset is None) == (not sources):
            raise UsageError("media come from SOURCE arguments, or from --dataset NAME --root DIR: give one of them")
        if dataset is not None:
            return list(dataset.open().clips())
        return clips_of(sources, suffixes, allow_outside=self.allow_outside)


class LabelChoice(DatasetChoice):
    """What the command line says of labels."""

    labels: Path | None = Field(None, description="CSV: clip[,start,end][,split][,subject],<targets>")

    def source(self) -> Labels:
        """Raises UsageError unless it is a table, or a data set and its root."""
        dataset = self.given()
        if (dataset is None) == (self.labels is None):
            raise UsageError("labels come from --labels CSV, or from --dataset NAME --root DIR: give one of them")
        return self.labels or dataset  # type: ignore[return-value]


def read(labels: Labels, task: Task, notes: list[str] | None = None) -> dict[str, ClipLabels]:
    """Labels by clip; what a data set's reader assumed or left out is added to `notes`. Raises UsageError that names
    file and line."""
    if isinstance(labels, Path):
        return read_labels(labels, task)
    reader = labels.open()
    found: dict[str, ClipLabels] = reader.labels(task)
    if notes is not None:
        notes += reader.notes()
    if not found:
        raise UsageError(f"{labels.root} holds no labels of task {task.name} as data set {labels.name} lays them out")
    return found


def identity(labels: Labels, task: Task) -> str:
    """What the labels are: the digest of a table's bytes, or of a reader, its options and every file it reads."""
    if isinstance(labels, Path):
        return identity_of_table(labels)
    reader = labels.open()
    total = sha256(f"{labels.name} {reader.version} {sorted(labels.option)} ".encode())
    for path in sorted(reader.label_files(task)):
        total.update(f"{os.path.relpath(path, labels.root)} {sha256_file(path)} ".encode())
    return total.hexdigest()
