"""Labels at the times of feature rows."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats

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
