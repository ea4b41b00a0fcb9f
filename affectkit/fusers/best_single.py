"""The one model that is best on the rows fitted on: the least that a fusion has to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affectkit import metrics
from affectkit.config import Config
from affectkit.fusers._weighting import WeightedFusion, usable
from affectkit.tasks import Task
from affectkit.types import Floats


class BestSingleOptions(Config):
    """Nothing to choose."""


class BestSingle(WeightedFusion):
    """The best model by the task's metric has all the weight; where it has no score, the mean of the others does."""

    Options: ClassVar[type[Config]] = BestSingleOptions

    def __init__(self, options: BestSingleOptions, task: Task) -> None:
        super().__init__(options, task)
        self.scores: list[float | None] = []

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Compare the models on the rows that all of them have, or each on its own where there is no such row.
        scores [M,N,K], truth [N,K] or [N,1]. Raises UsageError when no row can be used."""
        scores, truth, _ = usable(scores, truth, groups)
        there = np.asarray(np.isfinite(scores).all(axis=2))  # [M,N]
        if there.all(axis=0).any():
            there = np.broadcast_to(there.all(axis=0), there.shape)
        self.scores = [
            metrics.main(self.task, truth[rows], one[rows]) if rows.any() else None
            for one, rows in zip(scores, there, strict=True)
        ]
        best, found = 0, None
        for model, score in enumerate(self.scores):
            if score is not None and metrics.is_better(self.task.metric, score, found):
                best, found = model, score
        self.weights = np.zeros((len(scores), scores.shape[2]))
        self.weights[best] = 1.0

    def state(self) -> dict[str, Any]:
        """The weights [M,K], and each model's score on the rows it was chosen on (None: no complete row of it)."""
        return super().state() | {"scores_in_sample": self.scores}


PLUGIN = BestSingle
