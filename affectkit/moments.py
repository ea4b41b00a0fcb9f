"""Values at other moments: the rows beside a moment, the row that holds it, and what lies between two of them.

Whatever reads labels, scores or features at times that are not their own rests on these. Plain numpy, float64.

Shapes: T rows of one clip, K values, times [T] in seconds (the middles of rows), R moments.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.types import Bools, Floats

TICK = 1e-6
"""Times closer than this (s) are equal: presentation times are rational, windows begin at multiples of a float."""

Indices = NDArray[np.intp]


def middles(start: Floats, end: Floats) -> Floats:
    """[N] (s) the moment that each row stands for: its middle; of one without an end, its start."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(end), (start + end) / 2, start)


def around(times: NDArray[np.generic], at: NDArray[np.generic]) -> tuple[Indices, Indices]:
    """The rows before and after each moment, as indices [R], [R] into times that rise: the last that is earlier, the
    first that is not. Before the first row and after the last both are that one.

    >>> before, after = around(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.5, 1.0, 9.0]))
    >>> before.tolist(), after.tolist()
    ([0, 0, 0, 2], [0, 1, 1, 2])
    """
    place = np.searchsorted(times, at)
    return np.maximum(place - 1, 0), np.minimum(place, len(times) - 1)


def nearest(times: Floats, at: Floats, tolerance: float = 0.0) -> Indices:
    """The row nearest to each moment, as indices [R] into times that rise; of two equally near (to within the
    tolerance, s) the earlier.

    >>> nearest(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.5, 1.6])).tolist()
    [0, 0, 2]
    """
    before, after = around(times, at)
    return np.where(np.abs(at - times[before]) <= np.abs(times[after] - at) + tolerance, before, after)


def holder(start: Floats, end: Floats, at: Floats) -> Indices:
    """The interval [start, end) that holds each moment, as indices [R]; -1 where none does. Intervals are sorted and do
    not overlap; one without an end holds infinity too.

    >>> holder(np.array([0.0, 2.0]), np.array([1.0, 3.0]), np.array([0.5, 1.0, 2.0, np.inf])).tolist()
    [0, -1, 1, -1]
    """
    place = np.searchsorted(start, at, side="right") - 1
    if not len(start):
        return place
    inside = (place >= 0) & ((at < end[place]) | np.isposinf(end[place])) & ~np.isnan(at)
    return np.where(inside, place, -1)


def covered(at: Floats, start: Floats, end: Floats) -> Bools:
    """[R] whether each moment lies in any of the intervals [start, end), which may overlap.

    >>> covered(np.array([0.5, 2.5, 4.0]), np.array([0.0, 2.0]), np.array([1.0, 4.0]))
    array([ True,  True, False])
    """
    if not len(start):
        return np.zeros(len(at), bool)
    order = np.argsort(start, kind="stable")
    latest = np.maximum.accumulate(end[order])
    place = np.searchsorted(start[order], at, side="right") - 1
    return np.asarray((place >= 0) & (latest[place] > at))


def interpolate(
    values: ArrayLike, time: ArrayLike, at: ArrayLike, max_gap: float | None = None, stretch: ArrayLike | None = None
) -> Floats:
    """Rows at other moments: linear between the rows that have a value, held before the first and after the last.

    values [T,K], time [T] (s), at [R] (s) -> [R,K]. A row with a NaN has none. NaN where no row has one and, with
    `max_gap`, at moments that are farther than that many seconds from every row that has one. No line is drawn between
    rows of which `stretch` [T] has different numbers: there the nearer one is held, of two equally near the earlier.

    >>> interpolate([[0.0], [np.nan], [4.0]], [0, 1, 2], [-1, 1.5, 9]).ravel()
    array([0., 3., 4.])
    >>> interpolate([[0.0], [4.0]], [0, 9], [0.5, 5], max_gap=1).ravel().round(2)
    array([0.22,  nan])
    >>> interpolate([[0.0], [4.0]], [0, 4], [1, 3], stretch=[0, 1]).ravel()
    array([0., 4.])
    """
    rows, times = checked(values, time)
    moments = np.asarray(at, np.float64)
    scored = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if not len(scored):
        return np.full((len(moments), rows.shape[1]), np.nan)
    scored = scored[np.argsort(times[scored], kind="stable")]
    rows, times = rows[scored], times[scored]
    values_at = np.stack([np.interp(moments, times, column) for column in rows.T], axis=1)
    near = nearest(times, moments)
    if stretch is not None:
        before, after = (np.asarray(stretch)[scored][place] for place in around(times, moments))
        apart = before != after
        values_at[apart] = rows[near[apart]]
    if max_gap is not None:
        values_at[np.abs(times[near] - moments) > max_gap * (1 + TICK)] = np.nan
    return values_at


def checked(values: ArrayLike, time: ArrayLike) -> tuple[Floats, Floats]:
    """Values [T,K] and times [T] as arrays of float64. Raises ValueError for other shapes and times without an end."""
    rows, times = np.asarray(values, np.float64), np.asarray(time, np.float64)
    if rows.ndim != 2 or times.shape != (len(rows),):
        raise ValueError(f"values are [T,K] and times [T], not {list(rows.shape)} and {list(times.shape)}")
    if not np.isfinite(times).all():
        raise ValueError("times are finite")
    return rows, times
