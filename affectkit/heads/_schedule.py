"""Optimisers, and the learning rate of every step. Imports torch: import this module inside functions only.

Rates follow from the options and from the history alone, so that a training that is taken up again needs no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from affectkit import metrics
from affectkit.heads._options import LearningOptions
from affectkit.plugins import Epoch
from affectkit.tasks import Metric

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
