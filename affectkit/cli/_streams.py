"""stdout and stderr as they may be given: closed, of any encoding, without a reader, on a full disk."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

ERRORS = "affectkit-writable"


class Unwritable(Exception):
    """stdout takes nothing any more; `error` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def make_writable() -> None:
    """Make both streams take any text, for as long as the process lasts.

    Closed ones lead nowhere: otherwise the next file that is opened would have their number, and what a library prints
    would go into it. What an encoding does not have is written as an escape, file names as the bytes that they are.
    Where stdout cannot be written to, `Unwritable` is raised; what stderr cannot take is dropped.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    codecs.register_error(ERRORS, _encode)
    for name, raw in (("stdout", _Stdout), ("stderr", _Stderr)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif type(stream) is io.TextIOWrapper:
            stream.flush()
            wrapped = raw(os.dup(stream.fileno()), "w")
            setattr(
                sys, name,
                io.TextIOWrapper(
                    io.BufferedWriter(wrapped), stream.encoding, ERRORS, write_through=stream.write_through,
                    line_buffering=stream.line_buffering,
                ),
            )  # fmt: skip


class _Stdout(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # so that Python does not try again at its end
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            raise Unwritable(error) from None


class _Stderr(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _encode(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes that a file name had where it is no text; an escape for what the encoding does not have."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
