"""From raw scores to an artifact of predictions: smoothed, moved to the rows that are wanted, split by split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit.config import Config, Runtime
from affectkit.errors import UsageError
from affectkit.stages import _smooth
from affectkit.stages._map import Outcome, Sink, entries_of, run
from affectkit.stages._observed import REACH, Observed, smoothed_within
from affectkit.stages._row_counts import score_notices, seen_in
from affectkit.stages._smooth import Choice, Smoothing
from affectkit.stages._times import Rows, TimeTable, at_rate, read_times
from affectkit.store import Artifact, Cache, predictions_schema
from affectkit.tasks import Task
from affectkit.types import FeatureSequence, Floats, without_face


class PredictConfig(Config):
    """What is computed beyond what the head says. Smoothing acts first, on the raw scores of the features' rows."""

    smooth: Choice | None = Field(
        None, description="window over the raw scores, or none (default: what train-head chose on validation)"
    )
    half_width: float | None = Field(
        None, ge=0, le=_smooth.LONGEST, description="seconds that the window reaches to either side"
    )
    rate: float | None = Field(
        None, gt=0, le=1000, description="predictions a second, interpolated (default: one a row of the features)"
    )
    reach: float | None = Field(
        None, ge=0, le=1e6, description="no score farther than this many seconds from a face or speech  [default: 1]"
    )
    max_gap: float | None = Field(
        None, gt=0, description="with --at or --rate: nor farther than this from any row that has a score  "
        "[default: as far as --reach]"
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class RowRecipe:
    """How raw scores become rows."""

    task: Task
    smoothing: Smoothing | None
    table: TimeTable | None
    rate: float | None
    max_gap: float | None
    reach: float | None

    @property
    def resampled(self) -> dict[str, Any]:
        """What of the rows enters the fingerprint; nothing for the features' own and the usual reach."""
        reach = {} if self.reach in (None, REACH) else {"reach": self.reach}
        if self.table is None and self.rate is None:
            return reach
        table = self.table.digest if self.table else None
        return {"rows": {"table": table, "rate": self.rate, "max_gap": self.max_gap}, **reach}

    @staticmethod
    def of(task: Task, report: Mapping[str, Any], config: PredictConfig, at: Path | None) -> RowRecipe:
        """What the report of a head or network says, where the config says nothing else; `at` is a table of rows.

        Raises UsageError for what does not fit together.
        """
        if at and config.rate:
            raise UsageError("--at and --rate both say which rows are wanted: give one of them")
        if (at or config.rate) and task.level == "clip":
            raise UsageError(f"--at and --rate are for tasks with scores over time; {task.name} has one score a clip")
        if config.max_gap and not (at or config.rate):
            raise UsageError("--max-gap is for --at and --rate: without them, rows are those of the features")
        if config.reach is not None and task.level == "clip":
            raise UsageError(f"--reach is for tasks with scores over time; {task.name} has one score a clip")
        table = read_times(at) if at else None
        reach = None if task.level == "clip" else REACH if config.reach is None else config.reach
        return RowRecipe(task, _smoothing(task, report, config), table, config.rate, config.max_gap, reach)

    def rows(self, one: Scored) -> dict[str, Any]:
        """The columns of a clip."""
        times, found, observed = self._of_clip(one) if self.reach is None else self._over_time(one, self.reach)
        scores = _smooth.predictions(self.task, found)
        valid = np.isfinite(scores).all(axis=1)
        return {"start": times[0], "end": times[1], "valid": valid, "observed": observed, "scores": scores}

    def _of_clip(self, one: Scored) -> tuple[Rows, list[Floats], Floats]:
        """The one row of a clip: no score where nothing was observed."""
        share = Observed(one.seen).whole
        return _whole(one.rows), [raw if share else np.full_like(raw, np.nan) for raw in one.raw], np.array([share])

    def _over_time(self, one: Scored, reach: float) -> tuple[Rows, list[Floats], Floats]:
        """Rows over time: those out of reach have no score, and nothing is carried across them."""
        seen, middle = Observed(one.seen), one.rows.middle
        found, stretch = smoothed_within(one.raw, middle, seen, reach, self.smoothing)
        times = (np.asarray(one.rows.start), np.asarray(one.rows.end))
        if self.table or self.rate:
            times = self.table.rows[one.clip] if self.table else at_rate(one.rows, self.rate or 0)
            middle, given = (times[0] + times[1]) / 2, middle
            found = _smooth.moved(found, given, middle, self.max_gap, stretch)
            found = [np.where(seen.within(middle, reach)[:, None], scores, np.nan) for scores in found]
        return times, found, seen.share(middle, self.smoothing)


@dataclass(frozen=True, repr=False)
class Scored:
    """A clip, its rows in time, the raw scores [T,K] of every seed at them, and what they were made from: a sequence an
    input, of which the valid rows are those with a face or speech."""

    clip: str
    rows: FeatureSequence
    raw: Sequence[Floats]
    seen: Sequence[FeatureSequence]


Score = Callable[[list[str], Sink], Iterable[Scored]]
"""What scores clips, one after another."""


def write(
    cache: Cache, made: Artifact, inputs: dict[str, Any], recipe: RowRecipe, report: Mapping[str, Any],
    upstream: Sequence[Artifact], clips: Sequence[str], score: Score, runtime: Runtime, *, out: Path | None,
    notices: tuple[str, ...] = (), extra: dict[str, Any] | None = None,
) -> Outcome:  # fmt: skip
    """The predictions of these clips by what was trained (`made`, with its report), current while what `upstream` has
    of a clip and its split are. A clip's split is that of training, else what the first of `upstream` says of it."""
    chosen = list(clips)
    if recipe.table:
        chosen, more = recipe.table.meets(chosen)
        notices = (*notices, *more)
    artifact = cache.create(
        "predict", made.stage.name, inputs, predictions_schema(list(recipe.task.targets)),
        upstream=[made.path, *(one.folder for one in upstream)], out=out, extra=extra,
    )  # fmt: skip
    table = upstream[0].clip_table()
    split = {
        clip: report["splits"].get(clip) or table.get(without_face(clip), {}).get("split") or "" for clip in chosen
    }

    def compute(missing: list[str], sink: Sink) -> None:
        for one in score(missing, sink):
            rows = recipe.rows(one)
            sink.count(len(rows["start"]))
            sink.append(rows)
            is_partial = any(given.status(one.clip) == "partial" for given in upstream)
            sink.end(one.clip, {"split": split[one.clip]}, "partial" if is_partial else "ok")

    read = {clip: " ".join([*(one.digest(clip) for one in upstream), split[clip]]) for clip in chosen}
    sources = {clip: sha256(text.encode()).hexdigest() for clip, text in read.items()}
    entries = entries_of(upstream[0], chosen)
    seen = seen_in(upstream)
    done = run(
        artifact, sources, compute, runtime, what=f"predict {made.stage.name}", unit="rows", entries=entries,
        tell=lambda counts: score_notices(counts, seen, recipe.reach),
    )  # fmt: skip
    return replace(done, notices=(*notices, *done.notices))


def _smoothing(task: Task, report: Mapping[str, Any], config: PredictConfig) -> Smoothing | None:
    own = _smooth.of_head(report)
    kind = config.smooth or (own.kind if own else None)
    _smooth.agree(kind, config.half_width, task)
    if config.smooth is None and config.half_width is None:
        return own
    if kind is None or kind == "none":
        return None
    width = config.half_width if config.half_width is not None else own.half_width if own else None
    if width is None:
        raise UsageError(f"--smooth {kind} needs --half-width SECONDS: the head was trained without smoothing")
    return Smoothing(kind, width) if width else None


def _whole(sequence: FeatureSequence) -> Rows:
    """The one row of a clip."""
    start, end = np.asarray(sequence.start), np.asarray(sequence.end)
    return (start[:1], end[-1:]) if len(sequence) else (np.zeros(1), np.zeros(1))
