"""Errors that a user can act on. Anything else that escapes is a bug of ours and may show a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from os import PathLike, fspath
from os.path import lexists


class AffectkitError(Exception):
    """One line: what was given, what is accepted, what to do. The command exits with 2."""


class UsageError(AffectkitError):
    """The command, a config or an input table is wrong; nothing was computed."""


class MissingFile(UsageError):
    """There is no file of this name."""


class HostileFile(AffectkitError):
    """A file declares something that affectkit refuses to read (links, huge sizes, objects, pickles)."""


class Notice(UserWarning):
    """What a user must know of a run and no result says; the command prints it as a note."""


class MissingExtra(AffectkitError):
    """An optional package is needed. The message says what to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs the package {package}: pip install 'affectkit[{extra}]'")


class ClipError(Exception):
    """One clip cannot be processed. The run goes on; the cause is listed in failures.jsonl."""


def require(module: str, package: str, extra: str, purpose: str) -> None:
    """Raises MissingExtra where a module is not installed; looks for it without importing it."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingExtra(package, extra, purpose)


def listed(names: Iterable[str], noun: str = "") -> str:
    """How many, and the first three.

    >>> listed(["a", "b", "c", "d"]), listed(["a"], "clips")
    ('4 (a, b, c, ...)', '1 clips (a)')
    """
    known = list(names)
    count = f"{len(known)} {noun}".rstrip()
    return f"{count} ({named(known)})"


def named(names: Sequence[str]) -> str:
    """The first three.

    >>> named(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def no_folder(path: str | PathLike[str]) -> str:
    """What to say of a path where a folder is needed: that it is none, and whether there is anything.

    >>> no_folder("nowhere")
    'nowhere is not a folder (it does not exist)'
    """
    return f"{fspath(path)} is not a folder" + ("" if lexists(path) else " (it does not exist)")


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """A `UsageError` for a name that is not one of `known`, with the nearest match first.

    >>> print(unknown("head", "transfomer", ["lstm", "transformer"]))
    unknown head 'transfomer': did you mean 'transformer'? (accepted: lstm, transformer)
    """
    accepted = sorted(known)
    near = get_close_matches(given, accepted, n=1)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{given}'{hint} (accepted: {', '.join(accepted) or 'none'})")
