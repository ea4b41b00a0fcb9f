"""The label of each row: the one that its middle lies in, the mean over the row, or the most frequent."""

from __future__ import annotations

from typing import Literal

import numpy as np

from affectkit.errors import UsageError
from affectkit.moments import Indices, holder
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
        return _held(labels, (start + end) / 2)
    rows, intervals, shared = _overlaps(labels, start, end)
    pool = _mean if pooling == "mean" else _mode
    pooled = np.empty((len(start), labels.values.shape[1]))
    for k, column in enumerate(labels.values.T):
        values = column[intervals]
        valid = ~np.isnan(values)
        pooled[:, k] = pool(rows[valid], values[valid], shared[valid], len(start))
    instants = start == end
    pooled[instants] = _held(labels, start[instants])
    return pooled


def _by_time(labels: ClipLabels) -> ClipLabels:
    if np.all(np.diff(labels.start) >= 0):
        return labels
    order = np.argsort(labels.start, kind="stable")
    return ClipLabels(labels.start[order], labels.end[order], labels.values[order])


def _held(labels: ClipLabels, moments: Floats) -> Floats:
    """[R,K] the label of the interval that holds each moment; a row of a whole clip has its middle at infinity."""
    interval = holder(labels.start, labels.end, moments)
    inside = interval >= 0
    values = np.full((len(moments), labels.values.shape[1]), np.nan)
    values[inside] = labels.values[interval[inside]]
    return values


def _overlaps(labels: ClipLabels, start: Floats, end: Floats) -> tuple[Indices, Indices, Floats]:
    """Every (row, interval) that share time, as indices [P], [P], and how much [P] (s)."""
    first = np.searchsorted(labels.end, start, side="right")
    count = np.maximum(np.searchsorted(labels.start, end, side="left") - first, 0)
    rows = np.repeat(np.arange(len(start)), count)
    intervals = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[rows]
    shared = np.minimum(end[rows], labels.end[intervals]) - np.maximum(start[rows], labels.start[intervals])
    return rows, intervals, np.minimum(shared, _FOREVER)


def _mean(rows: Indices, values: Floats, shared: Floats, total: int) -> Floats:
    weight = np.bincount(rows, shared, total)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(rows, shared * values, total) / weight)


def _mode(rows: Indices, values: Floats, shared: Floats, total: int) -> Floats:
    distinct, code = np.unique(values, return_inverse=True)
    pairs, pair = np.unique(rows * len(distinct) + code, return_inverse=True)
    time = np.bincount(pair, shared, len(pairs)).round(9)  # equal shares stay equal
    row, code = np.divmod(pairs, max(len(distinct), 1))
    order = np.lexsort((-code, time, row))
    modes = np.full(total, np.nan)
    modes[row[order]] = distinct[code[order]]  # of several values for one row the last one stays: the longest
    return modes
