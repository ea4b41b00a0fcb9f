"""Tables with a row a clip: labels.csv, partition.csv and the like, as text cells with their lines."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affectkit.errors import UsageError
from affectkit.manifest.clip_ids import clip_id, split_name
from affectkit.manifest.csv_text import NOT_A_NUMBER, read_text


@dataclass(frozen=True, repr=False)
class SmallTable:
    """`header` as it is written; `rows`: (line, cells), blank ones left out."""

    path: Path
    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]

    def place(self, *names: str) -> int | None:
        """The column called one of `names`, whatever the letter case, spaces and hyphens; None: there is none."""
        wanted = {plain(name) for name in names}
        found = [place for place, name in enumerate(self.header) if plain(name) in wanted]
        if len(found) > 1:
            raise UsageError(f"{self.path}: {len(found)} columns are called {names[0]}; keep one")
        return found[0] if found else None

    def needed(self, *names: str) -> int:
        """The same; a UsageError where there is none."""
        found = self.place(*names)
        if found is None:
            raise UsageError(f"{self.path}: no column {' or '.join(names)} among {', '.join(self.header)}")
        return found

    def error(self, line: int, message: str) -> UsageError:
        """A `UsageError` that begins with file and line."""
        return UsageError(f"{self.path}:{line}: {message}")

    def ids(self, place: int, width: int = 0) -> list[str]:
        """[N] clip ids, each once: `[12345]` is 12345, and whole numbers have at least `width` digits."""
        found: dict[str, int] = {}
        for line, cells in self.rows:
            try:
                name = clip_id(bare(cells[place]))
            except UsageError as error:
                raise self.error(line, str(error)) from None
            name = name.zfill(width) if name.isdecimal() else name
            first = found.setdefault(name, line)
            if first != line:
                raise self.error(line, f"clip '{name}' is on line {first} already; keep one")
        return list(found)

    def splits(self, place: int) -> list[str]:
        """[N] split names."""
        found = []
        for line, cells in self.rows:
            try:
                found.append(split_name(cells[place]))
            except UsageError as error:
                raise self.error(line, str(error)) from None
        return found

    def numbers(self, places: Sequence[int]) -> list[list[float]]:
        """[N,K] finite numbers; an empty cell is NaN."""
        return [[self._number(line, place, cells[place].strip()) for place in places] for line, cells in self.rows]

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
    for line, cells in text.records():
        if not any(cell.strip() for cell in cells):
            continue
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
