"""Leaving out what a model is not sure of: a row whose class probabilities have too much entropy counts as missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from affectkit import metrics
from affectkit.errors import HostileFile, UsageError
from affectkit.tasks import Task
from affectkit.types import Floats

Gate = float | Literal["none", "auto"]


STEPS = 12


class Gated:
    """A fuser behind a gate of `nats`; `auto`: the one at which equal weights are best on the rows it is fitted on, or
    none. A row of which no model is sure keeps the surest one. SUN (arXiv 2403.12609) has 1.8 nats for 8 classes."""

    def __init__(self, fuser: Any, task: Task, gate: Gate) -> None:
        if gate != "none" and task.kind != "multiclass":
            raise UsageError(f"--gate {gate} is about probabilities of classes; task {task.name} is {task.kind}")
        self.fuser, self.task, self.gate = fuser, task, gate
        self.nats: float | None = None if isinstance(gate, str) else float(gate)

    def fit(self, scores: Floats, truth: Floats, groups: np.ndarray, *, seed: int) -> None:
        """See `affectkit.plugins.Fuser.fit`."""
        if self.gate == "auto":
            self.nats = best_gate(self.task, scores, truth)
        self.fuser.fit(gated(scores, self.nats), truth, groups, seed=seed)

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]."""
        return np.asarray(self.fuser.combine(gated(scores, self.nats)))

    def arrays(self) -> dict[str, Any]:
        """What the fuser learnt beside its state."""
        return dict(self.fuser.arrays()) if hasattr(self.fuser, "arrays") else {}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Become what gave this state and these arrays. Raises UsageError for a fuser that cannot."""
        if not hasattr(self.fuser, "restore"):
            raise UsageError(f"{type(self.fuser).__name__} has no restore (affectkit.plugins.Fuser): it cannot be kept")
        try:
            self.fuser.restore(state, arrays)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise HostileFile(f"what a fuser learnt is not there, or is something else ({error!r})") from None
        self.nats = state.get("gate_nats") if self.gate == "auto" else self.nats

    def state(self) -> dict[str, Any]:
        """The fuser's, and the gate in nats."""
        return dict(self.fuser.state()) | ({} if self.gate == "none" else {"gate_nats": self.nats})


def entropy(scores: Floats) -> Floats:
    """-sum_k p_k ln p_k (nats) of probabilities [...,K]; NaN stays NaN.

    >>> entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4)
    array([0.    , 0.6931])
    """
    p = scores / scores.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(0.0 - np.where(p == 0, 0.0, p * np.log(p)).sum(axis=-1))


def gated(scores: Floats, nats: float | None) -> Floats:
    """scores [M,N,K] with NaN where a model's entropy is above `nats`, but never for the surest model of a row."""
    if nats is None:
        return scores
    unsure = entropy(scores)  # [M,N]
    known = np.where(np.isfinite(unsure), unsure, np.inf)
    surest = known == known.min(axis=0)
    return np.where(((known <= nats) | surest)[..., None], scores, np.nan)


def best_gate(task: Task, scores: Floats, truth: Floats) -> float | None:
    """The gate at which the plain mean of the models scores best, of `STEPS` between the entropies that occur."""
    found = entropy(scores)
    steps = np.unique(np.quantile(found[np.isfinite(found)], np.linspace(0.2, 1.0, STEPS)))
    best, best_score = None, _score(task, scores, truth)
    for nats in steps[::-1]:
        score = _score(task, gated(scores, float(nats)), truth)
        if metrics.is_better(task.metric, score, best_score):
            best, best_score = float(nats), score
    return best


def _score(task: Task, scores: Floats, truth: Floats) -> float:
    there = np.asarray(np.isfinite(scores).any(axis=0)).all(axis=1)
    return metrics.main(task, truth[there], np.nanmean(scores[:, there], axis=0))
