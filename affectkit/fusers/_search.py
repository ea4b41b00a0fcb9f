"""The search of Dirichlet random weighted fusion: score many draws at once, settle the best on the rows themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from affectkit import metrics
from affectkit.fusers._weighting import patterns, weighted
from affectkit.tasks import Task
from affectkit.types import Floats

_SETTLED = 64  # draws alike in score that are scored on the rows themselves
_SMALL = 1e8  # scores gone through: about a second on the rows, and compiling takes some, once a machine


class WeightScorer(Protocol):
    """Scores weight matrices by the task's metric. `slack`: how far two scores of it must lie apart to be sure which is
    better. `chunk`: draws to pass at a time."""

    slack: float
    chunk: int

    def __call__(self, weights: Floats) -> Floats:
        """[D,M,K] -> [D]."""


class RowScorer:
    """Scores each draw on all rows: any metric, at the speed of the rows."""

    slack, chunk = 0.0, 1024

    def __init__(self, task: Task, scores: Floats, truth: Floats) -> None:
        self._task, self.scores, self.truth = task, scores, truth
        self._known = patterns(scores)

    def __call__(self, weights: Floats) -> Floats:
        fused = (weighted(self.scores, one, self._known) for one in weights)
        return np.array([metrics.main(self._task, self.truth, one) for one in fused])


def scorer(task: Task, scores: Floats, truth: Floats, draws: int) -> WeightScorer:
    """The fastest exact way to score `draws` draws. scores [M,N,K], truth [N,K] (classes [N,1])."""
    if task.kind == "regression" and task.metric in ("ccc", "pearson"):
        from affectkit.fusers._objective import Moments

        return Moments(task.metric, scores, truth)
    if scores.size * draws > _SMALL:
        from affectkit.fusers._objective import Labels, Winners

        if task.kind == "multiclass" and task.metric in ("macro-f1", "uar", "war"):
            return Winners(task.metric, scores, truth)
        if task.kind == "multilabel" and task.metric == "binary-f1":
            return Labels(scores, truth)
    return RowScorer(task, scores, truth)


def climb(task: Task, scores: Floats, truth: Floats, start: Floats) -> Floats:
    """Better weights [M,K] by the task's metric, from `start`; `start` itself where none are found. scores [M,N,K],
    truth [N,K] (classes [N,1])."""
    if task.kind == "regression":
        from affectkit.fusers._columns import best_columns

        return best_columns(task.metric, scores, truth, start)
    from affectkit.fusers._segments import best_of_classes, best_of_labels

    if task.kind == "multiclass":
        return best_of_classes(task.metric, scores, truth, start)
    return best_of_labels(scores, truth, start)


class Search:
    """Keeps the best weights [M,K] of all draws; of equals, the one drawn first."""

    def __init__(self, task: Task, scores: Floats, truth: Floats, draws: int) -> None:
        self._task, self._rows = task, RowScorer(task, scores, truth)
        self._scorer = scorer(task, scores, truth, draws)
        self.weights: Floats | None = None
        self.score: float | None = None

    def uniform(self, generator: np.random.Generator, concentration: float, draws: int, shape: tuple[int, int]) -> None:
        """Try `draws` matrices [M,K] whose columns are Dirichlet(concentration, ...) over the models."""
        models, targets = shape
        alpha = np.full(models, concentration)
        self._try(
            generator.dirichlet(alpha, (count, targets)).transpose(0, 2, 1) for count in _chunks(draws, self._scorer)
        )

    def around(self, generator: np.random.Generator, concentration: float, draws: int) -> None:
        """Try `draws` matrices near the best so far: column k is Dirichlet(concentration * best_k + 1/M) over the M
        models, so that a model without weight can come back."""
        assert self.weights is not None, "search first"
        alpha = concentration * self.weights + 1 / len(self.weights)
        self._try(
            np.stack([generator.dirichlet(column, count) for column in alpha.T], axis=2)
            for count in _chunks(draws, self._scorer)
        )

    def climb(self) -> None:
        """Go on from the best so far to where no step is better: for CCC, Pearson and the mean absolute error the best
        weights there are, of classes and labels the best along every segment."""
        assert self.weights is not None, "search first"
        climbed = climb(self._task, self._rows.scores, self._rows.truth, self.weights)
        self._try(iter([climbed[None]]))

    def _try(self, chunks: Iterator[Floats]) -> None:
        found = _Found(-1.0 if self._task.metric == "mae" else 1.0, self._scorer.slack)
        for weights in chunks:
            found.add(self._scorer(weights), weights)
        exact = self._rows(found.weights)
        for score, weights in zip(exact.tolist(), found.weights, strict=True):
            if metrics.is_better(self._task.metric, score, self.score):
                self.score, self.weights = score, weights


class _Found:
    """The draws that may be the best of those seen, in the order drawn."""

    def __init__(self, sign: float, slack: float) -> None:
        self._sign, self._slack = sign, slack
        self._most = _SETTLED if slack else 1
        self._scores: Floats = np.zeros(0)
        self.weights: Floats = np.zeros((0, 0, 0))

    def add(self, scores: Floats, weights: Floats) -> None:
        """scores [D] of weights [D,M,K], drawn after all those before."""
        signed = self._sign * scores
        top = max(signed.max(), self._scores.max(initial=-np.inf))
        near = signed >= top - self._slack
        signed = np.concatenate([self._scores, signed[near]])
        weights = np.concatenate([self.weights, weights[near]]) if len(self.weights) else weights[near]
        best = np.sort(np.argsort(-signed, kind="stable")[: self._most])
        best = best[signed[best] >= top - self._slack]
        self._scores, self.weights = signed[best], weights[best]


def _chunks(draws: int, scorer: WeightScorer) -> Iterator[int]:
    for first in range(0, draws, scorer.chunk):
        yield min(scorer.chunk, draws - first)
