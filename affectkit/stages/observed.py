"""Where in a clip a face was seen or speech was heard, and which scores are too far from it to be any.

One rule for every head, network, `--at` and `--rate`. Rows are as far apart as their middles. A moment is observed
where it lies in a valid row, or between two neighbouring ones that are no farther apart than rows of the clip are
(twice the median, for rows that stand for a moment each, as those of `--frames 32`). Elsewhere it is as far from what
was observed as from the nearest valid row. A score farther than the reach is none; and what lies on either side of such
a moment is smoothed and interpolated apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectkit.moments import covered
from affectkit.smoothing import smooth
from affectkit.types import Bools, FeatureSequence, Floats

if TYPE_CHECKING:
    from affectkit.stages.smooth import Smoothing

REACH = 1.0  # s
_ROUNDING = 1e-6  # s
_HOLE = 2.0  # median distances of rows


@dataclass(frozen=True, repr=False)
class Observed:
    """What a model read of a clip: one sequence of rows or, of several modalities, one each. A moment is observed where
    any of them has something."""

    inputs: Sequence[FeatureSequence]

    @property
    def whole(self) -> float:
        """The share of rows that are valid; of several inputs, the largest."""
        return max((float(np.mean(one.valid)) for one in self.inputs if len(one)), default=0.0)

    def distance(self, times: Floats) -> Floats:
        """[R] seconds from each time to what was observed; infinite where nothing was."""
        return np.min([_distance(one, times) for one in self.inputs], axis=0)

    def share(self, times: Floats, smoothing: Smoothing | None = None) -> Floats:
        """[R] of the window that smooths the score at a time, the share by weight of rows that are valid; without a
        window, of the row there. Between rows it is read off a line, as scores are; outside of all rows it is 0."""
        return np.max([_share(one, times, smoothing) for one in self.inputs], axis=0)

    def within(self, times: Floats, reach: float) -> Bools:
        """[R] whether a time is no farther than `reach` seconds from what was observed."""
        return self.distance(times) <= reach + _ROUNDING

    def stretches(self, times: Floats, reach: float) -> NDArray[np.int64]:
        """[T] a number for each of some rows' middles, the same for those with no moment out of reach between them."""
        order = np.argsort(times, kind="stable")
        ordered = times[order]
        parted = ~self.within(ordered, reach)
        between = ~self.within((ordered[:-1] + ordered[1:]) / 2, reach)
        numbers = np.zeros(len(times), np.int64)
        numbers[order[1:]] = np.cumsum(parted[1:] | parted[:-1] | between)
        return numbers


def smoothed_within(
    raw: Sequence[Floats], time: Floats, seen: Observed, reach: float, smoothing: Smoothing | None
) -> tuple[list[Floats], NDArray[np.int64]]:
    """The raw scores [T,K] of every seed at rows' middles, none out of reach, each stretch smoothed by itself; and the
    stretches [T]."""
    far, stretch = ~seen.within(time, reach), seen.stretches(time, reach)
    found: list[Floats] = [np.where(far[:, None], np.nan, one) for one in raw]
    if smoothing is None or smoothing.half_width == 0:
        return found, stretch
    for number in np.unique(stretch):
        own = stretch == number
        for one in found:
            one[own] = smooth(one[own], time[own], smoothing.kind, smoothing.half_width)
    return found, stretch


def _distance(one: FeatureSequence, times: Floats) -> Floats:
    start, end, middle, valid = _in_order(one)
    seen = middle[valid]
    if not len(seen):
        return np.full(len(times), np.inf)
    after = np.searchsorted(seen, times)
    left, right = seen[np.maximum(after - 1, 0)], seen[np.minimum(after, len(seen) - 1)]
    far = np.minimum(np.abs(times - left), np.abs(times - right))
    far[covered(times, start[valid], end[valid])] = 0
    hops = np.diff(middle)
    usual = float(np.median(hops[hops > 0])) if (hops > 0).any() else 0.0
    together = (np.diff(np.flatnonzero(valid)) == 1) & (np.diff(seen) <= _HOLE * usual + _ROUNDING)
    inside = np.flatnonzero((after > 0) & (after < len(seen)))
    far[inside[together[after[inside] - 1]]] = 0
    return far


def _share(one: FeatureSequence, times: Floats, smoothing: Smoothing | None) -> Floats:
    start, end, middle, valid = _in_order(one)
    if not len(middle):
        return np.zeros(len(times))
    share: Any = valid.astype(np.float64)
    if smoothing is not None and smoothing.half_width:
        kind = "box" if smoothing.kind == "median" else smoothing.kind
        share = smooth(share[:, None], middle, kind, smoothing.half_width)[:, 0]
    inside = (times >= start.min() - _ROUNDING) & (times <= end.max() + _ROUNDING)
    return np.where(inside, np.interp(times, middle, share), 0.0).clip(0, 1)


def _in_order(one: FeatureSequence) -> tuple[Floats, Floats, Floats, Bools]:
    """start, end, middle, valid [T] of rows by their middles."""
    middle = one.middle
    order = np.argsort(middle, kind="stable")
    start, end = np.asarray(one.start, np.float64), np.asarray(one.end, np.float64)
    return start[order], end[order], middle[order], np.asarray(one.valid, bool)[order]
