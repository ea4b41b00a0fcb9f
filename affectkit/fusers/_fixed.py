"""What fusers that end in one weight matrix share: how they combine, and what they tell."""

from __future__ import annotations

from typing import Any, ClassVar

from affectkit.config import Config
from affectkit.fusers._weighting import shares, weighted
from affectkit.tasks import Task
from affectkit.types import Floats


class WeightedFusion:
    """A weighted sum of the models by weights [M,K] that `fit` sets; a missing score gives its weight to the others."""

    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, options: Config, task: Task) -> None:
        self.options = options
        self.task = task
        self.weights: Floats | None = None

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]. Class scores are divided by their sum: weights of a class apart, they are no longer
        probabilities; the winning class stays. NaN where no model has a score."""
        assert self.weights is not None, "fit first"
        fused = weighted(scores, self.weights)
        return shares(fused) if self.task.kind == "multiclass" else fused

    def state(self) -> dict[str, Any]:
        """The weights [M,K]."""
        assert self.weights is not None, "fit first"
        return {"weights": self.weights.tolist()}
