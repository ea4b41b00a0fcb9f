"""`affectkit predict`: a head on cached features, at the rows of the features or at any others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit.config import Config, Runtime
from affectkit.errors import UsageError
from affectkit.manifest import without_face
from affectkit.plugins import Example
from affectkit.stages import _smooth
from affectkit.stages._devices import resolve
from affectkit.stages._map import Outcome, Sink, entries_of, run
from affectkit.stages._smooth import Choice, Smoothing
from affectkit.stages._times import Rows, TimeTable, at_rate, read_times
from affectkit.stages._training_data import sequences
from affectkit.stages.train import load_heads, read_report, stored_task
from affectkit.store import Artifact, Cache, Features, predictions_schema
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

VERSION = 1
_AT_ONCE = 64


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
class _Recipe:
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

    def rows(self, example: Example, raw: Sequence[np.ndarray]) -> dict[str, Any]:
        """The columns of a clip, from the raw scores of every seed."""
        sequence = example.inputs[0]
        if self.task.level == "clip":
            times, found = _whole(sequence), list(raw)
        else:
            found = _smooth.smoothed(raw, sequence.middle, self.smoothing)
            times = (np.asarray(sequence.start), np.asarray(sequence.end))
            if self.table or self.rate:
                times = self.table.rows[example.clip] if self.table else at_rate(sequence, self.rate or 0)
                found = _smooth.moved(found, sequence.middle, (times[0] + times[1]) / 2, self.max_gap)
        scores = _smooth.predictions(self.task, found)
        valid = np.isfinite(scores).all(axis=1)
        return {"start": times[0], "end": times[1], "valid": valid, "scores": scores}


def predict(
    cache: Cache, head: Artifact, features: Sequence[Features], runtime: Runtime, *,
    config: PredictConfig | None = None, at: Path | None = None,
    device: str = "auto", clips: Iterable[str] | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """Scores of every clip given: values, or probabilities for classes, averaged over the head's seeds.

    `at` is a table of the rows to predict; clips without rows in it are left out, and a notice counts them. Refuses
    features that were made by another recipe than those the head was trained on.
    """
    report = read_report(head)
    task = stored_task(report)
    _check_recipe(head, features)
    recipe = _recipe(task, report, config or PredictConfig(), at)
    inputs = {
        "stage": "predict",
        "version": VERSION,
        "head": head.stage.fingerprint,
        "upstream": [one.identity for one in features],
        **recipe.resampled,
    }
    if recipe.smoothing != _smooth.of_head(report):
        inputs["smoothing"] = asdict(recipe.smoothing) if recipe.smoothing else None
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]
    chosen = list(clips) if clips is not None else shared
    notices: tuple[str, ...] = ()
    if recipe.table:
        chosen, notices = recipe.table.meets(chosen)
    artifact = cache.create(
        "predict", head.stage.name, inputs, predictions_schema(list(task.targets)),
        upstream=[head.path, *(one.path for one in features)], out=out,
    )  # fmt: skip
    table = features[0].clip_table()
    said = {clip: table.get(without_face(clip), {}).get("split") for clip in chosen}
    split = {clip: report["splits"].get(clip) or said[clip] or "" for clip in chosen}

    def compute(missing: list[str], sink: Sink) -> None:
        heads = load_heads(head, task)
        where = resolve(device)
        for first in range(0, len(missing), _AT_ONCE):
            some = missing[first : first + _AT_ONCE]
            examples = [Example(clip, sequences(features, clip)) for clip in some]
            raw = [one.predict(examples, device=where) for one in heads]
            for example, *seeds in zip(examples, *raw, strict=True):
                rows = recipe.rows(example, seeds)
                sink.count(len(rows["start"]))
                sink.append(rows)
                sink.end(example.clip, {"split": split[example.clip]})

    sources = {clip: _source(features, clip, split[clip]) for clip in chosen}
    entries = entries_of(features[0].artifact, chosen)
    done = run(artifact, sources, compute, runtime, what=f"predict {head.stage.name}", unit="rows", entries=entries)
    return replace(done, notices=(*done.notices, *notices))


def _recipe(task: Task, report: dict[str, Any], config: PredictConfig, at: Path | None) -> _Recipe:
    """What the head says, where the config says nothing else. Raises UsageError for what does not fit together."""
    if at and config.rate:
        raise UsageError("--at and --rate both say which rows are wanted: give one of them")
    if (at or config.rate) and task.level == "clip":
        raise UsageError(f"--at and --rate are for tasks with scores over time; {task.name} has one score a clip")
    if config.max_gap and not (at or config.rate):
        raise UsageError("--max-gap is for --at and --rate: without them, rows are those of the features")
    table = read_times(at) if at else None
    return _Recipe(task, _smoothing(task, report, config), table, config.rate, config.max_gap)


def _smoothing(task: Task, report: dict[str, Any], config: PredictConfig) -> Smoothing | None:
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


def _check_recipe(head: Artifact, features: Sequence[Features]) -> None:
    wanted = head.stage.inputs["upstream"]
    if len(features) != len(wanted):
        raise UsageError(f"{head.path} takes {len(wanted)} feature artifacts; {len(features)} given")
    for one, identity in zip(features, wanted, strict=True):
        if one.identity != identity:
            raise UsageError(
                f"{one.path} was made by another recipe than the features that {head.path} was trained on "
                f"({_short(one.identity)}, not {_short(identity)}); affectkit cache why-miss says how"
            )


def _short(identity: str) -> str:
    fingerprint, _, column = identity.partition(":")
    return fingerprint[:12] + (f":{column}" if column else "")


def _whole(sequence: FeatureSequence) -> Rows:
    """The one row of a clip."""
    start, end = np.asarray(sequence.start), np.asarray(sequence.end)
    return (start[:1], end[-1:]) if len(sequence) else (np.zeros(1), np.zeros(1))


def _source(features: Sequence[Features], clip: str, split: str) -> str:
    """A clip's predictions are current while its features and its split are."""
    return sha256(" ".join([*(one.digest(clip) for one in features), split]).encode()).hexdigest()
