"""Predictions of different rates and windows brought to common rows.

A score at another time is read off a straight line between the middles of the rows that have one, held before the first
and after the last; for classes that is a line between probabilities. A time that lies in rows without a score only (no
face, no speech) has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from affectkit import smoothing
from affectkit.errors import UsageError
from affectkit.manifest.alignment import Pooling, align
from affectkit.stages._predictions import by_clip
from affectkit.stages._times import regular
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, Floats, Predictions

INTERPOLATION = "linear between row middles"


def densest(sets: Sequence[Predictions]) -> Predictions:
    """Each clip's rows in the set that has most of them there (of equals, the first), without scores.

    Raises UsageError where several sets have no clip in common.
    """
    places = [by_clip(one) for one in sets]
    if not set(places[0]).intersection(*places):
        raise UsageError("the prediction sets have no clip in common")
    parts = []
    for clip in sorted(set().union(*places)):
        counts = [place[clip].stop - place[clip].start if clip in place else 0 for place in places]
        number = int(np.argmax(counts))
        own, one = places[number][clip], sets[number]
        said = (str(other.split[place[clip]][0]) for other, place in zip(sets, places, strict=True) if clip in place)
        split = next(filter(None, said), "")
        parts.append(_blank(clip, one.start[own], one.end[own], one.columns, split))
    return _joined(parts, sets[0].columns)


def of_clips(one: Predictions) -> Predictions:
    """One row a clip: the mean of those that have a score."""
    parts = []
    for clip, own in by_clip(one).items():
        scores = one.scores[own]
        there = scores[np.isfinite(scores).all(axis=1)]
        row = _blank(clip, one.start[own].min(keepdims=True), one.end[own].max(keepdims=True), one.columns,
                     str(one.split[own][0]))  # fmt: skip
        mean = there.mean(axis=0, keepdims=True) if len(there) else row.scores
        observed = one.observed[own].mean(keepdims=True)
        parts.append(replace(row, scores=mean, observed=observed))
    return _joined(parts, one.columns)


def at_rate(rows: Predictions, rate: float) -> Predictions:
    """The clips of `rows` as rows of 1/rate seconds each, without scores."""
    parts = []
    for clip, own in by_clip(rows).items():
        start, end = regular(float(rows.start[own].min()), float(rows.end[own].max()), rate)
        parts.append(_blank(clip, start, end, rows.columns, str(rows.split[own][0])))
    return _joined(parts, rows.columns)


def at_labels(
    rows: Predictions, labels: Mapping[str, ClipLabels], task: Task, pooling: Pooling = "midpoint"
) -> tuple[Predictions, Floats]:
    """Rows of the labels, for the clips of `rows` that have some, without scores; and the labels [N,K] (multiclass
    [N,1]), NaN = invalid. Where a label holds for a whole clip, the clip's rows stay as they are.

    Raises UsageError when no row has a label.
    """
    parts, truth = [], []
    for clip, own in by_clip(rows).items():
        if clip not in labels:
            continue
        known, split = labels[clip], str(rows.split[own][0])
        if task.level == "time" and len(known) and np.isfinite(known.end).all():
            order = np.argsort(known.start, kind="stable")
            parts.append(_blank(clip, known.start[order], known.end[order], rows.columns, split))
            truth.append(known.values[order])
        else:
            parts.append(_blank(clip, rows.start[own], rows.end[own], rows.columns, split))
            truth.append(align(known, rows.start[own], rows.end[own], pooling))
    if not parts or np.isnan(np.concatenate(truth)).any(axis=1).all():
        raise UsageError("no row of the predictions has a label: do the clip names and times agree?")
    return _joined(parts, rows.columns), np.concatenate(truth)


def scores_at(one: Predictions, rows: Predictions) -> Floats:
    """The set's scores [N,K] at `rows`; NaN for clips that it does not have."""
    places, wanted = by_clip(one), by_clip(rows)
    found = np.full((len(rows), one.scores.shape[1]), np.nan)
    for clip, target in wanted.items():
        if clip in places:
            found[target] = _read(one, places[clip], rows.start[target], rows.end[target])
    return found


def observed_at(one: Predictions, rows: Predictions) -> Floats:
    """[N] how much of the set's scores at `rows` was observed, read as they are; NaN where it does not say."""
    places, found = by_clip(one), np.full(len(rows), np.nan)
    for clip, target in by_clip(rows).items():
        if clip in places:
            own = places[clip]
            middle, at = _middle(one.start[own], one.end[own]), _middle(rows.start[target], rows.end[target])
            found[target] = smoothing.interpolate(one.observed[own][:, None], middle, at)[:, 0]
    return found


def _middle(start: Floats, end: Floats) -> Floats:
    """[N] (s) the moment that each row stands for; of one without an end, its start."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(end), (start + end) / 2, start)


def _read(one: Predictions, own: slice, start: Floats, end: Floats) -> Floats:
    """One clip's scores at rows [start, end)."""
    given, until, scores = one.start[own], one.end[own], one.scores[own]
    if len(given) == len(start) and np.array_equal(given, start) and np.array_equal(until, end):
        return scores
    middle = _middle(start, end)
    there = np.isfinite(scores).all(axis=1)
    found = smoothing.interpolate(scores, _middle(given, until), middle)
    silent = covered(middle, given[~there], until[~there]) & ~covered(middle, given[there], until[there])
    found[silent] = np.nan
    return found


def covered(times: Floats, start: Floats, end: Floats) -> Bools:
    """Whether each time lies in any of the intervals [start, end), which may overlap.

    >>> covered(np.array([0.5, 2.5, 4.0]), np.array([0.0, 2.0]), np.array([1.0, 4.0]))
    array([ True,  True, False])
    """
    if not len(start):
        return np.zeros(len(times), bool)
    order = np.argsort(start, kind="stable")
    latest = np.maximum.accumulate(end[order])
    place = np.searchsorted(start[order], times, side="right") - 1
    return np.asarray((place >= 0) & (latest[place] > times))


def _blank(clip: str, start: Floats, end: Floats, columns: tuple[str, ...], split: str) -> Predictions:
    count = len(start)
    return Predictions(
        np.full(count, clip), np.asarray(start, float), np.asarray(end, float), np.full((count, len(columns)), np.nan),
        columns, np.full(count, split),
    )  # fmt: skip


def _joined(parts: Sequence[Predictions], columns: tuple[str, ...]) -> Predictions:
    if not parts:
        return Predictions(np.zeros(0, "U1"), np.zeros(0), np.zeros(0), np.zeros((0, len(columns))), columns)
    names = ("clip", "start", "end", "scores", "split", "observed")
    clip, start, end, scores, split, observed = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
    return Predictions(clip, start, end, scores, columns, split, observed)
