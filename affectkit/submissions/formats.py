"""What a challenge's file looks like: its header, the names of its rows, and the cells of one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from affectkit import tasks
from affectkit.manifest.clip_ids import clip_id
from affectkit.tasks import Task

Cells = Literal["values", "class", "labels"]
LONGEST_VIDEO = 10_000_000
"""Frames; the same limit as for folders of crops."""

_FRAME = re.compile(r"(.+)/([0-9]{1,12})\.(?:jpg|jpeg|png)", re.IGNORECASE)


class Place(NamedTuple):
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
    place: Callable[[str], Place | None]
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


def frame_of(name: str) -> Place | None:
    """The frame that `video/00001.jpg` names; the first one is 1.

    >>> frame_of("day1/anna_left/00012.jpg")
    Place(clip='day1/anna_left', frame=12)
    >>> frame_of("anna/00000.jpg") is None
    True
    """
    found = _FRAME.fullmatch(name)
    if found is None or not 1 <= int(found[2]) <= LONGEST_VIDEO:
        return None
    return Place(found[1], int(found[2]))


def clip_of(name: str) -> Place | None:
    """The clip that an id names, which may stand in brackets.

    >>> clip_of("[12345]")
    Place(clip='12345', frame=0)
    """
    inner = name[1:-1].strip() if name.startswith("[") and name.endswith("]") else name
    return Place(inner, 0) if inner else None


def spelled(clip: str) -> str:
    """The one spelling of a clip's id, as in every table. Raises UsageError."""
    return clip_id(clip)
