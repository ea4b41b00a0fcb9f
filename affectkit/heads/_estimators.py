"""scikit-learn's estimators by name: their parameters, and one of them a target fitted on segments.

Imports scikit-learn: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import ensemble, linear_model, neighbors, svm

from affectkit.errors import UsageError, unknown
from affectkit.learning.static_head import Matrix
from affectkit.tasks import Task
from affectkit.types import Bools

TABLE: dict[str, tuple[Any, Any]] = {
    "ridge": (linear_model.Ridge, linear_model.RidgeClassifier),
    "lasso": (linear_model.Lasso, None),
    "elastic-net": (linear_model.ElasticNet, None),
    "logistic": (None, linear_model.LogisticRegression),
    "linear-svm": (svm.LinearSVR, svm.LinearSVC),
    "svm": (svm.SVR, svm.SVC),
    "knn": (neighbors.KNeighborsRegressor, neighbors.KNeighborsClassifier),
    "random-forest": (ensemble.RandomForestRegressor, ensemble.RandomForestClassifier),
    "extra-trees": (ensemble.ExtraTreesRegressor, ensemble.ExtraTreesClassifier),
    "gradient-boosting": (ensemble.HistGradientBoostingRegressor, ensemble.HistGradientBoostingClassifier),
}
"""Regressor and classifier of each name."""
LINEAR = frozenset({"ridge", "lasso", "elastic-net", "logistic", "linear-svm"})
PROBABLE = frozenset({"knn", "random-forest", "extra-trees"})  # classifiers that give probabilities and no logits
DEFAULTS: dict[str, dict[str, Any]] = {
    "logistic": {"max_iter": 1000},
    "random-forest": {"n_jobs": -1},
    "extra-trees": {"n_jobs": -1},
}
"""Where scikit-learn's own stop too early for embeddings, or leave cores idle."""
SMALLEST = 1e-6  # probability that is told from 0


@dataclass(frozen=True, repr=False)
class Linear:
    """x weights + bias: weights [D,K], bias [K]; `known` [K]: classes that training had."""

    task: Task
    weights: Matrix
    bias: Matrix
    known: Bools

    def scores(self, x: Matrix) -> Matrix:
        return np.asarray(x @ self.weights + self.bias)

    def raw(self, scores: Matrix) -> Matrix:
        return without(scores, self.known)


@dataclass(frozen=True, repr=False)
class Fits:
    """Fitted estimators: one a target, or one for all classes; None for a label that training never, or always, had:
    its score is `constant` [K]. `known` [K]: classes that training had."""

    name: str
    task: Task
    estimators: list[Any]
    constant: Matrix
    known: Bools

    @property
    def probable(self) -> bool:
        """Whether scores are probabilities, not logits or values."""
        return self.task.kind != "regression" and self.name in PROBABLE

    def scores(self, x: Matrix) -> Matrix:
        """x [P,D] -> [P,K]: values, probabilities, or distances from the border between classes."""
        found = np.tile(self.constant, (len(x), 1))
        if self.task.kind == "multiclass":
            found[:, self.known] = self._classes(x)
            return found
        for k, one in enumerate(self.estimators):
            if one is None:
                continue
            if self.task.kind == "regression":
                found[:, k] = one.predict(x)
            else:
                found[:, k] = one.predict_proba(x)[:, 1] if self.probable else one.decision_function(x)
        return found

    def raw(self, scores: Matrix) -> Matrix:
        """Averaged probabilities as logits; a class that training did not have, far below the others."""
        if self.probable:
            sure = np.clip(scores, SMALLEST, 1 - SMALLEST)
            scores = np.log(sure) - (np.log1p(-sure) if self.task.kind == "multilabel" else 0)
        return without(scores, self.known)

    def _classes(self, x: Matrix) -> Matrix:
        (one,) = self.estimators
        return one.predict_proba(x) if self.probable else _columns(one.decision_function(x))


def learn(name: str, params: Mapping[str, Any], task: Task, x: Matrix, labels: Matrix, seed: int) -> Fits:
    """Fit on x [P,D] and labels [P,K]. Raises UsageError for a name or a parameter that is not accepted."""
    known = np.ones(task.outputs, bool)
    if task.kind == "multiclass":
        known = np.isin(np.arange(task.outputs), labels)
        if known.sum() < 2:
            raise UsageError(f"the training labels are all {task.targets[int(labels[0, 0])]}: two classes are needed")
        one = _fit(name, params, task, x, labels[:, 0], seed)
        return Fits(name, task, [one], np.zeros(task.outputs), known)
    varied = (labels != labels[:1]).any(axis=0) | (task.kind == "regression")
    estimators = [_fit(name, params, task, x, labels[:, k], seed) if varied[k] else None for k in range(task.outputs)]
    constant = labels[0].astype(np.float64)
    return Fits(name, task, estimators, constant if name in PROBABLE else 2 * constant - 1, known)


def linear(fits: Fits) -> Linear:
    """Estimators of LINEAR as one matrix."""
    width = next(one.n_features_in_ for one in fits.estimators if one is not None)
    weights, bias = np.zeros((width, fits.task.outputs)), fits.constant.copy()
    if fits.task.kind == "multiclass":
        (one,) = fits.estimators
        rows = np.atleast_2d(one.coef_)  # of two classes there is one row, which some estimators leave flat
        weights[:, fits.known] = _columns(rows.T)
        bias[fits.known] = _columns(np.broadcast_to(one.intercept_, (1, len(rows))))[0]
    else:
        for k, one in enumerate(fits.estimators):
            if one is not None:
                weights[:, k], bias[k] = np.ravel(one.coef_), np.ravel(one.intercept_)[0]
    return Linear(fits.task, weights, bias, fits.known)


def without(scores: Matrix, known: Bools) -> Matrix:
    """Scores [S,K] in which classes that are not known are a million times less likely than the likeliest."""
    if known.all():
        return scores
    highest = scores[:, known].max(axis=1, keepdims=True)
    return np.where(known, scores, highest + np.log(SMALLEST))


def _columns(decision: Matrix) -> Matrix:
    """A column a class: of two classes there is one number [P] or [P,1], how far it is the second one."""
    if decision.ndim == 1 or decision.shape[1] == 1:
        return np.stack([-decision.ravel(), decision.ravel()], axis=1) / 2
    return decision


def _fit(name: str, given: Mapping[str, Any], task: Task, x: Matrix, labels: Matrix, seed: int) -> Any:
    make = _class(name, task)
    accepted = make().get_params()
    params = {**DEFAULTS.get(name, {}), **given}
    if "random_state" in accepted:
        params.setdefault("random_state", seed)
    for key in params:
        if key not in accepted:
            raise unknown(f"parameter params.{key} of {name} ({make.__name__})", key, accepted)
    try:
        fitted = make(**params).fit(x, labels)
    except (ValueError, TypeError) as error:
        raise UsageError(f"estimator {name}: {' '.join(str(error).split())}") from None
    return fitted.set_params(n_jobs=1) if name in PROBABLE else fitted  # sums of trees in a fixed order


def _class(name: str, task: Task) -> Any:
    if name not in TABLE:
        raise unknown("estimator", name, TABLE)
    found = TABLE[name][task.kind != "regression"]
    if found is None:
        kind, column = ("regression", 0) if task.kind == "regression" else ("classes", 1)
        fitting = ", ".join(other for other, pair in TABLE.items() if pair[column])
        raise UsageError(f"estimator={name} is not for {kind} (task {task.name}): use one of {fitting}")
    return found
