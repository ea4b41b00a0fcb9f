"""Predictions of different rates and windows brought to common rows.

A score at another time is read off a straight line between the middles of the rows that have one, held before the first
and after the last; for classes that is a line between probabilities. A time that lies in rows without a score only (no
face, no speech) has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from affectkit.errors import UsageError
from affectkit.moments import TICK, covered, interpolate, middles, nearest
from affectkit.tables.pooling import Pooling, align
from affectkit.tables.row_times import regular
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, Floats, Predictions

INTERPOLATION = "linear between row middles"


def by_clip(predictions: Predictions) -> dict[str, slice]:
    """Where each clip's rows lie. Raises UsageError when a clip's rows are not together."""
    changes = np.flatnonzero(predictions.clip[1:] != predictions.clip[:-1]) + 1
    bounds = [0, *changes.tolist(), len(predictions)] if len(predictions) else []
    rows = {str(predictions.clip[a]): slice(a, b) for a, b in pairwise(bounds)}
    if len(rows) < len(bounds) - 1:
        raise UsageError("the rows of a clip are not next to each other: sort the predictions by clip")
    return rows


def densest(sets: Sequence[Predictions]) -> Predictions:
    """Each clip's rows in the set that has most of them (of equals, the first), without scores.

    Raises UsageError where several sets have no clip in common.
    """
    rows_of = [by_clip(predictions) for predictions in sets]
    if not set(rows_of[0]).intersection(*rows_of):
        raise UsageError("the prediction sets have no clip in common")
    parts = []
    for clip in sorted(set().union(*rows_of)):
        counts = [rows[clip].stop - rows[clip].start if clip in rows else 0 for rows in rows_of]
        number = int(np.argmax(counts))
        rows, predictions = rows_of[number][clip], sets[number]
        splits = (str(other.split[at[clip]][0]) for other, at in zip(sets, rows_of, strict=True) if clip in at)
        split = next(filter(None, splits), "")
        parts.append(_blank(clip, predictions.start[rows], predictions.end[rows], predictions.columns, split))
    return _joined(parts, sets[0].columns)


def of_clips(predictions: Predictions) -> Predictions:
    """One row a clip: the mean of those that have a score."""
    parts = []
    for clip, rows in by_clip(predictions).items():
        start, end = predictions.start[rows].min(keepdims=True), predictions.end[rows].max(keepdims=True)
        row = _blank(clip, start, end, predictions.columns, str(predictions.split[rows][0]))
        scores = predictions.scores[rows]
        scored = scores[np.isfinite(scores).all(axis=1)]
        mean = scored.mean(axis=0, keepdims=True) if len(scored) else row.scores
        parts.append(replace(row, scores=mean, observed=predictions.observed[rows].mean(keepdims=True)))
    return _joined(parts, predictions.columns)


def predictions_at_rate(predictions: Predictions, rate: float) -> Predictions:
    """The clips of the predictions as rows of 1/rate seconds each, without scores."""
    parts = []
    for clip, rows in by_clip(predictions).items():
        start, end = regular(float(predictions.start[rows].min()), float(predictions.end[rows].max()), rate)
        parts.append(_blank(clip, start, end, predictions.columns, str(predictions.split[rows][0])))
    return _joined(parts, predictions.columns)


def at_labels(
    predictions: Predictions, labels: Mapping[str, ClipLabels], task: Task, pooling: Pooling = "midpoint"
) -> tuple[Predictions, Floats]:
    """Rows of the labels, for the clips of the predictions that have some, without scores; and the labels [N,K]
    (multiclass [N,1]), NaN = invalid. Where a label holds for a whole clip, the clip's rows stay as they are.

    Raises UsageError when no row has a label.
    """
    parts, truth = [], []
    for clip, rows in by_clip(predictions).items():
        if clip not in labels:
            continue
        of_clip, split = labels[clip], str(predictions.split[rows][0])
        start, end = predictions.start[rows], predictions.end[rows]
        if task.level == "time" and len(of_clip) and np.isfinite(of_clip.end).all():
            order = np.argsort(of_clip.start, kind="stable")
            start, end, values = of_clip.start[order], of_clip.end[order], of_clip.values[order]
        else:
            values = align(of_clip, start, end, pooling)
        parts.append(_blank(clip, start, end, predictions.columns, split))
        truth.append(values)
    if not parts or np.isnan(np.concatenate(truth)).any(axis=1).all():
        raise UsageError("no row of the predictions has a label: do the clip names and times agree?")
    return _joined(parts, predictions.columns), np.concatenate(truth)


def scores_at(predictions: Predictions, rows: Predictions) -> Floats:
    """The scores [N,K] at the times of `rows`; NaN for clips that the predictions do not have."""
    rows_of, scores = by_clip(predictions), np.full((len(rows), predictions.scores.shape[1]), np.nan)
    for clip, target in by_clip(rows).items():
        if clip in rows_of:
            scores[target] = _scores_of(predictions, rows_of[clip], rows.start[target], rows.end[target])
    return scores


def observed_at(predictions: Predictions, rows: Predictions) -> Floats:
    """[N] how much of the scores at the times of `rows` was observed; NaN where the predictions do not say."""
    rows_of, observed = by_clip(predictions), np.full(len(rows), np.nan)
    time, at = middles(predictions.start, predictions.end), middles(rows.start, rows.end)
    for clip, target in by_clip(rows).items():
        if clip in rows_of:
            source = rows_of[clip]
            observed[target] = interpolate(predictions.observed[source][:, None], time[source], at[target])[:, 0]
    return observed


def nearest_scores(scores: Floats, rows: Predictions, predictions: Predictions) -> tuple[Floats, Bools]:
    """scores [N,K] at `rows` without a gap, and which rows [N] took the nearest score in time that the predictions have
    of their clip, of two equally near the earlier. Rows of clips without any score stay NaN."""
    held = np.asarray(~np.isfinite(scores).all(axis=1))
    if not held.any():
        return scores, held
    filled, rows_of, targets = scores.copy(), by_clip(predictions), by_clip(rows)
    time, at = middles(predictions.start, predictions.end), middles(rows.start, rows.end)
    valid = predictions.valid
    for clip in dict.fromkeys(rows.clip[held].tolist()):
        gaps = np.flatnonzero(held[targets[clip]]) + targets[clip].start
        source = rows_of.get(clip, slice(0, 0))
        scored = np.flatnonzero(valid[source]) + source.start
        if not len(scored):
            held[gaps] = False
            continue
        scored = scored[np.argsort(time[scored], kind="stable")]
        filled[gaps] = predictions.scores[scored[nearest(time[scored], at[gaps], TICK)]]
    return filled, held


def _scores_of(predictions: Predictions, rows: slice, start: Floats, end: Floats) -> Floats:
    """The scores of one clip, which has the `rows`, at [start, end)."""
    first, last, scores = predictions.start[rows], predictions.end[rows], predictions.scores[rows]
    if len(first) == len(start) and np.array_equal(first, start) and np.array_equal(last, end):
        return scores
    at = middles(start, end)
    scored = np.isfinite(scores).all(axis=1)
    scores_at_rows = interpolate(scores, middles(first, last), at)
    silent = covered(at, first[~scored], last[~scored]) & ~covered(at, first[scored], last[scored])
    scores_at_rows[silent] = np.nan
    return scores_at_rows


def _blank(clip: str, start: Floats, end: Floats, columns: tuple[str, ...], split: str) -> Predictions:
    """Rows of one clip without scores."""
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
