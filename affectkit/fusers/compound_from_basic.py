"""Compound expressions without training for them: the score of a compound is the sum of the probabilities of its two
basic emotions (AVCER, arXiv 2403.12687), from predictions of the task `expr`.

`affectkit fuse EXPR_PREDICTIONS... --task compound --method compound-from-basic` reads columns of basic emotions and
gives the seven compounds of C-EXPR-DB. Several models are averaged first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affectkit import tasks
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.fusers._weighting import shares, weighted
from affectkit.tasks import Task
from affectkit.types import Floats

PAIRS: Mapping[str, tuple[str, str]] = {
    "Fearfully_Surprised": ("Fear", "Surprise"),
    "Happily_Surprised": ("Happiness", "Surprise"),
    "Sadly_Surprised": ("Sadness", "Surprise"),
    "Disgustedly_Surprised": ("Disgust", "Surprise"),
    "Angrily_Surprised": ("Anger", "Surprise"),
    "Sadly_Fearful": ("Sadness", "Fear"),
    "Sadly_Angry": ("Sadness", "Anger"),
}


class CompoundOptions(Config):
    """Nothing to choose."""


class CompoundFromBasic:
    """Scores of compounds p_i + p_j, divided by their sum over the compounds. Nothing is learnt."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = CompoundOptions
    inputs: ClassVar[tuple[str, ...] | None] = tasks.get("expr").targets

    def __init__(self, options: CompoundOptions, task: Task) -> None:
        strange = [target for target in task.targets if target not in PAIRS]
        if strange or task.kind != "multiclass":
            raise UsageError(
                f"compound-from-basic gives scores of compounds ({', '.join(PAIRS)}); task {task.name} has "
                f"{', '.join(strange or task.targets)}: use --task compound"
            )
        assert self.inputs is not None
        columns = {name: column for column, name in enumerate(self.inputs)}
        self.pairs = {target: tuple(columns[basic] for basic in PAIRS[target]) for target in task.targets}

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Nothing to fit: the labels of the compounds are for scoring only."""

    def combine(self, scores: Floats) -> Floats:
        """Basic emotions [M,N,8] -> compounds [N,7]; NaN where no model has a score. Where all probability is outside
        the pairs (all of it Neutral, say) every compound has the same score."""
        basic = weighted(scores, np.full((len(scores), scores.shape[2]), 1 / len(scores)))
        return shares(np.stack([basic[:, i] + basic[:, j] for i, j in self.pairs.values()], axis=1))

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Nothing was learnt. Raises UsageError where compounds were made of other emotions."""
        if state != self.state():
            raise UsageError("the compounds were made of other pairs of basic emotions than these: fuse again")

    def state(self) -> dict[str, Any]:
        """The two basic emotions of each compound."""
        return {"pairs": {target: list(PAIRS[target]) for target in self.pairs}}


PLUGIN = CompoundFromBasic
