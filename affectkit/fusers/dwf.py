"""Dirichlet-based random weighted fusion (SUN team, arXiv 2403.12609).

Draws weight matrices [models, classes] whose every class column is Dirichlet over the models, and keeps the one with
the best metric on the rows that it is fitted on. The result is that of scoring every draw on all rows; the search goes
through the rows only where it must (CCC and Pearson follow from means and covariances, F1 and recall from counts of the
rows whose winner the weights can change).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.fusers._fixed import WeightedFusion
from affectkit.fusers._search import Search
from affectkit.fusers._weighting import usable
from affectkit.tasks import Task
from affectkit.types import Floats

_FIRST, _SHRINK = 4, 4  # concentration of the first refining round, per model; and its growth, which halves the spread


class DwfOptions(Config):
    """The search."""

    draws: int = Field(1000, ge=1, description="weight matrices to draw (the paper: 1000 to 2000)")
    concentration: float = Field(1.0, gt=0, description="alpha of the Dirichlet distribution (1: uniform)")
    refine: int = Field(
        0, ge=0, le=20, description="more rounds of as many draws around the best so far, each with half the spread"
    )


class DirichletWeightedFusion(WeightedFusion):
    """Learns weights [M,K] by random search; each column sums to 1."""

    version: ClassVar[int] = 2
    Options: ClassVar[type[Config]] = DwfOptions

    def __init__(self, options: DwfOptions, task: Task) -> None:
        super().__init__(options, task)
        self.search = options
        self.score: float | None = None

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Keep the best of the draws. scores [M,N,K], truth [N,K] or [N,1]; the same seed gives the same draws. Raises
        UsageError for a metric that the task's kind does not have, and when no row can be used."""
        scores, truth, _ = usable(scores, truth, groups)
        draws, models = self.search.draws, len(scores)
        search = Search(self.task, scores, truth, draws * (1 + self.search.refine))
        generator = np.random.default_rng(seed)
        search.uniform(generator, self.search.concentration, draws, (models, scores.shape[2]))
        for turn in range(self.search.refine):
            search.around(generator, _FIRST * models * float(_SHRINK**turn), draws)
        self.weights, self.score = search.weights, search.score

    def state(self) -> dict[str, Any]:
        """The weights [M,K] and the score that they have on the rows they were chosen on (optimistic)."""
        return super().state() | {"score_in_sample": self.score}


PLUGIN = DirichletWeightedFusion
