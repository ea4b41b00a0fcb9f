"""Clip ids and split names: what is accepted, and the one spelling of each that is used everywhere."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from affectkit.errors import UsageError
from affectkit.types import SPLITS
from affectkit.untrusted import read_text

LONGEST_ID = 255
_BREAKS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_SYNONYMS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "devel": "val",
    "development": "val",
    "testing": "test",
}


def clip_id(text: str) -> str:
    """The id that `text` means: Unicode NFC, no spaces around it.

    Ids are relative POSIX paths of at most 255 bytes that stay below their root. NFC makes one id of the two ways
    to write an accented letter (file systems and spreadsheets differ); the file's own path is left as it is.
    Raises UsageError for anything else.

    >>> clip_id(" train/Zoe\u0308 ")
    'train/Zo\xeb'
    >>> clip_id("../secret")
    Traceback (most recent call last):
    affectkit.errors.UsageError: clip id '../secret' has the part '..': ids are plain relative paths such as day1/anna
    """
    name = unicodedata.normalize("NFC", text.strip())
    problem = _problem(name)
    if problem:
        raise UsageError(f"clip id {_quoted(name)} {problem}: ids are plain relative paths such as day1/anna")
    return name


def of_width(name: str, digits: int) -> str:
    """An id that is a whole number with at least so many digits; any other as it is.

    >>> of_width("7", 3), of_width("7a", 3), of_width("7²", 3)
    ('007', '7a', '7²')
    """
    return name.zfill(digits) if name.isdecimal() else name


def split_name(text: str) -> str:
    """train, val or test, in any case and by its usual other names (valid, validation, dev, devel, development).

    >>> split_name("Devel")
    'val'
    """
    name = text.strip().casefold()
    name = _SYNONYMS.get(name, name)
    if name not in SPLITS:
        raise UsageError(f"unknown split '{text}' (accepted: {', '.join(SPLITS)}; also {', '.join(_SYNONYMS)})")
    return name


def _problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if any(unicodedata.category(character) in _BREAKS for character in name):
        return "has control characters or is not valid Unicode"
    if len(name.encode()) > LONGEST_ID:
        return f"is longer than {LONGEST_ID} bytes"
    if "\\" in name:
        return "has a backslash"
    if name.startswith("/"):
        return "is an absolute path"
    bad = next((part for part in name.split("/") if part in ("", ".", "..")), None)
    return None if bad is None else f"has the part '{bad}'"


def _quoted(name: str) -> str:
    shown = name if len(name) <= 80 else name[:77] + "..."
    return ascii(shown) if not shown.isprintable() else f"'{shown}'"


ClipChoice = str | Sequence[str] | None
"""Some clips: a file of ids or a pattern, a list of ids, or None for all."""


def choose(clips: ClipChoice, known: Sequence[str]) -> list[str] | None:
    """The ids that are chosen among `known`; None for all. Raises UsageError for ids that are not among them, and where
    a pattern matches none."""
    if clips is None:
        return None
    if not isinstance(clips, str):
        return _among(list(clips), known, "clips")
    if os.path.exists(clips) and not os.path.isdir(clips):  # noqa: PTH110, PTH112  (a long pattern is no error)
        return _among(_lines(Path(clips)), known, f"--clips {clips}")
    chosen = [clip for clip in known if fnmatchcase(clip, clips)]
    if not chosen:
        raise UsageError(f"--clips '{clips}' matches none of {len(known)} clips (and is no file)")
    return chosen


def _among(wanted: list[str], known: Sequence[str], source: str) -> list[str]:
    missing = sorted(set(wanted).difference(known), key=wanted.index)
    if missing:
        raise UsageError(f"{source} names {len(missing)} unknown clips, the first: {missing[0]}")
    return wanted


def _lines(path: Path) -> list[str]:
    text = read_text(path, "--clips, a list of ids, one a line", 1 << 28)
    return [line.strip() for line in text.splitlines() if line.strip()]
