"""A CSV file as bytes: its header, its lines, and which of them is wrong."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from affectkit.errors import UsageError
from affectkit.untrusted import opened

LARGEST_FILE = 2 << 30
LONGEST_LINE = 4 << 20
MOST_COLUMNS = 1 << 16
_BLOCK = 1 << 20
NOT_A_NUMBER = [
    "", "nan", "NaN", "Nan", "NAN", "na", "Na", "NA", "n/a", "N/A", "null", "Null", "NULL", "none", "None", "NONE",
]  # fmt: skip
"""Cells that read as an empty cell where a number is expected."""

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\udc80-\udcff]")  # what a byte becomes that is not UTF-8


@dataclass(frozen=True, repr=False)
class CsvText:
    """`header` names without the spaces around them; `body` is the offset of what follows the header line. Blank lines
    at the end are cut off."""

    path: Path
    raw: bytes
    header: tuple[str, ...]
    body: int
    body_line: int

    def find(self, what: str, wanted: Sequence[str], optional: frozenset[str]) -> dict[str, int]:
        """The places of the columns `wanted` (`what` a table needs, for the message): by their very name, else in any
        letter case. `start` and `end` come together. Raises UsageError for missing and ambiguous ones."""
        twice = sorted({name for name in wanted if wanted.count(name) > 1})
        if twice:
            raise UsageError(f"a target may not be called {', '.join(twice)}: {what} use that column otherwise")
        columns = {name: place for name in wanted if (place := self._place(name)) is not None}
        missing = [name for name in wanted if name not in columns and name not in optional]
        if missing:
            needed = ", ".join(name for name in wanted if name not in optional)
            also = ", ".join(name for name in wanted if name in optional)
            raise UsageError(
                f"{self.path}: no column {', '.join(missing)} among {', '.join(self.header)}{self._hint()}; "
                f"{what} need {needed} (optional: {also or 'none'})"
            )
        if {"start", "end"} <= set(wanted) and ("start" in columns) != ("end" in columns):
            raise UsageError(f"{self.path}: start and end come together (or neither, for whole clips)")
        return columns

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of every record below the header, blank ones too. Slower than pandas.

        Raises UsageError for text that is not UTF-8 and for unbalanced quotes.
        """
        text = self.raw[self.body :].decode(errors="surrogateescape")
        is_damaged = _SURROGATE.search(text) is not None
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        line = self.body_line
        try:
            for cells in reader:
                if is_damaged and _SURROGATE.search("".join(cells)):
                    raise UsageError(f"{self.path}:{line}: not UTF-8 text; save the table as UTF-8")
                yield line, cells
                line = self.body_line + reader.line_num
        except csv.Error as error:
            raise UsageError(f"{self.path}:{line}: {error} (quotes do not match?)") from None

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of every record that is not blank. Raises UsageError as `records` does."""
        return ((line, cells) for line, cells in self.records() if any(cell.strip() for cell in cells))

    @property
    def has_mark(self) -> bool:
        """Whether the file begins with a byte-order mark."""
        return self.raw.startswith(_BOM)

    @property
    def header_line(self) -> str:
        """The header as it is written, without a byte-order mark and the end of the line."""
        return self.raw[: self.body].removeprefix(_BOM).decode().rstrip("\r\n").splitlines()[-1]

    def line(self, record: int) -> int:
        """The line that a record begins on, counted from 1."""
        return next(line for number, (line, _) in enumerate(self.records()) if number == record)

    def check(self, words: Sequence[int], numbers: Sequence[int]) -> None:
        """Raises UsageError at the first line that has too many or too few cells, nothing in the columns that are used
        (text at the places `words`, numbers at `numbers`) though elsewhere, or text where a number belongs."""
        for line, cells in self.records():
            if not any(cell.strip() for cell in cells) and len(cells) <= len(self.header):
                continue
            where = f"{self.path}:{line}"
            if len(cells) != len(self.header):
                columns = f"{len(self.header)} columns ({', '.join(self.header)})"
                raise UsageError(f"{where}: {len(cells)} cells under {columns}{_commas(cells, len(self.header))}")
            for place in numbers:
                if not _is_number(cells[place]):
                    said = f"{self.header[place]} is {cells[place][:80]!r}, not a number"
                    raise UsageError(f"{where}: {said}{_meant(cells[place].strip()) or self._hint()}")
            if not any(cells[place].strip() for place in words) and all(_is_empty(cells[place]) for place in numbers):
                raise UsageError(f"{where}: {', '.join(self.header[place] for place in (*words, *numbers))} are empty")

    def _place(self, name: str) -> int | None:
        exact = [place for place, title in enumerate(self.header) if title == name]
        alike = exact or [place for place, title in enumerate(self.header) if title.casefold() == name.casefold()]
        if len(alike) > 1:
            raise UsageError(f"{self.path}: {len(alike)} columns are called {name}; keep one")
        return alike[0] if alike else None

    def _hint(self) -> str:
        """What to say when the columns do not fit because the file is separated by something else."""
        other = next((name for mark, name in ((";", "semicolons"), ("\t", "tabs")) if mark in "".join(self.header)), "")
        return f" (the file seems to be separated by {other}; commas are read)" if other else ""


def read_text(path: Path) -> CsvText:
    """Read a CSV file whole. Raises UsageError: missing, unreadable, not a regular file, too large, not text, empty."""
    raw = _bytes(path)
    if b"\0" in raw or raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path} is not UTF-8 text; save the table as comma-separated UTF-8")
    begin = len(_BOM) if raw.startswith(_BOM) else 0
    line = 1
    while begin < len(raw):
        end, body = _line_end(raw, begin)
        if raw[begin:end].strip(b" \t,"):
            return CsvText(path, raw, _names(path, raw[begin:end], line), body, line + 1)
        begin, line = body, line + 1
    raise UsageError(f"{path} is empty; a CSV table with a header line is needed")


def _bytes(path: Path) -> bytes:
    """The file's bytes, read a block at a time, so that a line without an end is refused before it fills the memory."""
    blocks: list[bytes] = []
    size = begun = 0  # bytes so far, and of them those of the line under way
    with opened(path, "a CSV table") as file:
        while block := _block(file, path):
            size += len(block)
            ends = [place for mark in (b"\n", b"\r") if (place := block.find(mark)) >= 0]
            if begun + min(ends, default=len(block)) > LONGEST_LINE:
                line = 1 + sum(earlier.count(b"\n") or earlier.count(b"\r") for earlier in blocks)
                raise UsageError(f"{path}:{line}: a line of more than {LONGEST_LINE >> 20} MiB; a CSV table is needed")
            if size > LARGEST_FILE:
                raise UsageError(f"{path} is larger than {LARGEST_FILE >> 30} GiB, too large for a CSV table")
            last = max(block.rfind(b"\n"), block.rfind(b"\r"))
            begun = len(block) - last - 1 if ends else begun + len(block)
            blocks.append(block)
    return b"".join(blocks).rstrip()


def _block(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(_BLOCK)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; a CSV table is needed") from None


def _line_end(raw: bytes, begin: int) -> tuple[int, int]:
    """Where a line ends and where the next one begins; LF, CRLF and CR all end lines."""
    ends = [place for mark in (b"\n", b"\r") if (place := raw.find(mark, begin, begin + LONGEST_LINE + 1)) >= 0]
    end = min(ends, default=len(raw))
    return end, end + (2 if raw[end : end + 2] == b"\r\n" else 1)


def _names(path: Path, line: bytes, number: int) -> tuple[str, ...]:
    try:
        cells = next(csv.reader([line.decode()], skipinitialspace=True, strict=True))
    except UnicodeDecodeError:
        raise UsageError(f"{path}:{number}: not UTF-8 text; save the table as UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{path}:{number}: the header cannot be read: {error}") from None
    if len(cells) > MOST_COLUMNS:
        raise UsageError(f"{path}:{number}: {len(cells)} columns; {MOST_COLUMNS} at most are read")
    return tuple(cell.strip() for cell in cells)


def _meant(cell: str) -> str:
    """What a cell that is no number seems to be, for a message.

    >>> _meant("0,5"), _meant("1:02.5"), _meant("happy")
    (' (a decimal comma? write 0.5)', ' (a time of day or of a clip? write seconds: 62.5)', '')
    """
    if re.fullmatch(r"[+-]?[0-9]*,[0-9]+", cell):
        return f" (a decimal comma? write {cell.replace(',', '.')})"
    if re.fullmatch(r"(?:[0-9]{1,3}:)?[0-9]{1,3}:[0-9]{1,2}(?:[.,][0-9]+)?", cell):
        parts = [float(part) for part in cell.replace(",", ".").split(":")]
        seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        return f" (a time of day or of a clip? write seconds: {seconds:g})"
    return ""


def _commas(cells: Sequence[str], columns: int) -> str:
    """What to say where cells of whole numbers may be numbers with decimal commas."""
    numbers = sum(cell.strip().lstrip("+-").isdecimal() for cell in cells)
    return " (decimal commas? write points)" if len(cells) > columns and numbers >= 2 * (len(cells) - columns) else ""


def _is_number(cell: str) -> bool:
    if _is_empty(cell):
        return True
    text = cell.strip()
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _is_empty(cell: str) -> bool:
    return cell.strip() in NOT_A_NUMBER
