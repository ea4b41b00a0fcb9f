"""An artifact: one stage's output on disk, with the recipe that made it.

    <cache>/<stage>/<name>-<fingerprint12>/   stage.json  clips.json  data.h5 [data.1.h5 ...]  failures.jsonl  parts/

Computing takes no lock. Sealing takes one, reads the parts again under it, and removes only the parts it packed: two
processes on one artifact are safe.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from affectkit.config import Config, fingerprint
from affectkit.errors import HostileFile, UsageError
from affectkit.store.schema import Schema
from affectkit.store.sealing import Piece, pack, pieces
from affectkit.store.segment import Record, Segment
from affectkit.store.writing import PartWriter, fsync, write_text
from affectkit.types import FeatureSequence

STAGE_FILE = "stage.json"
FORMAT = 1


class Stage(Config):
    """What `stage.json` says: the fingerprint's inputs, the schema, and how it was made."""

    format: int = FORMAT
    stage: str
    name: str
    fingerprint: str
    inputs: dict[str, Any]
    table: Schema | None = None
    numerics: dict[str, Any] = {}
    upstream: list[str] = []
    provenance: dict[str, Any] = {}


@dataclass(frozen=True)
class Failure:
    """A clip that could not be processed, by the digest of what it was."""

    clip: str
    source_sha256: str
    cause: str
    time: str = ""


class Artifact:
    """An artifact that exists on disk. Reading is lazy and memory-mapped; later segments win."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stage = _read_stage(path)

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
        """The sealed files, oldest first."""
        return [Segment(path, self.schema) for path in self.segment_paths()]

    @cached_property
    def _index(self) -> dict[str, Segment]:
        return {clip: segment for segment in self.segments for clip in segment.ids}

    def segment_paths(self) -> list[Path]:
        """data.h5, data.1.h5, ... in the order they were sealed."""
        numbered = {0: self.path / "data.h5"}
        numbered |= {int(p.suffixes[0][1:]): p for p in self.path.glob("data.*.h5") if p.suffixes[0][1:].isdigit()}
        return [path for _, path in sorted(numbered.items()) if path.exists()]

    def clip_table(self) -> dict[str, dict[str, Any]]:
        """What the user said of each clip (path, split, subject); not part of any fingerprint."""
        return _read_json(self.path / "clips.json", {})

    def failures(self) -> dict[str, Failure]:
        """The clips that failed, by id."""
        path = self.path / "failures.jsonl"
        if not path.exists():
            return {}
        lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line)
        return {line["clip"]: Failure(**line) for line in lines}

    def part_paths(self) -> list[Path]:
        """Finished parts that are not sealed yet."""
        return sorted(p for p in (self.path / "parts").glob("*.h5") if not p.name.startswith("."))

    def finished(self) -> dict[str, str]:
        """Source digest of every finished clip, sealed or not."""
        done = {clip: segment.source(clip) for clip, segment in self._index.items()}
        for path in self.part_paths():
            done |= {piece.clip: piece.source for piece in self._pieces_of(path)}
        return done

    def new_part(self) -> PartWriter:
        """A writer of one more part."""
        folder = self.path / "parts"
        folder.mkdir(exist_ok=True)
        return PartWriter(folder, self.schema)

    def seal(self, failures: Iterable[Failure] = (), entries: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Pack all finished parts into one new segment and bring failures.jsonl and clips.json up to date."""
        with self.locked():
            self._forget()
            packed = self.part_paths()
            fresh = self._fresh(packed)
            if fresh:
                pack(fresh.values(), self.schema, self._next_segment())
            for path in packed:
                path.unlink(missing_ok=True)
            self._forget()
            self._write_failures(failures)
            self._write_clip_table(entries or {})

    def compact(self) -> None:
        """Merge all segments into data.h5; rows that a later segment replaced are dropped."""
        with self.locked():
            self._forget()
            old = self.segment_paths()
            if len(old) < 2:
                return
            newest = {piece.clip: piece for path in old for piece in pieces(path, self.schema, sealed=True)}
            pack(newest.values(), self.schema, self._next_segment())
            merged = self.segment_paths()[-1]
            for path in old[1:]:
                path.unlink()
            merged.replace(self.path / "data.h5")
            fsync(self.path)
            self._forget()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the artifact's lock; it goes with the process, so a crash leaves none behind."""
        with (self.path / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _fresh(self, parts: list[Path]) -> dict[str, Piece]:
        """The clips of the parts that no segment holds in the same version; the newest part wins."""
        sealed = {clip: segment.source(clip) for clip, segment in self._index.items()}
        found = [piece for path in sorted(parts, key=lambda p: p.stat().st_mtime_ns) for piece in self._pieces_of(path)]
        return {piece.clip: piece for piece in found if sealed.get(piece.clip) != piece.source}

    def _pieces_of(self, path: Path) -> list[Piece]:
        try:
            return pieces(path, self.schema, sealed=False)
        except FileNotFoundError:  # another process has just sealed it
            return []

    def _next_segment(self) -> Path:
        last = self.segment_paths()
        if not last:
            return self.path / "data.h5"
        number = int(last[-1].suffixes[0][1:]) if len(last[-1].suffixes) > 1 else 0
        return self.path / f"data.{number + 1}.h5"

    def _write_failures(self, new: Iterable[Failure]) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        failed = self.failures() | {f.clip: Failure(f.clip, f.source_sha256, f.cause, now) for f in new}
        done = {clip: segment.source(clip) for clip, segment in self._index.items()}
        kept = [f for f in failed.values() if done.get(f.clip) != f.source_sha256]
        path = self.path / "failures.jsonl"
        text = "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in sorted(kept, key=lambda f: f.clip))
        if text != (path.read_text(encoding="utf-8") if path.exists() else ""):
            write_text(path, text)

    def _write_clip_table(self, entries: Mapping[str, dict[str, Any]]) -> None:
        old = self.clip_table()
        merged = old | dict(entries)
        if merged != old:
            write_text(self.path / "clips.json", json.dumps(merged, ensure_ascii=False, indent=0, sort_keys=True))

    def _forget(self) -> None:
        for name in ("segments", "_index"):
            self.__dict__.pop(name, None)


def open_artifact(path: Path | str) -> Artifact:
    """The artifact in a folder. Raises UsageError when there is none."""
    return Artifact(Path(path))


def _read_stage(path: Path) -> Stage:
    file = path / STAGE_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} is not an artifact: give a folder that an affectkit command printed") from None
    try:
        stage = Stage.model_validate_json(text)
    except ValueError as error:
        raise HostileFile(f"{file} is not a stage file: {error}") from None
    if stage.format != FORMAT:
        raise UsageError(f"{path} has cache format {stage.format}; this affectkit reads {FORMAT}")
    if fingerprint(stage.inputs) != stage.fingerprint:
        raise HostileFile(f"{file}: the fingerprint does not follow from its inputs (edited by hand?)")
    return stage


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
