"""A set's folder: written whole or marked as unfinished, never over what is not ours.

`practice.json` says what wrote the folder. It is written before the first file (unfinished) and after the last one,
then with the list of all files, so that other settings remove exactly these.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from affectkit.errors import AffectkitError, UsageError
from affectkit.store.atomic import write_text
from affectkit.untrusted import read_object

MARKER = "practice.json"


class SetFolder:
    """The folder `path` of the set that `settings` describe; the set writes nothing but the entries `tops` in it.

    Raises UsageError for a file, and for a folder that holds anything and has not been written by the same set.
    """

    def __init__(self, path: Path, settings: dict[str, Any], tops: Collection[str]) -> None:
        self.path, self.settings, self._tops = path, settings, frozenset(tops)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file: name a folder for the practice set")
        self._written = self._marker()

    @property
    def complete(self) -> bool:
        """Whether the same settings have written everything already, and all of it is there."""
        written = self._written
        if written is None or written.get("settings") != self.settings or not written.get("files"):
            return False
        return all((self.path / name).is_file() for name in self._listed(written))

    @property
    def count(self) -> int:
        """Files of the set as it was written."""
        return len(self._listed(self._written or {}))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, made where it is missing. Raises UsageError while another process writes it."""
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def begin(self) -> None:
        """Remove what earlier settings or an interrupted run wrote, and mark the folder as unfinished."""
        written = self._marker()
        self._mark(files=None)
        if written is not None:
            self._remove(written)

    def finish(self) -> int:
        """Mark the folder as complete; returns how many files it has."""
        files = sorted(
            path.relative_to(self.path).as_posix()
            for top in sorted(self._tops)
            for path in ([self.path / top] if (self.path / top).is_file() else (self.path / top).rglob("*"))
            if path.is_file()
        )
        self._mark(files)
        return len(files)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self.path} is being written by another process: wait for it, then repeat") from None

    def _mark(self, files: list[str] | None) -> None:
        text = json.dumps({"settings": self.settings, "files": files}, indent=1)
        write_text(self.path / MARKER, text + "\n")

    def _marker(self) -> dict[str, Any] | None:
        """What practice.json says, None for a folder that is new or empty."""
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return None
        try:
            written = read_object(self.path / MARKER, "the mark of a practice set")
            name = written["settings"]["set"]
        except (AffectkitError, KeyError, TypeError):
            raise UsageError(
                f"{self.path} is not empty and holds no practice set: name a new or empty folder"
            ) from None
        if name != self.settings["set"]:
            raise UsageError(f"{self.path} holds the practice set {name}: name another folder")
        return dict(written)

    def _listed(self, written: dict[str, Any]) -> list[str]:
        """The files that the marker lists and that a set can have written."""
        names = [PurePosixPath(str(name)) for name in written.get("files") or []]
        return [
            str(name) for name in names if name.parts[:1] and name.parts[0] in self._tops and ".." not in name.parts
        ]

    def _remove(self, written: dict[str, Any]) -> None:
        if not written.get("files"):
            for top in self._tops:
                path = self.path / top
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            return
        folders = set()
        for name in self._listed(written):
            (self.path / name).unlink(missing_ok=True)
            folders |= {parent for parent in PurePosixPath(name).parents if parent.parts}
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            if (self.path / folder).is_dir() and not any((self.path / folder).iterdir()):
                (self.path / folder).rmdir()
