"""The lines of an organisers' file or of one made for them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from affectkit.errors import UsageError
from affectkit.manifest.csv_text import CsvText, read_text

BOM = "\ufeff"


@dataclass(frozen=True, repr=False)
class Lines:
    """A file's text: `first` is its header line as it stands, without the line's end; `header` the names in it."""

    path: Path
    header: tuple[str, ...]
    first: str
    marked: bool
    body: str
    body_line: int
    quotes: int

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of every row that is not blank. Raises UsageError for quotes that do not match."""
        reader = csv.reader(io.StringIO(self.body, newline=""), skipinitialspace=True, strict=True)
        line = self.body_line
        try:
            for cells in reader:
                if cells and (cells[0] or any(cell.strip() for cell in cells)):
                    yield line, cells
                line = self.body_line + reader.line_num
        except csv.Error as error:
            raise UsageError(f"{self.path}:{line}: {error} (quotes do not match?)") from None


def read_lines(path: Path) -> Lines:
    """A file as text. Raises UsageError: missing, not a regular file, too large, not UTF-8, empty."""
    source: CsvText = read_text(path)
    try:
        head, body = source.raw[: source.body].decode(), source.raw[source.body :].decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; save the table as UTF-8") from None
    marked = head.startswith(BOM)
    first = head.removeprefix(BOM).rstrip("\r\n").splitlines()[-1]
    return Lines(path, source.header, first, marked, body, source.body_line, source.raw.count(b'"'))
