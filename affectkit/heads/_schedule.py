"""Optimisers, and the learning rate of every step. Imports torch: import this module inside functions only.

Rates follow from the options and from the history alone, so that a training that is taken up again needs no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from affectkit import metrics
from affectkit.heads._options import TrainingOptions
from affectkit.plugins import Epoch
from affectkit.tasks import Metric

FINAL_RATE = 0.02  # the cosine ends at this share of the peak (SUN: 5e-3 -> 1e-4)
PLATEAU_FACTOR = 0.5  # MuSe's baseline
MOMENTUM = 0.9  # of sgd


def optimiser(network: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """The one that the options name. Weight decay is decoupled in adamw, and a term of the loss in adam and sgd."""
    parameters, rate, decay = network.parameters(), options.learning_rate, options.weight_decay
    if options.optimiser == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=MOMENTUM, weight_decay=decay, fused=True)
    kind = torch.optim.Adam if options.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, rate, weight_decay=decay, fused=True)


def rates(history: Sequence[Epoch], steps: int, metric: Metric, options: TrainingOptions) -> list[float]:
    """The rate of each of the `steps` of the epoch that follows `history`."""
    done = len(history)
    if options.schedule == "cosine":
        return [cosine(done * steps + n, options.epochs * steps, options) for n in range(steps)]
    factor = 1.0
    if options.schedule == "plateau":
        factor = plateau([epoch.score for epoch in history], metric, options.plateau_patience)
    elif options.schedule == "step":
        factor = float(options.step_factor ** (done // options.step_epochs))
    return [options.learning_rate * factor] * steps


def cosine(step: int, total: int, options: TrainingOptions) -> float:
    """The rate of one step of `total`: linear warm-up to the peak, then cosine down to its `FINAL_RATE`."""
    warmup = min(options.warmup_steps, total // 10)
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    return options.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2)


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
