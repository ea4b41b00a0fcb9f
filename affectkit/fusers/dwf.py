"""Dirichlet-based random weighted fusion (SUN team, arXiv 2403.12609).

Draws weight matrices [models, classes] whose every class column is Dirichlet over the models, and keeps the one with
the best metric on the rows that it is fitted on.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import metrics
from affectkit.config import Config
from affectkit.fusers._weighting import weighted
from affectkit.tasks import Task
from affectkit.types import Floats


class DwfOptions(Config):
    """The search."""

    draws: int = Field(1000, ge=1, description="weight matrices to draw (the paper: 1000 to 2000)")
    concentration: float = Field(1.0, gt=0, description="alpha of the Dirichlet distribution (1: uniform)")


class DirichletWeightedFusion:
    """Learns weights [M,K]; each column sums to 1."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = DwfOptions

    def __init__(self, options: DwfOptions, task: Task) -> None:
        self.options = options
        self.task = task
        self.weights: Floats | None = None
        self.score: float | None = None

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Keep the best of the draws. scores [M,N,K], truth [N,K] or [N,1]; the same seed gives the same draws."""
        models, _, targets = scores.shape
        generator = np.random.default_rng(seed)
        alpha = np.full(models, self.options.concentration)
        for _ in range(self.options.draws):
            weights = generator.dirichlet(alpha, targets).T
            score = metrics.main(self.task, truth, weighted(scores, weights))
            if metrics.is_better(self.task.metric, score, self.score):
                self.weights, self.score = weights, score

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]. Class scores are divided by their sum: weights of a class apart, they are no longer
        probabilities; the winning class stays."""
        assert self.weights is not None, "fit first"
        fused = weighted(scores, self.weights)
        return fused / fused.sum(axis=1, keepdims=True) if self.task.kind == "multiclass" else fused

    def state(self) -> dict[str, Any]:
        """The weights [M,K] and the score that they have on the rows they were chosen on (optimistic)."""
        assert self.weights is not None, "fit first"
        return {"weights": self.weights.tolist(), "score_in_sample": self.score}


PLUGIN = DirichletWeightedFusion
