"""Macro F1, UAR and WAR of many weighted sums at once, from counts alone.

Weights that are not negative and sum to 1 leave a sum between the least and the largest score of the models. So most
rows have classes that can never win, and some have one that always does: these are counted once and for all. Only the
others are gone through for each draw, and of each only the classes that may win, in blocks of rows that have these and
the pattern of missing scores in common. The counts, and so the scores, are those of `metrics.main` on `weighted` rows,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.fusers._blocks import Counts, Places, bounds, chunk, in_threads, share
from affectkit.fusers._weighting import patterns, renormalised
from affectkit.types import Bools, Floats


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
        place = Places.of(same[which[own]], pattern[rows[own]])
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
