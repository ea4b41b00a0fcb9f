"""Progress of fine-tuning: steps done, loss, validation score, images a second, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from affectkit.plugins import Epoch
from affectkit.progress import Display, display

EVERY = 0.5
"""Seconds between two looks at the loss: each waits for the device."""


class Watched:
    """Told of steps and epochs; has them shown."""

    def __init__(self, shown: Display, unit: str, epochs: int) -> None:
        self._shown, self._unit, self._epochs = shown, unit, epochs
        self._loss = self._rate = self._scores = ""
        self._looked, self._seen = time.monotonic(), 0

    def step(self, epoch: int, done: int, steps: int, units: int, loss: Any) -> None:
        """`Watch` of the engine."""
        if self._shown.silent:
            return
        self._seen += units
        now = time.monotonic()
        if done == 1:
            self._looked, self._seen = now, 0  # validation lies between
        elif now - self._looked >= EVERY or done == steps:
            self._loss = f", loss {float(loss):.3f}"
            self._rate = f", {self._seen / max(now - self._looked, 1e-9):,.0f} {self._unit}/s"
            self._looked, self._seen = now, 0
        share = ((epoch - 1) * steps + done) / (self._epochs * steps)
        self._shown.show(share, f"epoch {epoch} of {self._epochs}{self._loss}{self._scores}{self._rate}")

    def epoch(self, epoch: Epoch) -> None:
        """A `Monitor`."""
        self._scores = f", val {epoch.score:.3f}, best {epoch.best:.3f}"


@contextmanager
def watched(network: str, unit: str, epochs: int, show: bool | None) -> Iterator[Watched]:
    """A `Watched` of at most so many epochs."""
    with display(f"finetune {network}", show) as shown:
        shown.show(0.0, f"epoch 1 of {epochs}")
        yield Watched(shown, unit, epochs)
