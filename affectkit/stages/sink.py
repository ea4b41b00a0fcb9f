"""Where the rows of a map stage go: parts that are committed about once a second, with failures and progress."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit.errors import HostileFile
from affectkit.progress import Display, display
from affectkit.store import Artifact, Failure, PartWriter
from affectkit.types import face_id, without_face

_COMMIT_SECONDS = 1.0


_COMMIT_BYTES = 32 << 20


DAMAGED = "not read: "


class Sink:
    """Where a stage's rows go. Small clips share a part; a part is committed about once a second."""

    def __init__(self, artifact: Artifact, sources: Mapping[str, str], counter: Meter) -> None:
        self._artifact = artifact
        self._sources = dict(sources)
        self._meter = counter
        self._part: PartWriter | None = None
        self._began = 0.0
        self.failures: list[Failure] = []
        self.damaged: list[tuple[str, str]] = []
        self.computed = 0
        self.partial = 0

    @property
    def artifact(self) -> Artifact:
        """The table that rows go to."""
        return self._artifact

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self._artifact.folder

    def count(self, rows: int, clip: str = "") -> None:
        """Rows that were computed, for the progress: they may be appended much later. `clip`: of which one, where
        several are under way."""
        self._meter.advance(rows=rows, clip=clip)

    def expect(self, rows: int | None, clip: str = "") -> None:
        """A clip begins that will have about so many rows, for the progress."""
        self._meter.expect(rows, clip)

    def reach(self, share: float) -> None:
        """So much of the clip under way is done, where its rows are counted all at once."""
        self._meter.reach(share)

    def say(self, note: str) -> None:
        """Something that takes a while before rows come, such as loading a network."""
        self._meter.say(note)

    def append(self, rows: dict[str, Any]) -> None:
        """Rows of the clip under way."""
        if self._part is None:
            self._part = self._artifact.new_part()
            self._began = time.monotonic()
        self._part.append(rows)

    def end(self, clip: str, scalars: dict[str, Any] | None = None, status: str = "ok") -> None:
        """The clip under way is complete."""
        part = self._add(clip, clip, scalars, status)
        self.computed += 1
        self.partial += status == "partial"
        self._meter.advance(clips=1, clip=without_face(clip))
        if part.nbytes >= _COMMIT_BYTES or time.monotonic() - self._began >= _COMMIT_SECONDS:
            self.commit()

    def end_face(self, clip: str, face: int, scalars: dict[str, Any], status: str) -> None:
        """The rows under way are one face of a clip with several; face 0 comes last and completes the clip."""
        if face:
            self._add(face_id(clip, face), clip, scalars, status)
        else:
            last = face_id(clip, 0)
            self._sources[last] = self._sources[clip]
            self.end(last, scalars, status)

    def _add(self, name: str, clip: str, scalars: dict[str, Any] | None, status: str) -> PartWriter:
        if self._part is None:  # a clip without rows
            self._part = self._artifact.new_part()
            self._began = time.monotonic()
        self._part.end(name, self._sources[clip], scalars, status)
        return self._part

    def damage(self, clip: str, problem: str) -> None:
        """The clip is partial, and why."""
        self.damaged.append((clip, problem))

    def fail(self, clip: str, cause: str) -> None:
        """The clip has no result; what was appended of it is dropped."""
        if self._part is not None:
            self._part.rollback()
        self.failures.append(Failure(clip, self._sources[clip], cause))
        self._meter.advance(clips=1, failed=1, clip=clip)

    def refuse(self, clip: str, cause: str) -> None:
        """The clip has no result since what it would be made from is damaged: it is tried again each time."""
        self.fail(clip, f"{DAMAGED}{cause}")

    def commit(self) -> None:
        """Make the finished clips durable."""
        if self._part is not None:
            part, self._part = self._part, None
            part.commit()

    def discard(self) -> None:
        """Drop the part under way (after an error)."""
        if self._part is not None:
            part, self._part = self._part, None
            part.discard()


def checked(sink: Sink, clip: str, *upstream: Artifact) -> bool:
    """Whether the bytes of a clip are what was written; else the clip fails, and says what to do."""
    try:
        for artifact in upstream:
            artifact.check(clip)
    except HostileFile as error:
        sink.refuse(clip, str(error))
        return False
    return True


@dataclass
class _UnderWay:
    """One clip that is being computed: its rows, as many as are expected, and the share that is done where they come
    all at once."""

    expected: int | None = None
    rows: int = 0
    reached: float | None = None

    @property
    def share(self) -> float | None:
        share = self.rows / self.expected if self.expected else self.reached
        return None if share is None else min(1.0, share)


class Meter:
    """Counts clips, rows and failures; `rate` is rows a second since the start.

    `clips` in all; `rows` in all, where that is known.
    """

    def __init__(self, unit: str, clips: int = 0, rows: int | None = None, shown: Display | None = None) -> None:
        self.unit = unit
        self.rows = 0
        self.failed = 0
        self._clips, self._done = clips, 0
        self._all_rows = rows
        self._under_way: dict[str, _UnderWay] = {}
        self._shown = shown or Display()
        self._began = time.monotonic()
        if clips:
            self._show()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        return self.rows / max(self.seconds, 1e-9)

    def expect(self, rows: int | None, clip: str = "") -> None:
        """A clip begins, which will have about so many rows. `clip`: its id, where several are under way at once."""
        self._under_way[clip] = _UnderWay(rows)
        if rows:
            self._show()

    def reach(self, share: float) -> None:
        """So much of the clip under way is done, where its rows come all at once."""
        self._of("").reached = share
        self._show()

    def say(self, note: str) -> None:
        """Something that takes a while and cannot be measured, such as loading a network."""
        self._shown.say(note)

    def advance(self, rows: int = 0, clips: int = 0, failed: int = 0, clip: str = "") -> None:
        """Add to the counts. `clip`: the one that `expect` was told of."""
        self.rows += rows
        self.failed += failed
        self._done += clips
        if rows:
            self._of(clip).rows += rows
        if clips:
            self._under_way.pop(clip if clip in self._under_way else "", None)
        self._show()

    def _of(self, clip: str) -> _UnderWay:
        return self._under_way.setdefault(clip, _UnderWay())

    def _show(self) -> None:
        self._shown.show(self._share(), self._note())

    def _share(self) -> float | None:
        """Of the whole: by rows where all are known, else by clips and the rows of those under way."""
        if self._all_rows:
            return min(1.0, self.rows / self._all_rows)
        if not self._clips:
            return None
        inside = [clip.share for clip in self._under_way.values() if clip.share is not None]
        if self._clips == 1 and not inside and not self._done:
            return None
        return min(1.0, (self._done + sum(inside)) / self._clips)

    @property
    def _expected(self) -> int | None:
        """Rows of the one clip under way."""
        return next((clip.expected for clip in self._under_way.values()), None)

    def _note(self) -> str:
        parts = [f"{self._done:,} of {self._clips:,} clips"] if self._clips != 1 else []
        total = self._all_rows or (self._expected if self._clips == 1 else None)
        if self.rows or total:
            parts.append(f"{self.rows:,}" + (f" of about {max(total, self.rows):,}" if total else "") + f" {self.unit}")
        if self.rows:
            parts.append(f"{self.rate:,.{0 if self.rate >= 10 else 1}f} {self.unit}/s")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return ", ".join(parts) or f"{self._done:,} of {self._clips:,} clips"


@contextmanager
def meter(what: str, clips: int, unit: str, show: bool | None = None, rows: int | None = None) -> Iterator[Meter]:
    """A `Meter` over so many clips (and rows, where that is known), shown where there are any."""
    with display(what, show if clips else False) as shown:
        yield Meter(unit, clips, rows, shown)
