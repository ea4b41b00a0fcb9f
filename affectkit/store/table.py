"""The rows of an artifact's folder, whichever commands put them there: by clip id and source digest.

    <cache>/<stage>/<name>-<fingerprint12>/   data.h5 [data.1.h5 ...]  failures.jsonl  selections/  parts/

Computing takes no lock. Sealing takes one, reads the parts again under it, and removes only the parts it packed: two
processes on one artifact are safe.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path

from affectkit.errors import HostileFile
from affectkit.store.atomic import fsync, make_folder, require_folder
from affectkit.store.kinds import MAKES, TRAINED, wrong_kind
from affectkit.store.locking import locked
from affectkit.store.schema import Schema
from affectkit.store.sealing import Piece, pack, pieces
from affectkit.store.segment import ClipRows, Segment
from affectkit.store.selection import Key, Selection, selections
from affectkit.store.sidecars import UNREADABLE, Failure, read_clip_table, read_failures, read_stage, write_failures
from affectkit.store.superseded import living
from affectkit.store.writing import PartWriter
from affectkit.types import face_id, without_face

_SEGMENT = re.compile(r"data(?:\.([1-9][0-9]{0,8}))?\.h5")
_PATIENCE = 30.0  # seconds in which segments may be merged under a reader again and again


class StoredTable:
    """All rows of an artifact. A `dry` one is only looked at."""

    def __init__(self, folder: Path, *, dry: bool = False) -> None:
        self.folder = folder
        self.dry = dry
        self.stage = read_stage(folder)

    @property
    def schema(self) -> Schema:
        """The table's columns. Raises UsageError for an artifact without a table (a head, a report)."""
        if self.stage.table is None:
            made = tuple(stage for stage in MAKES if stage not in (*TRAINED, "cross-validate", "evaluate", "compare"))
            raise wrong_kind(self.folder, self.stage.stage, *made)
        return self.stage.table

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
                raise HostileFile(f"{self.folder} has segments that cannot be opened (broken links?)")
            wait = min(2 * wait, 0.1)

    @cached_property
    def rows(self) -> dict[Key, ClipRows]:
        """Every row of the table; of one that is there twice the later."""
        return {key: ClipRows(segment, row) for segment in self.segments for key, row in segment.rows.items()}

    def segment_paths(self) -> list[Path]:
        """data.h5, data.1.h5, ... in the order they were sealed; the names between may be gone, merged into a later."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208
        except FileNotFoundError:
            return []
        numbered = {int(match[1] or 0): self.folder / name for name in names if (match := _SEGMENT.fullmatch(name))}
        return [path for _, path in sorted(numbered.items())]

    def part_paths(self) -> list[Path]:
        """Finished parts that are not sealed yet, oldest first."""
        found = []
        require_folder(self.folder / "parts")
        for path in (self.folder / "parts").glob("[!.]*.h5"):
            with suppress(FileNotFoundError):  # another process has just sealed it
                found.append((path.lstat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def finished(self) -> set[Key]:
        """Id and source digest of every finished clip, sealed or not."""
        unsealed = {piece.key for path in self.part_paths() for piece in self._pieces_of(path)}
        if self.segment_paths() != [segment.path for segment in self.segments]:
            self._forget()  # a part that went meanwhile is in a segment now
        return unsealed | self.rows.keys()

    def failed(self) -> dict[Key, Failure]:
        """What could not be processed, by id and source digest."""
        return read_failures(self.folder)

    def selections(self) -> list[tuple[Path, Selection]]:
        """What commands have printed of the table, from the oldest to the newest."""
        return list(selections(self.folder))

    def new_part(self) -> PartWriter:
        """A writer of one more part."""
        assert not self.dry
        folder = self.folder / "parts"
        make_folder(folder)
        return PartWriter(folder, self.schema)

    def seal(self, failures: Iterable[Failure] = ()) -> None:
        """Pack all finished parts into one new segment and bring failures.jsonl up to date. An artifact that is
        complete is left as it is, so that one on a read-only disk can be used."""
        assert not self.dry
        failures = list(failures)
        if not failures and not self.part_paths():
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
            self._write_failures(failures, {without_face(clip) for clip, _ in fresh})

    def keep(self, selection: Selection) -> None:
        """Write a selection where it is not there. With the first one of a table from before there were any, one of all
        that was there is written too, so that merging keeps it."""
        with self.locked():
            self._forget()
            if not any(selections(self.folder)) and (old := living(self.segments, self.stage.stage)):
                Selection(self.stage.fingerprint, dict(old), read_clip_table(self.folder)).write(self.folder)
            selection.write(self.folder)

    def compact(self) -> int:
        """Merge all segments into one, under a name of its own; returns how many rows were dropped: those that a later
        one replaced before there were selections and, where there are some, those that none of them names."""
        with self.locked():
            self._forget()
            merged, kept = self.segment_paths(), self._kept()
            dropped = sum(len(segment.rows) for segment in self.segments) - len(kept)
            if not kept or (len(merged) < 2 and not dropped):
                return 0
            newest = {piece.key: piece for path in merged for piece in pieces(path, self.schema, sealed=True)}
            pack((newest[key] for key in kept), self.schema, self._next_segment())
            for path in merged:
                path.unlink()
            fsync(self.folder)
            self._forget()
            return dropped

    def locked(self) -> AbstractContextManager[None]:
        """Hold the artifact's lock; it goes with the process, so a crash leaves none behind."""
        return locked(self.folder)

    def _kept(self) -> set[Key]:
        """The rows that merging keeps."""
        named = [selection for _, selection in selections(self.folder)]
        if named:
            return {key for key in self.rows if any(key in selection for selection in named)}
        old = set(living(self.segments, self.stage.stage))
        return {key for key, found in self.rows.items() if found.segment.has_content or key in old}

    def _fresh(self, parts: list[Path]) -> dict[Key, Piece]:
        """The clips of the parts that no segment holds; of one that is there twice the newest."""
        sealed, newest = self.rows, {piece.key: piece for path in parts for piece in self._pieces_of(path)}
        return {key: piece for key, piece in newest.items() if key not in sealed}

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
            return self.folder / "data.h5"
        match = _SEGMENT.fullmatch(last[-1].name)
        assert match is not None
        return self.folder / f"data.{int(match[1] or 0) + 1}.h5"

    def _write_failures(self, new: Iterable[Failure], sealed: Collection[str]) -> None:
        """The failures of before and the new ones, less those of clips that have rows now, and less those of files that
        could not be read before and are among the `sealed` clips now."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        old = self.failed()
        mended = {(clip, UNREADABLE) for clip in sealed}
        lasting = {key: one for key, one in old.items() if key not in mended}
        failed = lasting | {one.key: Failure(one.clip, one.source_sha256, one.cause, now) for one in new}
        kept = {key: one for key, one in failed.items() if not is_done(key, self.rows)}
        if kept != old:
            write_failures(self.folder, kept)

    def _forget(self) -> None:
        for name in ("segments", "rows"):
            self.__dict__.pop(name, None)


def is_done(key: Key, finished: Mapping[Key, object] | set[Key]) -> bool:
    """Whether a clip has rows: face 0 comes last where it has several."""
    clip, source = key
    return key in finished or (face_id(clip, 0), source) in finished


def write_table(folder: Path, schema: Schema, records: Iterable[tuple[str, str, Mapping[str, object]]]) -> None:
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
