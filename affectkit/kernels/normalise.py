"""The normalisation that goes before a kernel: z-score, signed square root, rows of length 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from affectkit.kernels.functions import Matrix


def power(x: Matrix) -> Matrix:
    """sign(x) sqrt|x|, elementwise.

    >>> power(np.array([-4.0, 0.0, 9.0])).tolist()
    [-2.0, 0.0, 3.0]
    """
    return np.sign(x) * np.sqrt(np.abs(x))


def unit_rows(x: Matrix) -> Matrix:
    """Rows [N,D] divided by their Euclidean length; rows of zeros stay."""
    largest = np.abs(x).max(axis=1, keepdims=True, initial=0)
    scaled = x / np.where(largest > 0, largest, 1)  # no overflow in the squares
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(length > 0, length, 1)


class CanonicalNormaliser(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """z-score by the training rows' mean and standard deviation, then sign(x) sqrt|x|, then rows of length 1.

    Each step can be left out. The standard deviation is the population's; a constant feature is only centred. Fitted:
    `mean_` [D], `scale_` [D].

    >>> CanonicalNormaliser().fit_transform([[0.0, 1.0], [2.0, 1.0]]).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, zscore: bool = True, power: bool = True, unit_rows: bool = True) -> None:
        self.zscore = zscore
        self.power = power
        self.unit_rows = unit_rows

    def fit(self, X: ArrayLike, y: Any = None) -> CanonicalNormaliser:
        """X [N,D]: training rows."""
        x = validate_data(self, X, dtype=np.float64)
        dims = x.shape[1]
        self.mean_, self.scale_ = np.zeros(dims), np.ones(dims)
        if self.zscore:
            self.mean_, deviation = x.mean(axis=0), x.std(axis=0)
            rounding = 10 * np.finfo(np.float64).eps * np.abs(x).max(axis=0)
            self.scale_ = np.where(deviation > rounding, deviation, 1.0)
        return self

    def transform(self, X: ArrayLike) -> Matrix:
        """X [N,D] -> [N,D] float64."""
        check_is_fitted(self)
        x = (validate_data(self, X, dtype=np.float64, reset=False) - self.mean_) / self.scale_
        x = power(x) if self.power else x
        return unit_rows(x) if self.unit_rows else x
