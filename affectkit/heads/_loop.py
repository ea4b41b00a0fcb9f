"""Epoch after epoch, until the validation score no longer improves: what training heads and networks share.

Imports torch: import this module inside functions only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from affectkit import metrics
from affectkit.heads._options import LearningOptions
from affectkit.heads._resume import Run, State
from affectkit.plugins import Epoch, Interrupted, Monitor
from affectkit.tasks import Metric


class Pass(NamedTuple):
    """What came of an epoch: its mean loss, the validation score, and the rate of its last step."""

    loss: float
    score: float
    rate: float


def train(
    run: Run,
    epoch: Callable[[], Pass],
    *,
    limits: LearningOptions,
    metric: Metric,
    monitor: Monitor,
    state: State | None,
) -> list[Epoch]:
    """Call `epoch`, which trains for one and scores it, until it is enough; leave the best weights in the network.

    With a `state`, which the run was restored from, the run is kept there as it goes, and on Ctrl-C. That raises
    `Interrupted`, with the best weights so far in the network.
    """
    try:
        while not finished(run.history, metric, limits):
            began = time.perf_counter()
            found = epoch()
            _add(run, found, metric, limits.epochs, time.perf_counter() - began)
            if state is not None:
                state.keep(run, last=finished(run.history, metric, limits))
            monitor(run.history[-1])
    except KeyboardInterrupt:
        if state is not None:
            state.flush()
        if not run.best:
            raise
        run.settle()
        raise Interrupted(run.history) from None
    run.settle()
    return run.history


def best_of(history: Iterable[Epoch], metric: Metric) -> Epoch | None:
    """The first epoch of the best score."""
    best: Epoch | None = None
    for epoch in history:
        if best is None or metrics.is_better(metric, epoch.score, best.score):
            best = epoch
    return best


def finished(history: Sequence[Epoch], metric: Metric, limits: LearningOptions) -> bool:
    """Whether all epochs are over, or as many as one waits for a better score."""
    best = best_of(history, metric)
    return best is not None and (len(history) >= limits.epochs or len(history) - best.epoch >= limits.patience)


def _add(run: Run, found: Pass, metric: Metric, epochs: int, seconds: float) -> None:
    """The epoch becomes part of the history and, if it is the best so far, its weights are kept."""
    best = best_of(run.history, metric)
    better = best is None or metrics.is_better(metric, found.score, best.score)
    if better:
        run.remember()
    run.history.append(
        Epoch(
            epoch=len(run.history) + 1,
            epochs=epochs,
            loss=found.loss,
            score=found.score,
            best=found.score if best is None or better else best.score,
            learning_rate=found.rate,
            seconds=seconds,
        )
    )
