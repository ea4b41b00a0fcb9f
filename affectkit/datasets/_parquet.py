"""Parquet files as the tables that CSV files are read to."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import MissingExtra, UsageError
from affectkit.tables.csv import CsvTable, Words
from affectkit.tables.csv_text import LARGEST_FILE


class ParquetTable(CsvTable):
    """A table whose `line` is the row's number, counted from 1."""

    def line(self, row: int) -> int:
        return int(self.records[row]) + 1


MOST_ROWS = 1 << 24


def read_parquet(
    path: Path, what: str, *, text: Sequence[str], numbers: Sequence[str], optional: Sequence[str] = ()
) -> ParquetTable:
    """The named columns, in any order and any letter case; as `read_table`. Raises UsageError, MissingExtra."""
    try:
        import pyarrow.parquet as pq
        from pyarrow.lib import ArrowException
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "a Parquet table") from None
    _check_file(path)
    try:
        with pq.ParquetFile(path) as file:
            places = _find(path, what, file.schema_arrow.names, [*text, *numbers], frozenset(optional))
            if file.metadata.num_rows > MOST_ROWS:  # a few bytes can say that a value repeats a billion times
                raise UsageError(f"{path} has {file.metadata.num_rows} rows; {MOST_ROWS} at most are read")
            table = file.read(columns=sorted(set(places.values())))
    except (ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {error}") from None
    columns = {name: table.column(place) for name, place in places.items()}
    if not table.num_rows:
        raise UsageError(f"{path} has no rows: {what} are needed")
    return ParquetTable(
        path,
        {name: _words(columns[name]) for name in text if name in columns},
        {name: _numbers(path, name, columns[name]) for name in numbers if name in columns},
        np.arange(table.num_rows),
    )


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
        raise UsageError(f"{path}: needed is a regular file of at most {LARGEST_FILE >> 30} GiB")


def _find(path: Path, what: str, given: list[str], wanted: list[str], optional: frozenset[str]) -> dict[str, str]:
    """The column of each of `wanted`: of its very name, else in any letter case."""
    found = {}
    for name in wanted:
        alike = [column for column in given if column == name] or [
            column for column in given if column.casefold() == name.casefold()
        ]
        if len(alike) > 1:
            raise UsageError(f"{path}: {len(alike)} columns are called {name}; keep one")
        if alike:
            found[name] = alike[0]
        elif name not in optional:
            raise UsageError(f"{path}: no column {name} among {', '.join(given)}; {what} need it")
    return found


def _words(column: Any) -> Words:
    """A column of any type as text; nothing is an empty cell."""
    given = ["" if value is None else str(value).strip() for value in column.to_pylist()]
    values, codes = np.unique(given, return_inverse=True)
    return Words(codes.astype(np.intp), tuple(values.tolist()))


def _numbers(path: Path, name: str, column: Any) -> NDArray[np.float64]:
    """[N]; nothing is NaN."""
    from pyarrow import types

    if not (types.is_floating(column.type) or types.is_integer(column.type) or types.is_boolean(column.type)):
        raise UsageError(f"{path}: column {name} holds {column.type}, needed are numbers")
    return np.asarray(column.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan))
