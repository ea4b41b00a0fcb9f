"""Metrics of many draws of clusters at once, from what each cluster contributes instead of rows.

A draw leaves out clusters, and with them, it may be, all rows of a class. As in `metrics.score_of_part`, a class or
label without a row in a draw, and a target that does not vary in it, does not count there: its own metric is NaN, and
the mean is that over the others. What has no row in the whole sample either, and so counts as 0 in the sample's own
score, takes the same share of every draw: a draw of every class has the score of its rows concatenated.

Shapes: N rows, K targets or classes, G clusters, B draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.metrics import THRESHOLD, confusion, counted, score
from affectkit.tasks import Task
from affectkit.types import Bools, Floats

_NOTHING = 1e-26  # a variance below this share of the values' square is rounding

Codes = NDArray[np.intp]
Measure = Callable[[Floats], dict[str, Floats]]
"""Metrics {name: [B]} of draws given as counts [B,G]: how often each cluster was drawn."""


def measure(task: Task, truth: ArrayLike, scores: ArrayLike, codes: Codes, groups: int) -> Measure:
    """What takes the metrics of draws. truth, scores as for `metrics.score`; codes [N] the cluster 0..groups-1 of each
    row. Raises ValueError for what is no valid rows."""
    score(task, truth, scores)  # refuses what is no valid rows
    y = np.asarray(scores, np.float64)
    x = np.asarray(truth, np.float64).reshape(len(y), -1)
    if len(codes) != len(x):
        raise ValueError(f"clusters names {len(codes)} rows where truth has {len(x)}")
    if task.kind == "multiclass":
        return _of_classes(task, x[:, 0], y.argmax(axis=1), codes, groups)
    if task.kind == "multilabel":
        return _of_labels(task, x, y >= THRESHOLD, codes, groups)
    return _of_values(task, x, y, codes, groups)


def _of_values(task: Task, x: Floats, y: Floats, codes: Codes, groups: int) -> Measure:
    rows = np.bincount(codes, minlength=groups).astype(np.float64)
    varied = counted(task, x)
    targets = [_Moments.of(x[:, k], y[:, k], codes, rows) for k in range(x.shape[1])]

    def of_draws(drawn: Floats) -> dict[str, Floats]:
        weights = drawn * rows
        each = [one.metrics(drawn, weights, weights.sum(axis=1)) for one in targets]
        varies = np.stack([one[3] for one in each], axis=1)
        found: dict[str, Floats] = {}
        for place, name in enumerate(("ccc", "pearson", "mae")):
            values: Floats = np.stack([np.asarray(one[place], np.float64) for one in each], axis=1)
            if name == "mae":
                found |= {name: values.mean(axis=1), **_named(name, task, values)}
            else:
                found |= _counting(name, name, task, values, varies, varied)
        return found

    return of_draws


class _Moments(NamedTuple):
    """What the clusters [G] contribute to one target's metrics: means (counted from the first row), sums of squared
    deviations and of their products within the cluster, absolute errors."""

    mean_x: Floats
    mean_y: Floats
    xx: Floats
    yy: Floats
    xy: Floats
    errors: Floats
    offset: float
    tiny: tuple[float, float]

    @staticmethod
    def of(x: Floats, y: Floats, codes: Codes, rows: Floats) -> _Moments:
        def total(values: Floats) -> Floats:
            return np.bincount(codes, values, len(rows)).astype(np.float64)

        moved_x, moved_y = x - x[0], y - y[0]
        mean_x, mean_y = total(moved_x) / rows, total(moved_y) / rows
        dx, dy = moved_x - mean_x[codes], moved_y - mean_y[codes]
        tiny = float(np.max(moved_x**2)) * _NOTHING, float(np.max(moved_y**2)) * _NOTHING
        return _Moments(
            mean_x, mean_y, total(dx * dx), total(dy * dy), total(dx * dy), total(np.abs(x - y)), x[0] - y[0], tiny
        )

    def metrics(self, drawn: Floats, weights: Floats, n: Floats) -> tuple[Floats, Floats, Floats, Bools]:
        """CCC, Pearson, MAE [B] of draws [B,G], and whether the truth varies in them; weights [B,G] are rows, n [B]
        their sum."""
        mean_x, mean_y = weights @ self.mean_x / n, weights @ self.mean_y / n
        dx, dy = self.mean_x - mean_x[:, None], self.mean_y - mean_y[:, None]
        weighted_x = weights * dx
        var_x = (drawn @ self.xx + np.einsum("bg,bg->b", weighted_x, dx)) / n
        var_y = (drawn @ self.yy + np.einsum("bg,bg,bg->b", weights, dy, dy)) / n
        cov = (drawn @ self.xy + np.einsum("bg,bg->b", weighted_x, dy)) / n
        varied = (var_x > self.tiny[0]) & (var_y > self.tiny[1])
        cov = np.where(varied, cov, 0.0)
        spread = np.where(var_x > self.tiny[0], var_x, 0) + np.where(var_y > self.tiny[1], var_y, 0)
        spread = spread + (mean_x - mean_y + self.offset) ** 2
        ccc = np.divide(2 * cov, spread, out=np.ones_like(n), where=spread > 0)
        pearson = np.divide(cov, np.sqrt(var_x * var_y), out=np.zeros_like(n), where=varied)
        return ccc, np.clip(pearson, -1, 1), drawn @ self.errors / n, var_x > self.tiny[0]


def _of_classes(task: Task, truth: Floats, predicted: NDArray[np.intp], codes: Codes, groups: int) -> Measure:
    k = task.outputs
    confusion(truth, predicted, k)  # refuses what is no class
    place = (codes * k + truth.astype(np.intp)) * k + predicted
    cells = np.bincount(place, minlength=groups * k * k).reshape(groups, k * k).astype(np.float64)
    occurs = counted(task, truth)

    def of_draws(drawn: Floats) -> dict[str, Floats]:
        table = (drawn @ cells).reshape(-1, k, k)
        right = np.einsum("bkk->bk", table)
        support = table.sum(axis=2)
        f1 = _share(2 * right, support + table.sum(axis=1))
        uar = _share(right, support).sum(axis=1) / (support > 0).sum(axis=1)
        war = right.sum(axis=1) / support.sum(axis=1)
        found = _counting("macro-f1", "f1", task, f1, support > 0, occurs)
        return {"macro-f1": found["macro-f1"], "uar": uar, "war": war} | found

    return of_draws


def _of_labels(task: Task, truth: Floats, predicted: NDArray[np.bool_], codes: Codes, groups: int) -> Measure:
    def total(values: NDArray[np.generic]) -> Floats:
        return np.stack([np.bincount(codes, column, groups) for column in values.T], axis=1)

    both, either, support = total(truth * predicted), total(truth + predicted), total(truth)
    occurs = counted(task, truth)

    def of_draws(drawn: Floats) -> dict[str, Floats]:
        f1 = _share(2 * (drawn @ both), drawn @ either)
        return _counting("binary-f1", "f1", task, f1, drawn @ support > 0, occurs)

    return of_draws


def _counting(mean: str, prefix: str, task: Task, values: Floats, here: Bools, known: Bools) -> dict[str, Floats]:
    """The mean over the targets [B] under `mean`, and each target's own values [B] under `prefix`. values [B,K]; here
    [B,K] what counts in each draw; known [K] what counts in all the rows."""
    kept = here & known
    count = kept.sum(axis=1)
    average = np.divide(
        np.where(kept, values, 0).sum(axis=1), count, out=np.full(len(values), np.nan), where=count > 0
    )  # fmt: skip
    others = values[:, ~known].sum(axis=1)
    whole = (others + known.sum() * average) / values.shape[1] if known.any() else values.mean(axis=1)
    return {mean: np.asarray(whole), **_named(prefix, task, np.where(here | ~known, values, np.nan))}


def _named(prefix: str, task: Task, values: Floats) -> dict[str, Floats]:
    return {f"{prefix}/{target}": column for target, column in zip(task.targets, values.T, strict=True)}


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
