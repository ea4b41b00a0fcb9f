"""Progress of a map stage: clips and rows done, rows a second, time left, failures so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from affectkit.progress import Display, display


class Meter:
    """Counts clips, rows and failures; `rate` is rows a second since the start.

    `clips` in all; `rows` in all, where that is known.
    """

    def __init__(self, unit: str, clips: int = 0, rows: int | None = None, shown: Display | None = None) -> None:
        self.unit = unit
        self.rows = 0
        self.failed = 0
        self._clips, self._done = clips, 0
        self._all_rows = rows
        self._of_clip: int | None = None  # rows expected of the clip under way
        self._in_clip = 0
        self._inside: float | None = None
        self._shown = shown or Display()
        self._began = time.monotonic()
        if clips:
            self._show()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        return self.rows / max(self.seconds, 1e-9)

    def expect(self, rows: int | None) -> None:
        """A clip begins, which will have about so many rows."""
        self._of_clip, self._in_clip, self._inside = rows, 0, None
        if rows:
            self._show()

    def reach(self, share: float) -> None:
        """So much of the clip under way is done, where its rows come all at once."""
        self._inside = share
        self._show()

    def say(self, note: str) -> None:
        """Something that takes a while and cannot be measured, such as loading a network."""
        self._shown.say(note)

    def advance(self, rows: int = 0, clips: int = 0, failed: int = 0) -> None:
        """Add to the counts."""
        self.rows += rows
        self.failed += failed
        self._done += clips
        self._in_clip += rows
        if clips:
            self.expect(None)
        self._show()

    def _show(self) -> None:
        self._shown.show(self._share(), self._note())

    def _share(self) -> float | None:
        """Of the whole: by rows where all are known, else by clips and the rows of the one under way."""
        if self._all_rows:
            return min(1.0, self.rows / self._all_rows)
        if not self._clips:
            return None
        inside = self._in_clip / self._of_clip if self._of_clip else self._inside
        if self._clips == 1 and inside is None and not self._done:
            return None
        return min(1.0, (self._done + min(1.0, inside or 0.0)) / self._clips)

    def _note(self) -> str:
        parts = [f"{self._done:,} of {self._clips:,} clips"] if self._clips != 1 else []
        total = self._all_rows or (self._of_clip if self._clips == 1 else None)
        if self.rows or total:
            parts.append(f"{self.rows:,}" + (f" of about {max(total, self.rows):,}" if total else "") + f" {self.unit}")
        if self.rows:
            parts.append(f"{self.rate:,.{0 if self.rate >= 10 else 1}f} {self.unit}/s")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return ", ".join(parts) or f"{self._done:,} of {self._clips:,} clips"


@contextmanager
def meter(what: str, clips: int, unit: str, show: bool | None = None, rows: int | None = None) -> Iterator[Meter]:
    """A `Meter` over so many clips (and rows, where that is known), shown where there are any."""
    with display(what, show if clips else False) as shown:
        yield Meter(unit, clips, rows, shown)
