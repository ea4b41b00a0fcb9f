"""Rows of scores or labels as annotations: stretches of time with a text, one tier a column."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from affectkit.tasks import Task
from affectkit.types import Bools, Floats, Indices

THRESHOLD = 0.5
COVERED = "labelled"
"""The tier that says where a multilabel task's labels hold at all: elsewhere, none is not the same as 0."""

CLASSES = "class"
"""The tier of classes."""

_TOUCHING = 1e-6  # s


@dataclass(frozen=True)
class Annotation:
    """From `start` to `end` (s) a `text` holds; `value` is the mean of the scores behind it (NaN: there is none)."""

    start: float
    end: float
    text: str
    value: float = float("nan")

    @property
    def has_mean(self) -> bool:
        """Whether there are scores behind it."""
        return not math.isnan(self.value)


@dataclass(frozen=True, repr=False)
class Tier:
    """Annotations in order of time that do not overlap; of a `numeric` tier the texts are numbers."""

    name: str
    annotations: tuple[Annotation, ...]
    numeric: bool = False

    def shown(self, annotation: Annotation) -> str:
        """One of its texts with the mean behind it, where that is not the text itself."""
        is_bare = self.numeric or not annotation.has_mean
        return annotation.text if is_bare else f"{annotation.text} ({annotation.value:.2f})"

    def __repr__(self) -> str:
        return f"Tier({self.name}, {len(self.annotations)} annotations)"


@dataclass(frozen=True)
class TierRules:
    """How rows become annotations.

    seconds: values are averaged over the rows whose middle lies in the same multiple of so many seconds; 0: a row is an
    annotation. threshold: of values too, the stretches at or above it are annotated, and nothing else; None: none for
    values, 0.5 for probabilities of labels.
    """

    seconds: float = 1.0
    threshold: float | None = None


@dataclass(frozen=True, repr=False)
class TimedRows:
    """Rows of one clip, in order and not overlapping: start, end [T] (s), values [T,K], NaN where invalid. Of classes,
    labels (`are_labels`) are one column, the class index, and scores are probabilities."""

    start: Floats
    end: Floats
    values: Floats
    are_labels: bool

    def __repr__(self) -> str:
        return f"TimedRows({len(self.start)} rows, {'labels' if self.are_labels else 'scores'})"


def tiers_of(task: Task, rows: TimedRows, rules: TierRules) -> list[Tier]:
    """The tiers of a clip.

    Classes are one tier: of scores each stretch of the likeliest class, with the mean of its probability. Labels that
    may hold at once are a tier each, and one more says where there are any. Values are a tier each, averaged over some
    seconds or cut by a threshold. Rows without a value are in no annotation, and end one.
    """
    if task.kind == "multiclass":
        return [_classes(task, rows)]
    threshold = rules.threshold
    if task.kind == "multilabel":
        threshold = THRESHOLD if threshold is None else threshold
        whole = np.where(np.isfinite(rows.values).all(axis=1), 0, -1)
        covered = [Annotation(start, end, COVERED) for start, end, _ in _runs(rows, whole)]
        return [*(_above(task, rows, place, threshold) for place in range(task.outputs)), Tier(COVERED, tuple(covered))]
    if threshold is not None:
        return [_above(task, rows, place, threshold) for place in range(task.outputs)]
    return [_values(task, rows, place, rules.seconds) for place in range(task.outputs)]


def _classes(task: Task, rows: TimedRows) -> Tier:
    valid: Bools = np.asarray(np.isfinite(rows.values).all(axis=1))
    held = np.where(valid[:, None], rows.values, 0)
    likeliest = held[:, 0].astype(int) if rows.are_labels else held.argmax(axis=1)
    annotations = []
    for start, end, run in _runs(rows, np.where(valid, likeliest, -1)):
        mean = float("nan") if rows.are_labels else _mean(rows, run, rows.values[run, likeliest[run.start]])
        annotations.append(Annotation(start, end, task.targets[likeliest[run.start]], mean))
    return Tier(CLASSES, tuple(annotations))


def _above(task: Task, rows: TimedRows, place: int, threshold: float) -> Tier:
    """The stretches of one column at or above a threshold."""
    name, values = task.targets[place], rows.values[:, place]
    with np.errstate(invalid="ignore"):
        keys = np.where(values >= threshold, 0, -1)
    annotations = []
    for start, end, run in _runs(rows, keys):
        is_bare = rows.are_labels and task.kind == "multilabel"
        annotations.append(Annotation(start, end, name, float("nan") if is_bare else _mean(rows, run, values[run])))
    return Tier(name, tuple(annotations))


def _values(task: Task, rows: TimedRows, place: int, seconds: float) -> Tier:
    values = rows.values[:, place]
    middle = (rows.start + rows.end) / 2
    keys = np.floor(middle / seconds).astype(np.int64) if seconds else np.arange(len(values))
    keys = np.where(np.isfinite(rows.values).all(axis=1), keys, -1)
    annotations = []
    for start, end, run in _runs(rows, keys):
        mean = _mean(rows, run, values[run])
        text = f"{mean:.4f}" if seconds else str(mean)
        annotations.append(Annotation(start, end, text, mean))
    return Tier(task.targets[place], tuple(annotations), numeric=True)


def _mean(rows: TimedRows, run: slice, values: Floats) -> float:
    """The mean of the rows of a stretch, each for as long as it lasts."""
    if len(values) == 1:
        return float(values[0])
    return float(np.average(values, weights=rows.end[run] - rows.start[run]))


def _runs(rows: TimedRows, keys: Indices) -> Iterator[tuple[float, float, slice]]:
    """start, end (s) and rows of each stretch of touching rows with the same key; -1 is in none."""
    if not len(keys):
        return
    apart = (np.diff(keys) != 0) | (rows.start[1:] - rows.end[:-1] > _TOUCHING)
    firsts = np.concatenate([[0], np.flatnonzero(apart) + 1, [len(keys)]]).tolist()
    for first, last in pairwise(firsts):
        if keys[first] >= 0:
            yield float(rows.start[first]), float(rows.end[last - 1]), slice(first, last)
