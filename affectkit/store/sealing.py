"""Packing finished parts into one immutable segment: contiguous datasets, clips in the order of their ids."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit.store.atomic import atomically
from affectkit.store.output import OutputFile
from affectkit.store.schema import Schema, Stored
from affectkit.store.segment import Segment
from affectkit.store.writing import clip_table

if TYPE_CHECKING:
    import h5py

_BUFFER_BYTES = 1 << 23
_OPEN_FILES = 8


@dataclass(frozen=True)
class Piece:
    """Where one clip lies, and how much of each axis it takes."""

    clip: str
    source: str
    path: Path
    sealed: bool
    sizes: dict[str, int]


def pieces(path: Path, schema: Schema, sealed: bool) -> list[Piece]:
    """The clips of one file."""
    with closing(Segment(path, schema, sealed)) as segment:
        axes = {axis: _bounds(segment, axis) for axis in _ragged_axes(schema)}
        return [
            Piece(
                clip, segment.source(clip), path, sealed, {axis: int(b[row + 1] - b[row]) for axis, b in axes.items()}
            )
            for row, clip in enumerate(segment.ids)
        ]


def pack(chosen: Iterable[Piece], schema: Schema, out: Path) -> None:
    """Write one segment that holds the chosen clips, sorted by id. Memory stays bounded."""
    ordered = sorted(chosen, key=lambda piece: piece.clip)
    with atomically(out) as temporary, OutputFile(temporary) as output:
        _write_clip_tables(output.hdf5, schema, ordered)
        streams = [_Stream(output.hdf5, i, ordered) for i in schema.stored() if not i.axis.startswith("clips")]
        for record in _records(ordered, schema):
            for stream in streams:
                stream.write(record)
            output.check()
        for stream in streams:
            stream.flush()


def _ragged_axes(schema: Schema) -> set[str]:
    return {item.axis for item in schema.stored() if not item.axis.startswith("clips")} - {"rows+1"}


def _bounds(segment: Segment, axis: str) -> np.ndarray:
    """[N+1] where each clip begins and ends along an axis."""
    offsets = np.asarray(segment.arrays["offsets"])
    if axis == "rows":
        return offsets
    kind, _, name = axis.partition(":")
    ends = np.asarray(segment.arrays[name + "_offsets"][:])
    return ends[offsets] if kind == "bytes" else ends


def _records(ordered: list[Piece], schema: Schema) -> Iterator[tuple[Segment, str]]:
    """Each clip with its open segment; neighbours mostly share a file, so a few open ones do."""
    opened: OrderedDict[Path, Segment] = OrderedDict()
    try:
        for piece in ordered:
            if piece.path not in opened:
                if len(opened) == _OPEN_FILES:
                    opened.popitem(last=False)[1].close()
                opened[piece.path] = Segment(piece.path, schema, piece.sealed)
            opened.move_to_end(piece.path)
            yield opened[piece.path], piece.clip
    finally:
        for segment in opened.values():
            segment.close()


def _write_clip_tables(file: h5py.File, schema: Schema, ordered: list[Piece]) -> None:
    items = [item for item in schema.stored() if item.axis == "clips"]
    columns: dict[str, list[Any]] = {item.name: [] for item in items}
    for segment, clip in _records(ordered, schema):
        row = segment.clips[clip]
        for item in items:
            is_text = item.dtype is None
            columns[item.name].append(segment.text(clip, item.name) if is_text else segment.arrays[item.name][row])
    for item in items:
        file.create_dataset(item.name, data=clip_table(item, columns[item.name]))
    for item in schema.stored():
        if item.axis == "clips+1":
            axis = "rows" if item.name == "offsets" else "items:" + item.name.removesuffix("_offsets")
            sizes = [piece.sizes[axis] for piece in ordered]
            file.create_dataset(item.name, data=np.concatenate([[0], np.cumsum(sizes)]).astype("<i8"))


class _Stream:
    """One contiguous dataset, written front to back through a small buffer."""

    def __init__(self, file: h5py.File, item: Stored, ordered: list[Piece]) -> None:
        self._is_offsets = item.axis == "rows+1"
        axis = "rows" if self._is_offsets else item.axis
        length = sum(piece.sizes[axis] for piece in ordered) + self._is_offsets
        self.item, self.axis = item, axis
        self._dataset = file.create_dataset(item.name, (length, *item.shape), item.dtype)
        self._at = int(self._is_offsets)
        self._last = 0
        self._buffer: list[np.ndarray] = []
        self._bytes = 0
        if self._is_offsets:
            self._dataset[0] = 0

    def write(self, record: tuple[Segment, str]) -> None:
        data = self._offsets(*record) if self._is_offsets else _slice(*record, self.item)
        if not len(data):
            return
        self._buffer.append(data)
        self._bytes += data.nbytes
        if self._bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._buffer:
            data = np.concatenate(self._buffer)
            self._dataset[self._at : self._at + len(data)] = data
            self._at += len(data)
            self._buffer, self._bytes = [], 0

    def _offsets(self, segment: Segment, clip: str) -> np.ndarray:
        row = segment.clips[clip]
        first, last = segment.arrays["offsets"][row : row + 2]
        ends = segment.arrays[self.item.name][first : last + 1]
        data = np.asarray(ends[1:] - ends[0] + self._last)
        self._last = int(data[-1]) if len(data) else self._last
        return data


def _slice(segment: Segment, clip: str, item: Stored) -> np.ndarray:
    row = segment.clips[clip]
    first, last = _bounds_of(segment, row, item)
    return np.asarray(segment.arrays[item.name][first:last])


def _bounds_of(segment: Segment, row: int, item: Stored) -> tuple[int, int]:
    first, last = segment.arrays["offsets"][row : row + 2]
    kind, _, name = item.axis.partition(":")
    if kind == "rows":
        return first, last
    offsets = segment.arrays[name + "_offsets"]
    return (offsets[first], offsets[last]) if kind == "bytes" else (offsets[row], offsets[row + 1])
