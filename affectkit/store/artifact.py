"""An artifact: one stage's output on disk, with the recipe that made it.

    <cache>/<stage>/<name>-<fingerprint12>/   stage.json  clips.json  data.h5 [data.1.h5 ...]  failures.jsonl  parts/

Computing takes no lock. Sealing takes one, reads the parts again under it, and removes only the parts it packed: two
processes on one artifact are safe.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from affectkit.errors import HostileFile, Notice, UsageError
from affectkit.store.atomic import fsync, make_and_remove, make_folder, require_folder
from affectkit.store.locking import locked
from affectkit.store.schema import Schema
from affectkit.store.sealing import Piece, pack, pieces
from affectkit.store.segment import Record, Segment
from affectkit.store.sidecars import (
    STAGE_FILE,
    Failure,
    Stage,
    read_clip_table,
    read_failures,
    read_stage,
    write_clip_table,
    write_failures,
)  # fmt: skip
from affectkit.store.writing import PartWriter
from affectkit.types import FeatureSequence

__all__ = ["STAGE_FILE", "Artifact", "Failure", "Stage", "open_artifact", "write_table"]

_SEGMENT = re.compile(r"data(?:\.([1-9][0-9]{0,8}))?\.h5")
_PATIENCE = 30.0  # seconds in which segments may be merged under a reader again and again


class Artifact:
    """An artifact that exists on disk. Reading is lazy and memory-mapped; later segments win. A `dry` one is only
    looked at."""

    def __init__(self, path: Path, *, dry: bool = False) -> None:
        self.path = path
        self.dry = dry
        self.stage = read_stage(path)

    def __repr__(self) -> str:
        return f"Artifact({self.path})"

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, clip: object) -> bool:
        return clip in self._index

    @property
    def schema(self) -> Schema:
        """The table's columns. Raises UsageError for an artifact without a table (a head, a report)."""
        if self.stage.table is None:
            raise UsageError(f"{self.path} is a {self.stage.stage} artifact; it holds no table of clips")
        return self.stage.table

    @property
    def clips(self) -> list[str]:
        """Ids of the finished clips, sorted."""
        return sorted(self._index)

    def read(self, clip: str) -> Record:
        """All columns of one clip, as views into the memory map."""
        return self.segment(clip).read(clip)

    def column(self, clip: str, name: str) -> Any:
        """One column of one clip."""
        return self.segment(clip).column(clip, name)

    def sequence(self, clip: str, values: str = "values") -> FeatureSequence:
        """The clip's features."""
        segment = self.segment(clip)
        if values not in self.schema.columns:
            raise UsageError(f"{self.path} is a {self.stage.stage} artifact; it holds no features")
        start, end, valid = (segment.column(clip, name) for name in ("start", "end", "valid"))
        return FeatureSequence(start, end, segment.column(clip, values), valid.astype(bool))

    def digest(self, clip: str) -> str:
        """The digest of the clip's bytes, which downstream stages take as their source."""
        return self.segment(clip).digest(clip)

    def source(self, clip: str) -> str:
        """The digest of what the clip was made from."""
        return self.segment(clip).source(clip)

    def status(self, clip: str) -> str:
        """ok or partial."""
        return self.segment(clip).status(clip)

    def segment(self, clip: str) -> Segment:
        """The newest segment that holds the clip."""
        try:
            return self._index[clip]
        except KeyError:
            raise UsageError(f"{self.path} holds no clip '{clip}'") from None

    @cached_property
    def segments(self) -> list[Segment]:
        """The sealed files, oldest first, as they lay together at one moment.

        Names are never used twice. So where the list is the same after all of it was opened, nothing was sealed or
        merged meanwhile; else another process did so, and the new list is opened.
        """
        wait, until = 0.001, time.monotonic() + _PATIENCE
        opened: dict[Path, Segment] = {}
        while True:
            paths, is_whole = self.segment_paths(), False
            with suppress(FileNotFoundError):
                opened = {path: opened.get(path) or Segment(path, self.schema) for path in paths}
                is_whole = True
            if self.segment_paths() != paths and time.monotonic() < until:
                time.sleep(wait)
            elif is_whole:
                return list(opened.values())
            else:
                raise HostileFile(f"{self.path} has segments that cannot be opened (broken links?)")
            wait = min(2 * wait, 0.1)

    @cached_property
    def _index(self) -> dict[str, Segment]:
        index = {clip: segment for segment in self.segments for clip in segment.ids}
        if self.stage.stage != "faces" or not any("#" in clip for clip in index):
            return index
        current = _current_faces((clip, segment.source(clip)) for segment in self.segments for clip in segment.ids)
        return {clip: segment for clip, segment in index.items() if clip in current}

    def segment_paths(self) -> list[Path]:
        """data.h5, data.1.h5, ... in the order they were sealed; the names between may be gone, merged into a later."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208  (names alone, read at once)
        except FileNotFoundError:
            return []
        numbered = {int(match[1] or 0): self.path / name for name in names if (match := _SEGMENT.fullmatch(name))}
        return [path for _, path in sorted(numbered.items())]

    def clip_table(self) -> dict[str, dict[str, Any]]:
        """What the user said of each clip (path, split, subject); not part of any fingerprint."""
        return read_clip_table(self.path)

    def failures(self) -> dict[str, Failure]:
        """The clips that failed, by id."""
        return read_failures(self.path)

    def part_paths(self) -> list[Path]:
        """Finished parts that are not sealed yet, oldest first."""
        found = []
        require_folder(self.path / "parts")
        for path in (self.path / "parts").glob("[!.]*.h5"):
            with suppress(FileNotFoundError):  # another process has just sealed it
                found.append((path.lstat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def finished(self) -> dict[str, str]:
        """Source digest of every finished clip, sealed or not."""
        unsealed = [piece for path in self.part_paths() for piece in self._pieces_of(path)]
        self._forget()  # a part that went meanwhile is in a segment now
        done = {clip: segment.source(clip) for clip, segment in self._index.items()}
        return done | {piece.clip: piece.source for piece in unsealed}

    def new_part(self) -> PartWriter:
        """A writer of one more part."""
        assert not self.dry
        folder = self.path / "parts"
        make_folder(folder)
        return PartWriter(folder, self.schema)

    def seal(self, failures: Iterable[Failure] = (), entries: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Pack all finished parts into one new segment and bring failures.jsonl and clips.json up to date.

        An artifact that is complete already is left as it is, so that one on a read-only disk can be used.
        """
        assert not self.dry
        failures, entries = list(failures), entries or {}
        if not self.part_paths() and not failures:
            old = self.clip_table()
            if old | dict(entries) == old or self._is_read_only():
                return
        with self.locked():
            self._forget()
            packed = self.part_paths()
            fresh = self._fresh(packed)
            if fresh:
                pack(fresh.values(), self.schema, self._next_segment())
            for path in packed:
                path.unlink(missing_ok=True)
            self._forget()
            self._write_failures(failures, fresh.keys())
            self._write_clip_table(entries)

    def compact(self) -> None:
        """Merge all segments into one, under a name of its own; rows that a later segment replaced are dropped."""
        with self.locked():
            self._forget()
            merged = self.segment_paths()
            if len(merged) < 2:
                return
            newest = {piece.clip: piece for path in merged for piece in pieces(path, self.schema, sealed=True)}
            pack((newest[clip] for clip in self._index), self.schema, self._next_segment())
            for path in merged:
                path.unlink()
            fsync(self.path)
            self._forget()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the artifact's lock; it goes with the process, so a crash leaves none behind."""
        return locked(self.path)

    def _fresh(self, parts: list[Path]) -> dict[str, Piece]:
        """The clips of the parts that no segment holds in the same version; the newest part wins."""
        found = [piece for path in parts for piece in self._pieces_of(path)]
        newest = {piece.clip: piece for piece in found}
        if self.stage.stage == "faces":
            current = _current_faces((piece.clip, piece.source) for piece in found)
            newest = {clip: piece for clip, piece in newest.items() if clip in current}
        sealed = {clip: segment.source(clip) for clip, segment in self._index.items() if clip in newest}
        return {clip: piece for clip, piece in newest.items() if sealed.get(clip) != piece.source}

    def _pieces_of(self, path: Path) -> list[Piece]:
        try:
            return pieces(path, self.schema, sealed=False)
        except FileNotFoundError:  # another process has just sealed it
            return []
        except HostileFile as error:
            raise HostileFile(f"{error} (remove this part, and its clips are computed again)") from error

    def _next_segment(self) -> Path:
        last = self.segment_paths()
        if not last:
            return self.path / "data.h5"
        match = _SEGMENT.fullmatch(last[-1].name)
        assert match is not None
        return self.path / f"data.{int(match[1] or 0) + 1}.h5"

    def _write_failures(self, new: Iterable[Failure], packed: Collection[str]) -> None:
        """The failures of before, less those of clips that were packed now, and the new ones."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        old = self.failures()
        failed = {clip: failure for clip, failure in old.items() if clip not in packed}
        failed |= {f.clip: Failure(f.clip, f.source_sha256, f.cause, now) for f in new}
        kept = {f.clip: f for f in failed.values() if f.clip not in self or self.source(f.clip) != f.source_sha256}
        if kept != old:
            write_failures(self.path, kept)

    def _write_clip_table(self, entries: Mapping[str, dict[str, Any]]) -> None:
        old = self.clip_table()
        merged = old | dict(entries)
        if merged != old:
            write_clip_table(self.path, merged)

    def _is_read_only(self) -> bool:
        """Whether the artifact's disk is; then says that clips.json stays as it is."""
        try:
            make_and_remove(self.path)
        except OSError:
            warnings.warn(f"{self.path} cannot be written: its clips.json stays as it is", Notice, stacklevel=3)
            return True
        return False

    def _forget(self) -> None:
        for name in ("segments", "_index"):
            self.__dict__.pop(name, None)


def write_table(folder: Path, schema: Schema, records: Iterable[tuple[str, str, Record]]) -> None:
    """Write a whole table, data.h5, from (clip, source digest, columns): for artifacts that appear at once."""
    writer = PartWriter(folder, schema)
    try:
        for clip, source, record in records:
            scalars = {name: value for name, value in record.items() if schema.columns[name].per == "scalar"}
            writer.append({name: value for name, value in record.items() if name not in scalars})
            writer.end(clip, source, scalars)
        part = writer.commit()
    finally:
        writer.discard()
    if part is not None:
        pack(pieces(part, schema, sealed=False), schema, folder / "data.h5")
        part.unlink()


def open_artifact(path: Path | str) -> Artifact:
    """The artifact in a folder. Raises UsageError when there is none."""
    return Artifact(Path(path))


def _current_faces(versions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of (id, source digest), from the oldest to the newest, those that were made from what their clip is now.

    All faces of a clip have one source; what differs is left from an earlier version of it, which had more faces, or
    another face rule (`name` beside `name#0`).
    """
    sources, latest = {}, {}
    for name, source in versions:
        sources[name] = latest[_clip_of(name)] = source
    return {name: source for name, source in sources.items() if latest[_clip_of(name)] == source}


def _clip_of(name: str) -> str:
    base, found, face = name.rpartition("#")
    return base if found and face.isdigit() else name
