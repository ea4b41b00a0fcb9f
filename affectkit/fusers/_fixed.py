"""What fusers that end in one weight matrix share: how they combine, and what they tell."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import NDArray

from affectkit.config import Config
from affectkit.fusers._shrinkage import chosen
from affectkit.fusers._weighting import shares, usable, weighted
from affectkit.tasks import Task
from affectkit.types import Floats


class WeightedFusion:
    """A weighted sum of the models by weights [M,K] that `learn` sets, and `fit` shrinks towards equal ones; a missing
    score gives its weight to the others."""

    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, options: Config, task: Task) -> None:
        self.options = options
        self.task = task
        self.weights: Floats | None = None
        self.shrinkage = 0.0
        self.tried: dict[str, float] = {}

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Learn the weights and shrink them as the option `shrink` says. scores [M,N,K], truth [N,K] or [N,1], groups
        [N] whose rows are held out together; the same seed gives the same weights. Raises UsageError when no row can be
        used."""
        shrink = getattr(self.options, "shrink", 0.0)
        if shrink != 0:
            scores, truth, groups = usable(scores, truth, groups)
            self.shrinkage, self.tried = chosen(self.task, self._again, shrink, scores, truth, groups, seed)
        self.learn(scores, truth, groups, seed=seed)

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Set the weights, before any shrinking."""
        raise NotImplementedError

    def _again(self) -> WeightedFusion:
        return type(self)(self.options, self.task)

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K], as `mixed` by the amount chosen."""
        return self.mixed(scores, self.shrinkage)

    def mixed(self, scores: Floats, amount: float) -> Floats:
        """[M,N,K] -> [N,K] with this share of equal weights. Class scores are divided by their sum: weights of a class
        apart, they are no longer probabilities; the winning class stays. NaN where no model has a score."""
        fused = weighted(scores, self._mixed_weights(amount))
        return shares(fused) if self.task.kind == "multiclass" else fused

    def state(self) -> dict[str, Any]:
        """The weights [M,K] as they combine; where they were shrunk, by how much, and the held-out scores of what was
        tried."""
        about: dict[str, Any] = {"weights": self._mixed_weights(self.shrinkage).tolist()}
        if self.tried or self.shrinkage:
            about |= {"shrinkage": self.shrinkage, "shrinkage_tried": self.tried}
        return about

    def _mixed_weights(self, amount: float) -> Floats:
        assert self.weights is not None, "fit first"
        return (1 - amount) * self.weights + amount / len(self.weights) if amount else self.weights
