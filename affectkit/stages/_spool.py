"""Encoded crops of the clip under way: in memory while they are few, on the disk when a clip is long."""

from __future__ import annotations

from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType

from affectkit.store.atomic import explained

_IN_MEMORY = 8 << 20


class FileSpool:
    """A list of byte strings that can be appended to and read back.

    >>> with FileSpool(Path(".")) as spool:
    ...     spool.append(b"ab")
    ...     spool.append(b"cde")
    ...     spool[1], len(spool)
    (b'cde', 2)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115 (closed by __exit__)
        self._ends = [0]

    def __enter__(self) -> FileSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, data: bytes, /) -> None:
        with explained(self._folder):
            self._file.seek(self._ends[-1])
            self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def __getitem__(self, index: int, /) -> bytes:
        self._file.seek(self._ends[index])
        return self._file.read(self._ends[index + 1] - self._ends[index])
