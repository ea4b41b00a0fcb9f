"""How sure a score is: intervals and paired differences by resampling whole clusters (clips or subjects).

Rows of one clip resemble each other, so a bootstrap over rows would promise far too much. Here G clusters are drawn
with replacement out of G, each with all its rows, and the pooled metrics of `affectkit.metrics` are taken again. They
are computed from what each cluster contributes (its moments, or its counts), not from the rows, and equal
`metrics.score` on the concatenated rows of a draw.

Intervals are percentile intervals, widened for few clusters (Hesterberg 2015, "What teachers should know about the
bootstrap": expanded percentiles): the tail is Phi(-sqrt(G/(G-1)) t) with Student's quantile t of G-1 degrees of
freedom. On simulated clips a 95 % interval of CCC covers the truth in 89, 94 and 94 % with 8, 20 and 50 clips (84, 93
and 93 % without widening; BCa does no better).

Shapes: N rows, K targets or classes, G clusters, B draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.metrics import THRESHOLD, confusion, score
from affectkit.tasks import Task
from affectkit.types import Floats

FEW = 8
SPARSE = 5  # clusters: a class in fewer is missing from about one draw in e^5, or more
_CELLS = 1 << 20  # counts of a chunk of draws: stays in the processor's cache, near enough
_NOTHING = 1e-26  # a variance below this share of the values' square is rounding

Codes = NDArray[np.intp]
Measure = Callable[[Floats], dict[str, Floats]]
"""Metrics {name: [B]} of draws given as counts [B,G]: how often each cluster was drawn."""


class Difference(NamedTuple):
    """A system's metric less another's, on the same rows: its interval, and the two-sided p of no difference."""

    difference: float
    low: float
    high: float
    p: float


def interval(
    task: Task, truth: ArrayLike, scores: ArrayLike, clusters: ArrayLike, *,
    draws: int = 1000, seed: int = 0, level: float = 0.95,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """(low, high) of every metric that `metrics.score` gives, by its name; empty with one cluster.

    truth [N,K] (multiclass: [N,1] or [N]) and scores [N,K] are valid rows as for `metrics.score`; clusters [N] names
    the clip or the subject of each row.

    >>> from affectkit import tasks
    >>> truth = np.linspace(-1, 1, 400).reshape(200, 2) ** 3
    >>> found = interval(tasks.get("va"), truth, truth + 0.1, np.arange(200) // 10)
    >>> low, high = found["ccc/valence"]
    >>> low < score(tasks.get("va"), truth, truth + 0.1)["ccc/valence"] < high
    True
    """
    codes, groups = _codes(clusters)
    if groups < 2:
        return {}
    drawn = _drawn([_measure(task, truth, scores, codes, groups)], groups, draws, seed)[0]
    return {name: _bounds(values, groups, level) for name, values in drawn.items()}


def paired(
    task: Task, truth: ArrayLike, a: ArrayLike, b: ArrayLike, clusters: ArrayLike, *,
    draws: int = 1000, seed: int = 0, level: float = 0.95,
) -> dict[str, Difference]:  # fmt: skip
    """What system `a` is above system `b` in every metric; empty with one cluster.

    a, b [N,K] are scores of the same rows. Each draw takes the same clusters for both, so what makes a clip hard for
    both cancels. p < 1 - level just when the interval leaves out 0.

    >>> from affectkit import tasks
    >>> truth, clips = np.random.default_rng(0).normal(size=(400, 2)), np.arange(400) // 20
    >>> noise = np.random.default_rng(1).normal(size=(400, 2))
    >>> found = paired(tasks.get("va"), truth, truth + noise, truth + 2 * noise, clips)["ccc"]
    >>> found.low > 0, found.p < 0.01
    (True, True)
    """
    codes, groups = _codes(clusters)
    if groups < 2:
        return {}
    one, other = (_measure(task, truth, scores, codes, groups) for scores in (a, b))
    drawn_one, drawn_other = _drawn([one, other], groups, draws, seed)
    values_one, values_other = score(task, truth, a), score(task, truth, b)
    found = {}
    for name, value in values_one.items():
        gaps = drawn_one[name] - drawn_other[name]
        gap = value - values_other[name]
        found[name] = Difference(gap, *_bounds(gaps, groups, level), _two_sided(gaps, groups))
    return found


def holm(p: Iterable[float]) -> list[float]:
    """p values of several comparisons, adjusted so that one of them is wrong no more often than a single one (Holm
    1979).

    >>> [round(one, 3) for one in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(list(p), np.float64)
    order = np.argsort(given, kind="stable")
    adjusted = np.empty(len(given))
    factors = np.arange(len(given), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return [float(one) for one in adjusted]


def cautions(task: Task, truth: ArrayLike, clusters: ArrayLike, noun: str = "clip") -> list[str]:
    """Why the intervals of these rows say less than they seem to, one sentence each; none if they are sound.

    >>> from affectkit import tasks
    >>> cautions(tasks.get("va"), [[0, 1], [1, 0]], ["a", "b"])
    ['2 clips only: the intervals are rough below 8']
    """
    codes, groups = _codes(clusters)
    if groups < 2:
        return [f"one {noun} only: no interval"]
    found = [f"{groups} {noun}s only: the intervals are rough below {FEW}"] if groups < FEW else []
    if task.kind == "regression":
        return found
    here = np.asarray(truth, np.float64).reshape(len(codes), -1)
    if task.kind == "multiclass":
        here = here == np.arange(task.outputs)
    spread = [len(np.unique(codes[column > 0])) for column in here.T]
    rare = [f"{name} ({n})" for name, n in zip(task.targets, spread, strict=True) if 0 < n < SPARSE]
    if rare:
        found.append(f"in fewer than {SPARSE} {noun}s, so their F1 is hardly known: {', '.join(rare)}")
    return found


def counts(groups: int, draws: int, seed: int) -> Iterator[Floats]:
    """The draws, in chunks [b,G]: how often each of the clusters is drawn, G in all in every line.

    >>> [chunk.sum(axis=1).tolist() for chunk in counts(3, 2, seed=0)]
    [[3.0, 3.0]]
    """
    random = np.random.default_rng(seed)
    size = max(1, _CELLS // groups)
    for first in range(0, draws, size):
        lines = min(size, draws - first)
        chosen = random.integers(groups, size=(lines, groups)) + groups * np.arange(lines)[:, None]
        yield np.bincount(chosen.ravel(), minlength=lines * groups).reshape(lines, groups).astype(np.float64)


def _drawn(measures: list[Measure], groups: int, draws: int, seed: int) -> list[dict[str, Floats]]:
    """{metric: [B]} of each measure, on the same draws."""
    parts: list[list[dict[str, Floats]]] = [[] for _ in measures]
    for chunk in counts(groups, draws, seed):
        for part, measure in zip(parts, measures, strict=True):
            part.append(measure(chunk))
    return [{name: np.concatenate([one[name] for one in part]) for name in part[0]} for part in parts]


def _measure(task: Task, truth: ArrayLike, scores: ArrayLike, codes: Codes, groups: int) -> Measure:
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
    targets = [_Moments.of(x[:, k], y[:, k], codes, rows) for k in range(x.shape[1])]

    def measure(drawn: Floats) -> dict[str, Floats]:
        weights = drawn * rows
        each = [one.metrics(drawn, weights, weights.sum(axis=1)) for one in targets]
        found: dict[str, Floats] = {}
        for place, name in enumerate(("ccc", "pearson", "mae")):
            values = [one[place] for one in each]
            found[name] = np.mean(values, axis=0)
            found |= {f"{name}/{target}": column for target, column in zip(task.targets, values, strict=True)}
        return found

    return measure


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

    def metrics(self, drawn: Floats, weights: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
        """CCC, Pearson, MAE [B] of draws [B,G]; weights [B,G] are rows, n [B] their sum."""
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
        return ccc, np.clip(pearson, -1, 1), drawn @ self.errors / n


def _of_classes(task: Task, truth: Floats, predicted: NDArray[np.intp], codes: Codes, groups: int) -> Measure:
    k = task.outputs
    confusion(truth, predicted, k)  # refuses what is no class
    place = (codes * k + truth.astype(np.intp)) * k + predicted
    cells = np.bincount(place, minlength=groups * k * k).reshape(groups, k * k).astype(np.float64)

    def measure(drawn: Floats) -> dict[str, Floats]:
        table = (drawn @ cells).reshape(-1, k, k)
        right = np.einsum("bkk->bk", table)
        support = table.sum(axis=2)
        f1 = _share(2 * right, support + table.sum(axis=1))
        uar = _share(right, support).sum(axis=1) / (support > 0).sum(axis=1)
        war = right.sum(axis=1) / support.sum(axis=1)
        return {"macro-f1": f1.mean(axis=1), "uar": uar, "war": war, **_named(task, f1)}

    return measure


def _of_labels(task: Task, truth: Floats, predicted: NDArray[np.bool_], codes: Codes, groups: int) -> Measure:
    def total(values: NDArray[np.generic]) -> Floats:
        return np.stack([np.bincount(codes, column, groups) for column in values.T], axis=1)

    both, either = total(truth * predicted), total(truth + predicted)

    def measure(drawn: Floats) -> dict[str, Floats]:
        f1 = _share(2 * (drawn @ both), drawn @ either)
        return {"binary-f1": f1.mean(axis=1), **_named(task, f1)}

    return measure


def _named(task: Task, f1: Floats) -> dict[str, Floats]:
    return {f"f1/{target}": column for target, column in zip(task.targets, f1.T, strict=True)}


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


def _codes(clusters: ArrayLike) -> tuple[Codes, int]:
    """The cluster of each row as a number [N], and how many there are. Rows of a cluster mostly come in one run, so
    names are sorted by run."""
    names = np.asarray(clusters)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
    distinct, code = np.unique(names[starts], return_inverse=True)
    return np.repeat(code, np.diff(np.r_[starts, len(names)])), len(distinct)


def _bounds(values: Floats, groups: int, level: float) -> tuple[float, float]:
    tail = _tail((1 - level) / 2, groups)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _tail(nominal: float, groups: int) -> float:
    """The percentile that keeps a nominal tail with few clusters."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(math.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, nominal)))


def _two_sided(gaps: Floats, groups: int) -> float:
    """The p of no difference: the widest interval, as `_tail` makes them, that just leaves out 0. Where 0 is beyond
    every draw, its place is read off the normal curve through the draws."""
    from scipy.special import ndtr, ndtri, stdtr

    fewer = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    share = min(0.5, (1 + fewer) / (len(gaps) + 1))
    if not fewer:
        deviation = float(gaps.std())
        share = min(share, float(ndtr(-abs(float(gaps.mean())) / deviation)) if deviation > 0 else 0.0)
    return float(2 * stdtr(groups - 1, ndtri(share) / math.sqrt(groups / (groups - 1))))
