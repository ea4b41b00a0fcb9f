"""How a training ended: the best epoch, why it stopped, and whether its scores collapsed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from affectkit import metrics
from affectkit.plugins import Epoch
from affectkit.tasks import Metric

KEPT = 0.5
"""Share of the best score that the last epochs keep, unless the training collapsed."""
LEAST = 0.05
"""Score below which a correlation is none."""
_LAST = 3  # epochs, of which the middle score counts
_CORRELATIONS = ("ccc", "pearson")


def outcome(history: Sequence[Epoch], metric: Metric, stopped: bool = False) -> dict[str, Any]:
    """The best epoch and its score, epochs that were run and that there could have been, the last score, and why there
    were no more. `stopped`: by Ctrl-C."""
    best = best_epoch(history, metric)
    last = history[-1]
    waited = last.epoch - best.epoch
    reason = f"no better validation score in {waited} epochs" if last.epoch < last.epochs else "all epochs are over"
    return {
        "best_epoch": best.epoch,
        "best": _number(best.score),
        "epochs": last.epoch,
        "most_epochs": last.epochs,
        "last": _number(last.score),
        "stopped": "Ctrl-C" if stopped else reason if last.epochs > 1 else "fitted at once",
    }


def best_epoch(history: Sequence[Epoch], metric: Metric) -> Epoch:
    """The first epoch of the best score."""
    best = history[0]
    for epoch in history[1:]:
        if metrics.is_better(metric, epoch.score, best.score if isfinite(best.score) else None):
            best = epoch
    return best


def collapse(history: Sequence[Epoch], metric: Metric) -> str | None:
    """A line for a training whose validation score fell far below its best, or that never learnt anything; None for
    any other."""
    if len(history) < 2:
        return None
    best = best_epoch(history, metric)
    if metric in _CORRELATIONS and best.score < LEAST:
        return (
            f"validation {metric} never rose above {max(epoch.score for epoch in history):.2f} in {len(history)} "
            "epochs: nothing was learnt (a lower learning_rate, or another --head)"
        )
    last = float(np.median([epoch.score for epoch in history[-_LAST:]]))
    fell = last > best.score / KEPT if metric == "mae" else last < best.score * KEPT
    if not fell:
        return None
    return (
        f"validation {metric} {'rose' if metric == 'mae' else 'fell'} from {best.score:.2f} (epoch {best.epoch}) to "
        f"{last:.2f} by epoch {history[-1].epoch}: the training collapsed, and the head of epoch {best.epoch} is kept "
        "(a lower learning_rate holds it)"
    )


def lines(training: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How each seed's training ended, for the log; nothing of what is fitted at once."""
    several = len(training) > 1
    return [
        (f"seed {seed}: " if several else "")
        + f"best epoch {one['best_epoch']} of {one['epochs']}; stopped: {one['stopped']}"
        for seed, one in training.items()
        if one["most_epochs"] > 1
    ]


def _number(score: float) -> float | None:
    return float(score) if isfinite(score) else None
