"""What is wrong with a challenge's file: its header, the names and order of its rows, and their cells."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError
from affectkit.tables.csv_text import CsvText, read_text
from affectkit.tables.submissions import Format, Template, read_template
from affectkit.types import Floats


def read_submission(path: Path, format: Format) -> tuple[Template, Floats]:
    """The rows of a file, and their scores [N,K]: values as printed, 0 and 1 for labels, 1 for the class named.

    Raises UsageError for a file with anything wrong in it.
    """
    rows = read_template(path, format)
    checked = check(path, rows)
    if not checked.good:
        raise UsageError(f"{path} is no {format.name} submission: {'; '.join(map(str, checked.problems))}")
    return rows, checked.scores


_EXAMPLES = 3


_WHOLE = re.compile(r"[0-9]{1,3}")


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, how often, and the first examples."""

    what: str
    count: int
    first: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.what}: {self.count} ({', '.join(self.first)}{more})"


@dataclass(frozen=True, repr=False)
class Check:
    """What a file has: its rows' names and scores [N,K] as far as they could be read (NaN elsewhere)."""

    rows: int
    names: tuple[str, ...]
    scores: Floats
    problems: tuple[Fault, ...]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class _Tally:
    """Problems by kind, in order of appearance."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, what: str, example: str, count: int = 1) -> None:
        self._count[what] = self._count.get(what, 0) + count
        first = self._first.setdefault(what, [])
        if len(first) < _EXAMPLES:
            first.append(example)

    def problems(self) -> tuple[Fault, ...]:
        return tuple(Fault(what, count, tuple(self._first[what])) for what, count in self._count.items())


def check(path: Path, template: Template) -> Check:
    """Everything that is wrong with a file: header, rows and their order, types and ranges of the cells.

    CRLF and blank lines are no problem, a byte-order mark and quotes are. Raises UsageError where the file cannot be
    read as text at all.
    """
    text, tally = read_text(path), _Tally()
    format = template.format
    _check_header(text, format, tally)
    names, scores = [], []
    for line, cells in text.rows():
        names.append(cells[0].strip())
        scores.append(_row(format, cells, line, tally))
    _check_names(names, template, tally)
    values = np.array(scores, np.float64).reshape(len(scores), len(format.columns))
    return Check(len(names), tuple(names), values, tally.problems())


def _check_header(text: CsvText, format: Format, tally: _Tally) -> None:
    if text.has_mark:
        tally.add("byte-order mark before the header", "save the file as plain UTF-8")
    if quotes := text.raw.count(b'"'):
        tally.add("quote characters", "cells and header are written plainly", quotes)
    if ",".join(text.header) != format.header:
        tally.add("another header", f"'{text.header_line[:200]}' instead of '{format.header}'")
    elif text.header_line.replace('"', "") != format.header:
        tally.add("spaces in the header", f"'{text.header_line[:200]}'")


def _row(format: Format, cells: list[str], line: int, tally: _Tally) -> list[float]:
    """The scores [K] of a row: values, 0 and 1, or 1 for the class that is named."""
    count = len(format.columns)
    if len(cells) != format.width:
        tally.add("rows with another number of cells", f"{len(cells)} instead of {format.width} on line {line}")
        return [math.nan] * count
    if format.cells == "values":
        return [_value(format, cell.strip(), line, tally) for cell in cells[1:]]
    highest = count - 1 if format.cells == "class" else 1
    numbers = [_whole(cell.strip(), highest, line, tally) for cell in cells[1:]]
    if format.cells == "labels" or math.isnan(numbers[0]):
        return numbers if format.cells == "labels" else [math.nan] * count
    return [float(place == numbers[0]) for place in range(count)]


def _value(format: Format, cell: str, line: int, tally: _Tally) -> float:
    where = f"{cell or 'nothing'} on line {line}"
    if not _NUMBER.fullmatch(cell):
        tally.add("cells that are no number", where)
        return math.nan
    value = float(cell)
    if not math.isfinite(value):
        tally.add("cells that are NaN or infinite", where)
        return math.nan
    if not format.low <= value <= format.high:
        tally.add(f"values beyond [{format.low:g}, {format.high:g}]", where)
    return value


def _whole(cell: str, highest: int, line: int, tally: _Tally) -> float:
    if not _WHOLE.fullmatch(cell) or int(cell) > highest:
        tally.add(f"cells that are no whole number from 0 to {highest}", f"{cell or 'nothing'} on line {line}")
        return math.nan
    return float(int(cell))


def _check_names(names: list[str], template: Template, tally: _Tally) -> None:
    if tuple(names) == template.names:
        return
    wanted, seen = dict.fromkeys(template.names), set()
    for name in names:
        if name in seen:
            tally.add("rows that are there twice", name)
        elif name not in wanted:
            tally.add("rows that the template does not have", name or "without a name")
        seen.add(name)
    for name in wanted:
        if name not in seen:
            tally.add("rows that are missing", name)
    written = [name for name in dict.fromkeys(names) if name in wanted]
    ordered = [name for name in wanted if name in seen]
    for name, expected in zip(written, ordered, strict=True):
        if name != expected:
            tally.add("rows in another order than the template's", f"{name} where {expected} is next")
