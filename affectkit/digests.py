"""SHA-256 of files, memoised by (path, size, mtime_ns): a warm run over thousands of clips only stats them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


class Digests:
    """A memo of file digests in one SQLite file; several processes may share it.

    `rehash` ignores what the memo says (for file systems with coarse or forged times).
    """

    def __init__(self, memo: Path, rehash: bool = False) -> None:
        self._memo = memo
        self._rehash = rehash

    def __call__(self, path: Path) -> str:
        """The digest of one file."""
        return self.many([path])[path]

    def many(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Digests of many files: known ones by one stat each, the rest are read. Raises OSError."""
        keys = {path: self._key(path) for path in paths}
        known = {} if self._rehash else self._lookup()
        found = {path: known.get(key) or sha256_file(path) for path, key in keys.items()}
        self._store([(*keys[path], digest) for path, digest in found.items() if keys[path] not in known])
        return found

    @staticmethod
    def _key(path: Path) -> tuple[str, int, int]:
        status = path.stat()
        return str(path.absolute()), status.st_size, status.st_mtime_ns

    def _connect(self) -> sqlite3.Connection:
        self._memo.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._memo, timeout=60)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digest (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
        )
        return connection

    def _lookup(self) -> dict[tuple[str, int, int], str]:
        if not self._memo.exists():
            return {}
        with closing(self._connect()) as connection:
            rows = connection.execute("SELECT path, size, mtime_ns, sha256 FROM digest")
            return {(path, size, mtime): digest for path, size, mtime, digest in rows}

    def _store(self, rows: list[tuple[str, int, int, str]]) -> None:
        if not rows:
            return
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?)", rows)
