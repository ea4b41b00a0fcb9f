"""Macro F1, UAR and WAR of many weighted sums at once, from counts alone.

Weights that are not negative and sum to 1 leave a sum between the least and the largest score of the models. So most
rows have classes that can never win, and some have one that always does: these are counted once and for all. Only the
others are gone through for each draw, and of each only the classes that may win, in blocks of rows that have these and
the pattern of missing scores in common. The counts, and so the scores, are those of `metrics.main` on `weighted` rows,
bit for bit.

Binary F1 of many weighted sums at once, from counts alone: each label by itself. A row whose models
lie all above or all below the threshold is counted once and for all.

CCC and Pearson of many weighted sums at once, from means and covariances instead of rows.

Of a weighted sum y = sum_m w_m s_m of the models' scores, the mean is w'mu and the variance w'Cw, and its covariance
with the truth is w'c. Rows with missing scores have other weights, the same ones under one pattern of missing scores;
so the moments are kept a pattern, and those of all rows follow from those within the patterns and the means between
them (each of them centred, so that nothing cancels).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.fusers._weighting import patterns, renormalised
from affectkit.metrics import THRESHOLD
from affectkit.types import Bools, Floats

Counts = NDArray[np.int64]
_MARGIN = 1e-9  # of the largest score: far above what rounding moves a weighted sum by
_BLOCK_CELLS = 1 << 21  # weights expanded at a time
_DRAWS = 256  # that a thread counts at a time: their weights stay in a second-level cache


def bounds(scores: Floats) -> tuple[Floats, Floats, float]:
    """Least and largest score of the models, and how far apart two must be for rounding not to matter."""
    least, largest = np.fmin.reduce(scores, axis=0), np.fmax.reduce(scores, axis=0)  # of those that are no NaN
    return least, largest, _MARGIN * max(1.0, float(np.abs(least).max()), float(np.abs(largest).max()))


@dataclass(frozen=True)
class Blocks:
    """Rows in blocks of one key each: the `order` [N] that they are taken in, the `block` and the `slot` in it that
    each of them then has; of each block the `first` of its rows [T], in the old order, and how many it has."""

    order: NDArray[np.intp]
    block: NDArray[np.intp]
    slot: NDArray[np.intp]
    first: NDArray[np.intp]
    rows: NDArray[np.intp]

    @staticmethod
    def of(*keys: NDArray[np.intp]) -> Blocks:
        """keys [N] each."""
        from affectkit.fusers._kernels import BLOCK

        order = np.lexsort(keys[::-1])
        new = np.ones(len(order), bool)
        new[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
        place = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]  # within the rows of one key
        slot = place % BLOCK
        block = np.cumsum(slot == 0) - 1
        return Blocks(order, block, slot, order[slot == 0], np.bincount(block))


def chunk(cells: int) -> int:
    """Draws to take at a time where each has as many weights over all patterns of missing scores."""
    return int(np.clip(_BLOCK_CELLS // cells, 1, 32 * _DRAWS))


def in_threads(work: Callable[[slice], None], draws: int) -> None:
    """Do the work on all draws; each thread takes the next few when it is done with its last."""
    threads = len(os.sched_getaffinity(0))
    step = max(1, min(_DRAWS, -(-draws // threads)))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [slice(first, first + step) for first in range(0, draws, step)]))


def share(part: Counts, whole: Counts) -> Floats:
    """part / whole, and 0 where whole is; in an array of its own, whose rows sum as `metrics` sums them."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


class Winners:
    """Scores weight matrices [D,M,K] for classes by `macro-f1`, `uar` or `war`."""

    slack = 0.0

    def __init__(self, metric: str, scores: Floats, truth: Floats) -> None:
        """scores [M,N,K] (NaN = missing), truth [N,1] class indices."""
        self._metric = MEASURES[metric]
        self._models, rows, self._classes = scores.shape
        classes = truth.reshape(rows).astype(np.intp)
        self._support = np.bincount(classes, minlength=self._classes)
        self._present, pattern = patterns(scores)
        self.chunk = chunk(self._present.size)
        may_win = may_win_of(scores)
        decided = may_win.sum(axis=1) == 1
        winner = may_win[decided].argmax(axis=1)
        right = winner[winner == classes[decided]]
        self._base = np.array([np.bincount(found, minlength=self._classes) for found in (winner, right)])
        self._parts = list(_parts(scores, classes, pattern, may_win, np.flatnonzero(~decided)))

    @property
    def rows(self) -> int:
        """How many rows each draw goes through."""
        return sum(int(part.rows.sum()) for part in self._parts)

    def __call__(self, weights: Floats) -> Floats:
        """[D,M,K] -> [D]."""
        return self._metric(self.counts(weights), self._support)

    def counts(self, weights: Floats) -> Counts:
        """[D,2,K] rows that each class wins, and those of them that it is right for."""
        from affectkit.fusers._kernels import winners

        shared = np.ascontiguousarray(renormalised(weights, self._present))
        total = np.tile(self._base, (len(weights), 1, 1))
        counted = [(winners(self._models, part.classes.shape[1]), part) for part in self._parts]

        def work(draws: slice) -> None:
            for count, part in counted:
                count(part.blocks, part.classes, part.truth, part.pattern, part.rows, shared[draws], total[draws])

        in_threads(work, len(weights))
        return total


@dataclass(frozen=True)
class _Part:
    """Blocks of rows with as many classes that may win, as `_kernels.winners` takes them."""

    blocks: Floats
    classes: NDArray[np.intp]
    truth: NDArray[np.uint64]
    pattern: NDArray[np.intp]
    rows: NDArray[np.intp]


def _parts(
    scores: Floats, truth: NDArray[np.intp], pattern: NDArray[np.intp], may_win: Bools, rows: NDArray[np.intp]
) -> Iterator[_Part]:
    """The rows [R] in blocks, one part for each number of classes."""
    from affectkit.fusers._kernels import BLOCK, truth_codes

    models = len(scores)
    _, first, which = np.unique(np.packbits(may_win[rows], axis=1), axis=0, return_index=True, return_inverse=True)
    lists = [_filled_up(may_win[rows[one]]) for one in first]  # of each set of classes
    widths = np.array([len(one) for one in lists], np.intp)
    _, same = np.unique([str(one) for one in lists], return_inverse=True)  # sets that are one, once filled up
    which = which.reshape(-1)
    for width in np.unique(widths).tolist():
        own = np.flatnonzero(widths[which] == width)
        listed = np.array([lists[one] for one in which[own]]).reshape(-1, width)  # [R,C]
        place = Blocks.of(same[which[own]], pattern[rows[own]])
        blocks = np.zeros((len(place.first), models * width, BLOCK))
        for model in range(models):
            values = np.nan_to_num(np.take_along_axis(scores[model, rows[own]], listed, axis=1))
            blocks[place.block, model * width : (model + 1) * width, place.slot] = values[place.order]
        hits = listed == truth[rows[own], None]
        where = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
        codes = np.zeros((len(place.first), BLOCK), np.uint64) + truth_codes(np.array([-1]), width)
        codes[place.block, place.slot] = truth_codes(where, width)[place.order]
        yield _Part(blocks, listed[place.first], codes, pattern[rows[own]][place.first], place.rows)


def may_win_of(scores: Floats) -> Bools:
    """[N,K] the classes that win with some weights: those that can reach what another has at least. scores [M,N,K]."""
    least, largest, margin = bounds(scores)
    return np.asarray(largest >= least.max(axis=1, keepdims=True) - margin)


def _filled_up(may_win: Bools) -> list[int]:
    """The classes of a set [K], rising, with others to make their number even: half as many numbers to compile for."""
    own = np.flatnonzero(may_win).tolist()
    others = np.flatnonzero(~may_win).tolist()
    return sorted(own + others[: len(own) % 2])


def _macro_f1(counts: Counts, support: Counts) -> Floats:
    return share(2 * counts[:, 1], counts[:, 0] + support).mean(axis=1)


def _uar(counts: Counts, support: Counts) -> Floats:
    there = support > 0
    return np.ascontiguousarray(counts[:, 1, there] / support[there]).mean(axis=1)  # memory's order is that of the sum


def _war(counts: Counts, support: Counts) -> Floats:
    return counts[:, 1].sum(axis=1) / support.sum()


MEASURES: dict[str, Callable[[Counts, Counts], Floats]] = {"macro-f1": _macro_f1, "uar": _uar, "war": _war}
"""Of counts [D,2,K] (rows that each class wins, those it is right for) and support [K]: the metric [D]."""


class Labels:
    """Scores weight matrices [D,M,K] for labels by `binary-f1`; each label is counted by itself."""

    slack = 0.0

    def __init__(self, scores: Floats, truth: Floats) -> None:
        """scores [M,N,K] (NaN = missing), truth [N,K] of 0 and 1."""
        from affectkit.fusers._kernels import BLOCK

        self.models, _, self.labels = scores.shape
        labelled = truth > 0
        self._support = labelled.sum(axis=0)
        self._base = np.zeros((self.labels, 2), np.int64)
        self._present, parts = [], []
        for label in range(self.labels):
            present, which = patterns(scores[:, :, [label]])
            self._present.append(present)
            there, decided = _decided_labels(scores[:, :, label])
            self._base[label] = np.bincount(labelled[decided & there, label], minlength=2)
            keep = ~decided
            kept = np.nan_to_num(scores[:, keep, label]).T
            parts.append((kept, np.full(len(kept), label), labelled[keep, label].astype(np.intp), which[keep]))
        self.chunk = chunk(self.labels * max(part.size for part in self._present))
        values, *keys = (np.concatenate(part) for part in zip(*parts, strict=True))
        place = Blocks.of(*keys)
        self._blocks = np.zeros((len(place.first), self.models, BLOCK))
        self._blocks[place.block, :, place.slot] = values[place.order]
        self._keys = [np.ascontiguousarray(key[place.first]) for key in keys]

    def __call__(self, weights: Floats) -> Floats:
        """[D,M,K] -> [D]."""
        hits = self.hits(weights)
        either = hits.sum(axis=2) + self._support
        return share(2 * hits[..., 1], either).mean(axis=1)

    def hits(self, weights: Floats) -> Counts:
        """Counts [D,K,2] of rows that are given the label: those without it in truth, and those with it."""
        from affectkit.fusers._kernels import present

        widest = max(len(patterns) for patterns in self._present)
        shares = np.zeros((len(weights), self.labels, widest, self.models))
        for label, there in enumerate(self._present):
            shares[:, label, : len(there)] = renormalised(weights[:, :, [label]], there)[..., 0]
        count, total = present(self.models), np.tile(self._base, (len(weights), 1, 1))
        in_threads(lambda d: count(self._blocks, *self._keys, shares[d], total[d], THRESHOLD), len(weights))
        return total


def _decided_labels(scores: Floats) -> tuple[Bools, Bools]:
    """Whether a label [N] is given, and whether that holds whatever the weights. scores [M,N]."""
    least, largest, margin = bounds(scores)
    return least > THRESHOLD, (least > THRESHOLD + margin) | (largest < THRESHOLD - margin)


_CELLS = 1 << 20  # weights expanded at a time


class Moments:
    """Scores weight matrices [D,M,K] by the mean over the targets of CCC or Pearson. Right to about 1e-12."""

    slack = 1e-10

    def __init__(self, metric: str, scores: Floats, truth: Floats) -> None:
        """metric `ccc` or `pearson`; scores [M,N,K] (NaN = missing), truth [N,K]."""
        self._metric = {"ccc": _ccc, "pearson": _pearson}[metric]
        self._targets = [_Target.of(scores[:, :, [k]], truth[:, k]) for k in range(scores.shape[2])]
        widest = max(len(target.present) for target in self._targets)
        self.chunk = max(1, _CELLS // (widest * len(scores) ** 2))

    def __call__(self, weights: Floats) -> Floats:
        """[D,M,K] -> [D]."""
        return np.mean([self._metric(*one.moments(weights[:, :, [k]])) for k, one in enumerate(self._targets)], axis=0)

    def of_targets(self) -> list[Callable[[Floats], Floats]]:
        """Of each target by itself: weights [D,M] -> [D]."""

        def of(target: _Target) -> Callable[[Floats], Floats]:
            return lambda weights: self._metric(*target.moments(weights[:, :, None]))

        return [of(target) for target in self._targets]


@dataclass(frozen=True)
class _Target:
    """One target's moments under each of P patterns: present [P,M,1], share of the rows [P]; means of the models [P,M]
    and of the truth [P]; covariances of the models [P,M,M] and with the truth [P,M]; all the truth's own variance."""

    present: Bools
    share: Floats
    means: Floats
    truth_means: Floats
    covariances: Floats
    with_truth: Floats
    truth_variance: float

    @staticmethod
    def of(scores: Floats, truth: Floats) -> _Target:
        """scores [M,N,1], truth [N]."""
        present, which = patterns(scores)
        origin = truth[0]
        x, y = np.where(np.isfinite(scores), scores - origin, 0.0)[:, :, 0], truth - origin
        found = [_within(x[:, rows], y[rows]) for rows in (which == p for p in range(len(present)))]
        means, truth_means, covariances, with_truth = (np.array(part) for part in zip(*found, strict=True))
        centred = y - y.mean()
        share = np.bincount(which, minlength=len(present)) / len(y)
        return _Target(present, share, means, truth_means, covariances, with_truth, float(np.mean(centred * centred)))

    def moments(self, weights: Floats) -> tuple[Floats, Floats, Floats, float]:
        """Of each weighted sum, [D]: mean less the truth's, variance, covariance with the truth; the truth's variance.
        weights [D,M,1]."""
        w = renormalised(weights, self.present)[..., 0]  # [D,P,M]
        inner = (np.einsum("dpm,pml->dpl", w, self.covariances) * w).sum(axis=2) @ self.share
        joint = np.einsum("dpm,pm->dp", w, self.with_truth) @ self.share
        means = np.einsum("dpm,pm->dp", w, self.means)
        mean, truth_mean = means @ self.share, float(self.truth_means @ self.share)
        apart, truth_apart = means - mean[:, None], self.truth_means - truth_mean
        variance, covariance = inner + apart**2 @ self.share, joint + apart @ (self.share * truth_apart)
        return mean - truth_mean, variance, covariance, self.truth_variance


def _within(x: Floats, y: Floats) -> tuple[Floats, float, Floats, Floats]:
    """Means and covariances of models x [M,N] and truth y [N]. Counted from the first row, so that a constant deviates
    by exactly 0."""
    first, moved = x[:, :1], x - x[:, :1]
    mean = moved.mean(axis=1, keepdims=True)
    x, offset = moved - mean, y[0]
    y = y - offset
    y_mean = y.mean()
    return (first + mean)[:, 0], float(offset + y_mean), x @ x.T / len(y), x @ (y - y_mean) / len(y)


def _ccc(apart: Floats, variance: Floats, covariance: Floats, truth: float) -> Floats:
    spread = variance + truth + apart**2
    return np.divide(2 * covariance, spread, out=np.ones_like(spread), where=spread > 0)


def _pearson(apart: Floats, variance: Floats, covariance: Floats, truth: float) -> Floats:
    spread = np.sqrt(variance * truth)
    return np.clip(np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0), -1, 1)
