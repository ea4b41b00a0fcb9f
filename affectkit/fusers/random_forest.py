"""Random forest on the models' concatenated scores (SUN team, arXiv 2403.12609): a classifier over class
probabilities, or one regressor a target."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.tasks import Task
from affectkit.types import Floats


class ForestOptions(Config):
    """The forest. `criterion` is for classes; regressors minimise the squared error."""

    trees: int = Field(100, ge=1, description="trees (the paper: 10, 50 or 100)")
    criterion: Literal["gini", "entropy"] = Field("gini", description="split quality for classes")
    min_leaf: int = Field(5, ge=1, description="least rows in a leaf: neighbouring frames are nearly copies")


class RandomForestFusion:
    """Forests over [M * K] inputs; a missing score is a missing value of the tree (scikit-learn >= 1.4)."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = ForestOptions

    def __init__(self, options: ForestOptions, task: Task) -> None:
        if task.kind == "multilabel":
            raise UsageError("random-forest fuses regression and multiclass tasks; use dwf for multilabel ones")
        self.options = options
        self.task = task
        self.forests: list[Any] = []

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Grow the forests. scores [M,N,K]; truth [N,K] (regression) or class indices [N,1]."""
        inputs, truth = _inputs(scores), np.asarray(truth).reshape(len(truth), -1)
        self.forests = [self._forest(seed).fit(inputs, column) for column in truth.T]

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]; NaN where every model's score is missing."""
        inputs = _inputs(scores)
        missing = np.isnan(inputs).all(axis=1)
        if self.task.kind == "regression":
            fused = np.stack([forest.predict(inputs) for forest in self.forests], axis=1)
        else:
            fused = np.zeros((len(inputs), self.task.outputs))
            (forest,) = self.forests
            fused[:, forest.classes_.astype(int)] = forest.predict_proba(inputs)
        fused[missing] = np.nan
        return fused

    def state(self) -> dict[str, Any]:
        """How much each input [model, column] matters to each forest (mean decrease in impurity)."""
        return {"importances": [forest.feature_importances_.tolist() for forest in self.forests]}

    def _forest(self, seed: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        shared = {"n_estimators": self.options.trees, "min_samples_leaf": self.options.min_leaf, "random_state": seed}
        if self.task.kind == "regression":
            return RandomForestRegressor(**shared)
        return RandomForestClassifier(**shared, criterion=self.options.criterion, class_weight="balanced")


def _inputs(scores: Floats) -> Floats:
    models, rows, targets = scores.shape
    return np.moveaxis(scores, 0, 1).reshape(rows, models * targets)


PLUGIN = RandomForestFusion
