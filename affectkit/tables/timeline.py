"""Labels at the times of feature rows.

Predictions of different rates and windows brought to common rows.

A score at another time is read off a straight line between the middles of the rows that have one, held before the first
and after the last; for classes that is a line between probabilities. A time that lies in rows without a score only (no
face, no speech) has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affectkit import smoothing
from affectkit.errors import UsageError, listed
from affectkit.tables.csv import read_table
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, FeatureSequence, Floats, Predictions

_FOREVER = 1e12
Pooling = Literal["midpoint", "mean", "mode"]


def check_pooling(pooling: Pooling, task: Task) -> None:
    """Raises UsageError for a mean of classes, and for the most frequent value of a regression target."""
    unfit = {"mean": task.kind != "regression", "mode": task.kind == "regression", "midpoint": False}
    if unfit[pooling]:
        other = "mode" if pooling == "mean" else "mean"
        raise UsageError(f"label pooling '{pooling}' does not fit {task.name} ({task.kind}); take midpoint or {other}")


def align(labels: ClipLabels, start: Floats, end: Floats, pooling: Pooling = "midpoint") -> Floats:
    """The label of each feature row [start, end), NaN where there is none: [T], [T] (s) -> [T,K] float64.

    - `midpoint`: that of the interval that holds the row's midpoint.
    - `mean`: the mean over the row, each interval weighted by the time it shares with the row.
    - `mode`: the value that shares most time with the row; of equals, the lowest.

    Label intervals are half open and do not overlap. `mean` and `mode` pass over invalid labels.

    >>> halves = ClipLabels(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([[0.0], [1.0]]))
    >>> align(halves, np.array([0.0, 0.5]), np.array([1.0, 2.5]), "mean").ravel().round(3).tolist()
    [0.0, 0.667]
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    labels = _by_time(labels)
    if pooling == "midpoint":
        return _at(labels, (start + end) / 2)
    rows, intervals, shared = _overlaps(labels, start, end)
    pool = _mean if pooling == "mean" else _mode
    pooled = np.empty((len(start), labels.values.shape[1]))
    for k, column in enumerate(labels.values.T):
        values = column[intervals]
        known = ~np.isnan(values)
        pooled[:, k] = pool(rows[known], values[known], shared[known], len(start))
    instants = start == end
    pooled[instants] = _at(labels, start[instants])
    return pooled


def _by_time(labels: ClipLabels) -> ClipLabels:
    if np.all(np.diff(labels.start) >= 0):
        return labels
    order = np.argsort(labels.start, kind="stable")
    return ClipLabels(labels.start[order], labels.end[order], labels.values[order])


def _at(labels: ClipLabels, times: Floats) -> Floats:
    found = np.full((len(times), labels.values.shape[1]), np.nan)
    if len(labels):
        place = np.searchsorted(labels.start, times, side="right") - 1
        # A row of a whole clip ends at infinity, and so does its midpoint.
        inside = (place >= 0) & ((times < labels.end[place]) | np.isposinf(labels.end[place]))
        inside &= ~np.isnan(times)
        found[inside] = labels.values[place[inside]]
    return found


def _overlaps(
    labels: ClipLabels, start: Floats, end: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Every (row, interval) that share time, as indices [P], [P], and how much [P] (s)."""
    first = np.searchsorted(labels.end, start, side="right")
    count = np.maximum(np.searchsorted(labels.start, end, side="left") - first, 0)
    rows = np.repeat(np.arange(len(start)), count)
    intervals = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[rows]
    shared = np.minimum(end[rows], labels.end[intervals]) - np.maximum(start[rows], labels.start[intervals])
    return rows, intervals, np.minimum(shared, _FOREVER)


def _mean(rows: NDArray[np.intp], values: Floats, shared: Floats, total: int) -> Floats:
    weight = np.bincount(rows, shared, total)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(rows, shared * values, total) / weight)


def _mode(rows: NDArray[np.intp], values: Floats, shared: Floats, total: int) -> Floats:
    distinct, code = np.unique(values, return_inverse=True)
    pairs, place = np.unique(rows * len(distinct) + code, return_inverse=True)
    time = np.bincount(place, shared, len(pairs)).round(9)  # equal shares stay equal
    row, code = np.divmod(pairs, max(len(distinct), 1))
    order = np.lexsort((-code, time, row))
    found = np.full(total, np.nan)
    found[row[order]] = distinct[code[order]]  # of several values for one row the last one stays: the longest
    return found


Rows = tuple[Floats, Floats]  # start, end [R] (s)


@dataclass(frozen=True, repr=False)
class TimeTable:
    """The rows of a table, by clip."""

    path: Path
    rows: dict[str, Rows]

    @property
    def digest(self) -> str:
        """What the table asks for: its clips and times, and nothing else that it holds."""
        total = sha256()
        for clip, (start, end) in sorted(self.rows.items()):
            total.update(f"{clip} {len(start)} ".encode() + start.astype("<f8").tobytes() + end.astype("<f8").tobytes())
        return total.hexdigest()

    def meets(self, clips: list[str]) -> tuple[list[str], tuple[str, ...]]:
        """The clips that the table has rows for, in order, and a line for each side that has clips left over.

        Raises UsageError when there is none.
        """
        shared = [clip for clip in clips if clip in self.rows]
        absent = [clip for clip in self.rows if clip not in set(clips)]
        if not shared:
            raise UsageError(
                f"none of the {len(clips)} clips to predict has rows in {self.path}: they have ids such as "
                f"'{min(clips, default='none')}', the table '{min(self.rows)}'"
            )
        sides = (
            (f"without rows in {self.path}", sorted(set(clips) - set(shared))),
            (f"in {self.path}, but not among the clips to predict", absent),
        )
        return shared, tuple(f"left out, {what}: {listed(left)}" for what, left in sides if left)


def read_times(path: Path) -> TimeTable:
    """The rows of any CSV with `clip,start,end`, sorted by time; other columns are passed over, rows may overlap.

    Raises UsageError with file and line: wrong columns, an empty time, start >= end.
    """
    table = read_table(path, "rows to predict", text=("clip",), numbers=("start", "end"))
    start, end = table.intervals()
    endless = ~np.isfinite(end) | np.isnan(table.numbers["start"])
    if endless.any():
        raise table.error(int(np.argmax(endless)), "a row to predict needs a start and an end in seconds")
    clips = table.clips()
    order = np.lexsort((end, start, clips.codes))
    bounds = np.searchsorted(clips.codes[order], np.arange(len(clips.values) + 1))
    parts = (order[a:b] for a, b in pairwise(bounds))
    return TimeTable(path, {name: (start[part], end[part]) for name, part in zip(clips.values, parts, strict=True)})


def at_rate(sequence: FeatureSequence, fps: float) -> Rows:
    """Rows of 1/fps seconds from the start of a clip's first feature row, as long as their middle is before its end."""
    if not len(sequence):
        return np.zeros(0), np.zeros(0)
    return regular(float(np.min(sequence.start)), float(np.max(sequence.end)), fps)


def regular(first: float, last: float, fps: float) -> Rows:
    """Rows of 1/fps seconds from `first` on, as long as their middle is before `last`; at least one.

    >>> [times.tolist() for times in regular(0, 0.9, 2)]
    [[0.0, 0.5], [0.5, 1.0]]
    """
    count = int(np.ceil((last - first) * fps - 0.5 - 1e-6))
    start = first + np.arange(max(1, count)) / fps
    return start, start + 1 / fps


INTERPOLATION = "linear between row middles"


def densest(sets: Sequence[Predictions]) -> Predictions:
    """Each clip's rows in the set that has most of them there (of equals, the first), without scores.

    Raises UsageError where several sets have no clip in common.
    """
    places = [by_clip(one) for one in sets]
    if not set(places[0]).intersection(*places):
        raise UsageError("the prediction sets have no clip in common")
    parts = []
    for clip in sorted(set().union(*places)):
        counts = [place[clip].stop - place[clip].start if clip in place else 0 for place in places]
        number = int(np.argmax(counts))
        own, one = places[number][clip], sets[number]
        said = (str(other.split[place[clip]][0]) for other, place in zip(sets, places, strict=True) if clip in place)
        split = next(filter(None, said), "")
        parts.append(_blank(clip, one.start[own], one.end[own], one.columns, split))
    return _joined(parts, sets[0].columns)


def of_clips(one: Predictions) -> Predictions:
    """One row a clip: the mean of those that have a score."""
    parts = []
    for clip, own in by_clip(one).items():
        scores = one.scores[own]
        there = scores[np.isfinite(scores).all(axis=1)]
        row = _blank(clip, one.start[own].min(keepdims=True), one.end[own].max(keepdims=True), one.columns,
                     str(one.split[own][0]))  # fmt: skip
        mean = there.mean(axis=0, keepdims=True) if len(there) else row.scores
        observed = one.observed[own].mean(keepdims=True)
        parts.append(replace(row, scores=mean, observed=observed))
    return _joined(parts, one.columns)


def predictions_at_rate(rows: Predictions, rate: float) -> Predictions:
    """The clips of `rows` as rows of 1/rate seconds each, without scores."""
    parts = []
    for clip, own in by_clip(rows).items():
        start, end = regular(float(rows.start[own].min()), float(rows.end[own].max()), rate)
        parts.append(_blank(clip, start, end, rows.columns, str(rows.split[own][0])))
    return _joined(parts, rows.columns)


def at_labels(
    rows: Predictions, labels: Mapping[str, ClipLabels], task: Task, pooling: Pooling = "midpoint"
) -> tuple[Predictions, Floats]:
    """Rows of the labels, for the clips of `rows` that have some, without scores; and the labels [N,K] (multiclass
    [N,1]), NaN = invalid. Where a label holds for a whole clip, the clip's rows stay as they are.

    Raises UsageError when no row has a label.
    """
    parts, truth = [], []
    for clip, own in by_clip(rows).items():
        if clip not in labels:
            continue
        known, split = labels[clip], str(rows.split[own][0])
        if task.level == "time" and len(known) and np.isfinite(known.end).all():
            order = np.argsort(known.start, kind="stable")
            parts.append(_blank(clip, known.start[order], known.end[order], rows.columns, split))
            truth.append(known.values[order])
        else:
            parts.append(_blank(clip, rows.start[own], rows.end[own], rows.columns, split))
            truth.append(align(known, rows.start[own], rows.end[own], pooling))
    if not parts or np.isnan(np.concatenate(truth)).any(axis=1).all():
        raise UsageError("no row of the predictions has a label: do the clip names and times agree?")
    return _joined(parts, rows.columns), np.concatenate(truth)


def scores_at(one: Predictions, rows: Predictions) -> Floats:
    """The set's scores [N,K] at `rows`; NaN for clips that it does not have."""
    places, wanted = by_clip(one), by_clip(rows)
    found = np.full((len(rows), one.scores.shape[1]), np.nan)
    for clip, target in wanted.items():
        if clip in places:
            found[target] = _read(one, places[clip], rows.start[target], rows.end[target])
    return found


def observed_at(one: Predictions, rows: Predictions) -> Floats:
    """[N] how much of the set's scores at `rows` was observed, read as they are; NaN where it does not say."""
    places, found = by_clip(one), np.full(len(rows), np.nan)
    for clip, target in by_clip(rows).items():
        if clip in places:
            own = places[clip]
            middle, at = _middle(one.start[own], one.end[own]), _middle(rows.start[target], rows.end[target])
            found[target] = smoothing.interpolate(one.observed[own][:, None], middle, at)[:, 0]
    return found


def _middle(start: Floats, end: Floats) -> Floats:
    """[N] (s) the moment that each row stands for; of one without an end, its start."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(end), (start + end) / 2, start)


def _read(one: Predictions, own: slice, start: Floats, end: Floats) -> Floats:
    """One clip's scores at rows [start, end)."""
    given, until, scores = one.start[own], one.end[own], one.scores[own]
    if len(given) == len(start) and np.array_equal(given, start) and np.array_equal(until, end):
        return scores
    middle = _middle(start, end)
    there = np.isfinite(scores).all(axis=1)
    found = smoothing.interpolate(scores, _middle(given, until), middle)
    silent = covered(middle, given[~there], until[~there]) & ~covered(middle, given[there], until[there])
    found[silent] = np.nan
    return found


def covered(times: Floats, start: Floats, end: Floats) -> Bools:
    """Whether each time lies in any of the intervals [start, end), which may overlap.

    >>> covered(np.array([0.5, 2.5, 4.0]), np.array([0.0, 2.0]), np.array([1.0, 4.0]))
    array([ True,  True, False])
    """
    if not len(start):
        return np.zeros(len(times), bool)
    order = np.argsort(start, kind="stable")
    latest = np.maximum.accumulate(end[order])
    place = np.searchsorted(start[order], times, side="right") - 1
    return np.asarray((place >= 0) & (latest[place] > times))


def _blank(clip: str, start: Floats, end: Floats, columns: tuple[str, ...], split: str) -> Predictions:
    count = len(start)
    return Predictions(
        np.full(count, clip), np.asarray(start, float), np.asarray(end, float), np.full((count, len(columns)), np.nan),
        columns, np.full(count, split),
    )  # fmt: skip


def _joined(parts: Sequence[Predictions], columns: tuple[str, ...]) -> Predictions:
    if not parts:
        return Predictions(np.zeros(0, "U1"), np.zeros(0), np.zeros(0), np.zeros((0, len(columns))), columns)
    names = ("clip", "start", "end", "scores", "split", "observed")
    clip, start, end, scores, split, observed = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
    return Predictions(clip, start, end, scores, columns, split, observed)


SAME = 1e-6
"""Times that differ by less (s) are one."""


def nearest(scores: Floats, wanted: Predictions, given: Predictions) -> tuple[Floats, Bools]:
    """scores [N,K] at the rows `wanted` without a gap, and which rows [N] took the nearest score in time that `given`
    has of their clip, of two equally near the earlier. Rows of clips without any score stay NaN."""
    held = np.asarray(~np.isfinite(scores).all(axis=1))
    if not held.any():
        return scores, held
    filled, places, rows = scores.copy(), by_clip(given), by_clip(wanted)
    for clip in dict.fromkeys(wanted.clip[held].tolist()):
        here = np.flatnonzero(held[rows[clip]]) + rows[clip].start
        there = np.flatnonzero(given.valid[places[clip]]) + places[clip].start if clip in places else np.zeros(0, int)
        if not len(there):
            held[here] = False
            continue
        at = middles(given.start[there], given.end[there])
        order = np.argsort(at, kind="stable")
        filled[here] = given.scores[there[order][_nearest(at[order], middles(wanted.start[here], wanted.end[here]))]]
    return filled, held


def middles(start: Floats, end: Floats) -> Floats:
    """The moment of each row; of one without an end, its start."""
    return np.where(np.isfinite(end), (start + end) / 2, start)


def _nearest(sorted_times: Floats, at: Floats) -> np.ndarray:
    """Indices into times that rise: the nearest to each of `at`."""
    after = np.searchsorted(sorted_times, at).clip(1, max(1, len(sorted_times) - 1))
    before, after = after - 1, after.clip(0, len(sorted_times) - 1)
    return np.where(at - sorted_times[before] <= np.abs(sorted_times[after] - at) + SAME, before, after)


def by_clip(predictions: Predictions) -> dict[str, slice]:
    """Where each clip's rows lie. Raises UsageError when a clip's rows are not together."""
    changes = np.flatnonzero(predictions.clip[1:] != predictions.clip[:-1]) + 1
    bounds = [0, *changes.tolist(), len(predictions)] if len(predictions) else []
    found = {str(predictions.clip[a]): slice(a, b) for a, b in pairwise(bounds)}
    if len(found) < len(bounds) - 1:
        raise UsageError("the rows of a clip are not next to each other: sort the predictions by clip")
    return found
