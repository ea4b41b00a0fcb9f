"""`affectkit evaluate`: predictions against labels, on the test clips (else the validation clips)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import metrics, tasks
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.manifest import Pooling, check_pooling, read_labels
from affectkit.stages import _predictions as rows
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import write_text
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Predictions

VERSION = 1


class EvaluateConfig(Config):
    """What is scored."""

    task: str = Field(description="va, expr, eri, compound, au, or a TOML file")
    split: str | None = Field(None, description="train, val or test (default: test, else val)")
    label_pooling: Pooling = Field("midpoint", description="the label of a row: midpoint, mean or mode")


@dataclass(frozen=True)
class Evaluation:
    """The artifact and what it says: scores, the split, and how many rows counted."""

    artifact: Artifact
    report: dict[str, Any]


def evaluate(
    cache: Cache, predictions: Path, labels: Path, config: EvaluateConfig, *,
    splits: Path | None = None, out: Path | None = None,
) -> Evaluation:  # fmt: skip
    """Score one prediction set: pooled over all rows and, beside it and labelled so, the mean over clips."""
    task = tasks.get(config.task)
    check_pooling(config.label_pooling, task)
    inputs = {
        "stage": "evaluate",
        "version": VERSION,
        "config": config.model_dump(mode="json", exclude={"task"}),
        "task": task.model_dump(mode="json"),
        "predictions": rows.identity(predictions),
        "labels": rows.identity(labels),
        "splits": rows.identity(splits) if splits else None,
    }
    found = cache.find("evaluate", task.name, inputs, out)
    if found is not None:
        return Evaluation(found, json.loads((found.path / "report.json").read_text(encoding="utf-8")))
    report = _score(task, predictions, labels, config, splits)
    artifact = cache.create_whole(
        "evaluate", task.name, inputs,
        lambda folder: write_text(folder / "report.json", json.dumps(report, indent=1)),
        upstream=rows.artifact_paths([predictions]), out=out,
    )  # fmt: skip
    return Evaluation(artifact, report)


def _score(task: Task, predictions: Path, labels: Path, config: EvaluateConfig, splits: Path | None) -> dict[str, Any]:
    known = read_labels(labels, task)
    given = rows.with_splits(rows.load(predictions, task), known, splits)
    split = config.split or _default_split(given)
    chosen = given.select(given.split == split) if split else given
    if not len(chosen):
        raise UsageError(
            f"no prediction has split '{split}' (there are: {', '.join(sorted(set(given.split))) or 'none'})"
        )
    wanted = rows.truth(chosen, known, task, config.label_pooling)
    labelled = np.isfinite(wanted).all(axis=1)
    used = labelled & chosen.valid
    if not used.any():
        raise UsageError(f"no row of split '{split}' has both a label and a score")
    truth, scores = wanted[used], chosen.scores[used]
    per_clip = {} if task.level == "clip" else metrics.score_per_clip(task, truth, scores, chosen.clip[used])
    return {
        "task": task.name,
        "metric": task.metric,
        "split": split or "all",
        "scores": metrics.score(task, truth, scores) | per_clip,
        "rows": int(used.sum()),
        "clips": len(np.unique(chosen.clip[used])),
        "clips_without_prediction": _unpredicted(given, known, split, splits),
        "rows_without_label": int((~labelled).sum()),
        "rows_without_score": int((labelled & ~chosen.valid).sum()),
    }


def _unpredicted(given: Predictions, known: Mapping[str, ClipLabels], split: str, splits: Path | None) -> list[str]:
    """Labelled clips of the split that no prediction is for: they do not enter the score."""
    table, predicted = rows.split_table(known, splits), set(given.clip.tolist())
    absent = [clip for clip in known if clip not in predicted]
    return [clip for clip in absent if not table or rows.split_in(table, clip) == split]


def _default_split(predictions: Predictions) -> str:
    present = set(predictions.split)
    return next((split for split in ("test", "val") if split in present), "")
