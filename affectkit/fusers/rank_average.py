"""Averaging ranks instead of scores: models of different scales and calibrations count the same.

A score's rank is the share of the fit rows' scores of that model and column which lie below it (half of those equal to
it): the empirical distribution of the fit rows. So the fused score of a row does not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config
from affectkit.errors import HostileFile
from affectkit.fusers._weighting import shares, weighted
from affectkit.tasks import Task
from affectkit.types import Floats


class RankAverageOptions(Config):
    """Nothing to choose."""


class RankAverage:
    """Mean rank of the models. Of classes it is the score, divided by its sum over the classes (a rare class ranks as
    high as a common one). Values and labels are read back as the mean of the models' quantiles at that rank, so that
    they keep their scale."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = RankAverageOptions
    inputs: ClassVar[tuple[str, ...] | None] = None
    reads_unlabelled: ClassVar[bool] = True

    def __init__(self, options: RankAverageOptions, task: Task) -> None:
        self.task = task
        self.sorted: list[list[Floats]] = []

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Keep the scores [M,N,K] of each model and column, sorted; the truth is not looked at."""
        self.sorted = [[np.sort(column[np.isfinite(column)]) for column in one.T] for one in scores]

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]; NaN where no model has a score, or only one that had none in the fit rows."""
        models, _, targets = scores.shape
        ranks = np.full(scores.shape, np.nan)
        for m in range(models):
            for k in range(targets):
                ranks[m, :, k] = rank(scores[m, :, k], self.sorted[m][k])
        mean = weighted(ranks, np.full((models, targets), 1 / models))
        if self.task.kind == "multiclass":
            return shares(mean)
        return np.stack([self._quantiles(mean[:, k], k) for k in range(targets)], axis=1)

    def state(self) -> dict[str, Any]:
        """Quantiles [M][K][11] of the fit rows' scores at 0, 0.1, ... 1 (None: no score)."""
        tenths = np.linspace(0, 1, 11)
        return {"deciles": [[np.quantile(c, tenths).tolist() if len(c) else None for c in one] for one in self.sorted]}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The sorted scores of all models and columns, joined, and how many each has [M,K]."""
        lengths = np.array([[len(column) for column in columns] for columns in self.sorted], np.int64)
        return {"scores": np.concatenate([column for columns in self.sorted for column in columns]), "lengths": lengths}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Cut the sorted scores apart again. Raises HostileFile where they are not as many as they should be."""
        scores, lengths = arrays["scores"], arrays["lengths"]
        if lengths.ndim != 2 or lengths.min(initial=0) < 0 or lengths.sum() != len(scores):
            raise HostileFile("the scores that ranks are read from are not as many as are said")
        columns = iter(np.split(scores, np.cumsum(lengths)[:-1]))
        self.sorted = [[next(columns) for _ in row] for row in lengths]

    def _quantiles(self, ranks: Floats, target: int) -> Floats:
        known = [one[target] for one in self.sorted if len(one[target])]
        there = np.isfinite(ranks)
        values = np.full(len(ranks), np.nan)
        if known and there.any():
            values[there] = np.mean([np.quantile(column, ranks[there], method="hazen") for column in known], axis=0)
        return values


def rank(values: Floats, known: Floats) -> Floats:
    """The share [N] of `known` (sorted) below each of `values` [N], half of those equal included; NaN stays NaN.

    >>> rank(np.array([0.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    array([0.   , 0.375, 1.   ])
    """
    if not len(known):
        return np.full(len(values), np.nan)
    below, up_to = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
    return np.where(np.isfinite(values), (below + up_to) / (2 * len(known)), np.nan)


PLUGIN = RankAverage
