"""Stacking (Wolpert 1992): a linear model on all models' scores of all columns. Ridge regression for values, logistic
regression for classes and for each label, on log-probabilities and log-odds: with these, a weighted product of the
models' probabilities is one of the combinations that can be learnt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.fusers._shrinkage import SHRINK_HELP, Shrink, chosen
from affectkit.fusers._weighting import bridged, missing, usable, weighted
from affectkit.metrics import THRESHOLD
from affectkit.tasks import Task
from affectkit.types import Floats

_LEAST = 1e-6  # of a probability, before its logarithm


class StackingOptions(Config):
    """How much the coefficients are held back."""

    c: float = Field(1.0, gt=0, description="logistic regression: inverse strength of the L2 penalty (classes, labels)")
    alpha: float = Field(1.0, ge=0, description="ridge regression: strength of the L2 penalty (values)")
    shrink: Shrink = Field("auto", description=SHRINK_HELP)
    balanced: bool = Field(False, description="weigh classes and labels by the inverse of how often they occur")


class StackingFusion:
    """Learns coefficients [outputs, M * K] on inputs standardised over the fit rows. A missing score counts as the mean
    of the models that have one."""

    version: ClassVar[int] = 2
    Options: ClassVar[type[Config]] = StackingOptions
    inputs: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, options: StackingOptions, task: Task) -> None:
        self.options = options
        self.task = task
        self.models: list[Any] = []
        self.shrinkage = 0.0
        self.tried: dict[str, float] = {}

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Learn the coefficients, and how much of equal weights is mixed into what they say. scores [M,N,K], truth
        [N,K] or class indices [N,1], groups [N] whose rows are held out together. Raises UsageError when no row can be
        used."""
        scores, truth, groups = usable(scores, truth, groups)
        again = partial(StackingFusion, self.options, self.task)
        self.shrinkage, self.tried = chosen(self.task, again, self.options.shrink, scores, truth, groups, seed)
        self.learn(scores, truth, groups, seed=seed)

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """scores [M,N,K], truth [N,K] or class indices [N,1]. Raises UsageError when no row can be used."""
        scores, truth, _ = usable(scores, truth, groups)
        inputs = self._inputs(scores)
        if self.task.kind == "multilabel":
            truth = (truth >= THRESHOLD).astype(int)
        self.models = [self._model(column).fit(inputs, column) for column in truth.T]

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K], as `mixed` by the amount chosen."""
        return self.mixed(scores, self.shrinkage)

    def mixed(self, scores: Floats, amount: float) -> Floats:
        """[M,N,K] -> [N,K], this share of which is the mean of the models: values, or probabilities; NaN where a target
        has no score of any model."""
        inputs = self._inputs(scores)
        fused = np.zeros(scores.shape[1:])
        for target, model in enumerate(self.models):
            if self.task.kind == "regression":
                fused[:, target] = model.predict(inputs)
            elif self.task.kind == "multilabel":
                fused[:, target] = model.predict_proba(inputs) @ model.classes_
            else:
                fused[:, model.classes_.astype(int)] = model.predict_proba(inputs)
        fused[missing(scores)] = np.nan
        if amount:
            even = weighted(scores, np.full((len(scores), scores.shape[2]), 1 / len(scores)))
            fused = (1 - amount) * fused + amount * even
        return fused

    def state(self) -> dict[str, Any]:
        """Coefficients of the standardised inputs [model, column] and intercepts, of each fitted model; empty where the
        fit rows had one class or label value only, which is then always given."""
        shrunk = {"shrinkage": self.shrinkage, "shrinkage_tried": self.tried} if self.tried or self.shrinkage else {}
        return shrunk | {
            "coefficients": [np.atleast_2d(getattr(model[-1], "coef_", [])).tolist() for model in self.models],
            "intercepts": [np.atleast_1d(getattr(model[-1], "intercept_", [])).tolist() for model in self.models],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Of each fitted model the mean and the scale of its inputs, its coefficients and intercepts, and the classes
        that it knows (none for values; the only one where there are no coefficients)."""
        arrays: dict[str, NDArray[Any]] = {}
        for number, (scaler, linear) in enumerate(self.models):
            learnt = {
                "mean": scaler.mean_, "scale": scaler.scale_, "coefficients": getattr(linear, "coef_", []),
                "intercepts": getattr(linear, "intercept_", []), "classes": getattr(linear, "classes_", []),
            }  # fmt: skip
            arrays |= {f"{number}.{name}": np.asarray(values, np.float64) for name, values in learnt.items()}
        return arrays

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Build the fitted models again, of plain numbers."""
        self.shrinkage = float(state.get("shrinkage", 0.0))
        names = ("mean", "scale", "coefficients", "intercepts", "classes")
        self.models = [
            self._restored({name: arrays[f"{number}.{name}"] for name in names})
            for number in range(len(self.task.label_columns))
        ]

    def _restored(self, learnt: Mapping[str, NDArray[Any]]) -> Any:
        from sklearn.dummy import DummyClassifier
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        scaler, inputs = StandardScaler(), len(learnt["mean"])
        scaler.mean_, scaler.scale_, scaler.n_features_in_ = learnt["mean"], learnt["scale"], inputs
        if learnt["coefficients"].size:
            linear: Any = Ridge(self.options.alpha) if self.task.kind == "regression" else LogisticRegression()
            linear.coef_, linear.intercept_, linear.n_features_in_ = (
                learnt["coefficients"],
                learnt["intercepts"],
                inputs,
            )
            if not linear.intercept_.ndim:
                linear.intercept_ = float(linear.intercept_)
            if len(learnt["classes"]):
                linear.classes_ = learnt["classes"]
        else:
            linear = DummyClassifier().fit(np.zeros((1, inputs)), learnt["classes"])
        return make_pipeline(scaler, linear)

    def _model(self, truth: Floats) -> Any:
        from sklearn.dummy import DummyClassifier
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if self.task.kind == "regression":
            return make_pipeline(StandardScaler(), Ridge(self.options.alpha))
        if len(np.unique(truth)) == 1:
            return make_pipeline(StandardScaler(), DummyClassifier())
        weight = "balanced" if self.options.balanced else None
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.options.c, class_weight=weight, max_iter=1000))

    def _inputs(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N, M * K], finite."""
        models, rows, targets = scores.shape
        values = bridged(scores)
        if self.task.kind != "regression":
            values = np.log(np.maximum(values, _LEAST))
            if self.task.kind == "multilabel":
                values = values - np.log(np.maximum(1 - bridged(scores), _LEAST))
        return np.moveaxis(values, 0, 1).reshape(rows, models * targets)


PLUGIN = StackingFusion
