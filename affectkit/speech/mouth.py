"""Speech of the person in the picture, by the opening of the mouth (the gating of the SUN team's ABAW entries).

A mouth is closed where the rolling mean of the opening between the lips is not above the mean of the whole video;
where it stays closed for half a second or more, what is heard is not this person. The papers do not give the width of
the rolling mean: half a second is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Bools, Floats, Openings

ROLLING = 0.5  # s
CLOSED = 0.5  # s
_TOLERANCE = 1e-3  # s: tables round their times to milliseconds

Times = NDArray[np.float64]


def mouth_segments(openings: Openings, duration: float) -> Floats:
    """[K,2] start and end of speech (s), sorted and disjoint: 0 to `duration` (s) without what is closed for 0.5 s.

    Rows may come in any order, at any times and with gaps. The rolling mean of a row is over the known rows whose
    middle is within 0.25 s of its own, each weighted by its length; so a row of unknown opening (NaN) takes the mean
    of its neighbours. Unknown rows without known neighbours, and time that no row covers, count as closed: shorter
    than 0.5 s they are bridged like any short closure, longer they are not speech. A mouth that never moves never
    speaks.

    >>> talking = Openings(np.arange(4.0), np.arange(1.0, 5.0), np.array([0.0, 8.0, 9.0, 0.0]))
    >>> mouth_segments(talking, 4.0)
    array([[1., 3.]])
    """
    start, end, opening = _within(openings, duration)
    opened = _open(start, end, opening)
    start, end = start[opened], end[opened]
    if not len(start):
        return np.zeros((0, 2))
    latest = np.maximum.accumulate(end)  # rows may overlap
    before = np.concatenate([[0.0], latest])
    after = np.concatenate([start, [duration]])
    closed = after - before >= CLOSED - _TOLERANCE
    # Speech begins where a closed stretch ends, and ends where the next one begins.
    begins = after[:-1][closed[:-1]] if closed[0] else np.concatenate([[0.0], after[:-1][closed[:-1]]])
    ends = before[1:][closed[1:]] if closed[-1] else np.concatenate([before[1:][closed[1:]], [duration]])
    return np.column_stack([begins, ends])


def _within(openings: Openings, duration: float) -> tuple[Times, Times, Times]:
    """start, end, opening of the rows inside the clip, cut at its ends, in order of time."""
    start = np.clip(np.asarray(openings.start, np.float64), 0, duration)
    end = np.clip(np.asarray(openings.end, np.float64), 0, duration)
    rows = np.flatnonzero(start < end)
    rows = rows[np.lexsort((end[rows], start[rows]))]
    return start[rows], end[rows], np.asarray(openings.opening, np.float64)[rows]


def _open(start: Times, end: Times, opening: Times) -> Bools:
    """[R] whether the rolling mean of a row is above the mean of all; both are weighted by the rows' lengths."""
    known = ~np.isnan(opening)
    if not known.any():
        return np.zeros(len(opening), bool)
    middle = (start + end) / 2
    order = np.argsort(middle[known], kind="stable")
    known_middle = middle[known][order]
    weight = (end - start)[known][order]
    mean = np.average(opening[known][order], weights=weight)
    above = opening[known][order] - mean  # sums stay small: no digits are lost over a long video
    first = np.searchsorted(known_middle, middle - ROLLING / 2 - 1e-6, "left")
    last = np.searchsorted(known_middle, middle + ROLLING / 2 + 1e-6, "right")
    total = np.concatenate([[0.0], np.cumsum(weight * above)])
    weights = np.concatenate([[0.0], np.cumsum(weight)])
    # Rounding must not open a mouth that does not move.
    least = 1e-9 * np.abs(opening[known]).max() * (weights[last] - weights[first])
    return np.asarray((last > first) & (total[last] - total[first] > least))
