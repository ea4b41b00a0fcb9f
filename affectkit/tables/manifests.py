"""Manifest CSV: `clip,path[,start,end][,split][,subject][,face]`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError
from affectkit.tables.csv import CsvTable, read_table
from affectkit.tables.ids import split_name
from affectkit.types import Clip

_OPTIONAL = ("start", "end", "split", "subject", "face")


def read_manifest(path: Path, *, allow_outside: bool = False) -> list[Clip]:
    """The clips of a manifest, in its order.

    Paths are relative to the manifest's directory and stay inside it, absolute ones too: a manifest may come with a
    download, and must not make a command read files of its choice. Media kept elsewhere are reached by a symbolic link
    in that directory, by listing the files on stdin, or with `allow_outside`, where paths may lead anywhere. A file
    that is missing is still a clip (it fails on its own, later).

    Raises UsageError with file and line: wrong columns, ids, times or splits, paths that lead outside, an id with two
    contents.
    """
    table = read_table(
        path,
        "manifests",
        text=("clip", "path", "split", "subject", "face"),
        numbers=("start", "end"),
        optional=_OPTIONAL,
    )
    table.intervals()
    ids = table.clips()
    paths = table.words("path", lambda text: str(_reached(path.parent, text, allow_outside)))
    splits = _optional(table, "split", split_name)
    subjects, faces = _optional(table, "subject", str), _optional(table, "face", str)
    starts, ends = _times(table, "start"), _times(table, "end")
    seen: dict[str, tuple[int, Clip]] = {}
    for row in range(len(table)):
        clip = Clip(ids[row], Path(paths[row]), starts[row], ends[row], splits[row], subjects[row], faces[row])
        line, first = seen.setdefault(clip.id, (row, clip))
        if first != clip:
            raise table.error(
                row, f"clip '{clip.id}' is on line {table.line(line)} with another content; ids are unique"
            )
    return [clip for _, clip in seen.values()]


def _reached(folder: Path, text: str, allow_outside: bool) -> Path:
    """`text` below `folder`, in normal form; lexically, so links in the folder may lead where their owner wants."""
    if not text:
        raise UsageError("the path is empty")
    root = os.path.abspath(folder)  # noqa: PTH100
    full = os.path.normpath(os.path.join(root, text))  # noqa: PTH118
    relative = os.path.relpath(full, root)
    if relative == ".." or relative.startswith("../"):
        if allow_outside:
            return Path(full)
        raise UsageError(
            f"path '{text}' leads outside the manifest's directory {root}: allow it by --allow-outside if you "
            "trust the manifest, move it above the media, or link their directory into it"
        )
    return folder / relative


def _optional(table: CsvTable, column: str, parse: Callable[[str], str]) -> list[str | None]:
    """A text column that may be absent or empty."""
    if column not in table.text:
        return [None] * len(table)
    words = table.words(column, lambda text: parse(text) if text else "")
    return [words[row] or None for row in range(len(table))]


def _times(table: CsvTable, column: str) -> list[float | None]:
    cells = table.numbers.get(column)
    if cells is None:
        return [None] * len(table)
    return [float(value) if np.isfinite(value) else None for value in cells]
