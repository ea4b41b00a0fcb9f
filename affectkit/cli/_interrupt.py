"""Ctrl-C stops a command at whatever moment it comes."""

from __future__ import annotations

import _thread
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_SECONDS = 0.02


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
