"""One label of several raters' traces, and how far the raters agree.

Shapes: N moments, M raters; NaN where a rater says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from affectkit.errors import UsageError
from affectkit.metrics import ccc, pearson
from affectkit.moments import TICK, holder
from affectkit.types import Floats

Combining = Literal["mean", "ewe"]


@dataclass(frozen=True, repr=False)
class Trace:
    """What one rater says of one clip: start, end [R] (s), sorted and not overlapping, values [R] (NaN: nothing)."""

    start: Floats
    end: Floats
    values: Floats

    def __repr__(self) -> str:
        return f"Trace({len(self.values)} rows)"

    def at(self, moments: Floats) -> Floats:
        """[N] the values that hold at moments."""
        place = holder(self.start, self.end, moments)
        return np.where(place >= 0, np.append(self.values, np.nan)[place], np.nan)


Ratings = Mapping[str, Trace]
"""The trace of each rater, by name."""


def common_rows(traces: Sequence[Trace]) -> tuple[Floats, Floats]:
    """start, end [R] (s) of the stretches in which no trace changes, and at least one holds."""
    borders = np.unique(np.concatenate([np.concatenate([each.start, each.end]) for each in traces] or [np.zeros(0)]))
    if len(borders) < 2:
        return np.zeros(0), np.zeros(0)
    borders = borders[np.append(True, np.diff(borders) > TICK)]
    start, end = borders[:-1], borders[1:]
    middle = (start + end) / 2
    held = np.zeros(len(start), bool)
    for each in traces:
        held |= np.isfinite(each.at(middle))
    return start[held], end[held]


def grid(clips: Sequence[Sequence[Ratings]], most: float = 0.1) -> float:
    """The distance (s) of the moments at which raters are compared: the usual length of a row, at most `most`."""
    lengths = [trace.end - trace.start for clip in clips for ratings in clip for trace in ratings.values()]
    rows = np.concatenate(lengths) if lengths else np.zeros(0)
    usual = float(np.median(rows)) if len(rows) else most
    return min(max(usual, 0.01), most)


def sampled(clips: Sequence[Ratings], raters: Sequence[str], step: float) -> Floats:
    """[N,M] what each rater says at moments `step` seconds apart, of all clips one after the other."""
    parts = []
    for ratings in clips:
        last = max((float(trace.end[-1]) for trace in ratings.values() if len(trace.end)), default=0.0)
        moments = (np.arange(int(np.ceil(last / step))) + 0.5) * step
        columns = [ratings[name].at(moments) if name in ratings else np.full(len(moments), np.nan) for name in raters]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, len(raters)))


def ewe_weights(ratings: ArrayLike) -> Floats:
    """[M] the weights of the evaluator-weighted mean (Grimm & Kroschel 2005): sum_k r_k x_k / sum_k r_k.

    The weight r_k of a rater is the correlation of what they say with the mean of what the others say, over the moments
    that they and another rated; a negative one is 0. The weights sum to 1. The paper correlates with the mean of all,
    which holds the rater's own values too, and makes raters of few look alike.

    ratings [N,M]. Raises UsageError where no weight is left.

    >>> ewe_weights([[0, 0, 1], [1, 1, 0], [2, 2, 1], [3, 4, 1]]).round(2)
    array([0.44, 0.44, 0.13])
    """
    values = np.asarray(ratings, np.float64)
    weights = np.zeros(values.shape[1])
    for rater in range(values.shape[1]):
        of_others = _mean(np.delete(values, rater, axis=1))
        both = np.isfinite(values[:, rater]) & np.isfinite(of_others)
        if both.sum() > 1:
            weights[rater] = max(0.0, pearson(values[both, rater], of_others[both]))
    total = weights.sum()
    if total <= 0:
        raise UsageError(
            "no rater agrees with the mean of the others, so that there are no weights: combine=mean takes all"
        )
    return weights / total


def weighted(ratings: Floats, weights: Floats) -> Floats:
    """[N] the weighted mean over the raters that say anything; NaN where the weights of those are 0.

    >>> weighted(np.array([[0.0, 1.0], [np.nan, 1.0]]), np.array([0.75, 0.25])).tolist()
    [0.25, 1.0]
    """
    said = np.isfinite(ratings)
    total = (said * weights).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (np.where(said, ratings, 0) * weights).sum(axis=1) / total, np.nan))


def majority(ratings: Floats) -> Floats:
    """[N] the class that most raters say; NaN where two are said as often.

    >>> majority(np.array([[1.0, 1.0, 2.0], [1.0, 2.0, np.nan], [2.0, np.nan, np.nan]])).tolist()
    [1.0, nan, 2.0]
    """
    classes = np.unique(ratings[np.isfinite(ratings)])
    if not len(classes):
        return np.full(len(ratings), np.nan)
    votes = (ratings[:, :, None] == classes).sum(axis=1)
    most = votes.max(axis=1)
    is_tie = (votes == most[:, None]).sum(axis=1) > 1
    return np.asarray(np.where((most == 0) | is_tie, np.nan, classes[votes.argmax(axis=1)]))


def mean_pairwise(ratings: ArrayLike, measure: Callable[[Floats, Floats], float]) -> float:
    """The mean of a measure over all pairs of raters, each over the moments that both rated. ratings [N,M]; NaN where
    no pair has two moments."""
    values = np.asarray(ratings, np.float64)
    measured = []
    for first, second in combinations(range(values.shape[1]), 2):
        both = np.isfinite(values[:, first]) & np.isfinite(values[:, second])
        if both.sum() > 1:
            measured.append(measure(values[both, first], values[both, second]))
    return float(np.mean(measured)) if measured else float("nan")


def icc(ratings: ArrayLike) -> float:
    """ICC(2,k), the reliability of the mean of k raters: two-way random effects, absolute agreement (Shrout & Fleiss
    1979): (BMS - EMS) / (BMS + (JMS - EMS) / n).

    ratings [N,M]; moments that not all rated are left out; NaN with fewer than two. Neighbouring moments of a trace are
    not independent, so it describes the raters and is no basis of a test.

    >>> table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> round(icc(table), 2)
    0.62
    """
    values = np.asarray(ratings, np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    n, k = values.shape
    if n < 2 or k < 2:
        return float("nan")
    mean = values.mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    between = k * ((rows - mean) ** 2).sum() / (n - 1)
    judges = n * ((columns - mean) ** 2).sum() / (k - 1)
    error = ((values - rows[:, None] - columns + mean) ** 2).sum() / ((n - 1) * (k - 1))
    total = between + (judges - error) / n
    return float((between - error) / total) if total > 0 else float("nan")


def alpha(ratings: ArrayLike) -> float:
    """Krippendorff's alpha for classes: 1 - D_o / D_e of the matrix of coincidences (Krippendorff 2004, chapter 11).

    ratings [N,M], NaN where a rater says nothing; moments with fewer than two raters are left out. NaN where there is
    none, 1 where all say the same class throughout.

    >>> nan = float("nan")
    >>> alpha([[1, 1], [2, 2], [1, 2], [nan, 2]])
    0.444...
    """
    values = np.asarray(ratings, np.float64)
    classes = np.unique(values[np.isfinite(values)])
    counts = (values[:, :, None] == classes).sum(axis=1).astype(np.float64)  # [N,C]
    raters = counts.sum(axis=1)
    counts, raters = counts[raters > 1], raters[raters > 1]
    if not len(counts):
        return float("nan")
    coincidences = (counts / (raters - 1)[:, None]).T @ counts
    coincidences[np.diag_indices_from(coincidences)] -= (counts / (raters - 1)[:, None]).sum(axis=0)
    total, margins = coincidences.sum(), coincidences.sum(axis=1)
    observed = total - np.trace(coincidences)
    expected = (total**2 - (margins**2).sum()) / (total - 1)
    return float(1 - observed / expected) if expected > 0 else 1.0


def agreement(ratings: Floats, are_classes: bool) -> dict[str, float]:
    """How far raters agree [N,M], by the name of each measure."""
    if are_classes:
        return {"alpha": alpha(ratings)}
    return {
        "ccc": mean_pairwise(ratings, ccc),
        "pearson": mean_pairwise(ratings, pearson),
        "icc_2k": icc(ratings),
    }


def _mean(values: Floats) -> Floats:
    """[N] the mean of those that say anything; NaN where none does."""
    return weighted(values, np.ones(values.shape[1]))
