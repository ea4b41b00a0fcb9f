"""Means, deviations and fitted curves over many overlapping windows at once.

Each of them is linear in the rows (the deviation: in their squares), with weights that depend on time alone. So a few
neighbouring windows are one small matrix of weights [windows, rows], and a matrix product gives all dimensions at once.
Unlike cumulative sums this adds up nothing beyond a window's own rows, so nothing large cancels: times are taken from
the window's mean time and scaled to [-1, 1], values from a row nearby.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.moments import TICK, Indices
from affectkit.types import Floats

Matrix = NDArray[np.float64]

FITTED = frozenset({"mean", "std", "rms", "slope", "offset", "curvature", "delta-mean"})

_NUMBERS = 1 << 16  # of a batch of weights: half of what a core's cache holds
_PRODUCT = 1 << 18  # multiplications from which a matrix product is split over threads, which costs more than it saves
_MOST_WINDOWS = 64
_CANCELLED = 1e-8


@dataclass(frozen=True)
class _Batch:
    """G groups of B neighbouring windows each, padded to S rows a group.

    window [G] is each group's first window, row and stop [G] are the rows that the group spans; time [G,S] (s) counts
    from its first row; first and last [G,B] are rows within the group (0, 0 where it has fewer windows); degree [G,B]
    is the highest degree of a curve that the window's rows determine.
    """

    window: Indices
    row: Indices
    stop: Indices
    time: Matrix
    first: Indices
    last: Indices
    degree: Indices


def fit(
    values: NDArray[Any], times: Matrix, first: Indices, last: Indices, origin: Floats, wanted: Collection[str]
) -> dict[str, Matrix]:
    """The wanted ones of FITTED, each [W,D], over rows [first, last) of values [T,D].

    All values are finite, `times` [T] (s) do not decrease, no window is empty, and neither `first` nor `last` [W]
    decreases. `origin` [W] (s) is where the offset is taken.
    """
    made = {name: np.empty((len(first), values.shape[1])) for name in wanted}
    for batch in _batches(times, first, last):
        weights, mean_time = _weights(batch, wanted)
        for group, (window, row, stop) in enumerate(zip(batch.window, batch.row, batch.stop, strict=True)):
            some = slice(window, min(window + batch.first.shape[1], len(first)))
            count, span = some.stop - window, stop - row
            own = {name: weight[group, :count, :span] for name, weight in weights.items()}
            reach = (origin[some] - times[row] - mean_time[group, :count])[:, None]
            step = max(8, _PRODUCT // (count * span))
            for at in range(0, values.shape[1], step):
                columns = slice(at, at + step)
                rows = values[row:stop, columns]
                found = _apply(own, rows, first[some] - row, last[some] - row)
                if "offset" in wanted:
                    found["offset"] = found["mean"] + found["slope"] * reach
                if "rms" in wanted:
                    found["rms"] = np.hypot(found["mean"], found["std"])
                for name, result in made.items():
                    result[some, columns] = found[name]
    return made


def _batches(times: Matrix, first: Indices, last: Indices) -> Iterator[_Batch]:
    """All windows: as many in a group as share most of their rows, as many groups as fit the cache."""
    count = len(first)
    length = float(np.mean(last - first))
    hop = (first[-1] - first[0]) / (count - 1) if count > 1 else length
    together = int(min(_MOST_WINDOWS, (length / 2 + 12) / max(hop, 0.1), _NUMBERS / length))
    together = max(1, min(together, count))
    window = np.arange(-(-count // together) * together).reshape(-1, together)
    there, window = window < count, np.minimum(window, count - 1)
    row, stop = first[window[:, 0]], last[window[:, -1]]
    span = int((stop - row).max())
    used = times[first[0] : last[-1]]
    distinct = np.concatenate([[0], np.cumsum(np.diff(used) > TICK)])
    groups = max(1, _NUMBERS // (span * together))
    for at in range(0, len(window), groups):
        some, real, begin = window[at : at + groups], there[at : at + groups], row[at : at + groups, None]
        time = times[np.minimum(begin + np.arange(span), len(times) - 1)] - times[begin]
        low, high = np.where(real, first[some] - begin, 0), np.where(real, last[some] - begin, 0)
        degree = distinct[last[some] - 1 - first[0]] - distinct[first[some] - first[0]]
        yield _Batch(some[:, 0], begin[:, 0], stop[at : at + groups], time, low, high, degree)


def _weights(batch: _Batch, wanted: Collection[str]) -> tuple[dict[str, Matrix], Matrix]:
    """Weights [G,B,S] of each row for the mean and, where wanted, slope, curvature and differences; the windows' mean
    times [G,B]. Slope and curvature are those of polynomials orthogonal over the window's rows."""
    row = np.arange(batch.time.shape[1])
    inside = (row >= batch.first[..., None]) & (row < batch.last[..., None])
    count = np.maximum(batch.last - batch.first, 1)[..., None]
    weights = {"mean": inside / count}
    mean_time = (weights["mean"] @ batch.time[..., None])[..., 0]
    if not {"slope", "offset", "curvature"}.isdisjoint(wanted):
        time = (batch.time[:, None] - mean_time[..., None]) * inside
        scale = np.abs(time).max(axis=-1, keepdims=True)
        scale[scale == 0] = 1
        time /= scale
        square = time * time
        second = square.sum(axis=-1, keepdims=True)
        if not {"slope", "offset"}.isdisjoint(wanted):
            weights["slope"] = time * _over(batch.degree >= 1, second * scale)
        if "curvature" in wanted:
            third = (square * time).sum(axis=-1, keepdims=True)
            bent = (square - second / count - time * (third * _over(batch.degree >= 1, second))) * inside
            norm = (bent * bent).sum(axis=-1, keepdims=True)
            weights["curvature"] = bent * _over(batch.degree >= 2, norm * scale**2)
    if "delta-mean" in wanted:
        weights["delta-mean"] = (inside[..., 1:] & inside[..., :-1]) / np.maximum(count - 1, 1)
    if not {"std", "rms"}.isdisjoint(wanted):
        weights["std"] = weights["mean"]
    return weights, mean_time


def _over(defined: NDArray[np.bool_], norm: Matrix) -> Matrix:
    """1 / norm where the rows determine the coefficient, else 0. defined [G,B], norm [G,B,1]."""
    possible = defined[..., None] & (norm > 0)
    return np.where(possible, 1 / np.where(possible, norm, 1), 0)


def _apply(weights: dict[str, Matrix], values: NDArray[Any], first: Indices, last: Indices) -> dict[str, Matrix]:
    """Weights [W,S] times rows values [S,D], by name [W,D]; [first, last) [W] are the rows of each window."""
    centre = values[:1].astype(np.float64)
    rows = values - centre
    found: dict[str, Matrix] = {}
    for name in weights.keys() & {"mean", "slope", "curvature"}:
        found[name] = weights[name] @ rows
    if "delta-mean" in weights:
        found["delta-mean"] = weights["delta-mean"][:, : len(rows) - 1] @ np.abs(np.diff(rows, axis=0))
    if "std" in weights:
        square = weights["std"] @ np.multiply(rows, rows, out=rows)
        variance = square - found["mean"] ** 2
        for window in np.flatnonzero((variance < _CANCELLED * square).any(axis=1)):
            variance[window] = _variance(values[first[window] : last[window]])
        found["std"] = np.sqrt(variance, out=variance)
    found["mean"] += centre
    return found


def _variance(rows: NDArray[Any]) -> Matrix:
    """Population variance [D] of rows [n,D] in two passes; exactly 0 for constants."""
    return np.asarray((rows - rows[0].astype(np.float64)).var(axis=0))
