"""Scores smoothed over time, by a window in real seconds. Plain numpy, float64.

Shapes: T rows of one clip, K scores, times [T] in seconds (the middles of rows). A row with a NaN is a row without a
score: it takes part in nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from affectkit.moments import checked
from affectkit.types import Bools, Floats

Kind = Literal["hamming", "box", "median", "gaussian"]

_ROUNDING = 1e-6  # of a hop or a half-width: times come as fractions of a second, rounded
_CELLS = 1 << 22  # numbers that a median sorts at once


def smooth(values: ArrayLike, time: ArrayLike, kind: Kind, half_width: float) -> Floats:
    """Each row as the mean of the rows at most `half_width` seconds away, weighted by their distance d: [T,K] -> [T,K].

    - `hamming`: 0.54 + 0.46 cos(pi d / half_width)
    - `box`: 1
    - `gaussian`: exp(-(2.5 d / half_width)^2 / 2), that is, a deviation of 0.4 half-widths, cut at 2.5 deviations
    - `median`: the median of those rows, score by score, in place of a mean

    The weights are divided by their sum over the rows that are there, so at the ends of a clip and beside gaps a mean
    is taken of what is there, and a constant stays what it is. Times need be neither sorted nor evenly spaced. Rows
    without a score stay so. A half-width of 0 changes nothing.

    >>> smooth([[0.0], [3.0], [0.0], [np.nan]], [0, 1, 2, 3], "box", 1).ravel()
    array([1.5, 1. , 1.5, nan])
    """
    rows, at = checked(values, time)
    if not half_width >= 0:
        raise ValueError(f"a half-width is 0 s or more, not {half_width}")
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    found = np.full(rows.shape, np.nan)
    found[kept] = rows[kept]
    if half_width == 0 or len(kept) < 2:
        return found
    order = kept[np.argsort(at[kept], kind="stable")]
    if kind == "median":
        found[order] = _median(rows[order], at[order], half_width)
    else:
        found[order] = _mean(rows[order], at[order], kind, half_width)
    return found


def weights(kind: Kind, distance: Floats, half_width: float) -> Floats:
    """The weight of a row `distance` seconds away; 0 beyond the half-width."""
    share = np.abs(distance) / half_width
    if kind == "hamming":
        weight = 0.54 + 0.46 * np.cos(np.pi * share)
    elif kind == "gaussian":
        weight = np.exp(-((2.5 * share) ** 2) / 2)
    else:
        weight = np.ones_like(share)
    return np.where(share <= 1 + _ROUNDING, weight, 0.0)


def _mean(rows: Floats, time: Floats, kind: Kind, half_width: float) -> Floats:
    """Rows and times sorted, all with a score."""
    hop, places = _grid(time)
    if hop is not None:
        return _convolved(rows, places, hop, kind, half_width)
    summed, total = rows * 1.0, np.ones(len(rows))  # each row itself: distance 0, weight 1
    for step in range(1, len(rows)):
        distance = time[step:] - time[:-step]
        weight = weights(kind, distance, half_width)
        if not weight.any():  # times are sorted: rows that are farther apart in number are so in time
            break
        summed[step:] += weight[:, None] * rows[:-step]
        summed[:-step] += weight[:, None] * rows[step:]
        total[step:] += weight
        total[:-step] += weight
    return np.asarray(summed / total[:, None])


def _grid(time: Floats) -> tuple[float | None, NDArray[np.int64]]:
    """The hop of times that all lie on one grid, with or without gaps, and their places on it; None where they do not
    (or where the grid would be mostly gaps)."""
    nowhere = np.zeros(0, np.int64)
    smallest, length = float(np.diff(time).min()), float(time[-1] - time[0])
    if smallest <= 0 or length / smallest > 4 * len(time):
        return None, nowhere
    hop = length / round(length / smallest)
    exact = (time - time[0]) / hop
    places = np.rint(exact)
    if np.abs(exact - places).max() > _ROUNDING:
        return None, nowhere
    return hop, places.astype(np.int64)


def _convolved(rows: Floats, places: NDArray[np.int64], hop: float, kind: Kind, half_width: float) -> Floats:
    size = int(places[-1]) + 1
    reach = min(int(half_width / hop + _ROUNDING), size - 1)
    kernel = weights(kind, np.arange(-reach, reach + 1) * hop, half_width)
    filled = np.zeros((size, rows.shape[1] + 1))
    filled[places] = np.column_stack([rows, np.ones(len(rows))])
    *summed, total = (np.convolve(column, kernel)[reach : reach + size][places] for column in filled.T)
    return np.stack(summed, axis=1) / total[:, None] if summed else rows


def _median(rows: Floats, time: Floats, half_width: float) -> Floats:
    """Of the rows from first[i] to last[i]: padded with NaN to one width, sorted (NaN last), and the middle taken."""
    margin = half_width * (1 + _ROUNDING)
    first, last = np.searchsorted(time, time - margin), np.searchsorted(time, time + margin, side="right")
    count = last - first
    width = int(count.max())
    padded = np.concatenate([rows, np.full((width, rows.shape[1]), np.nan)])
    windows = sliding_window_view(padded, width, axis=0)  # [T+1,K,width]
    found = np.empty_like(rows)
    block = max(1, _CELLS // (width * max(1, rows.shape[1])))
    for begin in range(0, len(rows), block):
        here = slice(begin, begin + block)
        inside: Bools = np.arange(width) < count[here, None, None]
        ordered = np.sort(np.where(inside, windows[first[here]], np.nan), axis=2)
        middle = [np.take_along_axis(ordered, place[:, None, None], 2) for place in _middles(count[here])]
        found[here] = ((middle[0] + middle[1]) / 2)[:, :, 0]
    return found


def _middles(count: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return (count - 1) // 2, count // 2
