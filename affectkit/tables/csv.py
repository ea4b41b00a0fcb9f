"""CSV files written by anybody: a byte-order mark, CRLF, quotes, blank lines, header case and spaces are tolerated;
anything that would be read wrongly is refused with its file and line.

pandas' C reader parses (a label table of 2.3 million rows takes about a second); only when there is something to
complain about are the lines read again, one by one, to say where.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.tables.csv_text import NOT_A_NUMBER, CsvText, read_text
from affectkit.tables.ids import clip_id, of_width, split_name

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
        words = self.text[column]
        parsed = []
        for code, value in enumerate(words.values):
            try:
                parsed.append(parse(value))
            except UsageError as error:
                raise self.error(words.row_of(code), str(error)) from None
        values = sorted(set(parsed))
        place = {value: code for code, value in enumerate(values)}
        codes = np.array([place[value] for value in parsed], np.intp)[words.codes]
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
    columns = source.find(what, [*text, *numbers], frozenset(optional))
    numeric = [columns[name] for name in numbers if name in columns]
    wording = [columns[name] for name in text if name in columns]
    frame = parse(source, wording, numeric)
    words = {name: _words(frame[str(columns[name])]) for name in text if name in columns}
    values = {name: frame[str(columns[name])].to_numpy(np.float64) for name in numbers if name in columns}
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


def parse(source: CsvText, wording: list[int], numeric: list[int]) -> pd.DataFrame:
    """The records below the header, blank ones too; columns are called by their place: float64 at the places
    `numeric`, categories of text at `wording`. Raises UsageError, with the line where one is to blame."""
    import pandas as pd

    try:
        frame = _read_csv(source, numeric, "category")
        # pandas makes numbers of categories that all look like numbers: the clip 007 would become 7.
        if not all(isinstance(value, str) for place in wording for value in frame[str(place)].cat.categories):
            frame = _read_csv(source, numeric, "str").astype({str(place): "category" for place in wording})
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        source.check(wording, numeric)
        raise UsageError(f"{source.path} cannot be read as CSV: {error}") from None
    return frame


def _read_csv(source: CsvText, numeric: list[int], words: str) -> pd.DataFrame:
    import pandas as pd

    file = io.BytesIO(source.raw)
    file.seek(source.body)
    numbers = [str(place) for place in numeric]
    names = [str(place) for place in range(len(source.header))]
    dtypes: dict[Hashable, Any] = {name: "float64" if name in numbers else words for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            file,
            header=None,
            names=names,
            index_col=False,
            dtype=dtypes,
            keep_default_na=False,
            na_values=dict.fromkeys(numbers, NOT_A_NUMBER),
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
        )


@dataclass(frozen=True, repr=False)
class SmallTable:
    """`header` as it is written; `rows`: (line, cells), blank ones left out."""

    path: Path
    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]

    def place(self, *names: str) -> int | None:
        """The column called one of `names`, whatever the letter case, spaces and hyphens; None: there is none."""
        wanted = {plain(name) for name in names}
        columns = [column for column, name in enumerate(self.header) if plain(name) in wanted]
        if len(columns) > 1:
            raise UsageError(f"{self.path}: {len(columns)} columns are called {names[0]}; keep one")
        return columns[0] if columns else None

    def needed(self, *names: str) -> int:
        """The column called one of `names`, as `place` finds it. Raises UsageError where there is none."""
        column = self.place(*names)
        if column is None:
            raise UsageError(f"{self.path}: no column {' or '.join(names)} among {', '.join(self.header)}")
        return column

    def error(self, line: int, message: str) -> UsageError:
        """A `UsageError` that begins with file and line."""
        return UsageError(f"{self.path}:{line}: {message}")

    def ids(self, place: int, width: int = 0) -> list[str]:
        """[N] clip ids, each once: `[12345]` is 12345, and whole numbers have at least `width` digits."""
        lines: dict[str, int] = {}
        for line, cells in self.rows:
            try:
                name = clip_id(bare(cells[place]))
            except UsageError as error:
                raise self.error(line, str(error)) from None
            name = of_width(name, width)
            first = lines.setdefault(name, line)
            if first != line:
                raise self.error(line, f"clip '{name}' is on line {first} already; keep one")
        return list(lines)

    def splits(self, place: int) -> list[str]:
        """[N] split names."""
        splits = []
        for line, cells in self.rows:
            try:
                splits.append(split_name(cells[place]))
            except UsageError as error:
                raise self.error(line, str(error)) from None
        return splits

    def numbers(self, columns: Sequence[int]) -> list[list[float]]:
        """[N,K] finite numbers; an empty cell is NaN."""
        return [[self._number(line, column, cells[column].strip()) for column in columns] for line, cells in self.rows]

    def _number(self, line: int, place: int, cell: str) -> float:
        if cell in NOT_A_NUMBER:
            return math.nan
        try:
            value = float(cell)
        except ValueError:
            value = math.inf
        if not math.isfinite(value) or "_" in cell:
            raise self.error(line, f"{self.header[place]} is '{cell[:80]}', needed is a finite number")
        return value


def read_small_table(path: Path) -> SmallTable:
    """Raises UsageError with file and line: not text, no header, too few or too many cells."""
    text = read_text(path)
    rows = []
    for line, cells in text.rows():
        if len(cells) != len(text.header):
            raise UsageError(f"{path}:{line}: {len(cells)} cells under {len(text.header)} columns "
                             f"({', '.join(text.header)})")  # fmt: skip
        rows.append((line, cells))
    return SmallTable(path, text.header, rows)


def bare(cell: str) -> str:
    """An id without the brackets that some tables write.

    >>> bare(" [12345] ")
    '12345'
    """
    return cell.strip().removeprefix("[").removesuffix("]").strip()


def plain(name: str) -> str:
    """A column's name without case, spaces and hyphens.

    >>> plain("Empathic-Pain") == plain("Empathic Pain") == plain("empathic_pain")
    True
    """
    return re.sub(r"[\W_]+", "", name).casefold()
