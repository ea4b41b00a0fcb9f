"""Which table the rows of a command go to: one for each choice of numerics, none with several.

Rows that are there are taken, whatever they were made with: they agree within a small tolerance. Rows to compute with
other numerics than those of the recipe's table go to a table of their own beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from affectkit.config import Numerics, fingerprint
from affectkit.errors import UsageError
from affectkit.store import Artifact

Recorded = dict[str, Any]


def table_of(
    tables: Sequence[Artifact], clips: int, pending: Callable[[Artifact], Sequence[str]], *, asked: Mapping[str, Any],
    here: Callable[[], Recorded], create: Callable[[Recorded, str], Artifact], out: Path | None,
) -> tuple[Artifact, tuple[str, ...]]:  # fmt: skip
    """The table that a command's rows are in or go to, and what the user must know of the choice.

    `tables` are those of the recipe that there are (`Cache.variants`); `pending` says which of the command's `clips` a
    table lacks; `asked` are the numerics as far as they are known
    without looking for a device, `here` all of them; `create` makes a table with them, under the name of the recipe
    and what is given after it. Raises UsageError where `out` names a table of other numerics by hand.
    """
    for table in tables:
        if not pending(table):
            return table, _taken(table, asked) if clips else ()
    if tables and tables[0].dry:
        return tables[0], ()
    numerics = here()
    if not tables:
        return create(numerics, ""), ()
    same = next((table for table in tables if not _differing(table, numerics)), None)
    if same is not None and same is tables[0]:
        return same, ()
    if out is not None:
        was, now = _both(tables[0], numerics)
        raise UsageError(
            f"{out} was made with {was}, not {now}: repeat those choices, or name another folder with --out"
        )
    table = same or create(numerics, f"+{fingerprint(numerics)[:6]}")
    was, now = _both(tables[0], numerics)
    return table, (
        f"{tables[0].folder} was made with {was} and lacks {len(pending(tables[0]))} of {clips} clips: all of them are "
        f"those of {table.folder}, with {now}",
    )


def recorded_numerics(numerics: Numerics) -> Recorded:
    """Numerics as an artifact records them: the class of the device, not its number."""
    return numerics.model_dump(mode="json") | {"device": numerics.device.split(":")[0]}


def asked_numerics(numerics: Numerics) -> Recorded:
    """What a command says of numerics itself: not what depends on the machine or the backbone."""
    open_ended = {"device": "auto", "batch_size": None}
    return {key: value for key, value in recorded_numerics(numerics).items() if open_ended.get(key, ...) != value}


def _taken(table: Artifact, asked: Mapping[str, Any]) -> tuple[str, ...]:
    if not _differing(table, asked):
        return ()
    was, now = _both(table, asked)
    return (f"all clips were there: taken from {table.folder}, made with {was}, not {now}",)


def _differing(table: Artifact, numerics: Mapping[str, Any]) -> Sequence[str]:
    return [key for key, value in numerics.items() if table.stage.numerics.get(key) != value]


def _both(table: Artifact, numerics: Mapping[str, Any]) -> tuple[str, str]:
    """What a table was made with, and what is wanted, as far as they differ."""
    differing = _differing(table, numerics)
    return tuple(  # type: ignore[return-value]
        ", ".join(f"{key} {values.get(key)}" for key in differing) for values in (table.stage.numerics, numerics)
    )
