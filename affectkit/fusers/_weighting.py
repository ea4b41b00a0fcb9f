"""Weighted sums of models' scores in which a missing score gives its weight to the others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.fusers._shrinkage import chosen
from affectkit.tasks import Task
from affectkit.types import Bools, Floats

_NEGLIGIBLE = 1e-12  # of a target's whole weight: what is left to share out is rounding


Patterns = tuple[Bools, NDArray[np.intp]]
"""What `patterns` gives: the distinct ones [P,M,K], and each row's [N]."""


def weighted(scores: Floats, weights: Floats, known: Patterns | None = None) -> Floats:
    """sum_m w[m,k] s[m,n,k] over the models that have a score, with the weights of `renormalised`.

    scores [M,N,K] (NaN = missing), weights [M,K] -> [N,K] float64; NaN where no model has a score. The sum runs over
    the models in their order, so that whoever else adds in that order gets the same bits. known: the `patterns` of the
    scores, for whoever sums them many times.

    >>> weighted(np.array([[[1.0]], [[np.nan]]]), np.array([[0.2], [0.8]]))
    array([[1.]])
    """
    present, which = known or patterns(scores)
    shares = renormalised(weights[None], present)[0]  # [P,M,K]
    total = np.zeros(scores.shape[1:])
    for model, values in enumerate(scores):
        share = shares[0, model] if len(shares) == 1 else shares[which, model]
        total += share * (values if len(shares) == 1 and present[0, model].all() else _filled(values))
    nothing = np.asarray(~present.any(axis=1))  # [P,K]
    if nothing.any():
        total[nothing[which]] = np.nan
    return total


def patterns(scores: Floats) -> Patterns:
    """Which scores are there: the distinct patterns [P,M,K], and the pattern of each row [N]. scores [M,N,K].

    >>> present, which = patterns(np.array([[[1.0], [np.nan]], [[2.0], [3.0]]]))
    >>> present[which][:, 0, 0]
    array([ True, False])
    """
    models, rows, targets = scores.shape
    there = np.asarray(np.isfinite(scores))
    if there.all():
        return np.ones((1, models, targets), bool), np.zeros(rows, np.intp)
    cells = np.moveaxis(there, 0, 1).reshape(rows, models * targets)
    packed = np.packbits(cells, axis=1)
    _, first, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return cells[first].reshape(-1, models, targets), which.reshape(rows)


def renormalised(weights: Floats, present: Bools) -> Floats:
    """The weights that hold under each pattern of missing scores: those of the models that are there, scaled to the
    sum that all of them have. Where what is there has no weight, the models that are there share alike.

    weights [D,M,K], present [P,M,K] -> [D,P,M,K]; 0 where missing. With every model there they are what they were,
    bit for bit.

    >>> renormalised(np.array([[[0.2], [0.2], [0.6]]]), np.array([[[True], [True], [False]]]))[0, 0, :, 0]
    array([0.5, 0.5, 0. ])
    """
    kept = np.where(present, weights[:, None], 0.0)  # [D,P,M,K]
    whole, left = _over_models(weights)[:, None], _over_models(kept)  # [D,1,K], [D,P,K]
    light = left <= _NEGLIGIBLE * whole
    scale = np.divide(whole, left, out=np.zeros_like(left), where=~light)
    shared = kept * scale[:, :, None]
    if light.any():
        alike = present * (whole / np.maximum(present.sum(axis=1), 1))[:, :, None]
        shared = np.where(light[:, :, None], alike, shared)
    return shared


def bridged(scores: Floats) -> Floats:
    """The scores [M,N,K] with a missing one replaced by the mean of the models that have one for that row and target;
    0 where none has."""
    there = np.asarray(np.isfinite(scores))
    if there.all():
        return np.asarray(scores, np.float64)
    filled = np.where(there, scores, 0.0)
    mean = filled.sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return np.where(there, scores, mean)


def missing(scores: Floats) -> Bools:
    """[N] rows for which some target has no score of any model. scores [M,N,K]."""
    return np.asarray(~np.asarray(np.isfinite(scores).any(axis=0)).all(axis=1))


def shares(fused: Floats) -> Floats:
    """Class scores [N,K] divided by their sum, which leaves the winning class; 1/K each where all are 0."""
    sums = fused.sum(axis=1, keepdims=True)
    even = np.where(np.isnan(sums), np.nan, 1 / fused.shape[1])
    return np.divide(fused, sums, out=np.broadcast_to(even, fused.shape).copy(), where=sums > 0)


def usable(scores: Floats, truth: Floats, groups: NDArray[Any]) -> tuple[Floats, Floats, NDArray[Any]]:
    """The rows that have a truth and, for every target, the score of some model: scores [M,N,K], truth [N,K] (classes:
    indices [N,1]), groups [N]. Raises UsageError when there are none."""
    truth = np.asarray(truth, np.float64).reshape(scores.shape[1], -1)
    keep = np.isfinite(truth).all(axis=1) & ~missing(scores)
    if not keep.any():
        raise UsageError("no row has both a label and a score for every target: there is nothing to fit a fusion on")
    if keep.all():
        return np.ascontiguousarray(scores), truth, groups
    return np.ascontiguousarray(scores[:, keep]), truth[keep], groups[keep]  # sums of other layouts have other bits


def _filled(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)


def _over_models(values: Floats) -> Floats:
    """Summed over the models, which are the last axis but one, in their order."""
    return np.asarray(reduce(np.add, np.moveaxis(values, -2, 0)))


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

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the weights as they combine: they were shrunk already."""
        self.weights, self.shrinkage = np.array(state["weights"], np.float64), 0.0

    def _mixed_weights(self, amount: float) -> Floats:
        assert self.weights is not None, "fit first"
        return (1 - amount) * self.weights + amount / len(self.weights) if amount else self.weights
