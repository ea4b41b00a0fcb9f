"""Dirichlet-based random weighted fusion (SUN team, arXiv 2403.12609).

Draws weight matrices [models, classes] whose every class column is Dirichlet over the models, and keeps the one with
the best metric on the rows that it is fitted on. The result is that of scoring every draw on all rows; the search goes
through the rows only where it must (CCC and Pearson follow from means and covariances, F1 and recall from counts of the
rows whose winner the weights can change).

A thousand draws of two models and six targets end below the best weights there are. So the best draw is climbed from:
for CCC, Pearson and the mean absolute error to the optimum, for F1 and recall until no segment of a class's weights is
better. `-o refine=false` keeps the draw, as in the paper.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.fusers._search import Search
from affectkit.fusers._shrinkage import SHRINK_HELP, Shrink
from affectkit.fusers._weighting import WeightedFusion, usable
from affectkit.tasks import Task
from affectkit.types import Floats

_FIRST, _SHRINK = 4, 4  # concentration of the first refining round, per model; and its growth, which halves the spread

_FOLD_DRAWS = 200


class DwfOptions(Config):
    """The search."""

    draws: int = Field(1000, ge=1, description="weight matrices to draw (the paper: 1000 to 2000)")
    concentration: float = Field(1.0, gt=0, description="alpha of the Dirichlet distribution (1: uniform)")
    refine: bool = Field(True, description="climb from the best draw to an optimum (the paper: false)")
    shrink: Shrink = Field("auto", description=SHRINK_HELP)
    rounds: int = Field(
        0, ge=0, le=20, description="more rounds of as many draws around the best so far, each with half the spread"
    )


class DirichletWeightedFusion(WeightedFusion):
    """Learns weights [M,K] by random search and a climb from its best; each column sums to 1."""

    version: ClassVar[int] = 3
    Options: ClassVar[type[Config]] = DwfOptions

    def __init__(self, options: DwfOptions, task: Task) -> None:
        super().__init__(options, task)
        self.search = options
        self.score: float | None = None
        self.drawn_score: float | None = None

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Keep the best of the draws, or what it is climbed to. scores [M,N,K], truth [N,K] or [N,1]; the same seed
        gives the same weights. Raises UsageError for a metric that the task's kind does not have, and when no row can
        be used."""
        scores, truth, _ = usable(scores, truth, groups)
        draws, models = self.search.draws, len(scores)
        search = Search(self.task, scores, truth, draws * (1 + self.search.rounds))
        generator = np.random.default_rng(seed)
        search.uniform(generator, self.search.concentration, draws, (models, scores.shape[2]))
        for turn in range(self.search.rounds):
            search.around(generator, _FIRST * models * float(_SHRINK**turn), draws)
        self.drawn_score = search.score
        if self.search.refine and models > 1:
            search.climb()
        self.weights, self.score = search.weights, search.score

    def _again(self) -> DirichletWeightedFusion:
        """For folds: fewer draws do, where they are climbed from."""
        fewer = {"draws": min(self.search.draws, _FOLD_DRAWS)} if self.search.refine else {}
        return DirichletWeightedFusion(self.search.model_copy(update=fewer), self.task)

    def state(self) -> dict[str, Any]:
        """The weights [M,K]; the score that they have on the rows they were chosen on (optimistic), before shrinking,
        and the best draw's."""
        return super().state() | {"score_in_sample": self.score, "drawn_score_in_sample": self.drawn_score}


PLUGIN = DirichletWeightedFusion
