"""Macro F1, UAR, WAR and binary F1 of many weighted sums at once, from counts alone.

Rows are sorted by class and pattern of missing scores, so that a block of them counts towards one row of the confusion
matrix. Weights that are not negative and sum to 1 leave a sum between the least and the largest score of the models: a
row whose winner follows from that is counted once and for all, and only the others are gone through for each draw. The
counts, and so the scores, are those of `metrics.main` on `weighted` rows, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from affectkit.fusers._weighting import patterns, renormalised
from affectkit.metrics import THRESHOLD
from affectkit.types import Bools, Floats

Counts = NDArray[np.int64]
_MARGIN = 1e-9  # of the largest score: far above what rounding moves a weighted sum by
_DRAWS = 512  # whose weights stay in a second-level cache


class Winners:
    """Scores weight matrices [D,M,K] for classes by `macro-f1`, `uar` or `war`."""

    slack, chunk = 0.0, _DRAWS

    def __init__(self, metric: str, scores: Floats, truth: Floats) -> None:
        """scores [M,N,K] (NaN = missing), truth [N,1] class indices."""
        self._metric: Callable[[Counts], Floats] = {"macro-f1": _macro_f1, "uar": _uar, "war": _war}[metric]
        self.models, rows, self.classes = scores.shape
        classes = truth.reshape(rows).astype(np.intp)
        self._present, which = patterns(scores)
        winner, decided = _decided_winners(scores)
        cells = classes[decided] * self.classes + winner[decided]
        self._base = np.bincount(cells, minlength=self.classes**2).reshape(self.classes, self.classes)
        keep = ~decided
        kept = np.moveaxis(np.nan_to_num(scores[:, keep]), 1, 0)
        self._blocks, (self._truth, self._pattern), self._rows = _blocks(
            kept.reshape(-1, self.models * self.classes), classes[keep], which[keep]
        )

    def __call__(self, weights: Floats) -> Floats:
        """[D,M,K] -> [D]."""
        return self._metric(self.confusions(weights))

    def confusions(self, weights: Floats) -> Counts:
        """Counts [D,K,K] of rows with the class of the line and the winner of the column."""
        from affectkit.fusers._kernels import winners

        count, shares = winners(self.models, self.classes), np.ascontiguousarray(renormalised(weights, self._present))
        blocks = (self._blocks, self._truth, self._pattern, self._rows)
        return self._base + _in_threads(
            lambda first, last, out: count(first, last, *blocks, shares, out),
            len(self._blocks), (len(weights), self.classes, self.classes),
        )  # fmt: skip


class Labels:
    """Scores weight matrices [D,M,K] for labels by `binary-f1`; each label is counted by itself."""

    slack, chunk = 0.0, _DRAWS

    def __init__(self, scores: Floats, truth: Floats) -> None:
        """scores [M,N,K] (NaN = missing), truth [N,K] of 0 and 1."""
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
        values, *keys = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._blocks, self._keys, _ = _blocks(values, *keys)

    def __call__(self, weights: Floats) -> Floats:
        """[D,M,K] -> [D]."""
        hits = self.hits(weights)
        either = hits.sum(axis=2) + self._support
        return _share(2 * hits[..., 1], either).mean(axis=1)

    def hits(self, weights: Floats) -> Counts:
        """Counts [D,K,2] of rows that are given the label: those without it in truth, and those with it."""
        from affectkit.fusers._kernels import present

        widest = max(len(patterns) for patterns in self._present)
        shares = np.zeros((len(weights), self.labels, widest, self.models))
        for label, there in enumerate(self._present):
            shares[:, label, : len(there)] = renormalised(weights[:, :, [label]], there)[..., 0]
        count = present(self.models)
        return self._base + _in_threads(
            lambda first, last, out: count(first, last, self._blocks, *self._keys, shares, out, THRESHOLD),
            len(self._blocks), (len(weights), self.labels, 2),
        )  # fmt: skip


def _decided_winners(scores: Floats) -> tuple[NDArray[np.intp], Bools]:
    """The class [N] whose least score is largest, and whether it wins whatever the weights. scores [M,N,K]."""
    least, largest, margin = _bounds(scores)
    winner = least.argmax(axis=1)
    each = np.arange(len(winner))
    floor = least[each, winner]
    largest[each, winner] = -np.inf
    return winner, floor > largest.max(axis=1) + margin


def _decided_labels(scores: Floats) -> tuple[Bools, Bools]:
    """Whether a label [N] is given, and whether that holds whatever the weights. scores [M,N]."""
    least, largest, margin = _bounds(scores)
    return least > THRESHOLD, (least > THRESHOLD + margin) | (largest < THRESHOLD - margin)


def _bounds(scores: Floats) -> tuple[Floats, Floats, float]:
    """Least and largest score of the models, and how far apart two must be for rounding not to matter."""
    least, largest = np.fmin.reduce(scores, axis=0), np.fmax.reduce(scores, axis=0)  # of those that are no NaN
    return least, largest, _MARGIN * max(1.0, float(np.abs(least).max()), float(np.abs(largest).max()))


def _blocks(values: Floats, *keys: NDArray[np.intp]) -> tuple[Floats, list[NDArray[np.intp]], NDArray[np.intp]]:
    """Rows [N,C] sorted by their keys [N] and cut into blocks of one key each: [T,C,BLOCK], zeros where not full; each
    block's keys [T] and number of rows [T]."""
    from affectkit.fusers._kernels import BLOCK

    order = np.lexsort(keys[::-1])
    sorted_keys = np.array([key[order] for key in keys])  # [keys,N]
    starts = np.ones(len(order), bool)
    starts[1:] = (sorted_keys[:, 1:] != sorted_keys[:, :-1]).any(axis=0)
    run = np.cumsum(starts) - 1
    place = np.arange(len(order)) - np.flatnonzero(starts)[run]  # within the rows of one key
    slot = place % BLOCK
    block = np.cumsum(slot == 0) - 1
    first = np.flatnonzero(slot == 0)
    filled = np.zeros((len(first), values.shape[1], BLOCK))
    filled[block, :, slot] = values[order]
    rows = np.bincount(block, minlength=len(first))
    return filled, [np.ascontiguousarray(key[first]) for key in sorted_keys], rows


def _in_threads(work: Callable[[int, int, Counts], None], blocks: int, shape: tuple[int, ...]) -> Counts:
    """The sum of what each thread counts in its share of the blocks."""
    threads = max(1, min(len(os.sched_getaffinity(0)), blocks))
    bounds = np.linspace(0, blocks, threads + 1).astype(int)
    parts = np.zeros((threads, *shape), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1].tolist(), bounds[1:].tolist(), parts))
    return np.asarray(parts.sum(axis=0))


def _macro_f1(cells: Counts) -> Floats:
    right = np.diagonal(cells, axis1=1, axis2=2)
    return _share(2 * right, cells.sum(axis=1) + cells.sum(axis=2)).mean(axis=1)


def _uar(cells: Counts) -> Floats:
    support = cells[0].sum(axis=1)  # the truth is the same for every draw
    there = support > 0
    recalls = np.diagonal(cells, axis1=1, axis2=2)[:, there] / support[there]
    return np.ascontiguousarray(recalls).mean(axis=1)  # the order of memory is that of the sum


def _war(cells: Counts) -> Floats:
    return np.trace(cells, axis1=1, axis2=2) / cells[0].sum()


def _share(part: Counts, whole: Counts) -> Floats:
    """part / whole, and 0 where whole is; in an array of its own, whose rows sum as `metrics` sums them."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
