"""From the raw scores of a clip to rows of predictions, whatever model gave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.digests import Digests
from affectkit.emotions import TaskFit
from affectkit.errors import UsageError
from affectkit.smoothing import Smoothing
from affectkit.stages import smooth as smooth_module
from affectkit.stages.map_stage import MapStage, Told, entries_of
from affectkit.stages.observed import REACH, Observed, smoothed_within
from affectkit.stages.row_counts import counted, score_notices, seen_in
from affectkit.stages.sink import Sink
from affectkit.stages.smooth import Choice
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Features, Schema, predictions_schema
from affectkit.tables.row_times import Rows, TimeTable, at_rate, read_times
from affectkit.tasks import Task
from affectkit.types import FeatureSequence, Floats


class RowsConfig(Config):
    """Which rows are predicted. Smoothing acts first, on the raw scores of the rows that are read."""

    smooth: Choice | None = Field(
        None,
        description="hamming, box, median or gaussian window over the raw scores, or none  "
        "[default: what train-head chose on validation; none for a published model]",
    )
    half_width: float | None = Field(
        None, ge=0, le=smooth_module.LONGEST, description="seconds that the window reaches to either side"
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
    """How raw scores become rows. `outputs`: the tasks whose raw scores stand side by side, one for a head; `fit`: the
    task that they are made scores of at the end."""

    outputs: tuple[Task, ...]
    smoothing: Smoothing | None
    table: TimeTable | None
    rate: float | None
    max_gap: float | None
    reach: float | None
    fit: TaskFit | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the scores."""
        return list(self.fit.task.targets) if self.fit else [name for each in self.outputs for name in each.targets]

    @property
    def resampled(self) -> dict[str, Any]:
        """What of the rows enters the fingerprint; nothing for the features' own and the usual reach."""
        reach = {} if self.reach in (None, REACH) else {"reach": self.reach}
        if self.table is None and self.rate is None:
            return reach
        table = self.table.digest if self.table else None
        return {"rows": {"table": table, "rate": self.rate, "max_gap": self.max_gap}, **reach}

    @staticmethod
    def of(
        outputs: Sequence[Task], chosen: Smoothing | None, config: RowsConfig, at: Path | None,
        fit: TaskFit | None = None,
    ) -> RowRecipe:  # fmt: skip
        """`chosen`: the model's own smoothing, where the config says nothing else; `at`: a table of rows.

        Raises UsageError for what does not fit together.
        """
        task = fit.task if fit else outputs[0]
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
        smoothing = _smoothing(task, chosen, config)
        return RowRecipe(tuple(outputs), smoothing, table, config.rate, config.max_gap, reach, fit)

    def rows(self, scored: Scored) -> dict[str, Any]:
        """The columns of a clip."""
        times, raw, observed = self._of_clip(scored) if self.reach is None else self._over_time(scored, self.reach)
        scores = self._scores(raw)
        if self.fit and self.reach is None:
            scores = _mean_of_rows(scores)
        valid = np.isfinite(scores).all(axis=1)
        return {"start": times[0], "end": times[1], "valid": valid, "observed": observed, "scores": scores}

    def _scores(self, raw: Sequence[Floats]) -> Floats:
        """[R,K] of the raw scores of every seed."""
        ends = np.cumsum([task.outputs for task in self.outputs])
        parts = [
            smooth_module.predictions(task, [seed[:, end - task.outputs : end] for seed in raw])
            for task, end in zip(self.outputs, ends, strict=True)
        ]
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return self.fit.scores(scores) if self.fit else scores

    def _of_clip(self, scored: Scored) -> tuple[Rows, list[Floats], Floats]:
        """The one row of a clip: no score where nothing was observed."""
        share = Observed(scored.seen).whole
        return (
            _whole(scored.rows),
            [raw if share else np.full_like(raw, np.nan) for raw in scored.raw],
            np.array([share]),
        )

    def _over_time(self, scored: Scored, reach: float) -> tuple[Rows, list[Floats], Floats]:
        """Rows over time: those out of reach have no score, and nothing is carried across them."""
        seen, middle = Observed(scored.seen), scored.rows.middle
        raw, stretch = smoothed_within(scored.raw, middle, seen, reach, self.smoothing)
        times = (np.asarray(scored.rows.start), np.asarray(scored.rows.end))
        if self.table or self.rate:
            times = self.table.rows[scored.clip] if self.table else at_rate(scored.rows, self.rate or 0)
            middle, read = (times[0] + times[1]) / 2, middle
            raw = smooth_module.moved(raw, read, middle, self.max_gap, stretch)
            raw = [np.where(seen.within(middle, reach)[:, None], scores, np.nan) for scores in raw]
        return times, raw, seen.share(middle, self.smoothing)


@dataclass(frozen=True, repr=False)
class Scored:
    """A clip, its rows in time, the raw scores [T,K] of every seed at them, and what they were made from: a sequence an
    input, of which the valid rows are those with a face or speech."""

    clip: str
    rows: FeatureSequence
    raw: Sequence[Floats]
    seen: Sequence[FeatureSequence]


class ScoredRows(MapStage):
    """Rows of predictions of whatever `scored` yields. Its `resolve` gives what has `recipe` (a RowRecipe), `split` (of
    each clip to predict), `upstream` (the artifacts that are read) and `about` (notices)."""

    name = folder = "predict"
    version = 2

    def scored(self, resolved: Any, missing: list[str], sink: Sink, context: Context) -> Iterator[Scored]:
        """The raw scores of these clips, one after another. Heavy imports are in here."""
        raise NotImplementedError

    def read(self, resolved: Any) -> Sequence[Artifact | Features]:
        """What scores are made from, by whose digests they are current."""
        upstream: Sequence[Artifact] = resolved.upstream
        return upstream

    def sources(self, resolved: Any, digests: Digests) -> dict[str, str]:
        """Scores are current while what is read of a clip, and its split, are."""
        text = {
            clip: [*(each.digest(clip) for each in self.read(resolved)), split]
            for clip, split in resolved.split.items()
        }
        return {clip: sha256(" ".join(words).encode()).hexdigest() for clip, words in text.items()}

    def entries(self, resolved: Any) -> dict[str, dict[str, Any]]:
        return entries_of(resolved.upstream[0], list(resolved.split))

    def table(self, resolved: Any, context: Context) -> Schema:
        return predictions_schema(resolved.recipe.columns)

    def compute(self, resolved: Any, missing: list[str], sink: Sink, context: Context) -> None:
        """Values, or probabilities for classes, at the rows that are read or at those asked for."""
        for scored in self.scored(resolved, missing, sink, context):
            rows = resolved.recipe.rows(scored)
            sink.count(len(rows["start"]))
            sink.append(rows)
            is_partial = any(each.status(scored.clip) == "partial" for each in resolved.upstream)
            sink.end(scored.clip, {"split": resolved.split[scored.clip]}, "partial" if is_partial else "ok")

    def notices(self, resolved: Any) -> Sequence[str]:
        about: Sequence[str] = resolved.about
        return about

    def tell(self, resolved: Any, selected: Artifact, clips: Sequence[str]) -> Told:
        counts = counted(selected, clips)
        return score_notices(counts, seen_in(resolved.upstream), resolved.recipe.reach), counts.as_dict()


def _smoothing(task: Task, chosen: Smoothing | None, config: RowsConfig) -> Smoothing | None:
    kind = config.smooth or (chosen.kind if chosen else None)
    smooth_module.agree(kind, config.half_width, task)
    if config.smooth is None and config.half_width is None:
        return chosen
    if kind is None or kind == "none":
        return None
    width = config.half_width if config.half_width is not None else chosen.half_width if chosen else None
    if width is None:
        raise UsageError(f"--smooth {kind} needs --half-width SECONDS: the model says nothing of smoothing")
    return Smoothing(kind, width) if width else None


def _whole(sequence: FeatureSequence) -> Rows:
    """The one row of a clip."""
    start, end = np.asarray(sequence.start), np.asarray(sequence.end)
    return (start[:1], end[-1:]) if len(sequence) else (np.zeros(1), np.zeros(1))


def _mean_of_rows(scores: Floats) -> Floats:
    """[1,K] the mean of the rows that have a score; NaN where none has."""
    scored = scores[np.isfinite(scores).all(axis=1)]
    return scored.mean(axis=0, keepdims=True) if len(scored) else np.full((1, scores.shape[1]), np.nan)
