"""Random forest on the models' concatenated scores (SUN team, arXiv 2403.12609): a classifier over class
probabilities, or one regressor a target.

SUN's forests overfitted, and their out-of-bag score did not show it: it left out single frames. Here a tree is grown on
drawn clips and judged on the clips that it never saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from affectkit import metrics
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.fusers._weighting import usable
from affectkit.tasks import Task
from affectkit.types import Floats

if TYPE_CHECKING:
    from affectkit.fusers._forest import Forest

Criterion = Literal["gini", "entropy"]
_SUN_TREES, _SUN_CRITERIA = (10, 50, 100), ("gini", "entropy")


class ForestOptions(Config):
    """The forest. `criterion` is for classes; regressors minimise the squared error."""

    trees: int = Field(100, ge=1, description="trees (the paper: 10, 50 or 100)")
    criterion: Criterion = Field("gini", description="split quality for classes")
    min_leaf: int = Field(5, ge=1, description="least rows in a leaf: neighbouring frames are nearly copies")
    preset: Literal["sun"] | None = Field(
        None, description="sun: 10, 50 or 100 trees, gini or entropy, whichever is best on the clips left out"
    )

    @model_validator(mode="after")
    def _chosen_once(self) -> ForestOptions:
        both = [name for name in ("trees", "criterion") if getattr(self, name) != type(self).model_fields[name].default]
        if self.preset and both:
            raise ValueError(f"preset=sun chooses {' and '.join(both)} itself: leave out the one or the other")
        return self


class RandomForestFusion:
    """Forests over [M * K] inputs; a missing score is a missing value of the tree."""

    version: ClassVar[int] = 2
    Options: ClassVar[type[Config]] = ForestOptions
    inputs: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, options: ForestOptions, task: Task) -> None:
        if task.kind == "multilabel":
            raise UsageError("random-forest fuses regression and multiclass tasks; use dwf for multilabel ones")
        self.options = options
        self.task = task
        self.forests: list[Forest] = []
        self.chosen: dict[str, Any] = {}
        self.tried: list[dict[str, Any]] = []

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Grow the forests. scores [M,N,K]; truth [N,K] (regression) or class indices [N,1]; groups [N] whose rows are
        drawn and left out together. Raises UsageError when no row can be used."""
        scores, truth, groups = usable(scores, truth, np.asarray(groups))
        inputs, which = _inputs(scores), np.unique(groups, return_inverse=True)[1].reshape(-1)
        self.forests, self.tried, found = [], [], None
        for criterion in self._criteria():
            grown = self._grow(inputs, truth, which, criterion, seed)
            for trees in _SUN_TREES if self.options.preset else (self.options.trees,):
                score = self._out_of_bag(grown, inputs, truth, which, trees)
                self.tried.append({"trees": trees, "criterion": criterion, "out_of_bag_score": score})
                if not self.forests or (score is not None and metrics.is_better(self.task.metric, score, found)):
                    self.forests, self.chosen, found = [one.first(trees) for one in grown], self.tried[-1], score

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]; NaN where every model's score is missing."""
        inputs = _inputs(scores)
        fused = np.concatenate([forest.predict(inputs) for forest in self.forests], axis=1)
        fused[np.isnan(inputs).all(axis=1)] = np.nan
        return fused

    def state(self) -> dict[str, Any]:
        """Trees, criterion and the score on clips that a tree did not see (None: there is one clip only), of the chosen
        forests and of all tried; how much each input [model, column] matters to each (mean decrease in impurity)."""
        return {
            **self.chosen,
            "tried": self.tried,
            "importances": [
                np.mean([tree.feature_importances_ for tree in forest.trees], axis=0).tolist()
                for forest in self.forests
            ],
        }

    def _criteria(self) -> tuple[str, ...]:
        if self.task.kind == "regression":
            return ("squared_error",)
        return _SUN_CRITERIA if self.options.preset else (self.options.criterion,)

    def _grow(self, inputs: Floats, truth: Floats, which: NDArray[np.intp], criterion: str, seed: int) -> list[Forest]:
        from affectkit.fusers._forest import grow

        options = {"criterion": criterion, "min_samples_leaf": self.options.min_leaf}
        classes = self.task.outputs if self.task.kind == "multiclass" else None
        trees = max(_SUN_TREES) if self.options.preset else self.options.trees
        return [grow(inputs, column, which, options, classes=classes, trees=trees, seed=seed) for column in truth.T]

    def _out_of_bag(
        self, grown: list[Forest], inputs: Floats, truth: Floats, which: NDArray[np.intp], trees: int
    ) -> float | None:
        judged = np.concatenate([forest.out_of_bag(inputs, which, trees) for forest in grown], axis=1)
        rows = np.isfinite(judged).all(axis=1)
        return metrics.main(self.task, truth[rows], judged[rows]) if rows.any() else None


def _inputs(scores: Floats) -> Floats:
    models, rows, targets = scores.shape
    return np.moveaxis(scores, 0, 1).reshape(rows, models * targets)


PLUGIN = RandomForestFusion
