"""Groups of clips that a report's scores are told apart by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError
from affectkit.stages.report_clips import ClipLine
from affectkit.tables.csv import read_table

_SAID = ("split", "subject")
_FACE = "share of frames with a face"
_BOUNDS = (0.5, 0.9)
MOST_VALUES = 12
"""Values of a column of numbers that each are a group; of more, thirds are."""


def manifest_columns(path: Path | None, by: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each column, what it says of every clip. Raises UsageError."""
    wanted = [name for name in by if name not in _SAID]
    if path is None:
        if wanted:
            raise UsageError(f"--by {wanted[0]} is a column of a table: give --manifest CSV (or --by split, subject)")
        return {}
    names = [name for name in by if name not in _SAID] or list(by)
    if not names:
        raise UsageError("--manifest has columns to slice scores by: say which with --by COLUMN")
    table = read_table(path, "a manifest", text=("clip", *names), numbers=())
    clips = table.clips()
    ids = [clips[row] for row in range(len(table))]
    columns = {}
    for name in names:
        words = table.words(name, str)
        columns[name] = {clip: words[row] for row, clip in enumerate(ids)}
    return columns


def grouped(lines: Sequence[ClipLine], columns: Mapping[str, Mapping[str, str]], by: Sequence[str]) -> list[str]:
    """Write each clip's group for every name into its line; returns the names that tell clips apart."""
    names = []
    for name in dict.fromkeys([*by, *_SAID, _FACE]):
        values = {line.id: _value(line, name, columns) for line in lines}
        if name in columns:
            values = thirds(values)
        if len(set(values.values())) < 2 and name not in by:
            continue
        for line in lines:
            line.groups[name] = values[line.id]
        names.append(name)
    return names


def thirds(values: Mapping[str, str]) -> dict[str, str]:
    """Values as they are; where they are many numbers, which third of the clips each is in.

    >>> sorted(set(thirds({str(number): str(number) for number in range(30)}).values()))
    ['0 to 9.67', '19.3 to 29', '9.67 to 19.3']
    """
    try:
        numbers = {clip: float(value) for clip, value in values.items() if value}
    except ValueError:
        return dict(values)
    if len(set(numbers.values())) <= MOST_VALUES:
        return dict(values)
    edges = np.quantile(list(numbers.values()), [0, 1 / 3, 2 / 3, 1])
    said = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges.tolist())]
    third_of = {
        clip: int(np.clip(np.searchsorted(edges, value, side="left") - 1, 0, 2)) for clip, value in numbers.items()
    }
    return {clip: said[third_of[clip]] if clip in third_of else "" for clip in values}


def _value(line: ClipLine, name: str, columns: Mapping[str, Mapping[str, str]]) -> str:
    if name in columns:
        return columns[name].get(line.id, "")
    if name == "split":
        return line.split
    if name == "subject":
        return line.subject
    if not np.isfinite(line.face_share):
        return ""
    low, high = _BOUNDS
    if line.face_share < low:
        return f"below {low:.0%}"
    return f"{low:.0%} to {high:.0%}" if line.face_share < high else f"{high:.0%} and more"
