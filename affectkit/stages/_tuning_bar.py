"""Live progress of fine-tuning: steps done, loss, validation score, images a second, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from affectkit.plugins import Epoch
from affectkit.stages._progress import bar, shown

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 0.5
"""Seconds between two looks at the loss: each waits for the device."""


class Display:
    """Told of steps and epochs; shows them, where there is a bar."""

    def __init__(self, progress: Progress | None, what: str, unit: str) -> None:
        self._progress, self._unit = progress, unit
        self._task = None if progress is None else progress.add_task(what, total=None, note="")
        self._loss = self._rate = self._scores = ""
        self._looked, self._seen = time.monotonic(), 0
        self._epochs = 0

    def step(self, epoch: int, done: int, steps: int, units: int, loss: Any) -> None:
        """`Watch` of the engine."""
        if self._progress is None or self._task is None:
            return
        self._seen += units
        now = time.monotonic()
        if done == 1:
            self._looked, self._seen = now, 0  # validation lies between
        elif now - self._looked >= EVERY or done == steps:
            self._loss = f", loss {float(loss):.4f}"
            self._rate = f", {self._seen / max(now - self._looked, 1e-9):,.0f} {self._unit}/s"
            self._looked, self._seen = now, 0
        of = f" of {self._epochs}" if self._epochs else ""
        note = f"epoch {epoch}{of}{self._loss}{self._scores}{self._rate}"
        total = self._epochs * steps if self._epochs else None
        self._progress.update(self._task, total=total, completed=(epoch - 1) * steps + done, note=note)

    def epoch(self, epoch: Epoch) -> None:
        """A `Monitor`."""
        self._epochs = epoch.epochs
        self._scores = f", val {epoch.score:.4f}, best {epoch.best:.4f}"

    def of(self, epochs: int) -> None:
        """How many epochs there are, at most."""
        self._epochs = epochs


@contextmanager
def display(what: str, unit: str, show: bool | None) -> Iterator[Display]:
    """A `Display`, drawn when `show`, or by default when stderr is a terminal."""
    if not shown(show):
        yield Display(None, what, unit)
        return
    with bar() as progress:
        yield Display(progress, what, unit)
