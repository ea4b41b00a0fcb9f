"""Climbing by F1, recall and accuracy, which are steps: a class or label at a time, along segments of its weights.

Along a segment from weights p to q, by how much a class is ahead of its strongest rival is a straight line for every
row, so each row changes sides once at most. From where they do, the counts everywhere on the segment follow by running
sums, and the middle of its best stretch is taken. Where very many rows change sides, the segment has 4096 stretches of
one length instead. Scores that are missing change no line's straightness: of the models that are there, the sum and its
weight are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectkit.fusers._objective import MEASURES, Counts, may_win_of, share
from affectkit.fusers._weighting import weighted
from affectkit.metrics import THRESHOLD
from affectkit.types import Bools, Floats

_PASSES = 6
_GAIN = 1e-12  # less is rounding
_ENOUGH = 1e-5  # that a pass gains: less is a row in 100,000
_STRETCHES = 4096
_MOST = 4 * _STRETCHES  # rows that change sides on a segment, before it has stretches of one length


def best_of_classes(metric: str, scores: Floats, truth: Floats, start: Floats) -> Floats:
    """Weights [M,K] at which no segment from them is better by macro-f1, uar or war, or as near as six passes come.
    scores [M,N,K] (NaN = missing), truth [N,1] class indices."""
    classes = truth.reshape(-1).astype(np.intp)
    support = np.bincount(classes, minlength=start.shape[1])
    weights, fused, score = start.copy(), weighted(scores, start), None
    may_win = may_win_of(scores)
    open_rows = [np.flatnonzero(may & (may_win.sum(axis=1) > 1)) for may in may_win.T]
    for _ in range(_PASSES):
        before = score
        for k, rows in enumerate(open_rows):
            others = fused[rows]
            others[:, k] = -np.inf
            rival = others.argmax(axis=1)
            line = _Line(scores[:, rows, k], np.take_along_axis(others, rival[:, None], axis=1)[:, 0], rival > k)
            settled = _won(np.delete(fused.argmax(axis=1), rows), np.delete(classes, rows), len(support))
            course = _ClassCourse(k, classes[rows], rival, settled, support, MEASURES[metric])
            weights[:, k], score = _climbed(line, weights[:, k], course)
            fused[:, k] = weighted(scores[:, :, [k]], weights[:, [k]])[:, 0]
        if before is not None and score <= before + _ENOUGH:
            break
    return weights


def best_of_labels(scores: Floats, truth: Floats, start: Floats) -> Floats:
    """Weights [M,K], each label's by itself, at which no segment from them has a better F1. scores [M,N,K], truth [N,K]
    of 0 and 1."""
    weights = start.copy()
    for k in range(start.shape[1]):
        line = _Line(scores[:, :, k], np.full(len(truth), THRESHOLD), np.ones(len(truth), bool))
        course, before = _LabelCourse(truth[:, k] > 0), -np.inf
        for _ in range(_PASSES):
            weights[:, k], score = _climbed(line, weights[:, k], course)
            if score <= before + _ENOUGH:
                break
            before = score
    return weights


class _Line:
    """How far the models' weighted sum is ahead of a bar, row by row: 0 and above is over it (`ties`), or above 0."""

    def __init__(self, scores: Floats, bar: Floats, ties: Bools) -> None:
        """scores [M,N] (NaN = missing), bar [N], ties [N]."""
        self._ahead = np.ascontiguousarray(np.where(np.isfinite(scores), scores - bar, 0.0))
        self._ties = ties

    def ahead(self, weights: Floats) -> Floats:
        """[N] for weights [M]."""
        return np.asarray(weights @ self._ahead)

    def over(self, ahead: Floats) -> Bools:
        """Whether the rows are over the bar."""
        return np.asarray((ahead > 0) | ((ahead == 0) & self._ties))


class _Course(Protocol):
    """The metric as rows change sides, step by step."""

    def __call__(
        self, over: Bools, rows: NDArray[np.intp], turn: NDArray[np.int64], step: NDArray[np.intp], steps: int
    ) -> Floats:
        """[steps+1] where `over` [N] are over the bar, and after each step; in step [S] the rows [S] get over the bar
        (turn 1) or below it (-1)."""


@dataclass(frozen=True)
class _ClassCourse:
    """Class k against each row's strongest rival [N]; `settled` [2,K] counts the rows that k cannot win or lose."""

    k: int
    truth: NDArray[np.intp]
    rival: NDArray[np.intp]
    settled: Counts
    support: NDArray[np.intp]
    measure: Callable[[Counts, Counts], Floats]

    def __call__(
        self, over: Bools, rows: NDArray[np.intp], turn: NDArray[np.int64], step: NDArray[np.intp], steps: int
    ) -> Floats:
        classes, truth, rival = len(self.support), self.truth[rows], self.rival[rows]
        counts = np.zeros((steps + 1, 2, classes))
        counts[0] = self.settled + _won(np.where(over, self.k, self.rival), self.truth, classes)
        for place, right in ((0, np.ones(len(rows), bool)), (1, truth == rival)):
            lost = np.bincount(step[right] * classes + rival[right], turn[right], steps * classes)
            counts[1:, place] -= lost.reshape(steps, classes)
        counts[1:, 0, self.k] += np.bincount(step, turn, steps)
        counts[1:, 1, self.k] += np.bincount(step, turn * (truth == self.k), steps)
        return self.measure(counts.cumsum(axis=0).round().astype(np.int64), self.support)


def _won(winner: NDArray[np.intp], truth: NDArray[np.intp], classes: int) -> Counts:
    """[2,K] rows that each class wins, and those of them that it is right for."""
    right = winner[winner == truth]
    return np.stack([np.bincount(one, minlength=classes) for one in (winner, right)])


@dataclass(frozen=True)
class _LabelCourse:
    """F1 of one label, against the threshold."""

    labelled: Bools

    def __call__(
        self, over: Bools, rows: NDArray[np.intp], turn: NDArray[np.int64], step: NDArray[np.intp], steps: int
    ) -> Floats:
        given = over.sum() + np.r_[0, np.bincount(step, turn, steps).cumsum()]
        right = (over & self.labelled).sum() + np.r_[0, np.bincount(step, turn * self.labelled[rows], steps).cumsum()]
        return share((2 * right).round().astype(np.int64), given.round().astype(np.int64) + self.labelled.sum())


def _climbed(line: _Line, start: Floats, course: _Course) -> tuple[Floats, float]:
    """The best weights [M] along the segments from `start`, one after another, and their score."""
    none = np.zeros(0, np.intp)
    weights, score = start, float(course(line.over(line.ahead(start)), none, none, none, 0)[0])
    for ends in _segments(len(start)):
        p, q = ends(weights)
        place, found = _best_place(line, p, q, course)
        if found > score + _GAIN:
            weights, score = (1 - place) * p + place * q, found
    return weights, score


def _segments(models: int) -> Iterator[Callable[[Floats], tuple[Floats, Floats]]]:
    """From weights to the ends of a segment: what two models have, shared otherwise; and, of three models or more, from
    the weights to each model alone."""

    def shared(one: int, other: int) -> Callable[[Floats], tuple[Floats, Floats]]:
        def ends(weights: Floats) -> tuple[Floats, Floats]:
            p, q = weights.copy(), weights.copy()
            p[one], p[other] = 0.0, weights[one] + weights[other]
            q[one], q[other] = weights[one] + weights[other], 0.0
            return p, q

        return ends

    def alone(model: int) -> Callable[[Floats], tuple[Floats, Floats]]:
        return lambda weights: (weights, np.eye(models)[model])

    for one, other in combinations(range(models), 2):
        yield shared(one, other)
    if models > 2:
        for model in range(models):
            yield alone(model)


def _best_place(line: _Line, p: Floats, q: Floats, course: _Course) -> tuple[float, float]:
    """The middle of the best stretch (of equals, the widest), 0 at p to 1 at q, and its score."""
    first, last = line.ahead(p), line.ahead(q)
    over, over_last = line.over(first), line.over(last)
    rows = np.flatnonzero(over != over_last)
    turns = first[rows] / (first[rows] - last[rows])
    if len(rows) > _MOST:
        inner = np.arange(1, _STRETCHES) / _STRETCHES
        step = np.minimum((turns * _STRETCHES).astype(np.intp), _STRETCHES - 2)
    else:
        inner, step = np.unique(turns, return_inverse=True)
    edges = np.r_[0.0, inner, 1.0]
    widths = np.diff(edges)
    scores = course(over, rows, np.where(over_last[rows], 1, -1), step.reshape(-1), len(inner))
    scores = np.where(widths > 0, scores, -np.inf)
    best = np.flatnonzero(scores >= scores.max() - _GAIN)
    place = best[widths[best].argmax()]
    return float(edges[place] + widths[place] / 2), float(scores[place])
