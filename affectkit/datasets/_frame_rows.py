"""Label files with a row a frame: hundreds of small text files, millions of rows.

Opening pandas' reader costs more than parsing such a file, so files are joined to blocks of some megabytes and parsed
together. A block that holds anything unusual is read again file by file, cell by cell, to say what and where.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.tables.csv_text import CsvText, read_text

_BLOCK = 8 << 20
Values = NDArray[np.float64]


def read_frame_rows(paths: Sequence[Path], header: Sequence[str], columns: Sequence[str]) -> list[tuple[Values, int]]:
    """values [R,K] of each file, K being `columns`, and the line of its first row.

    The first line must be `header` (letter case and spaces apart). A byte-order mark, CRLF and blank lines at the end
    are passed over; R is 0 for a file without more. A blank line between rows is refused: row i is frame i.

    Raises UsageError with file and line: another header, a cell that is no finite number, too few or too many cells.
    """
    found: list[tuple[Values, int]] = []
    for block in _blocks(paths, header):
        tables = _together([text for text, _ in block], len(columns)) or [_slowly(text, columns) for text, _ in block]
        found += [(table, line) for table, (_, line) in zip(tables, block, strict=True)]
    return found


def _blocks(paths: Sequence[Path], header: Sequence[str]) -> Iterator[list[tuple[CsvText, int]]]:
    """Files, some megabytes at a time."""
    block, size = [], 0
    for path in paths:
        text = read_text(path)
        _check_header(text, header)
        block.append((text, text.body_line))
        size += len(text.raw)
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _check_header(text: CsvText, header: Sequence[str]) -> None:
    if [name.casefold() for name in text.header] != [name.casefold() for name in header]:
        given, needed = ",".join(text.header), ",".join(header)
        raise UsageError(f"{text.path}:{text.body_line - 1}: the header is '{given[:200]}', needed is '{needed}'")


def _together(texts: Sequence[CsvText], columns: int) -> list[Values] | None:
    """The values [R,K] of files joined; None where anything in them is unusual."""
    import pandas as pd

    bodies = [_unix(text.raw[text.body :]) for text in texts]
    counts = [body.count(b"\n") + 1 if body else 0 for body in bodies]
    joined = b"\n".join(body for body in bodies if body)
    if not joined:
        return [np.zeros((0, columns)) for _ in bodies]
    if b'"' in joined or joined.count(b",") != sum(counts) * (columns - 1):
        return None
    try:
        frame = pd.read_csv(
            io.BytesIO(joined), header=None, names=range(columns), index_col=False, dtype="float64", na_filter=False,
            skip_blank_lines=False, skipinitialspace=True, low_memory=False,
        )  # fmt: skip
    except (pd.errors.ParserError, ValueError):
        return None
    values = frame.to_numpy(np.float64)
    if len(values) != sum(counts) or not np.isfinite(values).all():
        return None
    return np.split(np.ascontiguousarray(values), np.cumsum(counts)[:-1])


def _unix(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in body else body


def _slowly(text: CsvText, columns: Sequence[str]) -> Values:
    """The values [R,K] of one file, read a cell at a time."""
    if not text.raw[text.body :]:
        return np.zeros((0, len(columns)))
    rows = []
    for line, cells in text.records():
        where = f"{text.path}:{line}"
        if not any(cell.strip() for cell in cells):
            raise UsageError(f"{where}: a blank line between rows: which frame the next row is about is not known")
        if len(cells) != len(columns):
            raise UsageError(f"{where}: {len(cells)} cells, needed is {len(columns)} ({', '.join(columns)})")
        rows.append([_number(cell, name, where) for cell, name in zip(cells, columns, strict=True)])
    return np.array(rows, np.float64)


def _number(cell: str, name: str, where: str) -> float:
    text = cell.strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not text.isascii() or "_" in text:
        raise UsageError(f"{where}: {name} is '{text[:80]}', needed is a finite number")
    return value
