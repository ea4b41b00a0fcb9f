"""What a head that is not trained by gradient learns from: functionals of windows, or feature rows as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.heads._windows import Indices
from affectkit.tasks import Task
from affectkit.types import Bools, Floats


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
