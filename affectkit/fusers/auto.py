"""Whichever is best on clips that it was not fitted on: a single model, equal weights, or one of the fusers that learn.

Every candidate is fitted on the same folds of whole clips or subjects and scored on the rows held out, all together:
the best single model, equal weights, and `dwf`, `nnls` and `stacking` with several shares of equal weights mixed in.
Chosen is the simplest, in that order, whose score is no more than a standard error (of the difference, over whole
groups) below the best: in simulations the plain best of few clips ended below the best single model several times as
often (`benchmarks/fusing.py`). The score that decides flatters a little: `fuse` has the choice judged on rows that no
part of it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import bootstrap, metrics
from affectkit.config import Config
from affectkit.errors import unknown
from affectkit.fusers._shrinkage import AMOUNTS, held_out, score_of
from affectkit.fusers._weighting import missing, usable
from affectkit.fusers.best_single import BestSingle, BestSingleOptions
from affectkit.fusers.dwf import DirichletWeightedFusion, DwfOptions
from affectkit.fusers.equal import EqualFusion, EqualOptions
from affectkit.fusers.nnls import NnlsOptions, NonNegativeLeastSquares
from affectkit.fusers.stacking import StackingFusion, StackingOptions
from affectkit.tasks import Task
from affectkit.types import Floats

_DRAWS, _ONE_ERROR = 200, 0.6827  # of the normal curve within one standard deviation


class AutoOptions(Config):
    """The search among fusers."""

    draws: int = Field(200, ge=1, description="weight matrices that dwf draws before it climbs")
    rule: Literal["one-se", "best"] = Field(
        "one-se", description="simplest within a standard error of the best held-out score, or the best"
    )


class AutoFusion:
    """Keeps the candidate with the best held-out score, fitted on all rows."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = AutoOptions
    inputs: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, options: AutoOptions, task: Task) -> None:
        self.options, self.task = options, task
        self.makers: dict[str, Any] = {
            "best-single": partial(BestSingle, BestSingleOptions(), task),
            "equal": partial(EqualFusion, EqualOptions(), task),
            "dwf": partial(DirichletWeightedFusion, DwfOptions(draws=options.draws), task),
            "nnls": partial(NonNegativeLeastSquares, NnlsOptions(), task),
            "stacking": partial(StackingFusion, StackingOptions(), task),
        }
        self.method, self.amount, self.why = "equal", 0.0, ""
        self.tried: list[dict[str, Any]] = []
        self.fuser: Any = None

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Choose by folds of the groups, then fit on all rows. scores [M,N,K], truth [N,K] or [N,1], groups [N]. With
        one group there are no folds: equal weights. Raises UsageError when no row can be used."""
        scores, truth, groups = usable(scores, truth, np.asarray(groups))
        if len(np.unique(groups)) < 2:
            self.why = "one clip or subject only, so nothing can be held out"
        else:
            self._choose(scores, truth, groups, seed)
        self.fuser = self.makers[self.method]()
        self.fuser.learn(scores, truth, groups, seed=seed)
        self.fuser.shrinkage = self.amount

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]; NaN where a target has no score of any model."""
        fused = np.asarray(self.fuser.mixed(scores, self.amount))
        return np.where(missing(scores)[:, None], np.nan, fused)

    def state(self) -> dict[str, Any]:
        """What was chosen and why, what was tried with its held-out score, and the state of what was chosen: with
        weights [M,K] where it has some."""
        about = {"chosen": self.method, "shrinkage": self.amount, "why": self.why, "tried": self.tried}
        return about | {key: value for key, value in self.fuser.state().items() if key not in about}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of what was chosen."""
        return dict(self.fuser.arrays()) if hasattr(self.fuser, "arrays") else {}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Build again what was chosen. Raises UsageError where there is no such fuser."""
        if (method := state["chosen"]) not in self.makers:
            raise unknown("fuser of auto", str(method), self.makers)
        self.method, self.fuser = method, self.makers[method]()
        self.fuser.restore(state, arrays)
        self.amount = self.fuser.shrinkage

    def _choose(self, scores: Floats, truth: Floats, groups: NDArray[Any], seed: int) -> None:
        learners = {name: (make, _amounts(name)) for name, make in self.makers.items()}
        found = held_out(learners, scores, truth, groups, seed)
        said = [(name, amount, found[name][amount]) for name in self.makers for amount in _amounts(name)]
        values = [score_of(self.task, truth, fused) for _, _, fused in said]
        best = 0
        for place, value in enumerate(values):
            if metrics.is_better(self.task.metric, value, values[best]):
                best = place
        place = best
        if self.options.rule == "one-se":
            place = next(
                number for number, (_, _, fused) in enumerate(said)
                if number == best or not self._worse(truth, fused, said[best][2], groups, seed)
            )  # fmt: skip
        self.method, self.amount, _ = said[place]
        self.tried = [
            {"method": name, "shrinkage": amount, "held_out_score": value}
            for (name, amount, _), value in zip(said, values, strict=True)
        ]
        self.why = f"held-out {self.task.metric} {values[place]:.4f}; best single {values[0]:.4f}; " + (
            f"the best of {len(said)} tried" if place == best else
            f"within a standard error of the best, {said[best][0]} with {values[best]:.4f}, and simpler"
        )  # fmt: skip

    def _worse(self, truth: Floats, one: Floats, best: Floats, groups: NDArray[Any], seed: int) -> bool:
        """Whether it is more than a standard error below the best, by draws of whole groups."""
        there = np.isfinite(one).all(axis=1) & np.isfinite(best).all(axis=1)
        gap = bootstrap.paired(
            self.task, truth[there], best[there], one[there], groups[there], draws=_DRAWS, seed=seed, level=_ONE_ERROR
        ).get(self.task.metric)
        if gap is None:
            return True
        return gap.high < 0 if self.task.metric == "mae" else gap.low > 0


def _amounts(name: str) -> tuple[float, ...]:
    """The shares of equal weights that are tried, the largest first: that is the simplest."""
    return (0.0,) if name in ("best-single", "equal") else tuple(amount for amount in AMOUNTS[::-1] if amount < 1)


PLUGIN = AutoFusion
