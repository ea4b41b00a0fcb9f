"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from affectkit.cli._notices import heard

SOME_FAILED = 3
NOTE = "note: "
LEAST_WIDTH = 60
"""Columns of a table on a narrow terminal, which then wraps its lines."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def plain_console(**more: Any) -> Console:
    """A console to which all text is text: `affectkit[mesh]` or `:smile:` in it, also in a table, is no markup."""
    return Console(markup=False, emoji=False, highlight=False, **more)


def log(message: str) -> None:
    """A line for people, on stderr."""
    plain_console(stderr=True, soft_wrap=True).print(message)


def say_kept(lines: Iterable[str]) -> None:
    """What is kept of interrupted work, on stderr, each line also where another interrupt comes meanwhile."""
    for line in lines:
        try:
            log(line)
        except KeyboardInterrupt:
            log(line)


def columns(*headers: str) -> Table:
    """A plain table that folds long cells and cuts none."""
    table = Table(box=None, show_header=any(headers))
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table on stdout; in full width where it goes to a file or a pipe."""
    plain_console(width=_width(sys.stdout, 1000)).print(table)


def log_table(table: Table) -> None:
    """A table for people, on stderr."""
    plain_console(stderr=True, width=_width(sys.stderr, 200)).print(table)


def as_line(result: Any) -> str:
    """One line of valid JSON, in any encoding of stdout; what is no finite number is null."""
    in_ascii = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") != "utf8"
    text = json.dumps(_finite(result), ensure_ascii=in_ascii, allow_nan=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(result: Any) -> None:
    """Print one line of JSON. An object has all notices of the process under `notices`, after its own."""
    if isinstance(result, Mapping):
        result = {**result, "notices": list(dict.fromkeys([*result.get("notices", ()), *heard()]))}
    typer.echo(as_line(result))


def _width(stream: Any, elsewhere: int) -> int | None:
    """Columns for a table: the terminal's, as long as a table is readable in them."""
    if not stream.isatty():
        return elsewhere
    return max(Console(file=stream).width, LEAST_WIDTH)


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
