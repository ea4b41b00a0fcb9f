"""SHA-256 of files, memoised by (path, size, mtime_ns): a warm run over thousands of clips only stats them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sqlite3
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from affectkit.errors import Notice

_CHUNK = 1 << 20
_PATIENCE = 5.0  # seconds to wait for another process that writes the memo
_TABLE = "CREATE TABLE digest (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
_SHA256 = re.compile("[0-9a-f]{64}")
Key = tuple[bytes, int, int]


def sha256_lines(lines: Iterable[str]) -> str:
    """SHA-256 of some texts, one a line, hexadecimal."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a regular file's bytes, hexadecimal. Raises OSError, also for a pipe, a device or a folder: nothing is
    waited for."""
    digest = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(handle, "rb", buffering=0, closefd=True) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


class Digests:
    """A memo of file digests in one SQLite file; several processes may share it.

    `rehash` ignores what the memo says (for file systems with coarse or forged times); without `keep`, what is read
    is not noted. A memo that cannot be used (damaged, locked, another's, not to be written) is told of once by a
    `Notice`; digests are computed without it.
    """

    def __init__(self, memo: Path, rehash: bool = False, keep: bool = True) -> None:
        self._memo = memo
        self._rehash = rehash
        self._keep = keep

    def __call__(self, path: Path) -> str:
        """The digest of one file."""
        return self.many([path])[path]

    def many(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Digests of many files: known ones by one stat each, the rest are read.

        Raises OSError for a file that cannot be read or is not a regular one.
        """
        keys = {path: _key(path) for path in paths}
        known = {} if self._rehash else self._lookup(keys)
        found = {path: known.get(path) or sha256_file(path) for path in keys}
        self._store([(*key, found[path]) for path, key in keys.items() if path not in known])
        return found

    def _lookup(self, keys: dict[Path, Key]) -> dict[Path, str]:
        if not os.path.lexists(self._memo):
            return {}
        select = "SELECT sha256 FROM digest WHERE path = ? AND size = ? AND mtime_ns = ?"
        try:
            with self._connected("rw") as connection:
                rows = {path: connection.execute(select, key).fetchone() for path, key in keys.items()}
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return {}
        return {path: row[0] for path, row in rows.items() if row and _SHA256.fullmatch(str(row[0]))}

    def _store(self, rows: list[tuple[bytes, int, int, str]]) -> None:
        if not rows or not self._keep:
            return
        try:
            self._memo.parent.mkdir(parents=True, exist_ok=True)
            with self._connected("rwc") as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    @contextmanager
    def _connected(self, mode: str) -> Iterator[sqlite3.Connection]:
        """The memo, checked to be ours and nothing more. Raises OSError, sqlite3.Error."""
        for suffix in ("", "-journal", "-wal", "-shm"):  # SQLite would write through links
            with suppress(FileNotFoundError, NotADirectoryError):
                if not stat.S_ISREG(Path(f"{self._memo}{suffix}").lstat().st_mode):
                    raise OSError(errno.EINVAL, f"{self._memo.name}{suffix} is no regular file")
        address = f"file:{quote(os.fsencode(self._memo.absolute()))}?mode={mode}"
        with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE)) as connection:
            if mode == "rwc":
                connection.execute(_TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))
            described = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchmany(2)
            if described != [(_TABLE,)]:  # views and triggers would run what a stranger wrote
                raise sqlite3.DatabaseError("it is another kind of database")
            yield connection

    def _give_up(self, error: Exception) -> None:
        cause = getattr(error, "strerror", None) or error
        told = f"the memo of digests {self._memo} is not used ({cause}): files are read; remove it if it is damaged"
        warnings.warn(told, Notice, stacklevel=3)
        self._rehash, self._keep = True, False


def _key(path: Path) -> Key:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    changed = (status.st_mtime_ns + (1 << 63)) % (1 << 64) - (1 << 63)  # as SQLite holds it, also after the year 2262
    return os.fsencode(path.absolute()), status.st_size, changed
