"""CSV files written by anybody: a byte-order mark, CRLF, quotes, blank lines, header case and spaces are tolerated;
anything that would be read wrongly is refused with its file and line.

pandas' C reader parses (a label table of 2.3 million rows takes about a second); only when there is something to
complain about are the lines read again, one by one, to say where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.manifest.clip_ids import clip_id
from affectkit.manifest.csv_frame import parse
from affectkit.manifest.csv_text import read_text

if TYPE_CHECKING:
    import pandas as pd


LATEST = 1e12  # seconds
LARGEST_NUMBER = 1e30


@dataclass(frozen=True, repr=False)
class Words:
    """A text column: codes [N] into its distinct values."""

    codes: NDArray[np.intp]
    values: tuple[str, ...]

    def row_of(self, code: int) -> int:
        """The first row that holds a value."""
        return int(np.argmax(self.codes == code))

    def __getitem__(self, row: int) -> str:
        return self.values[self.codes[row]]

    def take(self, rows: NDArray[np.intp]) -> Words:
        """Some rows, and only the values that occur in them."""
        codes = self.codes[rows]
        used = np.bincount(codes, minlength=len(self.values)) > 0
        return Words(
            (np.cumsum(used) - 1)[codes], tuple(value for value, kept in zip(self.values, used, strict=True) if kept)
        )


@dataclass(frozen=True, repr=False)
class CsvTable:
    """The columns asked for, N rows: `text`, and `numbers` [N] float64 (an empty cell is NaN). Optional columns that
    the file does not have are not here either. `records` [N] are the rows' places in the file."""

    path: Path
    text: dict[str, Words]
    numbers: dict[str, NDArray[np.float64]]
    records: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.records)

    def line(self, row: int) -> int:
        """The line of a row in the file, counted from 1; reads the file again."""
        return read_text(self.path).line(int(self.records[row]))

    def error(self, row: int, message: str) -> UsageError:
        """A `UsageError` that begins with file and line."""
        return UsageError(f"{self.path}:{self.line(row)}: {message}")

    def words(self, column: str, parse: Callable[[str], str]) -> Words:
        """A text column through `parse`, distinct values sorted; a UsageError of `parse` gets its file and line."""
        given = self.text[column]
        parsed = []
        for code, value in enumerate(given.values):
            try:
                parsed.append(parse(value))
            except UsageError as error:
                raise self.error(given.row_of(code), str(error)) from None
        values = sorted(set(parsed))
        place = {value: code for code, value in enumerate(values)}
        codes = np.array([place[value] for value in parsed], np.intp)[given.codes]
        return Words(codes, tuple(values))

    def clips(self) -> Words:
        """The column `clip`, as checked ids."""
        return self.words("clip", clip_id)

    def intervals(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """start, end [N] (s): an empty start is 0, an empty end is infinity, without the columns it is the whole clip.

        Raises UsageError for negative times and for start >= end.
        """
        if "start" not in self.numbers:
            return np.zeros(len(self)), np.full(len(self), np.inf)
        start, end = self.numbers["start"], self.numbers["end"]
        start = np.where(np.isnan(start), 0.0, start)
        end = np.where(np.isnan(end), np.inf, end)
        bad = (start < 0) | ~(start < end) | (start > LATEST) | (np.isfinite(end) & (end > LATEST))
        if bad.any():
            row = int(np.argmax(bad))
            raise self.error(
                row, f"start {start[row]:g}, end {end[row]:g}: these are seconds, 0 <= start < end <= {LATEST:g}"
            )
        return start, end


def read_table(
    path: Path, what: str, *, text: Sequence[str], numbers: Sequence[str], optional: Sequence[str] = ()
) -> CsvTable:
    """The named columns of a CSV file, in any order and any letter case; other columns are ignored.

    `start` and `end` come together or not at all. Raises UsageError: not a regular UTF-8 file, no rows, missing or
    ambiguous columns, a row with too many or too few cells, text where a number is needed.
    """
    source = read_text(path)
    places = source.find(what, [*text, *numbers], frozenset(optional))
    numeric = [places[name] for name in numbers if name in places]
    wording = [places[name] for name in text if name in places]
    frame = parse(source, wording, numeric)
    words = {name: _words(frame[str(places[name])]) for name in text if name in places}
    values = {name: frame[str(places[name])].to_numpy(np.float64) for name in numbers if name in places}
    keep = _filled(len(frame), words, values)
    # pandas passes over cells that are missing at the end of a line. In plain files, commas count the cells.
    commas = source.raw.count(b",", source.body)
    if b'"' in source.raw or len(keep) < len(frame) or commas != len(keep) * (len(source.header) - 1):
        source.check(wording, numeric)
    if not len(keep):
        raise UsageError(f"{path} has no rows below its header: {what} are needed")
    table = CsvTable(
        path,
        {name: column.take(keep) for name, column in words.items()},
        {name: column[keep] for name, column in values.items()},
        keep,
    )
    for name, column in table.numbers.items():
        beyond = np.isfinite(column) & (np.abs(column) > LARGEST_NUMBER)
        if beyond.any():  # squares and sums of such numbers are none
            row = int(np.argmax(beyond))
            raise table.error(row, f"{name} is {column[row]:g}; numbers up to {LARGEST_NUMBER:g} are read")
    return table


def _words(column: pd.Series) -> Words:
    values = tuple(str(value).strip() for value in column.cat.categories)
    codes = column.cat.codes.to_numpy(np.intp)
    return Words(np.where(codes < 0, len(values), codes), (*values, ""))  # cells of a blank line have code -1


def _filled(rows: int, words: Mapping[str, Words], values: Mapping[str, NDArray[np.float64]]) -> NDArray[np.intp]:
    """Rows with anything in them."""
    filled = np.zeros(rows, bool)
    for column in words.values():
        filled |= np.array([bool(value) for value in column.values], bool)[column.codes]
    for cells in values.values():
        filled |= ~np.isnan(cells)
    return np.flatnonzero(filled)
