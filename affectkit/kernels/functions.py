"""The kernels: a name and its parameters, evaluated in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import pairwise_kernels

KernelName = Literal["linear", "rbf", "poly", "sigmoid", "chi2", "precomputed"]
KERNELS: tuple[KernelName, ...] = get_args(KernelName)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """k(x, y) between rows of features.

    | name        | k(x, y)                                        | gamma where None |
    |-------------|------------------------------------------------|------------------|
    | linear      | x.y                                            |                  |
    | rbf         | exp(-gamma |x - y|^2)                          | 1 / D            |
    | poly        | (gamma x.y + coef0)^degree                     | 1 / D            |
    | sigmoid     | tanh(gamma x.y + coef0); may be indefinite     | 1 / D            |
    | chi2        | exp(-gamma sum (x - y)^2 / (x + y)), x, y >= 0 | 1                |
    | precomputed | the rows given are the kernel's own            |                  |

    Raises ValueError for a name or a parameter that is not accepted.

    >>> Kernel("poly", gamma=1.0, degree=2, coef0=1.0)(np.array([[1.0, 1.0]]), np.array([[0.0, 2.0]]))
    array([[9.]])
    """

    name: KernelName = "linear"
    gamma: float | None = None
    degree: float = 3
    coef0: float = 1

    def __post_init__(self) -> None:
        if self.name not in KERNELS:
            raise ValueError(f"kernel {self.name!r} is not one of {', '.join(KERNELS)}")
        if self.gamma is not None and not self.gamma > 0:
            raise ValueError(f"gamma {self.gamma!r} is not above 0 (None takes the kernel's own default)")

    @property
    def positive(self) -> bool:
        """Whether K is known to have no negative eigenvalue but by rounding."""
        whole = float(self.degree).is_integer() and self.coef0 >= 0
        return self.name in ("linear", "rbf", "chi2") or (self.name == "poly" and whole)

    def __call__(self, x: Matrix, y: Matrix) -> Matrix:
        """x [N,D], y [M,D] -> [N,M]. Precomputed: x [N,M] itself. Raises ValueError for a negative value under chi2."""
        if self.name == "precomputed":
            return x
        if self.name == "chi2":
            if min(x.min(initial=0), y.min(initial=0)) < 0:
                raise ValueError("Negative values in data passed to the chi2 kernel: it compares histograms")
            x, y = np.require(x, requirements="W"), np.require(y, requirements="W")  # scikit-learn's own demand
        given = {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        if self.gamma is None and self.name == "chi2":
            given["gamma"] = 1.0
        return np.asarray(pairwise_kernels(x, y, metric=self.name, filter_params=True, **given), np.float64)
