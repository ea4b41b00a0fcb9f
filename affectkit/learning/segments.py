"""What a head that is not trained by gradient learns from: functionals of windows, or feature rows as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.functionals import Functional, RowWindows, functionals, windows
from affectkit.learning.features import Table, gather
from affectkit.learning.windows import Indices
from affectkit.moments import TICK
from affectkit.plugins import Example
from affectkit.tasks import Task
from affectkit.types import Bools, FeatureSequence, Floats


@dataclass(frozen=True, repr=False)
class Segments:
    """P segments (windows or rows) of C clips: those in which every input has a valid row.

    values [P,D] float32; clip [P]; labels [P,K] and truth [S,K], NaN = unlabelled: truth is of the S things that scores
    are wanted for, rows of clips (time level) or clips. Segment segment[a] covers about[a], for each of A pairs.
    """

    values: Floats
    clip: Indices
    labels: Floats
    truth: Floats
    segment: Indices
    about: Indices

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labelled(self) -> Bools:
        """[P]"""
        return np.asarray(np.isfinite(self.labels).all(axis=1))

    def spread(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of segments [P,K] -> of what they cover [S,K]: the mean over the segments, NaN where there is none."""
        count = np.bincount(self.about, minlength=len(self.truth))
        covered = scores[self.segment]
        summed = [np.bincount(self.about, column, minlength=len(self.truth)) for column in covered.T]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.stack(summed, axis=1) / count[:, None])

    def where(self, keep: Bools) -> Segments:
        """The segments marked in `keep` [P]; truth stays."""
        pairs = keep[self.segment]
        renumbered = np.cumsum(keep) - 1
        return Segments(
            self.values[keep], self.clip[keep], self.labels[keep], self.truth,
            renumbered[self.segment[pairs]], self.about[pairs],
        )  # fmt: skip

    @staticmethod
    def join(clips: Sequence[Segments]) -> Segments:
        """Those of many clips, each numbered from 0."""
        many = np.cumsum([0, *(len(one) for one in clips)])
        rows = np.cumsum([0, *(len(one.truth) for one in clips)])
        return Segments(
            np.concatenate([one.values for one in clips]),
            np.repeat(np.arange(len(clips)), [len(one) for one in clips]),
            np.concatenate([one.labels for one in clips]),
            np.concatenate([one.truth for one in clips]),
            np.concatenate([one.segment + at for one, at in zip(clips, many[:-1], strict=True)]),
            np.concatenate([one.about + at for one, at in zip(clips, rows[:-1], strict=True)]),
        )


def typical(labels: Floats, first: Indices, last: Indices, task: Task) -> Floats:
    """One label [W,K] of rows [first, last) of labels [T,K], of which those with a NaN do not count.

    The mean; of classes the most frequent (the first of several); of present labels those of at least half the rows.

    >>> from affectkit import tasks
    >>> rows = np.array([[3.0], [1], [np.nan], [1]])
    >>> typical(rows, np.array([0, 1, 2]), np.array([2, 4, 3]), tasks.get("expr")).ravel().tolist()
    [1.0, 1.0, nan]
    """
    known = np.asarray(np.isfinite(labels).all(axis=1))
    rows = np.where(known[:, None], labels, 0).astype(np.float64)
    if task.kind == "multiclass":
        rows = np.eye(task.outputs)[rows[:, 0].astype(np.int64)] * known[:, None]
    rows = np.concatenate([np.column_stack([rows, known]), np.zeros((1, rows.shape[1] + 1))])
    if not len(first):
        return np.zeros((0, labels.shape[1]))
    summed = np.add.reduceat(rows, np.stack([first, last], axis=1).ravel(), axis=0)[::2]
    total, count = summed[:, :-1], summed[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    if task.kind == "multiclass":
        mean = total.argmax(axis=1)[:, None].astype(np.float64)
    elif task.kind == "multilabel":
        mean = (mean >= 0.5).astype(np.float64)
    return np.asarray(np.where((count > 0) & (last > first)[:, None], mean, np.nan))


Names = tuple[Functional, ...]


@dataclass(frozen=True)
class Recipe:
    """How clips become segments: the dimensions of each input, and its functionals, over windows of `window` seconds
    every `stride` that lie by the times of the first input. `names` None: rows as they are."""

    task: Task
    dims: tuple[int, ...]
    names: tuple[Names, ...] | None
    window: float | Literal["clip"]
    stride: float | None

    @property
    def width(self) -> int:
        """D of the segments."""
        if self.names is None:
            return sum(self.dims)
        return sum(dim * len(names) for dim, names in zip(self.dims, self.names, strict=True))

    def read(self, split: str, examples: Sequence[Example]) -> Segments:
        """All segments of a split. Raises UsageError, see `of_clip`, and for a split without a labelled segment."""
        found = Segments.join([self.of_clip(example) for example in examples])
        if not found.labelled.any():
            raise UsageError(f"the {split} split ({len(examples)} clips) has no labelled row that is valid")
        return found

    def of_clip(self, example: Example) -> Segments:
        """The segments of one clip. Raises UsageError that names it: inputs of other number or dimensions, NaN in a
        valid row, labels that do not fit, times that no window can lie on."""
        if len(example.inputs) != len(self.dims):
            takes = "one feature artifact" if len(self.dims) == 1 else f"{len(self.dims)} feature artifacts"
            raise UsageError(f"this head takes {takes}; clip '{example.clip}' comes with {len(example.inputs)}")
        tables = [
            gather([replace(example, inputs=(one,), labels=None if n else example.labels)], self.task, "hold", dim)
            for n, (one, dim) in enumerate(zip(example.inputs, self.dims, strict=True))
        ]
        if not all(table.valid.any() for table in tables):
            return self._none(tables[0], len(example.inputs[0]))
        try:
            return self._rows(example, tables) if self.names is None else self._windows(example, tables, self.names)
        except ValueError as error:
            raise UsageError(f"clip '{example.clip}': {error}") from None

    def _none(self, table: Table, rows: int) -> Segments:
        columns = table.labels.shape[1]
        count = 1 if self.task.level == "clip" else rows
        nothing = np.zeros(0, np.int64)
        return Segments(
            np.zeros((0, self.width), np.float32), nothing, np.zeros((0, columns)), np.full((count, columns), np.nan),
            nothing, nothing,
        )  # fmt: skip

    def _rows(self, example: Example, tables: Sequence[Table]) -> Segments:
        first, *others = example.inputs
        if not all(np.array_equal(first.start, one.start) and np.array_equal(first.end, one.end) for one in others):
            raise UsageError(
                f"the inputs of clip '{example.clip}' have rows of other times: functionals=none needs equal ones"
            )
        there = np.flatnonzero(np.logical_and.reduce([table.valid for table in tables]))
        values = np.concatenate([table.values[there] for table in tables], axis=1)
        if self.task.level == "clip":
            return self._of_whole(values, tables[0].labels)
        labels = tables[0].labels[:-1]
        return Segments(values, np.zeros(len(there), np.int64), labels[there], labels, np.arange(len(there)), there)

    def _windows(self, example: Example, tables: Sequence[Table], names: tuple[Names, ...]) -> Segments:
        first = example.inputs[0]
        order = np.argsort(first.middle, kind="stable")
        cut = windows(np.asarray(first.start)[order], np.asarray(first.end)[order], self.window, self.stride)
        each = [
            self._functionals(cut, sequence, table, own, alone=not n)
            for n, (sequence, table, own) in enumerate(zip(example.inputs, tables, names, strict=True))
        ]
        there = np.logical_and.reduce([valid for _, valid in each])
        values = np.concatenate([found[there] for found, _ in each], axis=1)
        if self.task.level == "clip":
            return self._of_whole(values, tables[0].labels)
        begin, stop = cut.first[there], cut.last[there]
        count = stop - begin
        segment = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count - begin, count)
        truth = tables[0].labels[:-1]
        known = np.where(tables[0].valid[:, None], truth, np.nan)
        labels = typical(known[order], begin, stop, self.task)
        return Segments(values, np.zeros(len(values), np.int64), labels, truth, segment, order[place])

    def _of_whole(self, values: Floats, labels: Floats) -> Segments:
        """Of a clip-level task: each segment has the clip's label."""
        none = np.zeros(len(values), np.int64)
        return Segments(values, none, np.repeat(labels, len(values), axis=0), labels, np.arange(len(values)), none)

    def _functionals(
        self, cut: RowWindows, sequence: FeatureSequence, table: Table, names: Names, alone: bool
    ) -> tuple[Floats, Bools]:
        """[W,F*d] and valid [W] of one input. Windows that lie by another one's times are taken one by one."""
        start, end = np.asarray(sequence.start, np.float64), np.asarray(sequence.end, np.float64)
        values, middle = table.values[:-1], sequence.middle
        if alone or self.window == "clip":
            found = functionals(values, start, end, table.valid, names, self.window, self.stride, np.float32)
            return found.values, found.valid
        result, valid = np.zeros((len(cut), len(names) * table.dim), np.float32), np.zeros(len(cut), bool)
        for w, begin in enumerate(cut.start):
            inside = (middle >= begin - TICK) & (middle < begin + self.window - TICK) & table.valid
            if inside.any():
                # A row that is not valid, at the window's start, only says where the offset is taken.
                time = np.append(begin, np.maximum(middle[inside], begin))
                rows = np.concatenate([values[:1], values[inside]])
                one = functionals(rows, time, time, np.arange(len(rows)) > 0, names, "clip", dtype=np.float32)
                result[w], valid[w] = one.values[0], True
        return result, valid
