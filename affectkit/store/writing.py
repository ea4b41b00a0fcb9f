"""Writing parts.

A part is one HDF5 file of one clip or of a group of small ones, written under a temporary name, fsynced and renamed:
it is there whole or not at all. Nothing is ever appended to a finished file.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import ClipError
from affectkit.store.atomic import atomically, explained, fsync, temporary_name, write_text
from affectkit.store.output import OutputFile
from affectkit.store.schema import CONTENT, FIXED, LONGEST_TEXT, TEXT, Column, Schema, Stored
from affectkit.store.segment import column_bytes, row_digest

__all__ = ["PartWriter", "atomically", "clip_digest", "clip_table", "explained", "write_text"]

_CHUNK_BYTES, _CHUNK_ROWS = 1 << 18, 1 << 10
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class _Ended:
    """One finished clip of a part: its scalars, and how long each stream is with it."""

    values: dict[str, Any]
    lengths: dict[str, int]


class PartWriter:
    """Streams clips into one part: `append` rows, then `end` the clip; `rollback` drops an unfinished clip.

    An error while writing (AffectkitError when the disk is full) gives the part up and removes its file; a value that
    cannot be stored raises before anything is written, and the clip can be rolled back.
    """

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.schema = schema
        self._final = folder / f"{uuid.uuid4().hex}.h5"
        self._temporary = temporary_name(self._final)
        self.nbytes = 0
        self._ended: list[_Ended] = []
        self._is_open = False
        with explained(self._final):
            self._output = OutputFile(self._temporary)
        self._is_open = True
        with self._writing():
            self._streams = {i.name: _Stream(self._output, i) for i in schema.stored() if _is_streamed(i)}
        self._hashes = self._no_hashes()
        self._empty = self._lengths()

    def __len__(self) -> int:
        return len(self._ended)

    def append(self, rows: dict[str, Any]) -> None:
        """Add rows of the current clip: `row` and `ragged` columns, all of one length, and `clip` columns.

        Raises ClipError for a finite value that a narrower type would turn into infinity.
        """
        checked = {name: _checked(name, self.schema.columns[name], value) for name, value in rows.items()}
        per_row = {len(rows[name]) for name in rows if self.schema.columns[name].per in ("row", "ragged")}
        if len(per_row) > 1:
            raise ValueError(f"columns of {sorted(per_row)} rows in one call")
        with self._writing():
            for name, value in checked.items():
                self._append(name, self.schema.columns[name], value)

    def end(self, clip: str, source: str, scalars: dict[str, Any] | None = None, status: str = "ok") -> str:
        """Close the current clip; returns the digest of its content. Raises ClipError for an id that is too long."""
        values = dict(scalars or {})
        text = {"clip": clip, "source_sha256": source, "status": status}
        self._check_end(values, text)
        for name, value in values.items():
            self._hashes[name].update(column_bytes(self.schema.columns[name], value))
        content = _combine(self._hashes, self.schema)
        digests = {CONTENT: content, "sha256": row_digest(clip, source, status, content)}
        # One step, so that an interrupt finds the clip ended or not.
        self._ended.append(_Ended(values | text | digests, self._lengths()))
        self._hashes = self._no_hashes()
        return content

    def rollback(self) -> None:
        """Forget what was appended since the last `end`."""
        if not self._is_open:
            return
        with self._writing():
            for name, length in self._begun().items():
                self._streams[name].cut(length)
        self._hashes = self._no_hashes()

    def commit(self) -> Path | None:
        """Finish the part under its own name; None when no clip was ended or the part was given up."""
        if not len(self):
            self.discard()
        self.rollback()
        if not self._is_open:
            return None
        with self._writing():
            for stream in self._streams.values():
                stream.flush()
            for item in self.schema.stored():
                if item.axis == "clips":
                    self._output.create(item.name, data=clip_table(item, [e.values[item.name] for e in self._ended]))
                elif item.axis == "clips+1":
                    ends = [0, *(e.lengths[_axis_source(item.name)] for e in self._ended)]
                    self._output.create(item.name, data=np.asarray(ends, "<i8"))
            self._output.close()
            fsync(self._temporary)
            self._temporary.replace(self._final)
            fsync(self._final.parent)
        self._is_open = False
        return self._final

    def discard(self) -> None:
        """Remove the unfinished file."""
        if self._is_open:
            self._is_open = False
            self._output.give_up()
            self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Any error in here leaves HDF5 in an unknown state: the part is given up."""
        if not self._is_open:
            raise RuntimeError("this part was finished or given up")
        try:
            with explained(self._final):
                try:
                    yield
                finally:
                    self._output.check()
        except BaseException:
            self.discard()
            raise

    def _no_hashes(self) -> dict[str, Any]:
        return {name: sha256() for name in self.schema.columns}

    def _lengths(self) -> dict[str, int]:
        return {name: stream.length for name, stream in self._streams.items()}

    def _begun(self) -> dict[str, int]:
        """Lengths of the streams where the current clip began."""
        return self._ended[-1].lengths if self._ended else self._empty

    def _check_end(self, scalars: dict[str, Any], text: dict[str, str]) -> None:
        expected = {name for name, column in self.schema.columns.items() if column.per == "scalar"}
        if expected != scalars.keys():
            raise ValueError(f"scalars {sorted(scalars)} given, {sorted(expected)} expected")
        text = text | {name: value for name, value in scalars.items() if self.schema.columns[name].dtype == TEXT}
        for name, value in text.items():
            _check_text(name, value)
        begun, now = self._begun(), self._lengths()
        rows = {now[i.name] - begun[i.name] for i in self.schema.stored() if i.axis in ("rows", "rows+1")}
        if len(rows) > 1:
            raise ValueError(f"the columns of clip {text['clip']!r} have {sorted(rows)} rows")

    def _append(self, name: str, column: Column, value: Any) -> None:
        if column.per == "ragged":
            ends = np.cumsum([len(item) for item in value], dtype="<i8") + self._streams[name].length
            self._streams[name + "_offsets"].append(ends)
            data = np.frombuffer(b"".join(value), "u1")
        else:
            data = value
        self._streams[name].append(data)
        self.nbytes += data.nbytes
        self._hashes[name].update(column_bytes(column, value))


def clip_digest(schema: Schema, record: dict[str, Any]) -> str:
    """The digest that the content of one clip has in the store."""
    hashes = {name: sha256(column_bytes(column, record[name])) for name, column in schema.columns.items()}
    return _combine(hashes, schema)


def clip_table(item: Stored, values: list[Any]) -> np.ndarray:
    """A clip-axis dataset from one value a clip; text as fixed-length UTF-8."""
    if item.dtype is not None:
        return np.asarray(values, item.dtype).reshape(len(values), *item.shape)
    encoded = [value.encode() for value in values]
    return np.asarray(encoded, f"S{max([1, *map(len, encoded)])}")


def _combine(hashes: dict[str, Any], schema: Schema) -> str:
    total = sha256()
    for name in sorted(hashes):
        column = schema.columns[name]
        total.update(f"{name} {column.per} {column.dtype} {column.shape} ".encode())
        total.update(hashes[name].digest())
    return total.hexdigest()


def _checked(name: str, column: Column, value: Any) -> Any:
    """The value as it will be stored: an array [n, *shape], or a list of bytes for a ragged column."""
    if column.per == "scalar":
        raise ValueError(f"{name} is given once, when the clip ends")
    if column.per == "ragged":
        return [bytes(item) for item in value]
    given = np.asarray(value)
    with np.errstate(over="ignore"):
        data = np.array(given, dtype=column.dtype, order="C", ndmin=1)  # a copy: it is written later
    if not data.size:
        data = data.reshape(0, *column.shape)
    if data.shape[1:] != column.shape or data.ndim != 1 + len(column.shape):
        raise ValueError(f"{name} has shape {list(data.shape)}, [n, {list(column.shape)}] is stored")
    if data.dtype.kind == "f" and given.dtype != data.dtype and (np.isinf(data) & np.isfinite(given)).any():
        raise ClipError(f"{name}: a value is beyond {data.dtype}")
    return data


def _check_text(name: str, value: str) -> None:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise ClipError(f"{name} {value!r} is not valid UTF-8") from None
    if length > LONGEST_TEXT or "\0" in value:
        raise ClipError(f"{name} {value[:80]!r} has {length} bytes: {LONGEST_TEXT} at most, and no NUL, are stored")


def _axis_source(offsets: str) -> str:
    return "start" if offsets == "offsets" else offsets.removesuffix("_offsets")


def _is_streamed(item: Stored) -> bool:
    return item not in FIXED and item.axis not in ("clips", "clips+1")


class _Stream:
    """One growing dataset; short pieces are joined before HDF5 sees them."""

    def __init__(self, output: OutputFile, item: Stored) -> None:
        first = 1 if item.axis == "rows+1" else 0
        row_bytes = item.dtype.itemsize * math.prod(item.shape)  # type: ignore[union-attr]
        rows = _CHUNK_BYTES // 4 if item.axis.startswith("bytes:") else min(_CHUNK_ROWS, _CHUNK_BYTES // row_bytes)
        self._output = output
        self._dataset = output.create(
            item.name, (first, *item.shape), item.dtype,
            maxshape=(None, *item.shape), chunks=(max(1, rows), *item.shape), fillvalue=0,
        )  # fmt: skip
        self.length = self._written = first
        self._waiting: list[np.ndarray] = []
        self._bytes = 0

    def append(self, data: np.ndarray) -> None:
        self._waiting.append(data)
        self.length += len(data)
        self._bytes += data.nbytes
        if self._bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.length > self._written:
            self._output.call(self._dataset.resize, self.length, axis=0)
            self._output.call(self._dataset.write_direct, np.concatenate(self._waiting), None, np.s_[self._written :])
        self._written = self.length
        self._waiting, self._bytes = [], 0

    def cut(self, length: int) -> None:
        if length != self.length:
            self.flush()
            self._output.call(self._dataset.resize, length, axis=0)
            self.length = self._written = length
