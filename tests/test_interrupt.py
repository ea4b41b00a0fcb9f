"""Ctrl-C where Python can only ignore it."""

from __future__ import annotations

import signal
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from affectkit.cli._interrupt import interrupts_kept


class Thing:
    pass


class Dying:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def in_a_weak_reference() -> None:
    thing = Thing()
    kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert kept() is None


def in_a_destructor() -> None:
    Dying()


@pytest.mark.parametrize("somewhere", [in_a_weak_reference, in_a_destructor])
def test_an_interrupt_that_python_ignores_comes_again(somewhere: Callable[[], None]) -> None:
    reached = None
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        somewhere()
        reached = time.monotonic()
        time.sleep(10)
    assert reached is not None, "Python did not ignore it"
    assert time.monotonic() - reached < 5


def test_one_that_is_ignored_twice_comes_a_third_time() -> None:
    class Slow:
        def __del__(self) -> None:
            Dying()
            time.sleep(0.2)  # the second comes here

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        Slow()
        time.sleep(10)
    assert time.monotonic() - started < 5


def test_other_ignored_errors_are_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    with interrupts_kept():
        Broken()
    assert [entry.exc_type for entry in shown] == [ValueError]
    assert sys.unraisablehook == shown.append
