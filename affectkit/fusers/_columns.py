"""The best weights of one target's models by a smooth metric: CCC, Pearson or the mean absolute error of their sum.

Where a sum covaries with the truth, CCC and Pearson are a linear function of the weights over a convex one, so a local
optimum on the simplex is the only one (quasi-concave); the mean absolute error is convex. Of two models the simplex is
a segment, which is searched as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from affectkit.fusers._objective import Moments
from affectkit.fusers._weighting import patterns, renormalised
from affectkit.types import Floats

Value = Callable[[Floats], Floats]
"""How good weights [D,M] are: [D], larger is better."""

_POINTS = (65, *[17] * 7)  # of a segment, then of the two parts beside the best of them: a place to 1e-8
_CELLS = 1 << 22  # sums computed at a time
_PASSES = 20
_GAIN = 1e-12  # less is rounding
_STEP = 1e-6  # of a numerical gradient


def best_columns(metric: str, scores: Floats, truth: Floats, start: Floats) -> Floats:
    """Weights [M,K], of each column the best that is found from `start` [M,K]. scores [M,N,K], truth [N,K]; metric ccc,
    pearson or mae."""
    if metric == "mae":
        values = [_less_error(scores[:, :, k], truth[:, k]) for k in range(truth.shape[1])]
    else:
        values = Moments(metric, scores, truth).of_targets()
    return np.stack([_best(value, start[:, k]) for k, value in enumerate(values)], axis=1)


def _less_error(scores: Floats, truth: Floats) -> Value:
    """Less the mean absolute error of one target: scores [M,N] (NaN = missing), truth [N]."""
    present, which = patterns(scores[:, :, None])
    parts = [(np.nan_to_num(scores[:, which == p]), truth[which == p]) for p in range(len(present))]

    def value(weights: Floats) -> Floats:
        if len(weights) > 1 and len(weights) * len(truth) > _CELLS:
            return np.concatenate([value(half) for half in np.array_split(weights, 2)])
        shares = renormalised(weights[:, :, None], present)[..., 0]  # [D,P,M]
        sums = (np.abs(shares[:, p] @ x - y).sum(axis=1) for p, (x, y) in enumerate(parts))
        return np.asarray(-sum(sums) / len(truth), np.float64)

    return value


def _best(value: Value, start: Floats) -> Floats:
    """From the best of `start` [M], the single models and the mean of all."""
    models = len(start)
    places = np.vstack([start, np.eye(models), np.full(models, 1 / models)])
    best = places[value(places).argmax()]
    if models > 2:
        best = _better(value, best, _descended(value, best))
    for _ in range(_PASSES):
        before, score = best, value(best[None])[0]
        for one, other in combinations(range(models), 2):
            best = _along(value, best, one, other)
        if models == 2 or value(best[None])[0] <= score + _GAIN:
            return _better(value, before, best)
    return best


def _better(value: Value, old: Floats, new: Floats) -> Floats:
    was, is_now = value(np.stack([old, new]))
    return new if is_now > was + _GAIN else old


def _descended(value: Value, start: Floats) -> Floats:
    """Sequential quadratic programming over the simplex."""
    from scipy.optimize import minimize

    sides = _STEP * np.vstack([np.eye(len(start)), -np.eye(len(start))])

    def slope(weights: Floats) -> Floats:
        above, below = np.split(value(np.maximum(weights + sides, 0)), 2)
        return -(above - below) / (_STEP + np.minimum(weights, _STEP))

    done = minimize(
        lambda weights: -value(weights[None])[0], start, jac=slope, method="SLSQP", bounds=[(0, 1)] * len(start),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"maxiter": 200, "ftol": 1e-14},
    )  # fmt: skip
    kept = np.where(np.isfinite(done.x), np.clip(done.x, 0, 1), 0)
    return kept / kept.sum() if kept.sum() > 0 else start


def _along(value: Value, weights: Floats, one: int, other: int) -> Floats:
    """The best shares of what two models have together."""
    whole = weights[one] + weights[other]
    if whole <= 0:
        return weights
    low, high, best = 0.0, 1.0, weights
    for points in _POINTS:
        places = np.linspace(low, high, points)
        tried = np.tile(weights, (points, 1))
        tried[:, one], tried[:, other] = places * whole, (1 - places) * whole
        place = int(value(tried).argmax())
        best = _better(value, best, tried[place])
        low, high = places[max(place - 1, 0)], places[min(place + 1, points - 1)]
    return best
