"""Organisers' templates: which rows are wanted, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError, listed
from affectkit.submissions.formats import LONGEST_VIDEO, Format, spelled
from affectkit.submissions.table import Lines, read_lines


@dataclass(frozen=True, repr=False)
class Template:
    """The rows of a template, N of them: `names` as they are written; `clips`, the distinct ones in order of
    appearance; `codes` [N], each row's place in `clips`; `frames` [N], counted from 1 (0: the whole clip)."""

    path: Path
    format: Format
    names: tuple[str, ...]
    clips: tuple[str, ...]
    codes: NDArray[np.intp]
    frames: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)


def read_template(path: Path, format: Format) -> Template:
    """A template's rows; of its other columns only the names count, values in them do not.

    A byte-order mark, CRLF, quotes and blank lines are tolerated. Raises UsageError: the header of another format, no
    rows, names that are none, a row twice.
    """
    lines = check_header(path, format)
    names, places, strange = [], [], []
    for line, cells in lines.rows():
        name = cells[0].strip()
        place = None if "," in name or '"' in name else format.place(name)  # it is written without quotes
        if place is None:
            strange.append(f"'{name}' on line {line}")
        else:
            names.append(name)
            places.append(place)
    if strange:
        raise UsageError(f"{path} has rows whose names are not like {format.example}: {listed(strange)}")
    if not names:
        raise UsageError(f"{path} has no rows below its header: a template names every row that is wanted")
    given = dict.fromkeys(place.clip for place in places)
    spelling = {name: spelled(name) for name in given}
    clips = tuple(dict.fromkeys(spelling.values()))
    number = {clip: code for code, clip in enumerate(clips)}
    codes = np.array([number[spelling[place.clip]] for place in places], np.intp)
    frames = np.array([place.frame for place in places], np.int64)
    _check_once(path, names, codes, frames)
    return Template(path, format, tuple(names), clips, codes, frames)


def check_header(path: Path, format: Format) -> Lines:
    """The lines of a file that begins as a template does. Raises UsageError: the header of another format."""
    lines = read_lines(path)
    found = [name.casefold() for name in lines.header]
    wanted = [name.casefold() for name in (format.key, *format.columns)]
    if found not in (wanted, wanted[:1]):
        raise UsageError(
            f"{lines.path} has the columns {', '.join(lines.header)[:200]}; a template of {format.name} has "
            f"{format.header} (or {format.key} alone)"
        )
    return lines


def _check_once(path: Path, names: list[str], codes: NDArray[np.intp], frames: NDArray[np.int64]) -> None:
    _, first = np.unique(codes * (LONGEST_VIDEO + 1) + frames, return_index=True)
    if len(first) < len(names):
        again = np.setdiff1d(np.arange(len(names)), first)
        raise UsageError(f"{path} names rows more than once: {listed([names[row] for row in again])}")
