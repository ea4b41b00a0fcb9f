"""From the raw scores of several seeds to predictions: smoothed, read at other times, made probabilities, averaged.

The order matters. Smoothing and interpolation act on raw scores, where classes are logits: a mean of probabilities
would let one certain moment outvote its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit import metrics
from affectkit.errors import UsageError
from affectkit.moments import interpolate
from affectkit.plugins import Example
from affectkit.smoothing import Kind
from affectkit.stages.observed import REACH, Observed, smoothed_within
from affectkit.tasks import Task
from affectkit.types import Floats

Choice = Kind | Literal["none"]
LONGEST = 600.0  # s, of a half-width
HALF_WIDTHS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)


@dataclass(frozen=True)
class Smoothing:
    """A window and how many seconds it reaches to either side; 0 is no smoothing."""

    kind: Kind
    half_width: float


def agree(kind: Choice | None, half_width: float | str | None, task: Task) -> None:
    """Raises UsageError for smoothing of a task that has one score a clip, and for a half-width of nothing."""
    if half_width not in (None, "auto") and kind in (None, "none"):
        raise UsageError(f"--half-width {half_width} needs --smooth hamming, box, median or gaussian")
    if kind not in (None, "none") and task.level == "clip":
        raise UsageError(f"--smooth {kind}: {task.name} has one score a clip, so there is nothing to smooth over time")


def moved(
    raw: Sequence[Floats], time: Floats, at: Floats, max_gap: float | None, stretch: NDArray[np.int64]
) -> list[Floats]:
    """The raw scores of every seed at other moments [R] (s), no line being drawn from one stretch [T] to another."""
    return [interpolate(one, time, at, max_gap, stretch) for one in raw]


def predictions(task: Task, raw: Sequence[Floats]) -> Floats:
    """Mean over seeds, of probabilities where the task has classes."""
    return np.asarray(np.mean(np.stack([metrics.probabilities(task, one) for one in raw]), axis=0))


def choose(
    task: Task, val: Sequence[Example], raw: Sequence[Sequence[Floats]], kind: Kind, half_width: float | Literal["auto"]
) -> dict[str, Any]:
    """The half-width that serves the validation clips best, and the task's metric at each that was tried.

    `raw` holds, for every seed, the raw scores of the clips of `val`. With "auto" the candidates are `HALF_WIDTHS` up
    to half of the longest clip; the smallest of equals wins, and 0 wins where none is better. The scores are of the
    mean over seeds, on labelled rows that predict gives a score by default (`stages.observed`), and the best of them is
    optimistic: it was picked on those rows.
    """
    candidates = _candidates(val) if half_width == "auto" else [float(half_width)]
    scores: dict[float, float] = {}
    best = 0.0
    for width in [0.0, *(width for width in candidates if width)]:
        scores[width] = _score(task, val, raw, Smoothing(kind, width))
        if half_width == "auto" and metrics.is_better(task.metric, scores[width], scores[best]):
            best = width
    chosen = best if half_width == "auto" else float(half_width)
    return {"kind": kind, "half_width": chosen, "val": {f"{width:g}": score for width, score in scores.items()}}


def of_head(report: Mapping[str, Any]) -> Smoothing | None:
    """The smoothing that a head's report asks for; None for a head without, or where none was better."""
    said = report.get("smoothing")
    return Smoothing(said["kind"], said["half_width"]) if said and said["half_width"] else None


def _candidates(val: Sequence[Example]) -> list[float]:
    spans = [float(one.inputs[0].end[-1] - one.inputs[0].start[0]) for one in val if len(one.inputs[0])]
    return [width for width in HALF_WIDTHS if width <= max(spans, default=0.0) / 2]


def _score(task: Task, val: Sequence[Example], raw: Sequence[Sequence[Floats]], smoothing: Smoothing) -> float:
    truth, scores = _scored(task, val, raw, smoothing, REACH)
    if not len(truth):  # labels are in gaps only
        truth, scores = _scored(task, val, raw, smoothing, math.inf)
    return metrics.main(task, truth, scores)


def _scored(
    task: Task, val: Sequence[Example], raw: Sequence[Sequence[Floats]], smoothing: Smoothing, reach: float
) -> tuple[Floats, Floats]:
    """Labels and predictions of the labelled rows within reach."""
    truth, scores = [], []
    for example, *seeds in zip(val, *raw, strict=True):
        assert example.labels is not None
        within, _ = smoothed_within(seeds, example.inputs[0].middle, Observed(example.inputs), reach, smoothing)
        found = predictions(task, within)
        used = np.isfinite(example.labels).all(axis=1) & np.isfinite(found).all(axis=1)
        truth.append(example.labels[used])
        scores.append(found[used])
    return np.concatenate(truth), np.concatenate(scores)
