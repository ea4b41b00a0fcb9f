"""Where windows lie and which rows belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Floats

TICK = 1e-6
"""Times closer than this (s) are equal: presentation times are rational, windows begin at multiples of a float."""

_MOST = 10_000_000

Indices = NDArray[np.intp]


@dataclass(frozen=True, repr=False)
class Windows:
    """start, end [W] (s) and the rows [first, last) [W] that belong to each, as indices into rows in time order."""

    start: Floats
    end: Floats
    first: Indices
    last: Indices

    def __len__(self) -> int:
        return len(self.start)


def windows(start: Floats, end: Floats, window: float | Literal["clip"], hop: float | None = None) -> Windows:
    """Windows over rows from `start` to `end` [T] (s), whose middles do not decrease.

    Window k begins `k * hop` seconds after the first row does and holds the rows whose middle is in
    [begin, begin + window). They go on until one holds the last row's middle, or until the last row is passed (a hop
    longer than the window). That last window ends with the clip: it may be shorter than the others, but is longer than
    `window - hop`. `hop` None is half a window; "clip" is one window over everything.

    >>> rows = np.arange(0, 10, 0.5)
    >>> cut = windows(rows, rows + 0.5, window=4, hop=3)
    >>> list(zip(cut.start.tolist(), cut.end.tolist(), cut.first.tolist(), cut.last.tolist()))
    [(0.0, 4.0, 0, 8), (3.0, 7.0, 6, 14), (6.0, 10.0, 12, 20)]

    Raises ValueError for a window or hop that is not positive, and for more than ten million windows.
    """
    if not len(start):
        none = np.zeros(0, np.intp)
        return Windows(np.zeros(0), np.zeros(0), none, none)
    begin, finish = float(np.min(start)), float(np.max(end))
    if window == "clip":
        return Windows(np.array([begin]), np.array([finish]), np.array([0]), np.array([len(start)]))
    middle = (np.asarray(start, np.float64) + np.asarray(end, np.float64)) / 2
    begins = _begins(begin, float(middle[-1]), float(window), window / 2 if hop is None else float(hop))
    first = np.searchsorted(middle, begins - TICK)
    last = np.searchsorted(middle, begins + window - TICK)
    return Windows(begins, np.minimum(begins + window, finish), first, last)


def _begins(begin: float, middle: float, window: float, hop: float) -> Floats:
    """Where windows begin, given where the first row does and the last row's middle."""
    if not (window > 0 and hop > 0):
        raise ValueError(f"a window and a hop are longer than 0 s, not {window:g} and {hop:g}")
    if (middle - begin) / hop > _MOST:
        raise ValueError(f"{middle - begin:g} s are more than {_MOST:,} hops of {hop:g} s")
    begins = begin + hop * np.arange(int((middle - begin) / hop) + 2)
    reaches = np.searchsorted(begins + window - TICK, middle, side="right") + 1
    not_past = np.searchsorted(begins - TICK, middle, side="right")
    return begins[: max(1, min(reaches, not_past))]
