"""Openings of the mouth as CSV: `clip,start,end,opening`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from affectkit.tables.csv import read_table
from affectkit.tables.intervals import spans, touching
from affectkit.types import Openings


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
    start, end, opening = start[order], end[order], opening[order]
    touching(table, clips, order, start, end, "mouth openings")
    return {name: Openings(start[rows], end[rows], opening[rows]) for name, rows in spans(clips, order).items()}
