"""Where windows lie and which rows belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from affectkit.moments import TICK, Indices
from affectkit.types import Floats
from affectkit.windows import starts

_MOST = 10_000_000


@dataclass(frozen=True, repr=False)
class RowWindows:
    """start, end [W] (s) and the rows [first, last) [W] that belong to each, as indices into rows in time order."""

    start: Floats
    end: Floats
    first: Indices
    last: Indices

    def __len__(self) -> int:
        return len(self.start)


def windows(start: Floats, end: Floats, window: float | Literal["clip"], hop: float | None = None) -> RowWindows:
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
        return RowWindows(np.zeros(0), np.zeros(0), none, none)
    begin, finish = float(np.min(start)), float(np.max(end))
    if window == "clip":
        return RowWindows(np.array([begin]), np.array([finish]), np.array([0]), np.array([len(start)]))
    middle = (np.asarray(start, np.float64) + np.asarray(end, np.float64)) / 2
    begins = begin + _starts(float(middle[-1]) - begin, float(window), window / 2 if hop is None else float(hop))
    first = np.searchsorted(middle, begins - TICK)
    last = np.searchsorted(middle, begins + window - TICK)
    return RowWindows(begins, np.minimum(begins + window, finish), first, last)


def _starts(reach: float, window: float, hop: float) -> Floats:
    """[W] seconds from the start of the first row; `reach` is where the last row's middle is."""
    if not (window > 0 and hop > 0):
        raise ValueError(f"a window and a hop are longer than 0 s, not {window:g} and {hop:g}")
    if reach / hop > _MOST:
        raise ValueError(f"{reach:g} s are more than {_MOST:,} hops of {hop:g} s")
    return np.asarray(starts(reach, window, hop, "cut"))
