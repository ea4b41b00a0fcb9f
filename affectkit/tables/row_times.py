"""Rows that predictions are asked for: those of a table of times, or so many a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError, listed
from affectkit.tables.csv import read_table
from affectkit.tables.intervals import spans
from affectkit.types import FeatureSequence, Floats

Rows = tuple[Floats, Floats]  # start, end [R] (s)


@dataclass(frozen=True, repr=False)
class TimeTable:
    """The rows of a table, by clip."""

    path: Path
    rows: dict[str, Rows]

    @property
    def digest(self) -> str:
        """What the table asks for: its clips and times, and nothing else that it holds."""
        total = sha256()
        for clip, (start, end) in sorted(self.rows.items()):
            total.update(f"{clip} {len(start)} ".encode() + start.astype("<f8").tobytes() + end.astype("<f8").tobytes())
        return total.hexdigest()

    def meets(self, clips: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
        """The clips that the table has rows for, in order, and a line for each side that has clips left over.

        Raises UsageError when there is none.
        """
        shared = [clip for clip in clips if clip in self.rows]
        absent = [clip for clip in self.rows if clip not in set(clips)]
        if not shared:
            raise UsageError(
                f"none of the {len(clips)} clips to predict has rows in {self.path}: they have ids such as "
                f"'{min(clips, default='none')}', the table '{min(self.rows)}'"
            )
        sides = (
            (f"without rows in {self.path}", sorted(set(clips) - set(shared))),
            (f"in {self.path}, but not among the clips to predict", absent),
        )
        return shared, tuple(f"left out, {what}: {listed(left)}" for what, left in sides if left)


def read_times(path: Path) -> TimeTable:
    """The rows of any CSV with `clip,start,end`, sorted by time; other columns are passed over, rows may overlap.

    Raises UsageError with file and line: wrong columns, an empty time, start >= end.
    """
    table = read_table(path, "rows to predict", text=("clip",), numbers=("start", "end"))
    start, end = table.intervals()
    endless = ~np.isfinite(end) | np.isnan(table.numbers["start"])
    if endless.any():
        raise table.error(int(np.argmax(endless)), "a row to predict needs a start and an end in seconds")
    clips = table.clips()
    order = np.lexsort((end, start, clips.codes))
    start, end = start[order], end[order]
    return TimeTable(path, {name: (start[rows], end[rows]) for name, rows in spans(clips, order).items()})


def at_rate(sequence: FeatureSequence, fps: float) -> Rows:
    """Rows of 1/fps seconds from the start of a clip's first feature row, as long as their middle is before its end."""
    if not len(sequence):
        return np.zeros(0), np.zeros(0)
    return regular(float(np.min(sequence.start)), float(np.max(sequence.end)), fps)


def regular(first: float, last: float, fps: float) -> Rows:
    """Rows of 1/fps seconds from `first` on, as long as their middle is before `last`; at least one.

    >>> [times.tolist() for times in regular(0, 0.9, 2)]
    [[0.0, 0.5], [0.5, 1.0]]
    """
    count = int(np.ceil((last - first) * fps - 0.5 - 1e-6))
    start = first + np.arange(max(1, count)) / fps
    return start, start + 1 / fps
