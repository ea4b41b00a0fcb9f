"""functionals: a scikit-learn regressor or classifier on functionals of windows or clips.

A saved head holds arrays, never a pickle. Linear estimators are their weights. Of the others, any of which may be added
to the table, the training segments are kept and learnt from again on loading, with the same seed: that takes the time
of training and its memory, and needs a scikit-learn that learns the same. So some training scores are kept as well,
and a head whose scores come out differently is refused.

Classes: raw scores are decision functions, or logarithms of probabilities where an estimator has only those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from affectkit.errors import HostileFile, UsageError
from affectkit.learning.static_head import Matrix, SegmentModel, Split, StaticHead, StaticHeader, StaticOptions, tensor

Estimator = Literal[
    "ridge", "lasso", "elastic-net", "logistic", "linear-svm", "svm", "knn", "random-forest", "extra-trees",
    "gradient-boosting",
]  # fmt: skip
_CHECKED = 256  # training segments whose scores are kept
_WORDS = {"None": None, "True": True, "False": False}


class Options(StaticOptions):
    """Of the estimator; the others say what it learns from."""

    estimator: Estimator = Field(
        "ridge", description="scikit-learn's, one a target (lasso, elastic-net: values only; logistic: classes only)"
    )
    params: dict[str, bool | int | float | str | None] = Field(
        {}, description="of the estimator, by scikit-learn's names: params.alpha=10, params.class_weight=balanced"
    )

    @field_validator("params", mode="before")
    @classmethod
    def _parsed(cls, given: Any) -> Any:
        return {key: _parse(value) for key, value in given.items()} if isinstance(given, dict) else given


class EstimatorHeader(StaticHeader):
    """The seed and scikit-learn's version that training had."""

    seed: int = Field(ge=0, lt=1 << 32)
    sklearn: str = Field(max_length=100)


@dataclass(frozen=True, repr=False)
class Learnt:
    """A model with what it needs to be written: the segments (not normalised) and labels, unless it is linear."""

    model: Any
    seed: int
    version: str
    tensors: dict[str, NDArray[Any]]

    def scores(self, x: Matrix) -> Matrix:
        return np.asarray(self.model.scores(x))

    def raw(self, scores: Matrix) -> Matrix:
        return np.asarray(self.model.raw(scores))


class Functionals(StaticHead):
    """A scikit-learn estimator."""

    Options = Options
    Header = EstimatorHeader

    def learn(self, train: Split, val: Split, *, seed: int, device: str) -> SegmentModel:
        """Fit on the CPU, whatever `device` is. Raises UsageError for parameters that are not the estimator's."""
        import sklearn

        from affectkit.heads import _estimators

        labels = np.asarray(train.segments.labels, np.float64)
        fits = self._fit(train.x, labels, seed)
        if self.options.estimator in _estimators.LINEAR:
            model = _estimators.linear(fits)
            return Learnt(model, seed, sklearn.__version__, {"weights": model.weights, "bias": model.bias,
                                                             "known": model.known})  # fmt: skip
        kept = {"values": train.segments.values, "labels": labels, "check": fits.scores(train.x[:_CHECKED])}
        return Learnt(fits, seed, sklearn.__version__, kept)

    def written(self, model: Learnt) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """See the module."""
        return {"seed": model.seed, "sklearn": model.version}, model.tensors

    def restored(self, header: EstimatorHeader, tensors: dict[str, NDArray[Any]], normaliser: Any) -> Learnt:
        """See `StaticHead.restored`. Raises UsageError where learning again gives something else."""
        from affectkit.heads import _estimators

        width, outputs = normaliser.n_features_in_, self.task.outputs
        if self.options.estimator in _estimators.LINEAR:
            weights = tensor(tensors, "weights", np.float64, width, outputs)
            bias, known = tensor(tensors, "bias", np.float64, outputs), tensor(tensors, "known", np.bool_, outputs)
            kept: dict[str, NDArray[Any]] = {"weights": weights, "bias": bias, "known": known}
            return Learnt(_estimators.Linear(self.task, weights, bias, known), header.seed, header.sklearn, kept)
        values = tensor(tensors, "values", np.float32, None, width)
        labels = tensor(tensors, "labels", np.float64, len(values), len(self.task.label_columns))
        check = tensor(tensors, "check", np.float64, min(len(values), _CHECKED), outputs)
        classes = {"multiclass": outputs, "multilabel": 2}.get(self.task.kind)
        if not len(values) or (classes and not np.isin(labels, np.arange(classes)).all()):
            raise HostileFile("a saved head's labels do not fit its task")
        x = normaliser.transform(values)
        fits = self._fit(x, labels, header.seed)
        if not np.allclose(fits.scores(x[:_CHECKED]), check, rtol=1e-5, atol=1e-6):
            import sklearn

            raise UsageError(
                f"this head was trained with scikit-learn {header.sklearn}, and {sklearn.__version__} does not learn "
                f"the same from its data: install that version, or train it again"
            )
        return Learnt(fits, header.seed, header.sklearn, {"values": values, "labels": labels, "check": check})

    def _fit(self, x: Matrix, labels: Matrix, seed: int) -> Any:
        from affectkit.heads import _estimators

        return _estimators.learn(self.options.estimator, self.options.params, self.task, x, labels, seed)


def _parse(value: Any) -> Any:
    """Text from a command line as JSON, a word of Python's, or itself."""
    if not isinstance(value, str):
        return value
    if value in _WORDS:
        return _WORDS[value]
    try:
        return json.loads(value)
    except ValueError:
        return value


PLUGIN = Functionals
