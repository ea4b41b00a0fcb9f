"""Epoch after epoch, until the validation score no longer improves; optimisers, and the learning rate of every step.

Rates follow from the options and from the history alone, so that a training that is taken up again needs no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from affectkit import metrics
from affectkit.learning.epochs import best_epoch
from affectkit.learning.options import LearningOptions
from affectkit.plugins import Epoch, Interrupted, Monitor
from affectkit.tasks import Metric
from affectkit.training.resume import Run, State


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
            result = epoch()
            _add(run, result, metric, limits.epochs, time.perf_counter() - began)
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


def finished(history: Sequence[Epoch], metric: Metric, limits: LearningOptions) -> bool:
    """Whether all epochs are over, or as many as one waits for a better score."""
    if not history:
        return False
    return len(history) >= limits.epochs or len(history) - best_epoch(history, metric).epoch >= limits.patience


def _add(run: Run, result: Pass, metric: Metric, epochs: int, seconds: float) -> None:
    """The epoch becomes part of the history and, if it is the best so far, its weights are kept."""
    epoch = Epoch(
        epoch=len(run.history) + 1,
        epochs=epochs,
        loss=result.loss,
        score=result.score,
        best=result.score,
        learning_rate=result.rate,
        seconds=seconds,
    )
    best = best_epoch([*run.history, epoch], metric)
    if best is epoch:
        run.remember()
    run.history.append(replace(epoch, best=best.score))


FINAL_RATE = 0.02  # the cosine ends at this share of the peak (SUN: 5e-3 -> 1e-4)
PLATEAU_FACTOR = 0.5  # MuSe's baseline
MOMENTUM = 0.9  # of sgd


class Ends(NamedTuple):
    """Rates of the first step of the warm-up, and that the cosine ends at."""

    first: float
    last: float


def optimiser(parameters: Iterable[Any], options: LearningOptions, scaled: bool = False) -> torch.optim.Optimizer:
    """The one that the options name, of parameters or groups of them. Weight decay is decoupled in adamw, and a term of
    the loss in adam and sgd. `scaled`: a loss scaler leaves steps out."""
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimiser == "sgd":
        # torch's fused one takes its momentum from uninitialised memory where the very first step is left out.
        fused = None if scaled else True
        return torch.optim.SGD(parameters, rate, momentum=MOMENTUM, weight_decay=decay, fused=fused)
    kind = torch.optim.Adam if options.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, rate, weight_decay=decay, fused=True)


def rates(
    history: Sequence[Epoch], steps: int, metric: Metric, options: LearningOptions, ends: Ends | None = None
) -> list[float]:
    """The rate of each of the `steps` of the epoch that follows `history`."""
    done = len(history)
    if options.schedule == "cosine":
        return [cosine(done * steps + n, options.epochs * steps, options, ends) for n in range(steps)]
    factor = 1.0
    if options.schedule == "plateau":
        factor = plateau([epoch.score for epoch in history], metric, options.plateau_patience)
    elif options.schedule == "step":
        factor = float(options.step_factor ** (done // options.step_epochs))
    return [options.learning_rate * factor] * steps


def cosine(step: int, total: int, options: LearningOptions, ends: Ends | None = None) -> float:
    """The rate of one step of `total`: linear warm-up to the peak, then cosine down to its `FINAL_RATE`.

    Without `ends` the warm-up begins one step above 0.
    """
    warmup, peak = min(options.warmup_steps, total // 10), options.learning_rate
    if step < warmup:
        return peak * (step + 1) / (warmup + 1) if ends is None else ends.first + (peak - ends.first) * step / warmup
    done = (step - warmup) / max(1, total - warmup)
    final = FINAL_RATE if ends is None else ends.last / peak
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


def plateau(scores: Sequence[float], metric: Metric, patience: int) -> float:
    """The share of the peak after epochs with these scores: halved each time more than `patience` of them pass without
    a better one, as torch's ReduceLROnPlateau does.

    >>> plateau([0.3, 0.2, 0.3, 0.1], "ccc", patience=2)
    0.5
    """
    factor, best, waited = 1.0, None, 0
    for score in scores:
        if metrics.is_better(metric, score, best):
            best, waited = score, 0
        else:
            waited += 1
        if waited > patience:
            factor, waited = factor * PLATEAU_FACTOR, 0
    return factor
