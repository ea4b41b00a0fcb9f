"""Weighted sums of models' scores in which a missing score gives its weight to the others."""

from __future__ import annotations

import numpy as np

from affectkit.types import Floats


def weighted(scores: Floats, weights: Floats) -> Floats:
    """sum_m w[m,k] s[m,n,k] over the models that have a score, their weights renormalised to sum to 1.

    scores [M,N,K] (NaN = missing), weights [M,K] -> [N,K]; NaN where no model with a weight has a score.

    >>> weighted(np.array([[[1.0]], [[np.nan]]]), np.array([[0.2], [0.8]]))
    array([[1.]])
    """
    present = np.isfinite(scores)
    total = np.einsum("mnk,mk->nk", np.where(present, scores, 0.0), weights)
    mass = np.einsum("mnk,mk->nk", present.astype(weights.dtype), weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mass > 0, total / mass, np.nan)
