"""How sure a score is: intervals and paired differences by resampling whole clusters (clips or subjects).

Rows of one clip resemble each other, so a bootstrap over rows would promise far too much. Here G clusters are drawn
with replacement out of G, each with all its rows, and the pooled metrics of `affectkit.metrics` are taken again. They
are computed by `drawn_metrics` from what each cluster contributes (its moments, or its counts), not from the rows, and
equal `metrics.score` on the concatenated rows of a draw in which every class occurs. A class without rows in a draw
does not count there: it is no class that was recognised in 0 % of its rows.

Intervals are percentile intervals, widened for few clusters (Hesterberg 2015, "What teachers should know about the
bootstrap": expanded percentiles): the tail is Phi(-sqrt(G/(G-1)) t) with Student's quantile t of G-1 degrees of
freedom. What is of one class has as many clusters as have a row of it. An interval reaches to its own score at least.
On simulated clips a 95 % interval of CCC covers the truth in 89, 94 and 94 % with 8, 20 and 50 clips (84, 93
and 93 % without widening; BCa does no better). Of macro F1 with classes in one to five of 24 to 100 clips it does in 94
to 99 % (81 to 95 % where absent classes count as 0).

Shapes: N rows, K targets or classes, G clusters, B draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from affectkit.drawn_metrics import Codes, Measure
from affectkit.drawn_metrics import measure as _measure
from affectkit.metrics import score
from affectkit.tasks import Task
from affectkit.types import Floats

FEW = 8
SPARSE = 5  # clusters: a class in fewer is missing from about one draw in e^5, or more
_CELLS = 1 << 20  # counts of a chunk of draws: stays in the processor's cache, near enough


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
    the clip or the subject of each row. The F1 of a class that one cluster alone has is left out: there is no telling
    how it is in others.

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
    own, informed = score(task, truth, scores), _informed(task, truth, codes, groups)
    return {
        name: _bounds(there, own[name], informed.get(name, groups), level)
        for name, values in drawn.items()
        if len(there := values[np.isfinite(values)]) and informed.get(name, groups) > 1
    }


def paired(
    task: Task, truth: ArrayLike, a: ArrayLike, b: ArrayLike, clusters: ArrayLike, *,
    draws: int = 1000, seed: int = 0, level: float = 0.95,
) -> dict[str, Difference]:  # fmt: skip
    """What system `a` is above system `b` in every metric that `interval` has one of; empty with one cluster.

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
    informed = _informed(task, truth, codes, groups)
    found = {}
    for name, value in values_one.items():
        gaps, own = drawn_one[name] - drawn_other[name], informed.get(name, groups)
        there, gap = gaps[np.isfinite(gaps)], value - values_other[name]
        if len(there) and own > 1:
            found[name] = Difference(gap, *_bounds(there, gap, own, level), _two_sided(there, gap, own))
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
    spread = {name: n for name, n in zip(task.targets, _spread(task, truth, codes), strict=True) if 0 < n < SPARSE}
    if spread:
        rare = ", ".join(f"{name} ({n})" for name, n in spread.items())
        found.append(f"in fewer than {SPARSE} {noun}s, so their F1 is hardly known: {rare}")
        absent = ", ".join(f"{name} ({100 * (1 - n / groups) ** groups:.0f} %)" for name, n in spread.items())
        found.append(f"of each class the draws that have no row of it do not count: {absent}")
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


def _codes(clusters: ArrayLike) -> tuple[Codes, int]:
    """The cluster of each row as a number [N], and how many there are. Rows of a cluster mostly come in one run, so
    names are sorted by run."""
    names = np.asarray(clusters)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
    distinct, code = np.unique(names[starts], return_inverse=True)
    return np.repeat(code, np.diff(np.r_[starts, len(names)])), len(distinct)


def _spread(task: Task, truth: ArrayLike, codes: Codes) -> list[int]:
    """Of each class or label, how many clusters have a row of it."""
    here = np.asarray(truth, np.float64).reshape(len(codes), -1)
    if task.kind == "multiclass":
        here = here == np.arange(task.outputs)
    return [len(np.unique(codes[column > 0])) for column in here.T]


def _informed(task: Task, truth: ArrayLike, codes: Codes, groups: int) -> dict[str, int]:
    """How many clusters say something of a metric, where that is not all of them."""
    if task.kind == "regression":
        return {}
    spread = zip(task.targets, _spread(task, truth, codes), strict=True)
    return {f"f1/{target}": count or groups for target, count in spread}


def _bounds(values: Floats, own: float, groups: int, level: float) -> tuple[float, float]:
    """The percentiles of the draws, and `own`, the value of all rows, within."""
    tail = _tail((1 - level) / 2, groups)
    low, high = np.quantile(values, [tail, 1 - tail])
    return min(float(low), own), max(float(high), own)


def _tail(nominal: float, groups: int) -> float:
    """The percentile that keeps a nominal tail with few clusters."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(math.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, nominal)))


def _two_sided(gaps: Floats, own: float, groups: int) -> float:
    """The p of no difference: the widest interval, as `_tail` makes them, that just leaves out 0. Where 0 is beyond
    every draw, its place is read off the normal curve through the draws. No interval leaves out 0 where `own`, the
    difference on all rows, lies on the other side of it than the draws do."""
    from scipy.special import ndtr, ndtri, stdtr

    if own * float(np.median(gaps)) <= 0:
        return 1.0
    fewer = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    share = min(0.5, (1 + fewer) / (len(gaps) + 1))
    if not fewer:
        deviation = float(gaps.std())
        share = min(share, float(ndtr(-abs(float(gaps.mean())) / deviation)) if deviation > 0 else 0.0)
    return float(2 * stdtr(groups - 1, ndtri(share) / math.sqrt(groups / (groups - 1))))
