"""`affectkit evaluate`: predictions against labels, on the test clips (else the validation clips).

Every score comes with how sure it is: an interval from drawing whole clips again and again, never single rows.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import bootstrap, metrics, tasks
from affectkit.errors import UsageError, require
from affectkit.stages import scoring
from affectkit.stages import scoring as calibration
from affectkit.stages.reports import EvaluationShape, report_at_hand
from affectkit.stages.scoring import Scored, ScoringConfig, constants, gather
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import write_text
from affectkit.tables import predictions as tables
from affectkit.tables.labels import Labels, identity, read
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Predictions

VERSION = 5
REPORT_FILE = "report.json"
CLIPS_FILE = "clips.csv"


class EvaluateConfig(ScoringConfig):
    """What is scored, and what is drawn."""

    figures: bool = Field(False, description="draw figures into the artifact's folder figures/, PNG and SVG")
    clips: str | None = Field(
        None, description="with --figures, the clips to draw over time: a pattern  [default: best, median, worst]"
    )


@dataclass(frozen=True)
class Evaluation:
    """The artifact and what it says: scores, intervals, the split, and how many rows counted."""

    artifact: Artifact
    report: dict[str, Any]


def evaluate(
    cache: Cache, predictions: Path, labels: Labels, config: EvaluateConfig, *,
    splits: Path | None = None, against: Path | None = None, out: Path | None = None,
) -> Evaluation:  # fmt: skip
    """Score one prediction set: pooled over all rows and, beside it and labelled so, the mean over clips.

    `against` is another prediction set, compared on the rows that both have a score for. Raises UsageError, and
    MissingExtra for figures without matplotlib.
    """
    task = tasks.get(config.task)
    config.checked(task)
    if config.clips and not config.figures:
        raise UsageError("--clips says which clips are drawn: give --figures as well")
    if against and not config.draws:
        raise UsageError("--against compares by draws: --draws 0 leaves none")
    inputs = {
        "stage": "evaluate",
        "version": VERSION,
        "config": config.model_dump(mode="json", exclude={"task"}),
        "task": task.model_dump(mode="json"),
        "predictions": tables.identity(predictions),
        "against": tables.identity(against) if against else None,
        "labels": identity(labels, task),
        "splits": tables.identity(splits) if splits else None,
    }
    found = cache.find("evaluate", task.name, inputs, out)
    said = report_at_hand(cache, found, REPORT_FILE, EvaluationShape)
    if found is not None and said is not None:
        return Evaluation(found, said)
    if config.figures:
        require("matplotlib", "matplotlib", "figures", "drawing figures")
    known = read(labels, task)
    given = tables.load(predictions, task)
    scored = gather(task, [given], known, config, splits)
    report = _report(task, scored, config)
    if against:
        report["against"] = _against(task, given, against, known, config, splits, scored.split)
    each = {} if task.level == "clip" else _each_clip(task, scored)

    def write(folder: Path) -> None:
        write_text(folder / REPORT_FILE, json.dumps(report, indent=1))
        if each:
            write_text(folder / CLIPS_FILE, _clip_table(task, scored, each))
        if config.figures:
            from affectkit.stages import figures as figures_module

            figures_module.draw(folder / "figures", task, scored, report, each, predictions, config.clips)

    artifact = cache.create_whole(
        "evaluate", task.name, inputs, write,
        upstream=tables.artifact_paths([predictions, *([against] if against else [])]), out=out,
    )  # fmt: skip
    return Evaluation(artifact, report)


def _report(task: Task, scored: Scored, config: ScoringConfig) -> dict[str, Any]:
    truth, scores, clip = scored.truth, scored.scores[0], scored.rows.clip
    each_clip = {} if task.level == "clip" else metrics.score_per_clip(task, truth, scores, clip)
    report: dict[str, Any] = {
        "task": task.name,
        "metric": task.metric,
        "split": scored.split or "all",
        "scores": metrics.score(task, truth, scores) | each_clip,
        "constant": scoring.constant_report(task, truth),
        **intervals(task, scored, 0, config),
        **scored.counts,
    }
    report["cautions"] = [*scored.cautions, *report["cautions"]]
    if task.kind != "regression":
        report["confusion"] = _confusion(task, scored)
        report["calibration"] = calibration.calibration_report(calibration.calibration_curves(task, truth, scores))
    return report


def intervals(task: Task, scored: Scored, model: int, config: ScoringConfig) -> dict[str, Any]:
    """The intervals of a set's metrics, how they were made, and what speaks against them."""
    about = {
        "by": config.by, "clusters": len(np.unique(scored.clusters)), "draws": config.draws, "level": config.level,
        "seed": config.seed,
    }  # fmt: skip
    if not config.draws:
        return {"intervals": {}, "bootstrap": about, "cautions": []}
    found = bootstrap.interval(
        task, scored.truth, scored.scores[model], scored.clusters,
        draws=config.draws, seed=config.seed, level=config.level,
    )  # fmt: skip
    return {
        "intervals": {name: list(bounds) for name, bounds in found.items()},
        "bootstrap": about,
        "cautions": bootstrap.cautions(task, scored.truth, scored.clusters, config.by),
    }


def _against(
    task: Task, given: Predictions, other: Path, known: dict[str, ClipLabels], config: ScoringConfig,
    splits: Path | None, split: str,
) -> dict[str, Any]:  # fmt: skip
    """The set less another one, metric by metric, on the rows that both have."""
    same = config.model_copy(update={"split": split or None})
    scored = gather(task, [given, tables.load(other, task)], known, same, splits)
    ours, theirs = scored.scores
    found = bootstrap.paired(
        task, scored.truth, ours, theirs, scored.clusters, draws=config.draws, seed=config.seed, level=config.level
    )
    return {
        "path": str(other),
        "scores": metrics.score(task, scored.truth, scored.scores[1]),
        "differences": {name: one._asdict() for name, one in found.items()},
        **scored.counts,
        "cautions": [one for one in constants(task, scored.truth, scored.scores, scored.split) if "of set 2" in one],
    }


def _confusion(task: Task, scored: Scored) -> dict[str, Any]:
    """Rows by truth (line) and prediction (column); for labels, one such table each: [[TN, FP], [FN, TP]]."""
    truth, scores = scored.truth, scored.scores[0]
    if task.kind == "multiclass":
        cells = metrics.confusion(truth[:, 0], scores.argmax(axis=1), task.outputs)
        return {"classes": list(task.targets), "rows": cells.tolist()}
    present = scores >= metrics.THRESHOLD
    return {
        name: metrics.confusion(truth[:, k], present[:, k].astype(float), 2).tolist()
        for k, name in enumerate(task.targets)
    }


def _each_clip(task: Task, scored: Scored) -> dict[str, float]:
    """The task's metric over each clip's own rows, of the classes that it has and the targets that vary in it; NaN for
    a clip that has none."""
    return {
        clip: metrics.score_of_part(task, scored.truth[rows], scored.scores[0, rows])[task.metric]
        for clip, rows in by_clip(scored.rows).items()
    }


def _clip_table(task: Task, scored: Scored, each: dict[str, float]) -> str:
    """CSV of each clip's own score, empty where it has none."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "rows", task.metric])
    places = by_clip(scored.rows)
    for clip, value in each.items():
        rows = places[clip].stop - places[clip].start
        writer.writerow([clip, rows, "" if math.isnan(value) else repr(value)])
    return text.getvalue()
