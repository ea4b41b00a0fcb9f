"""SHA-256 of files, memoised by (path, size, mtime_ns): a warm run over thousands of clips only stats them."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from affectkit.errors import AffectkitError

_CHUNK = 1 << 20
Key = tuple[bytes, int, int]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


class Digests:
    """A memo of file digests in one SQLite file; several processes may share it.

    `rehash` ignores what the memo says (for file systems with coarse or forged times); without `keep`, what is read
    is not noted.
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

        Raises OSError for a file that cannot be read or is not a regular one, AffectkitError for a damaged memo.
        """
        keys = {path: _key(path) for path in paths}
        known = {} if self._rehash else self._lookup(keys)
        found = {path: known.get(path) or sha256_file(path) for path in keys}
        self._store([(*key, found[path]) for path, key in keys.items() if path not in known])
        return found

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._memo.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._memo, timeout=60)) as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS digest "
                    "(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
                )
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise AffectkitError(
                f"the memo of digests {self._memo} cannot be used ({error}): "
                "make room, allow writing to its folder, or remove it if it is damaged"
            ) from error

    def _lookup(self, keys: dict[Path, Key]) -> dict[Path, str]:
        if not self._memo.exists():
            return {}
        select = "SELECT sha256 FROM digest WHERE path = ? AND size = ? AND mtime_ns = ?"
        with self._connected() as connection:
            rows = {path: connection.execute(select, key).fetchone() for path, key in keys.items()}
        return {path: row[0] for path, row in rows.items() if row}

    def _store(self, rows: list[tuple[bytes, int, int, str]]) -> None:
        if rows and self._keep:
            with self._connected() as connection:
                connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?)", rows)


def _key(path: Path) -> Key:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    changed = (status.st_mtime_ns + (1 << 63)) % (1 << 64) - (1 << 63)  # as SQLite holds it, also after the year 2262
    return os.fsencode(path.absolute()), status.st_size, changed
