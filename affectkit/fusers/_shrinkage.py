"""Shrinking what is learnt towards equal weights, by an amount chosen on folds of whole clips or subjects.

Weights that are fitted on few clips fit their accidents too, and equal weights have none. Folds tell how much of them
to mix in: what is learnt on the other folds is mixed by every amount and scored on the fold itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import metrics
from affectkit.tables.splits import folds_of
from affectkit.tasks import Task
from affectkit.types import Floats

AMOUNTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FOLDS = 5
FEW = 20  # groups: of more, no amount was better in simulations
Shrink = Annotated[float, Field(ge=0, le=1)] | Literal["auto"]
SHRINK_HELP = f"share of equal weights mixed in, 0 to 1; auto: chosen by grouped folds below {FEW} clips, else 0"


class Learner(Protocol):
    """A fuser that can be learnt and mixed with equal weights in two steps."""

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """As `Fuser.fit`, without shrinking."""

    def mixed(self, scores: Floats, amount: float) -> Floats:
        """[M,N,K] -> [N,K] with this share of equal weights."""


def held_out(
    learners: Mapping[str, tuple[Any, Sequence[float]]], scores: Floats, truth: Floats, groups: NDArray[Any], seed: int
) -> dict[str, dict[float, Floats]]:
    """What each learner says of each row, learnt on the other folds, by the amount of equal weights: name -> amount ->
    [N,K]. `learners`: what makes a new one each time, and the amounts."""
    fold = folds_of(groups, min(FOLDS, len(np.unique(groups))), seed)
    shape = scores.shape[1:]
    found = {name: {amount: np.full(shape, np.nan) for amount in amounts} for name, (_, amounts) in learners.items()}
    for held in np.unique(fold):
        rest, here = fold != held, fold == held
        for name, (make, _) in learners.items():
            learner = make()
            learner.learn(scores[:, rest], truth[rest], groups[rest], seed=seed)
            for amount, outputs in found[name].items():
                outputs[here] = learner.mixed(scores[:, here], amount)
    return found


def score_of(task: Task, truth: Floats, outputs: Floats) -> float:
    """The task's metric of the rows that have an output."""
    there = np.isfinite(outputs).all(axis=1)
    return metrics.main(task, truth[there], outputs[there])


def chosen(
    task: Task, make: Any, shrink: Shrink, scores: Floats, truth: Floats, groups: NDArray[Any], seed: int
) -> tuple[float, dict[str, float]]:
    """The amount, and the held-out score of each that was tried: none where it is given, or where there are too few
    groups for folds or enough to do without. Of equals the least."""
    if shrink != "auto":
        return float(shrink), {}
    if not 3 <= len(np.unique(groups)) < FEW or len(scores) < 2:
        return 0.0, {}
    tried = {
        amount: score_of(task, truth, outputs)
        for amount, outputs in held_out({"": (make, AMOUNTS)}, scores, truth, groups, seed)[""].items()
    }
    best = 0.0
    for amount, score in tried.items():
        if metrics.is_better(task.metric, score, tried[best]):
            best = amount
    return best, {f"{amount:g}": score for amount, score in tried.items()}
