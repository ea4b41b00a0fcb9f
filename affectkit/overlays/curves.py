"""Scores of a clip as pictures need them: at the moments of its frames, and only where a row has one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from affectkit.moments import TICK, around, middles, nearest
from affectkit.types import Bools, Floats

AFFECT = ("valence", "arousal")
_REACH = 1.0  # times the usual distance between rows: so far from a row that has a score it is shown
_NEXT = 1.5  # times that distance: rows no farther apart follow on each other


@dataclass(frozen=True, repr=False, eq=False)
class ScoreCurves:
    """Scores of one model for one clip, or one face of it: start, end [T] (s), scores [T,K] (NaN: none), names [K].

    face: the face's number, None where there is only one; unseen: what is said where there is no score.
    """

    model: str
    names: tuple[str, ...]
    start: Floats
    end: Floats
    scores: Floats
    face: int | None = None
    unseen: str = "no face"

    @cached_property
    def is_affect(self) -> bool:
        """Whether it has valence and arousal."""
        return set(AFFECT) <= set(self.names)

    @cached_property
    def range(self) -> tuple[float, float]:
        """What the axis reaches from and to: 0 to 1 where all scores lie there, -1 to 1 where all do, else the scores'
        own."""
        finite = self.scores[np.isfinite(self.scores)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        if self.is_affect and low >= -1 and high <= 1:
            return -1.0, 1.0
        if low >= 0 and high <= 1:
            return 0.0, 1.0
        if low >= -1 and high <= 1:
            return -1.0, 1.0
        return low, high if high > low else low + 1

    def at(self, moments: Floats) -> Floats:
        """Scores [R,K] at these moments (s): a straight line between the middles of two rows that follow on each other
        and both have a score; else the nearest row's, NaN where that has none or is too far away."""
        if not len(self.start):
            return np.full((len(moments), len(self.names)), np.nan)
        return between_rows(self.start, self.end, self.scores, moments)


def between_rows(start: Floats, end: Floats, values: Floats, moments: Floats) -> Floats:
    """Values [T,K] of rows at other moments [R] (s) -> [R,K], as `ScoreCurves.at` says.

    >>> start = np.array([0.0, 1.0, 2.0, 3.0])
    >>> values = np.array([[0.0], [4.0], [np.nan], [1.0]])
    >>> between_rows(start, start + 0.2, values, np.array([0.1, 0.6, 1.3, 2.0, 3.2, 9.0])).ravel()
    array([ 0.,  2.,  4., nan,  1., nan])
    """
    order = np.argsort(middles(start, end), kind="stable")
    start, end, values = start[order], end[order], np.asarray(values, float)[order]
    times = middles(start, end)
    step = _usual(times)
    near = nearest(times, moments)
    whole: Bools = np.asarray(np.isfinite(values).all(axis=1))
    inside = (start[near] - TICK <= moments) & (moments < end[near] + TICK)
    close = inside | (np.abs(times[near] - moments) <= _REACH * step)
    result = np.where((whole[near] & close)[:, None], values[near], np.nan)
    before, after = around(times, moments)
    apart = times[after] - times[before]
    long_rows = np.minimum(end[before] - start[before], end[after] - start[after])
    joined = whole[before] & whole[after] & (apart > 0) & (apart <= np.maximum(_NEXT * step, long_rows))
    part = np.where(joined, (moments - times[before]) / np.where(apart > 0, apart, 1), 0)[:, None]
    line = values[before] * (1 - part) + values[after] * part
    result[joined] = line[joined]
    return result


def _usual(times: Floats) -> float:
    gaps = np.diff(times)
    gaps = gaps[gaps > TICK]
    return float(np.median(gaps)) if len(gaps) else 0.0


def usual_step(start: Floats, end: Floats) -> float:
    """The usual distance between rows (s); 0 of one row."""
    return _usual(np.sort(middles(start, end)))


def gaps(scored: Bools, moments: Floats) -> list[tuple[float, float]]:
    """The stretches [from, to] of moments that rise without a score."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~scored, [False]]).astype(int)))
    pairs = edges.reshape(-1, 2)
    last = len(moments) - 1
    return [(float(moments[a]), float(moments[min(b, last)])) for a, b in pairs.tolist()]
