"""Reading one HDF5 segment: checked against its schema, then memory-mapped.

The file is untrusted: only plain datasets reached by hard links, of the expected types and lengths, lying wholly
inside the file. External, virtual, compressed and object datasets are refused.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit.errors import HostileFile
from affectkit.store.schema import CONTENT, LONGEST_TEXT, Column, Schema, Stored
from affectkit.store.selection import Key

if TYPE_CHECKING:
    import h5py

Record = dict[str, Any]
_HELD_BYTES = 1 << 20
_LARGEST_CHUNK = 1 << 26


class Segment:
    """One sealed file as arrays. `rows` gives the row of each clip in the table, by id and source digest.

    `Segment.part` reads a finished part instead: its columns are chunked, so the large ones stay HDF5 datasets, which
    slice like arrays, and the file stays open until `close`.

    Raises HostileFile; FileNotFoundError when there is no such file.
    """

    def __init__(self, path: Path, schema: Schema, sealed: bool = True) -> None:
        self.path = path
        self.schema = schema
        self._file = _open(path)
        try:
            self.arrays = _checked(self._file, path, schema, sealed)
            self._check_lengths()
            self.ids, self.sources = self._texts("clip"), self._texts("source_sha256")
            self.rows: dict[Key, int] = {key: row for row, key in enumerate(zip(self.ids, self.sources, strict=True))}
            if len(self.rows) != len(self.ids):
                raise HostileFile(f"{path}: a clip appears twice")
            self._offsets: list[int] = self.arrays["offsets"].tolist()
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
            self._file.close()
            raise HostileFile(f"{path} is not a readable segment: {_first_line(error)}") from error
        except HostileFile:
            self._file.close()
            raise
        if sealed:
            self._file.close()

    @classmethod
    def part(cls, path: Path, schema: Schema) -> Segment:
        """A finished part, to be closed after use."""
        return cls(path, schema, sealed=False)

    def close(self) -> None:
        """Close the file of a part; arrays of a sealed segment stay mapped."""
        self._file.close()

    @property
    def has_content(self) -> bool:
        """Whether it is from since a clip's content has a digest of its own."""
        return CONTENT in self.arrays

    def text(self, row: int, name: str) -> str:
        """A clip's entry in a column of text."""
        return _text(self.arrays[name][row], self.path)

    def length(self, row: int) -> int:
        """Number of rows T of a clip."""
        return self._offsets[row + 1] - self._offsets[row]

    def column(self, row: int, name: str) -> Any:
        """One column of one clip."""
        column, values = self.schema.columns[name], self.arrays[name]
        first, last = self._offsets[row], self._offsets[row + 1]
        if column.per == "row":
            return values[first:last]
        if column.per == "ragged":
            bounds = self.arrays[name + "_offsets"][first : last + 1].tolist()
            return [values[a:b] for a, b in pairwise(bounds)]
        if column.per == "clip":
            a, b = self.arrays[name + "_offsets"][row : row + 2]
            return values[a:b]
        return _text(values[row], self.path) if values.dtype.kind == "S" else values[row]

    def _texts(self, name: str) -> list[str]:
        try:
            return [value.decode() for value in np.asarray(self.arrays[name]).tolist()]
        except UnicodeDecodeError:
            raise HostileFile(f"{self.path}: text that is not UTF-8") from None

    def _check_lengths(self) -> None:
        """Every column's length follows from the clip table's offsets."""
        clips = len(self.arrays["clip"])
        rows = self._ends("offsets", clips)
        for stored in self.schema.stored():
            axis = stored.axis
            if stored.name not in self.arrays:
                continue
            if axis == "rows+1" or (axis == "clips+1" and stored.name != "offsets"):
                continue
            expected = {"clips": clips, "rows": rows, "clips+1": clips + 1}.get(axis)
            if expected is None:
                expected = self._ends(stored.name + "_offsets", rows if axis.startswith("bytes:") else clips)
            got = len(self.arrays[stored.name])
            if got != expected:
                raise HostileFile(f"{self.path}: {stored.name} has {got} entries, {expected} are declared")

    def _ends(self, name: str, count: int) -> int:
        offsets = np.asarray(self.arrays[name])
        # Compared, not subtracted: differences of hostile numbers overflow.
        if len(offsets) != count + 1 or offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
            raise HostileFile(f"{self.path}: {name} are not {count + 1} rising offsets from 0")
        return int(offsets[-1])


@dataclass(eq=False, slots=True)
class ClipRows:
    """One clip of a segment, by its row in the table of clips."""

    segment: Segment
    row: int

    def __len__(self) -> int:
        return self.segment.length(self.row)

    @property
    def key(self) -> Key:
        """Its id, and the digest of what it was made from."""
        return self.segment.ids[self.row], self.segment.sources[self.row]

    @property
    def content(self) -> str:
        """The digest of its columns."""
        return self.segment.text(self.row, CONTENT if self.segment.has_content else "sha256")

    @property
    def status(self) -> str:
        """ok or partial."""
        return self.segment.text(self.row, "status")

    def read(self) -> Record:
        """Its columns; arrays are views into the memory map, ragged columns are lists of bytes views."""
        return {name: self.column(name) for name in self.segment.schema.columns}

    def column(self, name: str) -> Any:
        """One of its columns."""
        return self.segment.column(self.row, name)


def row_digest(clip: str, source: str, status: str, content: str) -> str:
    """The digest over all that is served of a clip: its id, what it was made from, its status and its columns."""
    return sha256("\0".join((clip, source, status, content)).encode()).hexdigest()


def column_bytes(column: Column, value: Any) -> Any:
    """The bytes of one column of one clip (or of some of its rows) that its digest covers."""
    if column.per == "ragged":
        return b"".join(len(item).to_bytes(8, "little") + bytes(item) for item in value)
    if isinstance(value, str):
        return value.encode()
    return np.ascontiguousarray(value, dtype=column.dtype) if np.size(value) else b""


def _open(path: Path) -> h5py.File:
    import h5py

    if not stat.S_ISREG(path.lstat().st_mode):  # a link leads out of the artifact
        raise HostileFile(f"{path} is not a regular file")
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError) as error:
        path.stat()  # HDF5 calls a file that was removed while it was opened unreadable
        raise HostileFile(f"{path} is not an HDF5 file: {_first_line(error)}") from error


def _checked(file: h5py.File, path: Path, schema: Schema, sealed: bool) -> dict[str, Any]:
    """Every dataset of the schema. Sealed: views into one memory map (each map would hold a file handle) of the very
    file that HDF5 has open: under its path there may be another one by now."""
    handle = file.id.get_vfd_handle()
    size = os.fstat(handle).st_size
    mapped = np.frombuffer(mmap.mmap(handle, size, access=mmap.ACCESS_READ), "u1") if sealed else None
    there = (item for item in schema.stored() if item.name != CONTENT or CONTENT in file)
    return {item.name: _array(file, path, item, size, mapped) for item in there}


def _array(file: h5py.File, path: Path, item: Stored, size: int, mapped: np.ndarray | None) -> Any:
    import h5py

    dataset = _plain_dataset(file, path, item, mapped is not None)
    dtype, shape = dataset.dtype, dataset.shape
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > size:
        raise HostileFile(f"{path}: {item.name} declares {nbytes} bytes in a file of {size}")
    if not nbytes:
        return np.zeros(shape, dtype)
    if mapped is None:
        if not item.axis.startswith("clips") and nbytes > _HELD_BYTES:
            return h5py.Dataset(dataset)
        held = np.empty(shape, dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, held)
        return held
    offset = dataset.get_offset()
    if offset is None or offset + nbytes > size:
        raise HostileFile(f"{path}: {item.name} does not lie inside the file")
    return mapped[offset : offset + nbytes].view(dtype).reshape(shape)


def _plain_dataset(file: h5py.File, path: Path, item: Stored, sealed: bool) -> h5py.h5d.DatasetID:
    """The dataset of an item, by the low-level interface: opening a part takes a third of the time."""
    import h5py

    name = item.name.encode()
    if not file.id.links.exists(name) or file.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise HostileFile(f"{path}: {item.name} is missing or a link")
    dataset = h5py.h5o.open(file.id, name)
    if not isinstance(dataset, h5py.h5d.DatasetID):
        raise HostileFile(f"{path}: {item.name} is not a dataset")
    plist = dataset.get_create_plist()
    layout = plist.get_layout()
    allowed = {h5py.h5d.CONTIGUOUS} if sealed else {h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}
    if layout not in allowed or plist.get_nfilters() or plist.get_external_count():
        raise HostileFile(f"{path}: {item.name} has a layout that is not read (external, virtual or compressed)")
    _check_type(path, item, dataset)
    if layout == h5py.h5d.CHUNKED and math.prod(plist.get_chunk()) * dataset.dtype.itemsize > _LARGEST_CHUNK:
        raise HostileFile(f"{path}: {item.name} has chunks of more than {_LARGEST_CHUNK} bytes")
    return dataset


def _check_type(path: Path, item: Stored, dataset: h5py.h5d.DatasetID) -> None:
    dtype, shape = dataset.dtype, dataset.shape
    text = dtype.kind == "S" and 0 < dtype.itemsize <= LONGEST_TEXT
    same = text if item.dtype is None else dtype == item.dtype
    if not same or dataset.get_type().get_size() != dtype.itemsize:
        raise HostileFile(f"{path}: {item.name} has type {dtype}, {item.dtype or 'text'} is expected")
    if shape is None or len(shape) != 1 + len(item.shape) or shape[1:] != item.shape:
        raise HostileFile(f"{path}: {item.name} has shape {shape}, [*, {list(item.shape)}] is expected")


def _text(value: bytes, path: Path) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise HostileFile(f"{path}: text that is not UTF-8") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
