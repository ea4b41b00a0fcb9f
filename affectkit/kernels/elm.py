"""Kernel extreme learning machines as scikit-learn estimators.

Huang, Zhou, Ding, Zhang (2012), Extreme learning machine for regression and multiclass classification; weighted:
Zong, Huang, Chen (2013), Weighted extreme learning machine for imbalance learning. The grid of C with its held-out
scores is `affectkit.kernels.grid`, far cheaper than a search over these.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from affectkit.kernels.functions import Kernel, Matrix
from affectkit.kernels.grid import class_weights, fit_grid, one_hot


class _KernelELM(BaseEstimator):
    """What the regressor and the classifier share: the kernel, and scores [N,K]. Fitted: `machine_`, `form_`."""

    C: float
    kernel: str
    gamma: float | None
    degree: float
    coef0: float
    memory_limit: int | None
    seed: int
    device: str

    def _fit(self, x: Matrix, targets: Matrix, weights: Matrix | None = None) -> None:
        kernel = Kernel(self.kernel, self.gamma, self.degree, self.coef0)  # type: ignore[arg-type]
        grid = fit_grid(
            x, targets, [self.C], kernel, weights=weights, device=self.device, solver="cholesky",
            memory_limit=self.memory_limit, seed=self.seed,
        )  # fmt: skip
        self.machine_ = grid.machine(self.C)
        self.form_ = grid.form

    def scores(self, X: ArrayLike) -> Matrix:
        """The machine's outputs [N,K]. X [N,D], or the kernel [N,M] against the M training rows (precomputed)."""
        check_is_fitted(self)
        return self.machine_(validate_data(self, X, dtype=np.float64, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.input_tags.positive_only = self.kernel == "chi2"
        return tags


class KernelELMRegressor(MultiOutputMixin, RegressorMixin, _KernelELM):
    """beta = (K + I/C)^-1 T, predictions K(x, X) beta; one or several targets. There is no intercept.

    `kernel`, `gamma`, `degree`, `coef0` as in `affectkit.kernels.functions.Kernel`; `memory_limit` (bytes) and `seed`
    as in `affectkit.kernels.grid.fit_grid`; `device` is cpu or cuda[:N].

    >>> KernelELMRegressor(C=1e6).fit([[1.0], [2.0]], [2.0, 4.0]).predict([[3.0]]).round(3)
    array([6.])
    """

    def __init__(
        self,
        C: float = 1.0,
        kernel: str = "linear",
        gamma: float | None = None,
        degree: float = 3,
        coef0: float = 1,
        memory_limit: int | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.memory_limit = memory_limit
        self.seed = seed
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> KernelELMRegressor:
        """X [N,D]; y [N] or [N,K]."""
        x, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._flat = targets.ndim == 1
        self._fit(x, targets.reshape(len(x), -1))
        return self

    def predict(self, X: ArrayLike) -> Matrix:
        """[N], or [N,K] as fitted."""
        scores = self.scores(X)
        return scores[:, 0] if self._flat else scores


class KernelELMClassifier(ClassifierMixin, _KernelELM):
    """Regression on one-hot targets; the class is the largest output.

    `weighted`: beta = (W K + I/C)^-1 W T with W_ii = 1 / (rows of i's class), so that rare classes count as much as
    common ones. `targets`: onehot (0 and 1) or signed (-1 and 1). The rest as in `KernelELMRegressor`. Fitted:
    `classes_`; `scores` gives a column a class, in their order. Raises ValueError for labels of one class only.

    >>> machine = KernelELMClassifier(kernel="rbf", weighted=True).fit([[0.0], [1.0], [5.0]], ["a", "a", "b"])
    >>> machine.predict([[0.4], [4.0]]).tolist()
    ['a', 'b']
    """

    def __init__(
        self,
        C: float = 1.0,
        kernel: str = "linear",
        gamma: float | None = None,
        degree: float = 3,
        coef0: float = 1,
        weighted: bool = False,
        targets: Literal["onehot", "signed"] = "onehot",
        memory_limit: int | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.weighted = weighted
        self.targets = targets
        self.memory_limit = memory_limit
        self.seed = seed
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> KernelELMClassifier:
        """X [N,D]; y [N] labels."""
        if self.targets not in ("onehot", "signed"):
            raise ValueError(f"targets {self.targets!r} is not onehot or signed")
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"the labels hold one class only ({self.classes_[0]!r}): a classifier needs two or more")
        hot = one_hot(indices, len(self.classes_), signed=self.targets == "signed")
        self._fit(x, hot, class_weights(indices) if self.weighted else None)
        return self

    def decision_function(self, X: ArrayLike) -> Matrix:
        """The outputs [N,K]; of two classes the second's less the first's, [N]."""
        scores = self.scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Labels [N]."""
        scores = self.scores(X)
        return self.classes_[scores.argmax(axis=1)]
