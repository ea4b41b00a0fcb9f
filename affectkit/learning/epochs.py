"""The history of a training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from affectkit import metrics
from affectkit.plugins import Epoch
from affectkit.tasks import Metric


def best_epoch(history: Sequence[Epoch], metric: Metric) -> Epoch:
    """The first epoch of the best validation score, of one epoch or more; an undefined score is worse than any."""
    best = history[0]
    for epoch in history[1:]:
        reached = best.score if isfinite(best.score) else None
        if isfinite(epoch.score) and metrics.is_better(metric, epoch.score, reached):
            best = epoch
    return best
