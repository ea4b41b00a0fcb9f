"""Live progress on stderr: clips done, rows a second, time left, failures so far. Quiet when it is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Meter:
    """Counts clips, rows and failures; `rate` is rows a second since the start."""

    def __init__(self, unit: str, bar: Progress | None = None, task: int = 0) -> None:
        self.unit = unit
        self.rows = 0
        self.failed = 0
        self._bar = bar
        self._task = task
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        return self.rows / max(self.seconds, 1e-9)

    def advance(self, rows: int = 0, clips: int = 0, failed: int = 0) -> None:
        """Add to the counts."""
        self.rows += rows
        self.failed += failed
        if self._bar is not None:
            note = f"{self.rate:,.0f} {self.unit}/s" + (f", {self.failed} failed" if self.failed else "")
            self._bar.update(self._task, advance=clips, note=note)  # type: ignore[arg-type]


@contextmanager
def meter(what: str, total: int, unit: str, show: bool | None = None) -> Iterator[Meter]:
    """A `Meter` over `total` clips; drawn when `show`, or by default when stderr is a terminal."""
    if not shown(show):
        yield Meter(unit)
        return
    with bar() as progress:
        task = progress.add_task(what, total=total, note="")
        yield Meter(unit, progress, task)


def shown(progress: bool | None) -> bool:
    """Whether to draw: as asked, else where stderr is a terminal."""
    return sys.stderr.isatty() if progress is None else progress


def bar() -> Progress:
    """The one style of progress bar."""
    return Progress(
        TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip
