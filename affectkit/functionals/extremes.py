"""Minimum and maximum over many overlapping windows: spans of 1, 2, 4, ... rows, two of which cover any window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.moments import Indices

_BYTES = 1 << 21  # of a table of spans: what a core's cache holds


def extremes(values: NDArray[Any], first: Indices, last: Indices) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lowest and highest, each [W,D], of rows [first, last) of values [T,D]; no window is empty."""
    begin, end = int(first[0]), int(last.max())
    shape = (len(first), values.shape[1])
    low, high = np.empty(shape, values.dtype), np.empty(shape, values.dtype)
    step = max(8, _BYTES // ((end - begin) * values.itemsize))
    for at in range(0, shape[1], step):
        columns = slice(at, at + step)
        _by_doubling(values[begin:end, columns], first - begin, last - begin, low[:, columns], high[:, columns])
    return low, high


def _by_doubling(rows: NDArray[Any], first: Indices, last: Indices, low: NDArray[Any], high: NDArray[Any]) -> None:
    if len(first) == 1:
        rows.min(axis=0, out=low[0])
        rows.max(axis=0, out=high[0])
        return
    lowest = highest = rows  # of the span that begins at each row
    levels = np.frexp(last - first)[1] - 1
    for level in range(int(levels.max()) + 1):
        if level:
            half = 1 << (level - 1)
            lowest = np.minimum(lowest[:-half], lowest[half:])
            highest = np.maximum(highest[:-half], highest[half:])
        which = np.flatnonzero(levels == level)
        if len(which):
            left, right = consecutive(first[which]), consecutive(last[which] - (1 << level))
            here = consecutive(which)
            low[here] = np.minimum(lowest[left], lowest[right])
            high[here] = np.maximum(highest[left], highest[right])


def consecutive(indices: Indices) -> Any:
    """The same indices as a slice where they follow on each other: a view instead of a copy."""
    if len(indices) and (np.diff(indices) == 1).all():
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices
