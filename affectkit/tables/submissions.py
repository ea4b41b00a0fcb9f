"""The files that challenges take: their header, the names of their rows, and the cells of one.

Aff-Wild2, as the ABAW challenges take it: one row a frame, `video/00001.jpg` first;
`video_left` and `video_right` are two persons of one video.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affectkit import tasks
from affectkit.errors import UsageError, listed
from affectkit.metrics import THRESHOLD
from affectkit.store.atomic import atomically, explained
from affectkit.store.upkeep import remove_dead
from affectkit.tables.crops import MOST_FRAMES
from affectkit.tables.csv_text import CsvText, read_text
from affectkit.tables.ids import clip_id
from affectkit.tasks import Task
from affectkit.types import Bools, Floats

Cells = Literal["values", "class", "labels"]

_FRAME = re.compile(r"(.+)/([0-9]{1,12})\.(?:jpg|jpeg|png)", re.IGNORECASE)


class RowName(NamedTuple):
    """What a row is about: a clip, and a frame of it counted from 1 (0: the whole clip)."""

    clip: str
    frame: int


@dataclass(frozen=True)
class Format:
    """The file of one challenge.

    `key` names the first column; `place` reads what stands in it, None for what is no row's name. `cells`: "values" are
    the scores themselves, within [low, high]; "class" is one number, the place of the class among the columns; "labels"
    are 0 or 1 a column.
    """

    name: str
    task_name: str
    key: str
    place: Callable[[str], RowName | None]
    example: str
    cells: Cells
    frames: bool = True
    low: float = 0.0
    high: float = 1.0

    @property
    def task(self) -> Task:
        """The task that is submitted."""
        return tasks.BUILT_IN[self.task_name]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns after the key: the task's targets, in its order."""
        return self.task.targets

    @property
    def header(self) -> str:
        """The first line."""
        return ",".join((self.key, *self.columns))

    @property
    def width(self) -> int:
        """Cells of a row, the key among them."""
        return 2 if self.cells == "class" else 1 + len(self.columns)


def frame_of(name: str) -> RowName | None:
    """The frame that `video/00001.jpg` names; the first one is 1.

    >>> frame_of("day1/anna_left/00012.jpg")
    RowName(clip='day1/anna_left', frame=12)
    >>> frame_of("anna/00000.jpg") is None
    True
    """
    match = _FRAME.fullmatch(name)
    if match is None or not 1 <= int(match[2]) <= MOST_FRAMES:
        return None
    return RowName(match[1], int(match[2]))


def clip_of(name: str) -> RowName | None:
    """The clip that an id names, which may stand in brackets.

    >>> clip_of("[12345]")
    RowName(clip='12345', frame=0)
    """
    inner = name[1:-1].strip() if name.startswith("[") and name.endswith("]") else name
    return RowName(inner, 0) if inner else None


_KEY, _EXAMPLE = "image_location", "video1/00001.jpg"
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("affwild2-va", "va", _KEY, frame_of, _EXAMPLE, "values", low=-1.0),
        Format("affwild2-expr", "expr", _KEY, frame_of, _EXAMPLE, "class"),
        Format("affwild2-au", "au", _KEY, frame_of, _EXAMPLE, "labels"),
        Format("cexpr", "compound", _KEY, frame_of, _EXAMPLE, "class"),
        Format("hume-reaction", "eri", "File_ID", clip_of, "[12345]", "values", frames=False),
    )
}


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
    text = check_header(path, format)
    names, rows, strange = [], [], []
    for line, cells in text.rows():
        name = cells[0].strip()
        row = None if "," in name or '"' in name else format.place(name)  # it is written without quotes
        if row is None:
            strange.append(f"'{name}' on line {line}")
        else:
            names.append(name)
            rows.append(row)
    if strange:
        raise UsageError(f"{path} has rows whose names are not like {format.example}: {listed(strange)}")
    if not names:
        raise UsageError(f"{path} has no rows below its header: a template names every row that is wanted")
    spelling = {name: clip_id(name) for name in dict.fromkeys(row.clip for row in rows)}
    clips = tuple(dict.fromkeys(spelling.values()))
    number = {clip: code for code, clip in enumerate(clips)}
    codes = np.array([number[spelling[row.clip]] for row in rows], np.intp)
    frames = np.array([row.frame for row in rows], np.int64)
    _check_once(path, names, codes, frames)
    return Template(path, format, tuple(names), clips, codes, frames)


def check_header(path: Path, format: Format) -> CsvText:
    """The text of a file that begins as a template does. Raises UsageError: the header of another format."""
    text = read_text(path)
    columns = [name.casefold() for name in text.header]
    wanted = [name.casefold() for name in (format.key, *format.columns)]
    if columns not in (wanted, wanted[:1]):
        raise UsageError(
            f"{path} has the columns {', '.join(text.header)[:200]}; a template of {format.name} has "
            f"{format.header} (or {format.key} alone)"
        )
    return text


def _check_once(path: Path, names: list[str], codes: NDArray[np.intp], frames: NDArray[np.int64]) -> None:
    _, first = np.unique(codes * (MOST_FRAMES + 1) + frames, return_index=True)
    if len(first) < len(names):
        again = np.setdiff1d(np.arange(len(names)), first)
        raise UsageError(f"{path} names rows more than once: {listed([names[row] for row in again])}")


_AT_ONCE = 1 << 16


def write_submission(
    path: Path, template: Template, scores: Floats, *, digits: int = 6, threshold: float = THRESHOLD
) -> None:
    """Write scores [N,K], a row for each of the template's. Values get `digits` decimals; classes are the place of the
    highest score; labels are 1 from `threshold` on.

    Raises ValueError for scores that are not finite or, as they would be printed, out of the format's range.
    """
    format = template.format
    if scores.shape != (len(template), len(format.columns)):
        raise ValueError(f"scores are [{len(template)},{len(format.columns)}], not {list(scores.shape)}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    if outside(format, scores, digits).any():
        raise ValueError(f"a score is beyond [{format.low:g}, {format.high:g}]")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_dead(path)
    with atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write(format.header + "\n")
        for first in range(0, len(template), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            rows = zip(template.names[part], _cells(format, scores[part], digits, threshold), strict=True)
            file.writelines(f"{name},{cells}\n" for name, cells in rows)


def outside(format: Format, scores: Floats, digits: int) -> Bools:
    """[N] rows with a value that would be printed out of range; classes and labels have no range of their own."""
    if format.cells != "values":
        return np.zeros(len(scores), bool)
    printed = np.round(scores, digits)
    return np.asarray(((printed < format.low) | (printed > format.high)).any(axis=1))


def _cells(format: Format, scores: Floats, digits: int, threshold: float) -> Iterator[str]:
    if format.cells == "class":
        yield from (str(place) for place in scores.argmax(axis=1).tolist())
    elif format.cells == "labels":
        yield from (",".join("1" if is_set else "0" for is_set in row) for row in (scores >= threshold).tolist())
    else:
        printed = np.round(np.asarray(scores, np.float64), digits) + 0.0  # no -0.000000
        yield from (",".join(f"{value:.{digits}f}" for value in row) for row in printed.tolist())
