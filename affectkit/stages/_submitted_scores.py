"""Scores as a submission may hold them: one for every row, within range; and how they were read."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from affectkit.errors import UsageError, listed
from affectkit.stages import _predictions as tables
from affectkit.stages import _rows
from affectkit.stages._held import SAME, middles, nearest
from affectkit.stages._template_rows import by_template_clip
from affectkit.submissions.template import Template
from affectkit.submissions.writing import outside
from affectkit.types import Bools, Floats, Predictions


def filled(
    scores: Floats, wanted: Predictions, given: Predictions, missing: Literal["refuse", "hold"]
) -> tuple[Floats, Bools]:
    """Scores without a gap, and which rows took the nearest one in time, of two equally near the earlier. Raises
    UsageError for gaps that may not be filled."""
    lacking = np.asarray(~np.isfinite(scores).all(axis=1))
    if not lacking.any():
        return scores, lacking
    clips = list(dict.fromkeys(wanted.clip[lacking].tolist()))
    if missing == "refuse":
        raise UsageError(
            f"{int(lacking.sum())} rows of the template are at times without a score, in clips {listed(clips)}: "
            "--missing hold takes the clip's nearest score in time"
        )
    return nearest(scores, wanted, given)


def within(
    scores: Floats, rows: Template, out_of_range: Literal["refuse", "clip"], digits: int
) -> tuple[Floats, Bools]:
    """Scores [N,K], clip by clip as `by_template_clip` lays them, within the format's range; and which rows were not.

    Raises UsageError for such rows unless they may be cut.
    """
    format = rows.format
    far = outside(format, scores, digits)
    if not far.any():
        return scores, far
    if out_of_range == "refuse":
        names = np.array(rows.names, object)[np.concatenate(by_template_clip(rows))][far]
        worst = scores[far].flat[int(np.argmax(np.abs(scores[far])))]
        raise UsageError(
            f"{int(far.sum())} rows have values beyond [{format.low:g}, {format.high:g}] (such as {worst:g}): "
            f"{listed(names.tolist())}; --out-of-range clip cuts them to the range"
        )
    return np.clip(scores, format.low, format.high), far


def read_at(wanted: Predictions, given: Predictions, scored: Bools) -> dict[str, Any]:
    """How many rows were read between the middles of predictions, and how many outside of all of a clip's."""
    between = beyond = 0
    places = tables.by_clip(given)
    for clip, here in tables.by_clip(wanted).items():
        start, end = given.start[places[clip]], given.end[places[clip]]
        at, own_times = middles(wanted.start[here], wanted.end[here]), np.sort(middles(start, end))
        last = len(own_times) - 1
        near = np.searchsorted(own_times, at).clip(1, max(1, last))
        gap = np.minimum(np.abs(at - own_times[near - 1]), np.abs(at - own_times[near.clip(0, last)]))
        far = (at < start.min()) | (at >= end.max())
        own = (gap <= SAME) | ((last == 0) & ~far)
        between += int((~own & ~far & scored[here]).sum())
        beyond += int((~own & far & scored[here]).sum())
    counts: dict[str, Any] = {"rows_interpolated": between, "rows_beyond_predictions": beyond}
    return counts | ({"interpolation": _rows.INTERPOLATION} if between else {})
