"""Rows without a score of their own: the clip's nearest score in time is held."""

from __future__ import annotations

import numpy as np

from affectkit.stages import _predictions as tables
from affectkit.types import Bools, Floats, Predictions

SAME = 1e-6
"""Times that differ by less (s) are one."""


def nearest(scores: Floats, wanted: Predictions, given: Predictions) -> tuple[Floats, Bools]:
    """scores [N,K] at the rows `wanted` without a gap, and which rows [N] took the nearest score in time that `given`
    has of their clip, of two equally near the earlier. Rows of clips without any score stay NaN."""
    held = np.asarray(~np.isfinite(scores).all(axis=1))
    if not held.any():
        return scores, held
    filled, places, rows = scores.copy(), tables.by_clip(given), tables.by_clip(wanted)
    for clip in dict.fromkeys(wanted.clip[held].tolist()):
        here = np.flatnonzero(held[rows[clip]]) + rows[clip].start
        there = np.flatnonzero(given.valid[places[clip]]) + places[clip].start if clip in places else np.zeros(0, int)
        if not len(there):
            held[here] = False
            continue
        at = middles(given.start[there], given.end[there])
        order = np.argsort(at, kind="stable")
        filled[here] = given.scores[there[order][_nearest(at[order], middles(wanted.start[here], wanted.end[here]))]]
    return filled, held


def middles(start: Floats, end: Floats) -> Floats:
    """The moment of each row; of one without an end, its start."""
    return np.where(np.isfinite(end), (start + end) / 2, start)


def _nearest(sorted_times: Floats, at: Floats) -> np.ndarray:
    """Indices into times that rise: the nearest to each of `at`."""
    after = np.searchsorted(sorted_times, at).clip(1, max(1, len(sorted_times) - 1))
    before, after = after - 1, after.clip(0, len(sorted_times) - 1)
    return np.where(at - sorted_times[before] <= np.abs(sorted_times[after] - at) + SAME, before, after)
