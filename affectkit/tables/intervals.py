"""Rows of a table in time: those of each clip in order, and none that overlap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from affectkit.moments import Indices
from affectkit.tables.csv import CsvTable, Words
from affectkit.types import Floats

_TOUCHING = 1e-3 + 1e-9  # s: 0.034 - 0.033 is a little more than a millisecond


def spans(clips: Words, order: Indices) -> dict[str, slice]:
    """Where the rows of each clip lie once the table's rows are in an `order` that has the clips one after another."""
    bounds = np.searchsorted(clips.codes[order], np.arange(len(clips.values) + 1)).tolist()
    return {clip: slice(first, last) for clip, (first, last) in zip(clips.values, pairwise(bounds), strict=True)}


def touching(table: CsvTable, clips: Words, order: Indices, start: Floats, end: Floats, what: str) -> Indices:
    """The rows that end after the next one of their clip begins, by a millisecond or less and by less than half of
    either: rounded times. start, end [N] are sorted by clip and time, `order` [N] their rows in the table.

    Raises UsageError for two rows of one time otherwise; `what` they are (labels, say) is for the message.
    """
    follows = np.flatnonzero((end[:-1] > start[1:]) & (clips.codes[order[:-1]] == clips.codes[order[1:]]))
    overlap = end[follows] - start[follows + 1]
    shorter = np.minimum(end[follows] - start[follows], end[follows + 1] - start[follows + 1])
    bad = overlap > np.minimum(_TOUCHING, shorter / 2)
    if bad.any():
        row = int(follows[np.argmax(bad)])
        first, second = sorted(order[row : row + 2].tolist())
        where = f"the other is on line {table.line(first)}"
        raise table.error(second, f"clip '{clips[first]}' has two {what} for one time ({where})")
    return follows
