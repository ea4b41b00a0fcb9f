"""Packing finished parts into one immutable segment: contiguous datasets, clips in the order of their ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.store.atomic import atomically
from affectkit.store.output import OutputFile
from affectkit.store.schema import CONTENT, Schema, Stored
from affectkit.store.segment import Segment, row_digest
from affectkit.store.selection import Key
from affectkit.store.writing import clip_table

_BLOCK_BYTES = 1 << 23
Bounds = dict[str, np.ndarray]  # [N+1] where each clip begins and ends, by axis


@dataclass(frozen=True)
class Piece:
    """One clip of a file: its row in the clip table, its entries there, and how much of each axis it takes."""

    key: Key
    path: Path
    sealed: bool
    row: int
    entries: dict[str, Any]
    sizes: dict[str, int]


@dataclass(frozen=True)
class _Run:
    """Clips [first, last) of a file, which are neighbours in the new segment too, from place `to` on."""

    first: int
    last: int
    to: int


def pieces(path: Path, schema: Schema, sealed: bool) -> list[Piece]:
    """The clips of one file."""
    with closing(Segment(path, schema, sealed)) as segment:
        sizes = {axis: np.diff(bounds).tolist() for axis, bounds in _bounds(segment).items()}
        items = [item for item in schema.stored() if item.axis == "clips" and item.name in segment.arrays]
        tables = _with_content({item.name: _entries(segment, item) for item in items})
        return [
            Piece(
                key, path, sealed, row,
                {name: entries[row] for name, entries in tables.items()},
                {axis: lengths[row] for axis, lengths in sizes.items()},
            )
            for key, row in segment.rows.items()
        ]  # fmt: skip


def pack(chosen: Iterable[Piece], schema: Schema, out: Path) -> None:
    """Write one segment that holds the chosen clips, sorted by id and source. Memory stays bounded; each file is opened
    once."""
    ordered = sorted(chosen, key=lambda piece: piece.key)
    bounds = {axis: np.cumsum([0, *(piece.sizes[axis] for piece in ordered)], dtype="<i8") for axis in ordered[0].sizes}
    places = sorted(enumerate(ordered), key=lambda place: (place[1].path, place[0]))
    with atomically(out) as temporary, OutputFile(temporary) as output:
        streamed = _prepare(output, schema, ordered, bounds)
        for path, group in groupby(places, key=lambda place: place[1].path):
            held = list(group)
            with closing(Segment(path, schema, held[0][1].sealed)) as segment:
                source = _bounds(segment)
                for run in _runs(held):
                    for item in streamed:
                        for row, block in _blocks(segment, item, run, source, bounds):
                            output.write(item.name, row, block)
            output.check()


def _prepare(output: OutputFile, schema: Schema, ordered: list[Piece], bounds: Bounds) -> list[Stored]:
    """Write the clip table and make room for the rest, which is returned."""
    streamed = []
    for item in schema.stored():
        if item.axis == "clips":
            output.create(item.name, data=clip_table(item, [p.entries[item.name] for p in ordered]))
        elif item.axis == "clips+1":
            output.create(item.name, data=bounds[_axis(item)])
        else:
            length = int(bounds[_axis(item)][-1]) + (item.axis == "rows+1")
            output.reserve(item.name, (length, *item.shape), np.dtype(item.dtype))
            streamed.append(item)
        if item.axis == "rows+1":
            output.write(item.name, 0, np.zeros(1, "<i8"))
    return streamed


def _runs(places: list[tuple[int, Piece]]) -> Iterator[_Run]:
    """Clips that follow each other both in their file and in the new segment are copied together."""
    counted = ((place - count, piece.row - count, place, piece.row) for count, (place, piece) in enumerate(places))
    for _, group in groupby(counted, key=lambda item: item[:2]):
        run = [item[2:] for item in group]
        yield _Run(run[0][1], run[-1][1] + 1, run[0][0])


def _blocks(
    segment: Segment, item: Stored, run: _Run, source: Bounds, target: Bounds
) -> Iterator[tuple[int, np.ndarray]]:
    """One dataset's share of a run: (row in the new segment, rows)."""
    axis, values = _axis(item), segment.arrays[item.name]
    first, last, to = int(source[axis][run.first]), int(source[axis][run.last]), int(target[axis][run.to])
    shift = 0
    if item.axis == "rows+1":  # where each row's bytes end, counted from the first byte of the dataset
        joined = "bytes:" + item.name.removesuffix("_offsets")
        shift = int(target[joined][run.to] - source[joined][run.first])
        first, last, to = first + 1, last + 1, to + 1
    step = max(1, _BLOCK_BYTES // (values.dtype.itemsize * math.prod(item.shape)))
    for begin in range(first, last, step):
        block = np.asarray(values[begin : min(begin + step, last)])
        yield to + begin - first, block + shift if shift else block


def _axis(item: Stored) -> str:
    """The axis whose bounds tell a clip's share of a dataset."""
    if item.axis == "rows+1" or item.name == "offsets":
        return "rows"
    return "items:" + item.name.removesuffix("_offsets") if item.axis == "clips+1" else item.axis


def _bounds(segment: Segment) -> Bounds:
    offsets = np.asarray(segment.arrays["offsets"])
    bounds = {"rows": offsets}
    for item in segment.schema.stored():
        kind, _, name = item.axis.partition(":")
        if name:
            ends = segment.arrays[name + "_offsets"]
            bounds[item.axis] = np.asarray(ends[:])[offsets] if kind == "bytes" else np.asarray(ends)
    return bounds


def _entries(segment: Segment, item: Stored) -> list[Any]:
    if item.dtype is None:
        return [segment.text(row, item.name) for row in range(len(segment.ids))]
    return list(segment.arrays[item.name])


def _with_content(tables: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The tables of a file as they are written now: of one from before, `sha256` is the digest of the content."""
    if CONTENT in tables:
        return tables
    content = tables["sha256"]
    columns = (tables["clip"], tables["source_sha256"], tables["status"], content)
    return tables | {CONTENT: content, "sha256": [row_digest(*texts) for texts in zip(*columns, strict=True)]}
