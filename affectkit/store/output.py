"""HDF5 files under construction, on a disk that may be full.

HDF5 cannot close a file that it cannot flush: closing fails too, and the library crashes the process when it ends. So
HDF5 writes through a file object that never fails: after the first error it swallows everything, and `check` or
`close` raises that error. The file is worthless then; who writes it removes it. An interrupt that came up inside that
object would crash HDF5 too; Python raises interrupts in the main thread, so HDF5 is called in another.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import h5py

T = TypeVar("T")
_ALIGNMENT = 64


class OutputFile:
    """A new HDF5 file; as a context manager it is closed at the end, and given up after an error."""

    def __init__(self, path: Path) -> None:
        import h5py

        self._disk = _Disk(os.fspath(path), "x+")
        self._thread = ThreadPoolExecutor(1, "hdf5")
        self._hdf5: h5py.File = self.call(
            h5py.File, self._disk, "w", alignment_threshold=1, alignment_interval=_ALIGNMENT
        )
        self._begin: dict[str, int] = {}
        # Also at exit: HDF5 would close the file later, when Python is no longer there to write it.
        self._finish = weakref.finalize(self, _finish, self._hdf5, self._disk, self._thread)

    def call(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run something that may make HDF5 write: whatever changes the file or a dataset."""
        return self._thread.submit(function, *args, **options).result()

    def create(self, name: str, *args: Any, **options: Any) -> h5py.Dataset:
        """`h5py.Group.create_dataset`."""
        return self.call(self._hdf5.create_dataset, name, *args, **options)

    def reserve(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """A contiguous dataset, to be filled by `write`."""
        import h5py

        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        self._begin[name] = self.create(name, shape, dtype, dcpl=plist).id.get_offset() or 0

    def write(self, name: str, row: int, data: np.ndarray) -> None:
        """Put rows into a reserved dataset, past HDF5: it takes microseconds where HDF5 takes a hundred."""
        self._disk.seek(self._begin[name] + row * data[:1].nbytes)
        self._disk.write(np.ascontiguousarray(data))

    def check(self) -> None:
        """Raise the error that a write met since the file was made."""
        if self._disk.error is not None:
            raise self._disk.error

    def close(self) -> None:
        """Flush and close. Raises what `check` does."""
        self._finish()
        self.check()

    def give_up(self) -> None:
        """Close without writing any more."""
        self._disk.error = self._disk.error or OSError("the file was given up")
        self._finish()

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        cause = self._disk.error
        self.give_up()
        if cause is not None and isinstance(error, Exception):  # HDF5 may have stumbled over what was not written
            raise cause from error


class _Disk(io.FileIO):
    """An unbuffered file whose writes never raise; HDF5 positions it before every access."""

    error: BaseException | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        try:
            done = 0
            while self.error is None and done < len(view):
                done += super().write(view[done:])
        except BaseException as error:  # an interrupt too must not reach HDF5
            self.error = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


def _finish(hdf5: h5py.File, disk: _Disk, thread: ThreadPoolExecutor) -> None:
    try:
        thread.submit(hdf5.close).result()
    except RuntimeError:  # at exit no thread is left to do it
        hdf5.close()
    thread.shutdown()
    disk.close()
