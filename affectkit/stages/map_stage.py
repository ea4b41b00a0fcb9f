"""Stages that work clip by clip: what is missing is computed, what is there is left alone."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from affectkit.config import Config, Runtime
from affectkit.digests import Digests
from affectkit.progress import is_wanted
from affectkit.stages.numerics import table_of
from affectkit.stages.sink import DAMAGED, Sink, meter
from affectkit.stages.stage import Context, Result, Stage, TextTable
from affectkit.store import Artifact, Failure, Features, Schema, is_done
from affectkit.tables.ids import ClipChoice, choose
from affectkit.types import without_face

LISTED = 20
"""Clips that are listed one by one."""
Told = tuple[Sequence[str], Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome(Result):
    """What a map stage did. `artifact` is the selection of the clips given; `failed` lists those of them that have no
    result, with causes; `damaged` the clips that were computed now, as far as they could be read, and what was wrong
    with them; `notices` what the user must know of what was used (a licence) and of what the rows hold, `told` being
    the latter; `counts` the rows and clips behind such notices; `pending`, with a dry cache, the clips that it would
    compute."""

    artifact: Artifact
    computed: int = 0
    partial: int = 0
    rows: int = 0
    seconds: float = 0.0
    unit: str = "rows"
    damaged: tuple[tuple[str, str], ...] = ()
    pending: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
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

    def sources(self, resolved: Any, digests: Digests) -> dict[str, str]:
        """The digest of what each clip's rows are made from: they are current as long as it is the same."""
        raise NotImplementedError

    def entries(self, resolved: Any) -> dict[str, dict[str, Any]]:
        """What the clip table says of each clip."""
        raise NotImplementedError

    def table(self, resolved: Any, context: Context) -> Schema:
        """The columns of a row."""
        raise NotImplementedError

    def compute(self, resolved: Any, missing: list[str], sink: Sink, context: Context) -> None:
        """Send the rows of these clips to the sink. Heavy imports are in here."""
        raise NotImplementedError

    def asked(self, resolved: Any, context: Context) -> dict[str, Any]:
        """The numerics as far as the user chose them: nothing that depends on the machine."""
        return {}

    def recorded(self, resolved: Any, context: Context) -> dict[str, Any]:
        """The numerics that rows are computed with here; rows of different ones are never in one table."""
        return {}

    def title(self, resolved: Any) -> str:
        """What the progress is called."""
        return self.name.replace("-", " ")

    def unit(self, resolved: Any) -> str:
        """What is counted."""
        return "rows"

    def rows_of(self, resolved: Any, clips: Sequence[str]) -> int | None:
        """How many rows these clips will have, where that is known at once."""
        return None

    def notices(self, resolved: Any) -> Sequence[str]:
        """What the user must know of what is used, whether or not it is cached."""
        return ()

    def tell(self, resolved: Any, selected: Artifact, clips: Sequence[str]) -> Told:
        """What the user must know of the rows of these clips, and the counts behind it."""
        return (), {}

    def replayed(self, config: Mapping[str, Any], step: Mapping[str, Any]) -> Config:
        """The config of a recorded recipe, for new media. Raises UsageError where no recipe makes from media what it
        reads. `step`: all that was recorded."""
        return self.Config.model_validate(config)

    def run(self, inputs: Any, config: Any, context: Context) -> Outcome:
        """Compute the clips that are not current, and select all that were given, whatever else the table holds. A dry
        cache is left as it is."""
        resolved = self.resolve(inputs, config)
        cache, name, out = context.cache, self.called(resolved), context.out
        identity = {"stage": self.folder, "version": self.version, **self.identity(resolved)}

        def create(recorded: dict[str, Any], variant: str) -> Artifact:
            return cache.create(
                self.folder, name, identity, self.table(resolved, context), numerics=recorded,
                upstream=self.upstream(resolved), out=out, variant=variant, extra=self.provenance(resolved),
            )  # fmt: skip

        tables = cache.variants(self.folder, name, identity, out)
        sources = self.sources(resolved, cache.digests(context.runtime.rehash))
        lacking = functools.cache(functools.partial(pending, sources=sources, runtime=context.runtime))
        artifact, choice = table_of(
            tables, len(sources), lacking,
            asked=self.asked(resolved, context), here=functools.partial(self.recorded, resolved, context),
            create=create, out=out,
        )  # fmt: skip
        selected, missing = artifact.select(sources, self.entries(resolved)), lacking(artifact)
        empty = () if sources else ("no clip to work on: what is read holds none",)
        outcome = Outcome(
            selected.path, selected, failed=_failed(artifact, sources, missing),
            notices=(*self.notices(resolved), *choice, *empty), unit=self.unit(resolved), pending=tuple(missing),
        )  # fmt: skip
        if artifact.dry:
            return replace(outcome, cached=len(sources) - len(missing) - len(outcome.failed))
        return self._finished(outcome, resolved, artifact, sources, context)

    def _finished(
        self, outcome: Outcome, resolved: Any, artifact: Artifact, sources: Mapping[str, str], context: Context
    ) -> Outcome:
        """The outcome after its pending clips are computed and sealed."""
        missing = list(outcome.pending)
        total = self.rows_of(resolved, missing)
        with meter(self.title(resolved), len(missing), outcome.unit, context.runtime.progress, total) as counter:
            sink = Sink(artifact, sources, counter)
            try:
                if missing:
                    self.compute(resolved, missing, sink, context)
                sink.commit()
            except KeyboardInterrupt:
                sink.commit()
                raise
            finally:
                sink.discard()
            artifact.seal(sink.failures)
        failed = _failed(artifact, sources)
        lost = {failure.clip for failure in failed}
        lines, counts = self.tell(resolved, outcome.artifact, [clip for clip in sources if clip not in lost])
        return replace(
            outcome, cached=len(sources) - sink.computed - len(failed), failed=failed, pending=(),
            notices=(*outcome.notices, *lines), told=tuple(lines), computed=sink.computed,
            partial=sink.partial, rows=counter.rows,
            seconds=counter.seconds if missing else 0.0, damaged=tuple(sink.damaged), counts=counts,
        )  # fmt: skip

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        assert isinstance(result, Outcome)
        yield from super().lines(result)
        yield from (f"partial: {clip}: {problem}" for clip, problem in result.damaged[:LISTED])
        yield from (f"failed: {failure.clip}: {failure.cause}" for failure in result.failed[:LISTED])
        if result.failed:
            count = "1 clip" if len(result.failed) == 1 else f"{len(result.failed)} clips"
            more = f", the first {LISTED} are listed" if len(result.failed) > LISTED else ""
            recorded = result.artifact.failed()
            is_listed = any(failure.key in recorded for failure in result.failed)
            yield f"{count} failed{more}" + (f"; causes are in {result.folder / 'failures.jsonl'}" if is_listed else "")
        if is_wanted():
            damaged = f", {result.partial} partial" if result.partial else ""
            rate = f", {result.rate:,.0f} {result.unit}/s" if result.rows else ""
            failed = len(result.failed)
            yield f"{result.computed} clips computed{damaged}, {result.cached} cached, {failed} failed{rate}"

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


def _failed(artifact: Artifact, sources: Mapping[str, str], pending: Collection[str] = ()) -> tuple[Failure, ...]:
    """The clips given that are known to fail, but for those that are to be tried again."""
    failures, again = artifact.failed(), set(pending)
    return tuple(failures[key] for key in sources.items() if key in failures and key[0] not in again)


def pending(artifact: Artifact, sources: Mapping[str, str], runtime: Runtime) -> list[str]:
    """The clips to compute: not finished from this source, and not known to fail."""
    finished = artifact.finished()
    failures = {} if runtime.retry_failed else artifact.failed()
    failed = {key for key, failure in failures.items() if not failure.cause.startswith(DAMAGED)}
    return [key[0] for key in sources.items() if not is_done(key, finished) and key not in failed]


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
