"""CCC and Pearson of many weighted sums at once, from means and covariances instead of rows.

Of a weighted sum y = sum_m w_m s_m of the models' scores, the mean is w'mu and the variance w'Cw, and its covariance
with the truth is w'c. Rows with missing scores have other weights, the same ones under one pattern of missing scores;
so the moments are kept a pattern, and those of all rows follow from those within the patterns and the means between
them (each of them centred, so that nothing cancels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from affectkit.fusers._weighting import patterns, renormalised
from affectkit.types import Bools, Floats

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
