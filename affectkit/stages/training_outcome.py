"""How a training went: curves while it runs, the best epoch, why it stopped, and whether its scores collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import UsageError, require
from affectkit.learning.epochs import best_epoch
from affectkit.plugins import Epoch, Monitor
from affectkit.stages.inputs import file
from affectkit.stages.stage import TRAINING
from affectkit.tasks import Metric


def tensorboard() -> Any:
    """An input: the folder that training curves go to."""
    return file(
        "write training curves there for TensorBoard", kind="made", metavar="DIR", in_recipes=False, panel=TRAINING
    )


def check_tensorboard(folder: Path | None) -> None:
    """Before any work: raises MissingExtra without the package, UsageError for what is no folder."""
    if folder is None:
        return
    require("tensorboard", "tensorboard", "tensorboard", "--tensorboard")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--tensorboard {folder} is not a folder")


@contextmanager
def curves(folder: Path | None, seed: int, metric: Metric, show: Monitor) -> Iterator[Monitor]:
    """A monitor that shows each epoch and writes it to `folder`/seed_N, where there is a folder."""
    if folder is None:
        yield show
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / f"seed_{seed}")) as writer:

        def monitor(epoch: Epoch) -> None:
            values = {"loss": epoch.loss, metric: epoch.score, "learning_rate": epoch.learning_rate}
            for name, value in values.items():
                if value is not None:
                    writer.add_scalar(name, value, epoch.epoch)
            writer.flush()  # a killed run shows all of its epochs
            show(epoch)

        yield monitor


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


def outcome_lines(training: Mapping[str, Mapping[str, Any]]) -> list[str]:
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


def training_said(report: Mapping[str, Any]) -> Iterator[str]:
    """How the training of each seed ended, and what speaks against the head or was left out. A head of before says the
    latter only."""
    yield from outcome_lines(report.get("training", {}))
    yield from (f"note: {caution}" for caution in report.get("cautions", report["clips"]["left_out"]))
