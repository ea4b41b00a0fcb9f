"""CSV files of continuous traces: a time, or a rate, and a column a value or a rater."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError
from affectkit.tables.csv import LATEST
from affectkit.tables.csv_text import NOT_A_NUMBER
from affectkit.types import Floats
from affectkit.untrusted import read_text

LARGEST_TRACE = 64 << 20
MOST_ROWS = 1 << 22
MOST_COLUMNS = 1024
TIMES = ("time", "timestamp", "timestamps", "seconds", "ms")
"""What the column of times may be called, in any letter case."""


@dataclass(frozen=True)
class Clock:
    """How the rows of a file are timed: `unit` is how many of its times make a second; `fps` (Hz) of a file without a
    column of times; `column`: that column's name, "" for one of the usual."""

    unit: float = 1.0
    fps: float | None = None
    column: str = ""


@dataclass(frozen=True, repr=False)
class TraceFile:
    """start, end [R] (s) and each column of values [R] by its name; a row holds until the next one."""

    path: Path
    start: Floats
    end: Floats
    columns: dict[str, Floats]

    def __repr__(self) -> str:
        return f"TraceFile({self.path.name}, {len(self.start)} rows, {', '.join(self.columns)})"


def read_traces(path: Path, clock: Clock) -> TraceFile:
    """A file whose cells are separated by commas, semicolons or tabs, whichever its header has most of. The last row
    lasts as long as the rows usually do; a row without any value only ends the one before it.

    Raises UsageError with file and line: no text, no header, times that do not grow, cells that are no numbers.
    """
    text = read_text(path, "traces, a CSV file", LARGEST_TRACE)
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise UsageError(f"{path}:1: no header: the first line names the columns, such as time,valence")
    separator = max(",;\t", key=lines[0].count)
    try:
        header, *records = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from None
    names = [name.strip() for name in header]
    if len(names) > MOST_COLUMNS or len(records) > MOST_ROWS:
        raise UsageError(
            f"{path}: {len(names):,} columns, {len(records):,} rows; {MOST_COLUMNS:,} and {MOST_ROWS:,} are read"
        )
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"{path}:1: two columns have one name ({', '.join(names)[:200]})")
    place = _time_column(path, names, clock)
    values = _numbers(path, names, records)
    lines_of = np.array([line for line, cells in enumerate(records, start=2) if any(map(str.strip, cells))])
    if not len(values):
        raise UsageError(f"{path} has no rows below its header")
    start, end = _times(path, values, place, clock, lines_of)
    columns = {name: values[:, column] for column, name in enumerate(names) if column != place}
    if not columns:
        raise UsageError(f"{path}:1: no column beside '{names[0]}': values are needed")
    return TraceFile(path, start, end, columns)


def _time_column(path: Path, names: Sequence[str], clock: Clock) -> int | None:
    """The place of the column of times; None where rows come at a rate."""
    if clock.fps is not None and not clock.column:
        return None
    accepted = (clock.column.casefold(),) if clock.column else TIMES
    times = [place for place, name in enumerate(names) if name.casefold() in accepted]
    if len(times) != 1:
        what = "no" if not times else "more than one"
        raise UsageError(
            f"{path}:1: {what} column of times ({', '.join(accepted)}) among {', '.join(names)[:200]}; name it by "
            "--dataset-option time=NAME, or say the rows' rate by --dataset-option fps=RATE"
        )
    return times[0]


def _numbers(path: Path, names: Sequence[str], records: Sequence[Sequence[str]]) -> Floats:
    """[R,C] the cells, NaN where one is empty; blank lines are passed over."""
    rows = []
    for line, cells in enumerate(records, start=2):
        if not any(map(str.strip, cells)):
            continue
        if len(cells) != len(names):
            raise UsageError(f"{path}:{line}: {len(cells)} cells under {len(names)} columns ({', '.join(names)[:200]})")
        rows.append([_number(path, line, name, cell.strip()) for name, cell in zip(names, cells, strict=True)])
    return np.array(rows, np.float64).reshape(len(rows), len(names))


def _number(path: Path, line: int, name: str, cell: str) -> float:
    if cell in NOT_A_NUMBER:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or "_" in cell:
        comma = " (a decimal comma? write a point)" if cell.count(",") == 1 else ""
        raise UsageError(f"{path}:{line}: {name} is '{cell[:80]}', needed is a finite number{comma}")
    return value


def _times(
    path: Path, values: Floats, place: int | None, clock: Clock, lines: np.ndarray
) -> tuple[Floats, Floats]:  # fmt: skip
    if place is None:
        assert clock.fps is not None
        numbers = np.arange(len(values) + 1) / clock.fps
        return numbers[:-1], numbers[1:]
    start = values[:, place] / clock.unit
    bad = ~np.isfinite(start) | (start < 0) | (start > LATEST)
    if bad.any():
        row = int(np.argmax(bad))
        raise UsageError(f"{path}:{lines[row]}: the time is {values[row, place]:g}, needed is a number from 0 on")
    steps = np.diff(start)
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 1
        raise UsageError(f"{path}:{lines[row]}: the time {values[row, place]:g} is not after that of the row before")
    if not len(steps):
        raise UsageError(f"{path}:{lines[0]}: one row: how long it holds is not known")
    return start, np.append(start[1:], start[-1] + float(np.median(steps)))
