"""Binary F1 of many weighted sums at once, from counts alone: as `_counts`, each label by itself. A row whose models
lie all above or all below the threshold is counted once and for all."""

from __future__ import annotations

import numpy as np

from affectkit.fusers._blocks import Counts, Places, bounds, chunk, in_threads, share
from affectkit.fusers._weighting import patterns, renormalised
from affectkit.metrics import THRESHOLD
from affectkit.types import Bools, Floats


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
        place = Places.of(*keys)
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
