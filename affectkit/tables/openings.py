"""Openings of the mouth as CSV: `clip,start,end,opening`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.tables.csv import CsvTable, Words, read_table
from affectkit.types import Openings

_TOUCHING = 1e-3 + 1e-9  # 0.034 - 0.033 is a little more than a millisecond


def read_openings(path: Path) -> dict[str, Openings]:
    """Mouth openings by clip id, sorted; rows of a clip sorted by time (s from the start of the clip).

    An empty `opening` is unknown (NaN). An empty `start` is 0 and an empty `end` the end of the clip. Rows may leave
    gaps. Rows that overlap by a millisecond or less (rounded times) are left as they are.

    Raises UsageError with file and line: wrong columns, text or infinity where a number is needed, start >= end, two
    openings for one time.
    """
    table = read_table(path, "mouth openings", text=("clip",), numbers=("start", "end", "opening"))
    start, end = table.intervals()
    opening = table.numbers["opening"]
    if np.isinf(opening).any():
        row = int(np.argmax(np.isinf(opening)))
        raise table.error(row, f"opening is {opening[row]:g}, needed is a finite number (or nothing: unknown)")
    clips = table.clips()
    order = np.lexsort((start, clips.codes))
    _refuse_overlaps(table, clips, order, start[order], end[order])
    bounds = np.searchsorted(clips.codes[order], np.arange(len(clips.values) + 1))
    rows = (order[a:b] for a, b in pairwise(bounds))
    return {name: Openings(start[of], end[of], opening[of]) for name, of in zip(clips.values, rows, strict=True)}


def _refuse_overlaps(
    table: CsvTable, clips: Words, order: NDArray[np.intp], start: NDArray[np.float64], end: NDArray[np.float64]
) -> None:
    """Times sorted by clip and start; `order` their rows in the table."""
    code = clips.codes[order]
    shorter = np.minimum(end[:-1] - start[:-1], end[1:] - start[1:])
    bad = (code[:-1] == code[1:]) & (end[:-1] - start[1:] > np.minimum(_TOUCHING, shorter / 2))
    if bad.any():
        place = int(np.argmax(bad))
        first, second = sorted(order[place : place + 2].tolist())
        where = f"the other is on line {table.line(first)}"
        raise table.error(second, f"clip '{clips[first]}' has two mouth openings for one time ({where})")
