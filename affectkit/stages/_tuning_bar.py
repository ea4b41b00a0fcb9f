"""Live progress of fine-tuning: steps done, loss, validation score, images a second, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from affectkit.plugins import Epoch
from affectkit.stages._progress import shown

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 0.5
"""Seconds between two looks at the loss: each waits for the device."""


class Display:
    """Told of steps and epochs; shows them, where there is a bar."""

    def __init__(self, progress: Progress | None, what: str, unit: str, epochs: int) -> None:
        self._progress, self._unit, self._epochs = progress, unit, epochs
        self._task = None if progress is None else progress.add_task(what, total=None, note="")
        self._loss = self._rate = self._scores = ""
        self._looked, self._seen = time.monotonic(), 0

    def step(self, epoch: int, done: int, steps: int, units: int, loss: Any) -> None:
        """`Watch` of the engine."""
        if self._progress is None or self._task is None:
            return
        self._seen += units
        now = time.monotonic()
        if done == 1:
            self._looked, self._seen = now, 0  # validation lies between
        elif now - self._looked >= EVERY or done == steps:
            self._loss = f" loss {float(loss):.3f}"
            self._rate = f" {self._seen / max(now - self._looked, 1e-9):,.0f} {self._unit}/s"
            self._looked, self._seen = now, 0
        note = f"epoch {epoch}/{self._epochs}{self._loss}{self._scores}{self._rate}"
        done += (epoch - 1) * steps
        self._progress.update(self._task, total=self._epochs * steps, completed=done, note=note)

    def epoch(self, epoch: Epoch) -> None:
        """A `Monitor`."""
        self._scores = f" val {epoch.score:.3f} best {epoch.best:.3f}"


@contextmanager
def display(what: str, unit: str, epochs: int, show: bool | None) -> Iterator[Display]:
    """A `Display` of at most so many epochs, drawn when `show`, or by default when stderr is a terminal."""
    if not shown(show):
        yield Display(None, what, unit, epochs)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[bold]{task.description}"), BarColumn(10), TextColumn("{task.fields[note]}"), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Display(progress, what, unit, epochs)
