"""Progress in one style: a bar on a terminal, a line that changes in a notebook; elsewhere a plain line on stderr now
and then, of what takes seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS = 30.0
"""Between two plain lines."""
GRACE = 10.0
"""Seconds that work may take before there is a line of it, unless progress was asked for."""
BLINK = 0.2
"""Seconds between two changes of a notebook's line."""
NARROW = 60
"""Columns of a terminal that has no room for a bar."""
_CHOSEN: ContextVar[bool | None] = ContextVar("progress", default=None)
_OF: ContextVar[str] = ContextVar("of", default="")
_HAS_BAR: ContextVar[bool] = ContextVar("has_bar", default=False)  # a terminal, or a notebook's cell, has room for one


@contextmanager
def chosen(show: bool | None) -> Iterator[None]:
    """In here that is what work shows that was not told otherwise."""
    token = _CHOSEN.set(show)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def is_wanted() -> bool:
    """Whether progress and summaries are shown: `chosen` has not said that they are not."""
    return _CHOSEN.get() is not False


@contextmanager
def part_of(larger: str) -> Iterator[None]:
    """What is shown in here is said to be a part of something larger, as in "step 4 of 16"."""
    token = _OF.set(f"{larger}, ")
    try:
        yield
    finally:
        _OF.reset(token)


class Display:
    """What is shown of one piece of work. This one shows nothing."""

    silent = True

    def show(self, share: float | None, note: str) -> None:
        """`share` of the work that is done, None where it is unknown, and what else there is to say."""

    def say(self, note: str) -> None:
        """Something that takes a while and cannot be measured."""


class _Bar(Display):
    silent = False

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None, note="", left="")
        self._left = _Left()

    def show(self, share: float | None, note: str) -> None:
        total = None if share is None else 1.0
        self._progress.update(self._task, total=total, completed=share, note=note, left=self._left(share))

    def say(self, note: str) -> None:
        self._progress.update(self._task, note=f"{note} ...", left="")


class _Lines(Display):
    silent = False

    def __init__(self, what: str, at_once: bool) -> None:
        self._what, self._left = what, _Left()
        self._next = self._begin = time.monotonic() + (0.0 if at_once else GRACE)
        self._waiting: threading.Timer | None = None

    def show(self, share: float | None, note: str) -> None:
        left, now = self._left(share), time.monotonic()
        self.close()
        if now < self._next:
            return
        self._next = now + SECONDS
        _print(f"{self._what}: " + ", ".join(filter(None, (note, left))))

    def say(self, note: str) -> None:
        self.close()
        line, wait = f"{self._what}: {note} ...", self._begin - time.monotonic()
        if wait <= 0:
            _print(line)
            return
        self._waiting = threading.Timer(wait, _print, [line])
        self._waiting.daemon = True
        self._waiting.start()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Cell(Display):
    """One line below a notebook's cell; it stays there with what was last shown of the work."""

    silent = False

    def __init__(self, what: str, put: Any) -> None:
        self._what, self._left, self._put = what, _Left(), put
        self._line: Any = None  # what the notebook changes it by
        self._next = 0.0
        self._last, self._is_shown = "", True

    def show(self, share: float | None, note: str) -> None:
        done = "" if share is None else f"{share:.0%}"
        self._last, self._is_shown = f"{self._what}: " + ", ".join(filter(None, (done, note, self._left(share)))), False
        if time.monotonic() >= self._next:
            self._change(self._last)

    def say(self, note: str) -> None:
        self._change(f"{self._what}: {note} ...")

    def close(self) -> None:
        """Leave what was last shown; nothing where there was only something that took a while."""
        if self._line is not None or not self._is_shown:
            self._change(self._last)

    def _change(self, text: str) -> None:
        self._next = time.monotonic() + BLINK
        self._is_shown = text == self._last
        if self._line is None:
            self._line = self._put({"text/plain": text}, raw=True, display_id=True)
        else:
            self._line.update({"text/plain": text}, raw=True)


class _Left:
    """How long it will still take, if it goes on as it went since the first call."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._first = 0.0

    def __call__(self, share: float | None) -> str:
        now = time.monotonic()
        if self._began is None:
            self._began, self._first = now, share or 0.0
        if share is None or share <= self._first or share >= 1:
            return ""
        return f"about {_duration((now - self._began) * (1 - share) / (share - self._first))} left"


def _duration(seconds: float) -> str:
    """In the two largest units.

    >>> [_duration(seconds) for seconds in (3.2, 100, 4000, 90000)]
    ['3 s', '1 min 40 s', '1 h 6 min', '1 d 1 h']
    """
    left = round(seconds)
    for size, unit, below, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= size:
            rest = left % size // below
            return f"{left // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{left} s"


@contextmanager
def display(what: str, show: bool | None = None) -> Iterator[Display]:
    """A `Display` of some work: by default a bar on a terminal, a line that changes in a notebook and plain lines
    elsewhere; nothing where not `show`."""
    show = _CHOSEN.get() if show is None else show
    what = _OF.get() + what
    if show is False or sys.stderr is None or _HAS_BAR.get():
        yield Display()
    elif (put := _notebook()) is not None:
        token, cell = _HAS_BAR.set(True), _Cell(what, put)
        try:
            yield cell
        finally:
            _HAS_BAR.reset(token)
            cell.close()
    elif _is_terminal():
        token = _HAS_BAR.set(True)
        try:
            with _progress() as progress:
                yield _Bar(progress, what)
        finally:
            _HAS_BAR.reset(token)
    else:
        lines = _Lines(what, at_once=show is True)
        try:
            yield lines
        finally:
            lines.close()


@contextmanager
def doing(what: str, note: str, show: bool | None = None) -> Iterator[None]:
    """Say that something is under way that cannot be measured, such as loading a network."""
    with display(what, show) as shown:
        shown.say(note)
        yield


def _notebook() -> Any:
    """IPython's `display` where this process is the kernel of a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return None
    from importlib import import_module

    return import_module("IPython.display").display


def _is_terminal() -> bool:
    from rich.console import Console

    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.fields[note]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
    ]
    if console.width >= NARROW:
        columns = [TextColumn("{task.description}", style="bold", markup=False), BarColumn(20), *columns]
    return Progress(*columns, console=console, transient=True)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
