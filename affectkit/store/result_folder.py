"""A folder of results that the user named: files appear whole, are written again only where they would differ, and
nothing that something else put there is touched.

Its record, a JSON file at its top, says which files are the folder's, their digests, and what each was made from.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from affectkit.digests import sha256_file
from affectkit.errors import AffectkitError, UsageError, named
from affectkit.store.atomic import explained, fsync, make_folder, put, temporary_name, write_text
from affectkit.store.upkeep import remove_dead
from affectkit.untrusted import read_object

ANALYSIS = "analysis.json"
"""The record of a folder that `affectkit analyze` wrote."""
_LONGEST = 120  # bytes of a part of a path that are kept
_SECONDS = 2.0  # between two records of files that are being written
_MARKS = frozenset('<>:"|?*')


@dataclass(frozen=True)
class _Entry:
    """A file of the folder: its digest and what it was made from; both empty until it is written."""

    sha256: str = ""
    made_from: str = ""


def is_results(folder: Path) -> bool:
    """Whether a folder was written by a command: what lies in it are no media to read."""
    return os.path.isfile(folder / ANALYSIS)  # noqa: PTH113


class ResultFolder:
    """The files of one command in a folder, which is new, empty, or was written by the same command before.

    changed: paths that were written or removed now; removed: those of an earlier run that are not of this one;
    altered: those that somebody had changed since they were written.
    """

    def __init__(self, root: Path, record: str, what: str) -> None:
        """`record`: the name of the file that says what is there; `what` the folder is, for messages.

        Raises UsageError for a folder that holds anything else, HostileFile for a record that is damaged.
        """
        self.root, self._record, self._what = root, root / record, what
        self.changed: list[str] = []
        self.removed: list[str] = []
        self.altered: list[str] = []
        self._was_complete = True
        self._before = self._read()
        self._files: dict[str, _Entry] = {}
        self._noted = 0.0

    def begin(self, names: Iterable[str]) -> None:
        """Say which files there will be, before any is: whatever happens then, they are known to be the folder's.

        Raises UsageError where one is there already and is not the folder's.
        """
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        self._files = {name: self._before.get(name, _Entry()) for name in names}
        strangers = [name for name in self._files if name not in self._before and os.path.lexists(self.root / name)]
        if strangers:
            raise UsageError(
                f"{self.root} holds other files of the same names ({named(strangers)}): move them away, or name "
                "another folder"
            )
        self._note()

    def text(self, name: str, text: str) -> str:
        """Write a text file; returns its digest."""
        digest = sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
        with self.file(name, digest) as temporary:
            if temporary is not None:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        return digest

    @contextmanager
    def file(self, name: str, made_from: str) -> Iterator[Path | None]:
        """A temporary path, whose file gets the name when the block ends well; None where the file is there and was
        made from the same."""
        path, entry = self.root / name, self._files[name]
        current = self._digest(path)
        if current is not None and current != entry.sha256:
            self.altered += [name] if self._was_complete else []
        elif current is not None and entry.made_from == made_from:
            yield None
            return
        self._make_folders(name)
        with explained(path):
            remove_dead(path)
            temporary = temporary_name(path)
            try:
                yield temporary
                fsync(temporary)
                digest = sha256_file(temporary)
                if digest != current:
                    put(temporary, path)
                    self.changed.append(name)
            finally:
                temporary.unlink(missing_ok=True)
        self._files[name] = _Entry(digest, made_from)
        if time.monotonic() - self._noted >= _SECONDS:
            self._note()

    def end(self, about: Mapping[str, Any]) -> list[str]:
        """Remove files of earlier results that are not of these, and say what is there now; `about`: what else the
        record says. Returns the old files that are left, for somebody has changed them."""
        left = []
        for name, entry in self._before.items():
            if name in self._files or (current := self._digest(self.root / name)) is None:
                continue
            if current != entry.sha256:
                left.append(name)
                continue
            with explained(self.root / name):
                (self.root / name).unlink()
            self.changed.append(name)
            self.removed.append(name)
            self._remove_empty(name)
        self._write(about, self._files, complete=True)
        return left

    def _read(self) -> dict[str, _Entry]:
        """The files that the record names."""
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise UsageError(f"{self.root} is a file: name a folder for {self._what}")
        try:
            there_are = sorted(os.listdir(self.root)) if self.root.is_dir() else []  # noqa: PTH208
        except OSError as error:
            raise UsageError(f"cannot read {self.root}: {error.strerror}") from None
        if not there_are:
            return {}
        if not os.path.lexists(self._record):
            raise UsageError(
                f"{self.root} holds other files ({named(there_are)}) and no {self._record.name}: name a new or an "
                f"empty folder for {self._what}"
            )
        record = read_object(self._record, f"the record of {self._what}")
        self._was_complete = record.get("complete") is True
        files = record.get("files")
        entries = files.items() if isinstance(files, dict) else ()
        return {name: _entry(value) for name, value in entries if _is_inside(name)}

    def _note(self) -> None:
        """What is there so far, and what there was before."""
        old = {name: entry for name, entry in self._before.items() if name not in self._files}
        self._write({}, {**old, **self._files}, complete=False)
        self._noted = time.monotonic()

    def _write(self, about: Mapping[str, Any], files: Mapping[str, _Entry], *, complete: bool) -> None:
        listed = {name: {"sha256": each.sha256, "made_from": each.made_from} for name, each in files.items()}
        content = {"format": 1, "complete": complete, **about, "files": listed}
        write_text(self._record, json.dumps(content, indent=1, ensure_ascii=False))

    def _digest(self, path: Path) -> str | None:
        """Of a file that is there; None where there is none."""
        if not os.path.lexists(path):
            return None
        if path.is_symlink() or not path.is_file():
            raise AffectkitError(f"{path} is no regular file: nothing in a folder of results is followed; remove it")
        return sha256_file(path)

    def _make_folders(self, name: str) -> None:
        folder = self.root
        for part in Path(name).parent.parts:
            folder /= part
            make_folder(folder)

    def _remove_empty(self, name: str) -> None:
        for folder in list((self.root / name).parents)[: len(Path(name).parts) - 1]:
            try:
                folder.rmdir()
            except OSError:
                return


def _entry(value: Any) -> _Entry:
    if not isinstance(value, dict):
        return _Entry()
    return _Entry(*(text if isinstance(text := value.get(key), str) else "" for key in ("sha256", "made_from")))


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def file_names(ids: Iterable[str], suffixes: Iterable[str] = ()) -> dict[str, str]:
    """A path below a folder, without suffix, for each id of a clip: as the id is, but for what some file system cannot
    name, which is written as %XX; parts that are too long, and ids that differ in letter case alone, end in a digest.

    `suffixes`: what files will end in; a part above the last that ends so as well is told from them by a ~.

    >>> file_names(["day1/Jürgen", "a:b", "A", "a"])
    {'day1/Jürgen': 'day1/Jürgen', 'a:b': 'a%3Ab', 'A': 'A', 'a': 'a~ca978112'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for clip in ids:
        *above, last = (_part(part) for part in clip.split("/"))
        above = [f"{part}~" if part.casefold().endswith(tuple(suffixes)) else part for part in above]
        name = "/".join([*above, last])
        if name.casefold() in taken:
            name = f"{name}~{_short_digest(clip)}"
        taken.add(name.casefold())
        names[clip] = name
    return names


def _part(text: str) -> str:
    plain = "".join(f"%{ord(mark):02X}" if mark in _MARKS or ord(mark) < 32 else mark for mark in text)
    plain = {".": "%2E", "..": "%2E%2E"}.get(plain, plain)
    if plain.endswith((".", " ")):
        plain = f"{plain[:-1]}%{ord(plain[-1]):02X}"
    if len(plain.encode()) > _LONGEST:
        plain = f"{plain.encode()[:_LONGEST].decode(errors='ignore')}~{_short_digest(text)}"
    return plain


def _short_digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
