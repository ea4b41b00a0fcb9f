"""Stages that work clip by clip: what is missing is computed, what is there is left alone."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from affectkit.config import Config, Runtime
from affectkit.digests import Digests
from affectkit.errors import HostileFile
from affectkit.progress import Display, display, is_wanted
from affectkit.stages.numerics import table_of
from affectkit.stages.stage import Context, Result, Stage, Table
from affectkit.store import Artifact, Failure, Features, PartWriter, Schema, is_done
from affectkit.tables.ids import ClipChoice, choose
from affectkit.types import face_id, without_face

LISTED = 20
"""Clips that are listed one by one."""
Told = tuple[Sequence[str], Mapping[str, Any]]
_COMMIT_SECONDS = 1.0
_COMMIT_BYTES = 32 << 20
_DAMAGED = "not read: "


@dataclass(frozen=True)
class Outcome(Result):
    """What a map stage did. `artifact` is the selection of the clips given; `failed` lists those of them that have no
    result, with causes; `damaged` the clips that were computed now, as far as they could be read, and what was wrong
    with them; `notices` what the user must know of what was used (a licence) and of what the rows hold; `counts` the
    rows and clips behind such notices; `pending`, with a dry cache, the clips that it would compute."""

    artifact: Artifact
    computed: int = 0
    partial: int = 0
    rows: int = 0
    seconds: float = 0.0
    unit: str = "rows"
    damaged: tuple[tuple[str, str], ...] = ()
    pending: tuple[str, ...] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self.artifact.folder

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def is_cached(self) -> bool:
        return not self.computed and not self.pending


class MapStage(Stage):
    """A stage that works clip by clip: rows go to the table of its recipe, and its result is a selection of them.

    What is computed is said without a `Context`, so that nothing of how a stage runs can enter a fingerprint.

    folder: the name of its artifacts in the cache, which is the last word of its command.
    """

    folder: ClassVar[str]
    is_map = True
    kept = "finished clips are kept, repeat the command to go on"

    def sources(self, given: Any, digests: Digests) -> dict[str, str]:
        """The digest of what each clip's rows are made from: they are current as long as it is the same."""
        raise NotImplementedError

    def entries(self, given: Any) -> dict[str, dict[str, Any]]:
        """What the clip table says of each clip."""
        raise NotImplementedError

    def table(self, given: Any, context: Context) -> Schema:
        """The columns of a row."""
        raise NotImplementedError

    def compute(self, given: Any, missing: list[str], sink: Sink, context: Context) -> None:
        """Send the rows of these clips to the sink. Heavy imports are in here."""
        raise NotImplementedError

    def provenance(self, given: Any) -> dict[str, Any]:
        return {"config": given.config.model_dump(mode="json")}

    def asked(self, given: Any, context: Context) -> dict[str, Any]:
        """The numerics as far as the user chose them: nothing that depends on the machine."""
        return {}

    def recorded(self, given: Any, context: Context) -> dict[str, Any]:
        """The numerics that rows are computed with here; rows of different ones are never in one table."""
        return {}

    def title(self, given: Any) -> str:
        """What the progress is called."""
        return self.name.replace("-", " ")

    def unit(self, given: Any) -> str:
        """What is counted."""
        return "rows"

    def rows_of(self, given: Any, clips: Sequence[str]) -> int | None:
        """How many rows these clips will have, where that is known at once."""
        return None

    def notices(self, given: Any) -> Sequence[str]:
        """What the user must know of what is used, whether or not it is cached."""
        return ()

    def tell(self, given: Any, selected: Artifact, clips: Sequence[str]) -> Told:
        """What the user must know of the rows of these clips, and the counts behind it."""
        return (), {}

    def replayed(self, config: Mapping[str, Any], step: Mapping[str, Any]) -> Config:
        """The config of a recorded recipe, for new media. Raises UsageError where no recipe makes from media what it
        reads. `step`: all that was recorded."""
        return self.Config.model_validate(config)

    def run(self, inputs: Any, config: Any, context: Context) -> Outcome:
        """Compute the clips that are not current, and select all that were given, whatever else the table holds. A dry
        cache is left as it is."""
        given = self.resolve(inputs, config)
        cache, name, out = context.cache, self.called(given), context.out
        identity = {"stage": self.folder, "version": self.version, **self.identity(given)}

        def create(recorded: dict[str, Any], variant: str) -> Artifact:
            return cache.create(
                self.folder, name, identity, self.table(given, context), numerics=recorded,
                upstream=self.upstream(given), out=out, variant=variant, extra=self.provenance(given),
            )  # fmt: skip

        tables = cache.variants(self.folder, name, identity, out)
        sources = self.sources(given, cache.digests(context.runtime.rehash))
        artifact, choice = table_of(
            tables, len(sources), partial(pending, sources=sources, runtime=context.runtime),
            asked=self.asked(given, context), here=partial(self.recorded, given, context), create=create, out=out,
        )  # fmt: skip
        selected = artifact.select(sources, self.entries(given))
        missing = pending(artifact, sources, context.runtime)
        notices, unit = (*self.notices(given), *choice), self.unit(given)
        if artifact.dry:
            failed = _failed(artifact, sources, missing)
            cached = len(sources) - len(missing) - len(failed)
            return Outcome(
                selected.path, selected, cached, failed=failed, notices=notices, unit=unit, pending=tuple(missing)
            )
        total = self.rows_of(given, missing)
        with meter(self.title(given), len(missing), unit, context.runtime.progress, total) as counter:
            sink = Sink(artifact, sources, counter)
            try:
                if missing:
                    self.compute(given, missing, sink, context)
                sink.commit()
            except KeyboardInterrupt:
                sink.commit()
                raise
            finally:
                sink.discard()
            artifact.seal(sink.failures)
        failed = _failed(artifact, sources)
        lost = {failure.clip for failure in failed}
        lines, counts = self.tell(given, selected, [clip for clip in sources if clip not in lost])
        return Outcome(
            selected.path, selected, len(sources) - sink.computed - len(failed), failed=failed,
            notices=(*notices, *lines), computed=sink.computed, partial=sink.partial, rows=counter.rows,
            seconds=counter.seconds if missing else 0.0, unit=unit, damaged=tuple(sink.damaged), counts=counts,
        )  # fmt: skip

    def lines(self, result: Result) -> Iterator[str | Table]:
        assert isinstance(result, Outcome)
        yield from super().lines(result)
        yield from (f"partial: {clip}: {problem}" for clip, problem in result.damaged[:LISTED])
        yield from (f"failed: {failure.clip}: {failure.cause}" for failure in result.failed[:LISTED])
        if result.failed:
            count = "1 clip" if len(result.failed) == 1 else f"{len(result.failed)} clips"
            more = f", the first {LISTED} are listed" if len(result.failed) > LISTED else ""
            is_listed = any(failure.key in result.artifact.failed() for failure in result.failed)
            yield f"{count} failed{more}" + (f"; causes are in {result.folder / 'failures.jsonl'}" if is_listed else "")
        if is_wanted():
            partial = f", {result.partial} partial" if result.partial else ""
            rate = f", {result.rate:,.0f} {result.unit}/s" if result.rows else ""
            failed = len(result.failed)
            yield f"{result.computed} clips computed{partial}, {result.cached} cached, {failed} failed{rate}"

    def json(self, result: Result) -> dict[str, Any]:
        assert isinstance(result, Outcome)
        return {
            "artifact": str(result.path),
            "folder": str(result.folder),
            "computed": result.computed,
            "cached": result.cached,
            "partial": result.partial,
            "damaged": dict(result.damaged),
            "failed": {failure.clip: failure.cause for failure in result.failed},
            "notices": list(result.notices),
            **({"counts": dict(result.counts)} if result.counts else {}),
            "rows": result.rows,
            "seconds": round(result.seconds, 3),
        }


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

    def count(self, rows: int) -> None:
        """Rows that were computed, for the progress: they may be appended much later."""
        self._meter.advance(rows=rows)

    def expect(self, rows: int | None) -> None:
        """A clip begins that will have about so many rows, for the progress."""
        self._meter.expect(rows)

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
        self._meter.advance(clips=1)
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
        self._meter.advance(clips=1, failed=1)

    def refuse(self, clip: str, cause: str) -> None:
        """The clip has no result since what it would be made from is damaged: it is tried again each time."""
        self.fail(clip, f"{_DAMAGED}{cause}")

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


def _failed(artifact: Artifact, sources: Mapping[str, str], pending: Collection[str] = ()) -> tuple[Failure, ...]:
    """The clips given that are known to fail, but for those that are to be tried again."""
    failures, again = artifact.failed(), set(pending)
    return tuple(failures[key] for key in sources.items() if key in failures and key[0] not in again)


def pending(artifact: Artifact, sources: Mapping[str, str], runtime: Runtime) -> list[str]:
    """The clips to compute: not finished from this source, and not known to fail."""
    finished = artifact.finished()
    failures = {} if runtime.retry_failed else artifact.failed()
    failed = {key for key, failure in failures.items() if not failure.cause.startswith(_DAMAGED)}
    return [key[0] for key in sources.items() if not is_done(key, finished) and key not in failed]


def checked(sink: Sink, clip: str, *upstream: Artifact) -> bool:
    """Whether the bytes of a clip are what was written; else the clip fails, and says what to do."""
    try:
        for artifact in upstream:
            artifact.check(clip)
    except HostileFile as error:
        sink.refuse(clip, str(error))
        return False
    return True


def entries_of(upstream: Artifact, clips: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the upstream artifact's clip table says of these clips, to be carried along."""
    wanted = {without_face(clip) for clip in clips}
    return {clip: entry for clip, entry in upstream.clip_table().items() if clip in wanted}


def chosen(clips: ClipChoice, source: Artifact | Features) -> list[str]:
    """The ids of the clips that are chosen of what is read, all without a choice. Where none is asked for, none is
    looked up: an artifact may hold several contents of one id."""
    if clips is None:
        return source.clips
    return choose(clips, source.clips) or [] if isinstance(clips, str) or len(clips) else []


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
        self._of_clip: int | None = None  # rows expected of the clip under way
        self._in_clip = 0
        self._inside: float | None = None
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

    def expect(self, rows: int | None) -> None:
        """A clip begins, which will have about so many rows."""
        self._of_clip, self._in_clip, self._inside = rows, 0, None
        if rows:
            self._show()

    def reach(self, share: float) -> None:
        """So much of the clip under way is done, where its rows come all at once."""
        self._inside = share
        self._show()

    def say(self, note: str) -> None:
        """Something that takes a while and cannot be measured, such as loading a network."""
        self._shown.say(note)

    def advance(self, rows: int = 0, clips: int = 0, failed: int = 0) -> None:
        """Add to the counts."""
        self.rows += rows
        self.failed += failed
        self._done += clips
        self._in_clip += rows
        if clips:
            self.expect(None)
        self._show()

    def _show(self) -> None:
        self._shown.show(self._share(), self._note())

    def _share(self) -> float | None:
        """Of the whole: by rows where all are known, else by clips and the rows of the one under way."""
        if self._all_rows:
            return min(1.0, self.rows / self._all_rows)
        if not self._clips:
            return None
        inside = self._in_clip / self._of_clip if self._of_clip else self._inside
        if self._clips == 1 and inside is None and not self._done:
            return None
        return min(1.0, (self._done + min(1.0, inside or 0.0)) / self._clips)

    def _note(self) -> str:
        parts = [f"{self._done:,} of {self._clips:,} clips"] if self._clips != 1 else []
        total = self._all_rows or (self._of_clip if self._clips == 1 else None)
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
