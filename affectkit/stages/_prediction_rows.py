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
from affectkit.manifest import without_face
from affectkit.stages import _smooth
from affectkit.stages._map import Outcome, Sink, entries_of, run
from affectkit.stages._smooth import Choice, Smoothing
from affectkit.stages._times import Rows, TimeTable, at_rate, read_times
from affectkit.store import Artifact, Cache, predictions_schema
from affectkit.tasks import Task
from affectkit.types import FeatureSequence, Floats


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
    max_gap: float | None = Field(
        None, gt=0, description="with --at or --rate: no score farther than this from any row that has one  "
        "[default: scores are held]"
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class RowRecipe:
    """How raw scores become rows."""

    task: Task
    smoothing: Smoothing | None
    table: TimeTable | None
    rate: float | None
    max_gap: float | None

    @property
    def resampled(self) -> dict[str, Any]:
        """What of the rows enters the fingerprint; nothing for the features' own."""
        if self.table is None and self.rate is None:
            return {}
        table = self.table.digest if self.table else None
        return {"rows": {"table": table, "rate": self.rate, "max_gap": self.max_gap}}

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
        table = read_times(at) if at else None
        return RowRecipe(task, _smoothing(task, report, config), table, config.rate, config.max_gap)

    def rows(self, clip: str, sequence: FeatureSequence, raw: Sequence[Floats]) -> dict[str, Any]:
        """The columns of a clip, from the raw scores of every seed at the rows of `sequence`."""
        if self.task.level == "clip":
            times, found = _whole(sequence), list(raw)
        else:
            found = _smooth.smoothed(raw, sequence.middle, self.smoothing)
            times = (np.asarray(sequence.start), np.asarray(sequence.end))
            if self.table or self.rate:
                times = self.table.rows[clip] if self.table else at_rate(sequence, self.rate or 0)
                found = _smooth.moved(found, sequence.middle, (times[0] + times[1]) / 2, self.max_gap)
        scores = _smooth.predictions(self.task, found)
        valid = np.isfinite(scores).all(axis=1)
        return {"start": times[0], "end": times[1], "valid": valid, "scores": scores}


Scored = Callable[[list[str], Sink], Iterable[tuple[str, FeatureSequence, Sequence[Floats]]]]
"""Of some clips each one, its rows in time, and the raw scores [T,K] of every seed at them."""


def write(
    cache: Cache, made: Artifact, inputs: dict[str, Any], recipe: RowRecipe, report: Mapping[str, Any],
    upstream: Sequence[Artifact], clips: Sequence[str], scored: Scored, runtime: Runtime, *, out: Path | None,
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
        upstream=[made.path, *(one.path for one in upstream)], out=out, extra=extra,
    )  # fmt: skip
    table = upstream[0].clip_table()
    split = {
        clip: report["splits"].get(clip) or table.get(without_face(clip), {}).get("split") or "" for clip in chosen
    }

    def compute(missing: list[str], sink: Sink) -> None:
        for clip, sequence, raw in scored(missing, sink):
            rows = recipe.rows(clip, sequence, raw)
            sink.count(len(rows["start"]))
            sink.append(rows)
            sink.end(clip, {"split": split[clip]})

    read = {clip: " ".join([*(one.digest(clip) for one in upstream), split[clip]]) for clip in chosen}
    sources = {clip: sha256(text.encode()).hexdigest() for clip, text in read.items()}
    entries = entries_of(upstream[0], chosen)
    done = run(artifact, sources, compute, runtime, what=f"predict {made.stage.name}", unit="rows", entries=entries)
    return replace(done, notices=(*done.notices, *notices))


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
