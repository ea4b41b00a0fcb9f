"""Episodes: stretches of time in which a score is at or above a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectkit.types import Floats

_HOLE = 2.0  # usual distances between rows, as for what was observed
_ROUNDING = 1e-6  # s


@dataclass(frozen=True)
class Episode:
    """From `start` to `end` (s) a score was at or above the threshold, and at most `peak`."""

    start: float
    end: float
    peak: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end - self.start


def extents(start: Floats, end: Floats) -> Floats:
    """[T,2] the time that each of a clip's rows, in order, stands for (s).

    A row stands for the time from its start to that of the next; of two that overlap, as windows do, each has half of
    what they share. The last row, and one before a hole (of two usual distances between rows), ends with its own end,
    or one usual distance after its start where that is later: a frame out of five a second is shown for a moment and
    stands for a fifth of a second.

    >>> extents(np.array([0.0, 0.2, 1.0]), np.array([0.04, 0.24, 1.04])).tolist()
    [[0.0, 0.2], [0.2, 1.0], [1.0, 1.5]]
    >>> extents(np.array([0.0, 2.0, 4.0]), np.array([4.0, 6.0, 8.0])).tolist()
    [[0.0, 3.0], [3.0, 5.0], [5.0, 8.0]]
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if not len(start):
        return np.zeros((0, 2))
    hops = np.diff(start)
    usual = float(np.median(hops)) if len(hops) else 0.0
    first, last = start.copy(), np.maximum(end, start + usual)
    together = hops <= _HOLE * usual + _ROUNDING
    border = np.maximum(start[1:], (end[:-1] + start[1:]) / 2)
    first[1:][together], last[:-1][together] = border[together], border[together]
    return np.stack([first, last], axis=1)


def episodes(start: Floats, end: Floats, score: Floats, threshold: float, gap: float) -> list[Episode]:
    """The episodes of a score [T] at rows [T] of one clip, in order of time.

    Consecutive rows with a score of `threshold` or more are one episode; of two with less than `gap` seconds between
    them, whatever is in there (lower scores, no face, no rows), one is made. An episode lasts as long as the rows stand
    for (`extents`), what is bridged included. NaN is no score.

    >>> times = np.arange(6) / 5
    >>> episodes(times, times + 0.2, np.array([0.6, 0.9, 0.1, 0.7, np.nan, np.nan]), 0.5, 0.3)
    [Episode(start=0.0, end=0.8, peak=0.9)]
    """
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero(np.asarray(score, np.float64) >= threshold)
    if not len(rows):
        return []
    times = extents(start, end)[rows]
    follows = np.diff(rows) == 1
    between = times[1:, 0] - times[:-1, 1]
    joined = (follows & (between <= _ROUNDING)) | (between < gap - _ROUNDING)
    begins = np.flatnonzero(np.concatenate([[True], ~joined]))
    ends = np.append(begins[1:], len(rows))
    peaks = np.maximum.reduceat(np.asarray(score, np.float64)[rows], begins)
    return [
        Episode(float(times[a, 0]), float(times[b - 1, 1]), float(peak))
        for a, b, peak in zip(begins, ends, peaks, strict=True)
    ]
