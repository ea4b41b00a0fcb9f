"""Ctrl-C and its like stop a command at whatever moment they come."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_AGAIN_SECONDS = 0.02
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The process was asked to end: it keeps what it has, as for Ctrl-C."""


class Signals:
    """Within it, signals that end a process raise a KeyboardInterrupt, and the first one is noted in `first`.

    Ones that the process was told to ignore (nohup, a background job) stay ignored. `last`: the process ends right
    after, so they are ignored from then on; otherwise they are handled as before.
    """

    def __init__(self, last: bool) -> None:
        self._last = last
        self._before: dict[signal.Signals, Any] = {}
        self._closed = False
        self.number: int | None = None

    @property
    def first(self) -> str | None:
        """The name of the first signal that came."""
        return None if self.number is None else signal.Signals(self.number).name

    @property
    def code(self) -> int:
        """The exit code that says so; 0 where none came."""
        return 0 if self.number is None else 128 + self.number

    def close(self) -> None:
        """From here on they raise nothing."""
        self._closed = True

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # A process among several that train together is ended from outside, while it may wait for the others.
            taken = _ENDING if int(os.environ.get("WORLD_SIZE") or 1) == 1 else _ENDING[:1]
            self._before = {
                one: before for one in taken if (before := signal.getsignal(one)) not in (signal.SIG_IGN, None)
            }
            for one in self._before:
                signal.signal(one, self._raise)
        return self

    def __exit__(self, *error: object) -> None:
        self._closed = True
        for one, before in self._before.items():
            signal.signal(one, signal.SIG_IGN if self._last else before)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._closed:
            return
        if self.number is None:
            self.number = number
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise a KeyboardInterrupt again that Python could only ignore.

    One that arrives in a weak reference's callback, in a `__del__` or in a C library's callback cannot travel on:
    Python prints it as ignored and the command would run on to its end.
    """
    before = sys.unraisablehook

    def hook(ignored: Any) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            # A bare thread: `threading` takes locks that the interrupted code may hold.
            _thread.start_new_thread(_interrupt_soon, (_thread.get_ident(),))
        else:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_soon(thread: int) -> None:
    """Once the callback is likely over; if not, it is ignored and raised again once more."""
    time.sleep(_AGAIN_SECONDS)
    signal.pthread_kill(thread, signal.SIGINT)  # unlike `interrupt_main`, this also ends a call that waits
