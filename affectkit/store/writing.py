"""Writing parts and sealed segments.

A part is one HDF5 file of one clip or of a group of small ones, written under a temporary name, fsynced and renamed:
it is there whole or not at all. Nothing is ever appended to a finished file.
"""

from __future__ import annotations

import errno
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit.errors import AffectkitError
from affectkit.store.schema import FIXED, Column, Schema, Stored
from affectkit.store.segment import column_bytes

if TYPE_CHECKING:
    import h5py

TEMPORARY = ".tmp-"
_CHUNK_BYTES, _CHUNK_ROWS = 1 << 18, 1 << 10


def temporary_name(path: Path) -> Path:
    """A name beside `path` that says who writes it, so that leftovers of dead processes can be told."""
    return path.with_name(f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}-{path.name}")


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path; when the block ends well, its bytes are fsynced and renamed to `path`."""
    temporary = temporary_name(path)
    try:
        with explained(path):
            yield temporary
            fsync(temporary)
            temporary.replace(path)
            fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a full disk into one line; whatever was finished stays."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not _is_full(error):
            raise
        raise AffectkitError(
            f"no room to write {path}: free some space and repeat the command; finished clips are kept"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    with atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fsync(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_full(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    if getattr(error, "errno", None) in full:
        return True
    return any(f"errno = {code}," in str(error) for code in full)


class PartWriter:
    """Streams clips into one part: `append` rows, then `end` the clip; `rollback` drops an unfinished clip."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        import h5py

        self.schema = schema
        self._final = folder / f"{uuid.uuid4().hex}.h5"
        self._temporary = temporary_name(self._final)
        self.nbytes = 0
        self._table: dict[str, list[Any]] = {item.name: [] for item in schema.stored() if item.axis == "clips"}
        self._ends: dict[str, list[int]] = {i.name: [0] for i in schema.stored() if i.axis == "clips+1"}
        with explained(self._final):
            self._file = h5py.File(self._temporary, "w")
            self._streams = {i.name: _stream(self._file, i) for i in schema.stored() if _is_streamed(i)}
        self._begin()

    def __len__(self) -> int:
        return len(self._table["clip"])

    def append(self, rows: dict[str, Any]) -> None:
        """Add rows of the current clip: `row` and `ragged` columns, all of one length, and `clip` columns."""
        with explained(self._final):
            for name, value in rows.items():
                self._append(name, self.schema.columns[name], value)

    def end(self, clip: str, source: str, scalars: dict[str, Any] | None = None, status: str = "ok") -> str:
        """Close the current clip; returns the digest of its bytes."""
        values = dict(scalars or {})
        for name, value in values.items():
            self._hashes[name].update(column_bytes(self.schema.columns[name], value))
        digest = _combine(self._hashes, self.schema)
        values.update(clip=clip, source_sha256=source, sha256=digest, status=status)
        for name, column in self._table.items():
            column.append(values[name])
        for name, ends in self._ends.items():
            ends.append(len(self._streams[self._axis_source(name)]))
        self._begin()
        return digest

    def rollback(self) -> None:
        """Forget what was appended since the last `end`."""
        for name, length in self._lengths.items():
            self._streams[name].resize(length, axis=0)
        self._begin()

    def commit(self) -> Path | None:
        """Finish the part under its own name; None when no clip was ended."""
        if not len(self):
            self.discard()
            return None
        with explained(self._final):
            self.rollback()
            for item in self.schema.stored():
                if item.axis == "clips":
                    self._file.create_dataset(item.name, data=clip_table(item, self._table[item.name]))
                elif item.axis == "clips+1":
                    self._file.create_dataset(item.name, data=np.asarray(self._ends[item.name], "<i8"))
            self._file.close()
            fsync(self._temporary)
            self._temporary.replace(self._final)
            fsync(self._final.parent)
        return self._final

    def discard(self) -> None:
        """Remove the unfinished file."""
        with suppress(OSError, RuntimeError):  # HDF5 cannot flush on a full disk; the file goes anyway
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._lengths = {name: stream.shape[0] for name, stream in self._streams.items()}
        self._hashes = {name: sha256() for name in self.schema.columns}

    def _axis_source(self, offsets: str) -> str:
        return "start" if offsets == "offsets" else offsets.removesuffix("_offsets")

    def _append(self, name: str, column: Column, value: Any) -> None:
        if column.per == "ragged":
            ends = np.cumsum([len(item) for item in value], dtype="<i8") + self._streams[name].shape[0]
            _extend(self._streams[name + "_offsets"], ends)
            data = np.frombuffer(b"".join(bytes(item) for item in value), "u1")
        else:
            data = np.ascontiguousarray(value, dtype=column.dtype)
        _extend(self._streams[name], data)
        self.nbytes += data.nbytes
        self._hashes[name].update(column_bytes(column, value))


def clip_digest(schema: Schema, record: dict[str, Any]) -> str:
    """The digest that a record of one clip has in the store."""
    hashes = {name: sha256(column_bytes(column, record[name])) for name, column in schema.columns.items()}
    return _combine(hashes, schema)


def clip_table(item: Stored, values: list[Any]) -> np.ndarray:
    """A clip-axis dataset from one value a clip; text as fixed-length UTF-8."""
    if item.dtype is not None:
        return np.asarray(values, item.dtype).reshape(len(values), *item.shape)
    encoded = [str(value).encode() for value in values]
    return np.asarray(encoded, f"S{max([1, *map(len, encoded)])}")


def _combine(hashes: dict[str, Any], schema: Schema) -> str:
    total = sha256()
    for name in sorted(hashes):
        column = schema.columns[name]
        total.update(f"{name} {column.per} {column.dtype} {column.shape} ".encode())
        total.update(hashes[name].digest())
    return total.hexdigest()


def _is_streamed(item: Stored) -> bool:
    return item not in FIXED and item.axis not in ("clips", "clips+1")


def _stream(file: h5py.File, item: Stored) -> h5py.Dataset:
    first = 1 if item.axis == "rows+1" else 0
    row_bytes = max(1, item.dtype.itemsize * int(np.prod(item.shape, dtype=int)))  # type: ignore[union-attr]
    rows = _CHUNK_BYTES // 4 if item.axis.startswith("bytes:") else min(_CHUNK_ROWS, _CHUNK_BYTES // row_bytes)
    chunk = (max(1, rows), *item.shape)
    return file.create_dataset(
        item.name, (first, *item.shape), item.dtype, maxshape=(None, *item.shape), chunks=chunk, fillvalue=0
    )


def _extend(dataset: h5py.Dataset, data: np.ndarray) -> None:
    if not len(data):
        return
    first = dataset.shape[0]
    dataset.resize(first + len(data), axis=0)
    dataset[first:] = data
