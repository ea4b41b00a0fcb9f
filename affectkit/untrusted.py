"""Small files that strangers may have written: the one way to read them.

A pipe, a device, a socket or a folder is never opened, nothing inside an artifact is followed through a symbolic link,
no more is read than a stated limit, and what the text holds is bounded too. Whatever is refused is one line that names
the file, what was met and what is accepted.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from affectkit.errors import AffectkitError, HostileFile, MissingFile, UsageError

LARGEST_JSON = 1 << 28
LARGEST_TOML = 1 << 20
DEEPEST = 100
"""Levels of tables and lists inside each other that JSON and TOML may have."""

_MOST_CONTAINERS, _MOST_VALUES = 1 << 21, 1 << 24
_LARGEST_INTEGER = (1 << 63) - 1
_DIGITS = len(str(-_LARGEST_INTEGER))
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a symbolic link, which nothing inside an artifact is followed through"),
)  # fmt: skip
_KEY = r"""(?:[A-Za-z0-9_-]{1,200}|"[^"\n]{0,200}"|'[^'\n]{0,200}')"""
_LONG_KEY = re.compile(rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY}){{{DEEPEST},{DEEPEST}}}")


@contextmanager
def opened(path: Path, what: str, *, inside: bool = False) -> Iterator[BinaryIO]:
    """An unbuffered regular file. `what` is needed ("a recipe"), for the message; `inside` an artifact, where links are
    refused.

    Raises MissingFile where there is none, HostileFile for an entry of an artifact that is not a regular file, else
    UsageError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (os.O_NOFOLLOW if inside else 0)
    try:
        _require_regular(path, what, path.lstat() if inside else path.stat(), inside)
        handle = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(f"cannot read {path}: No such file or directory; {what} is needed") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {_cause(error)}; {what} is needed") from None
    with os.fdopen(handle, "rb", buffering=0) as file:
        _require_regular(path, what, os.fstat(handle), inside)  # the name may mean another file by now
        yield file


def read_bytes(path: Path, what: str, limit: int, *, inside: bool = False) -> bytes:
    """All of a regular file of at most `limit` bytes. Raises as `opened`, and for a file that is larger."""
    with opened(path, what, inside=inside) as file:
        blocks, left = [], limit + 1
        try:
            size = os.fstat(file.fileno()).st_size
            while size <= limit and left and (block := file.read(min(left, 1 << 24))):
                blocks.append(block)
                left -= len(block)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {_cause(error)}; {what} is needed") from None
    if size > limit or not left:
        _refuse(inside, f"{path} is larger than {_amount(limit)}, too large for {what}")
    return b"".join(blocks)


def read_text(path: Path, what: str, limit: int, *, inside: bool = False) -> str:
    """The text of a UTF-8 file, without a byte-order mark. Raises as `read_bytes`, and for other bytes."""
    try:
        return read_bytes(path, what, limit, inside=inside).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(inside, f"{path} is not UTF-8 text (byte {error.start}); {what} is needed")


def read_json(path: Path, what: str, limit: int = LARGEST_JSON, *, inside: bool = True, nan: bool = False) -> Any:
    """What a JSON file holds: finite numbers (`nan`: others too), integers of 64 bits, `DEEPEST` levels. Raises as
    `read_text`, and for text that is not such JSON."""
    text = read_text(path, what, limit, inside=inside)
    try:
        return parsed_json(text, nan=nan)
    except ValueError as error:
        _refuse(inside, f"{path} is not JSON: {error}; {what} is needed")


def read_object(
    path: Path, what: str, limit: int = LARGEST_JSON, *, inside: bool = True, nan: bool = False
) -> dict[str, Any]:
    """The object {...} that a JSON file holds. Raises as `read_json`, and for another value."""
    value = read_json(path, what, limit, inside=inside, nan=nan)
    if not isinstance(value, dict):
        _refuse(inside, f"{path} holds {_json_kind(value)}, where {what} is an object")
    return dict(value)


def parsed_json(text: str, *, nan: bool = False) -> Any:
    """The value that a JSON text says. Raises ValueError, in one line, for what `read_json` refuses."""
    if text.count("{") + text.count("[") > _MOST_CONTAINERS or text.count(",") > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_CONTAINERS} lists and objects, or {_MOST_VALUES} values")
    numbers: dict[str, Any] = {} if nan else {"parse_constant": _no_constant, "parse_float": _finite}
    try:
        value = json.loads(text, parse_int=_integer, **numbers)
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels deep") from None
    _require_shallow(value)
    return value


def read_toml(path: Path, what: str) -> tuple[str, dict[str, Any]]:
    """A TOML file's text, and what it says, `DEEPEST` levels at most. Raises UsageError."""
    text = read_text(path, what, LARGEST_TOML)
    try:
        return text, parsed_toml(text)
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}; {what} is needed") from None


def parsed_toml(text: str) -> dict[str, Any]:
    """What a TOML text says. Raises ValueError, in one line, for what `read_toml` refuses."""
    if _LONG_KEY.search(text):  # tomllib takes the square of a key's length
        raise ValueError(f"a key of more than {DEEPEST} parts")
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels deep") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(_first_line(error)) from None
    except ValueError as error:  # integers of thousands of digits, dates that do not exist
        raise ValueError(f"a value is beyond what is read ({_first_line(error)})") from None
    _require_shallow(tree)
    for value in _leaves(tree):
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            raise ValueError("an integer of more than 64 bits")
    return tree


def _require_regular(path: Path, what: str, status: os.stat_result, inside: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "a device")
        _refuse(inside, f"{path} is not a regular file but {kind}; {what} is needed")


def _refuse(inside: bool, message: str) -> NoReturn:
    kind: type[AffectkitError] = HostileFile if inside else UsageError
    raise kind(message)


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS or abs(value := int(digits)) > _LARGEST_INTEGER:
        raise ValueError(f"an integer of {len(digits.removeprefix('-'))} digits, more than 64 bits hold")
    return value


def _finite(text: str) -> float:
    if abs(value := float(text)) == float("inf"):
        raise ValueError(f"the number {text[:40]}, more than a float64 holds")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _require_shallow(value: Any) -> None:
    """Raises ValueError for a value of more than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST):
        level = [one for one in _children(level) if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"more than {DEEPEST} levels deep")


def _children(level: list[Any]) -> Iterator[Any]:
    return chain.from_iterable(
        one.values() if isinstance(one, dict) else one if isinstance(one, list) else () for one in level
    )


def _leaves(tree: Any) -> Iterator[Any]:
    level = [tree]
    while level:
        yield from level
        level = list(_children(level))


def _json_kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _amount(nbytes: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= size:
            return f"{nbytes // size} {unit}"
    return f"{nbytes} bytes"


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
