"""`affectkit evaluate`: Score predictions against labels.

Predictions against labels, on the test clips (else the validation clips).

Every score comes with how sure it is: an interval from drawing whole clips again and again, never single rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import bootstrap, metrics, tasks
from affectkit.drawing.style import require_matplotlib
from affectkit.errors import UsageError
from affectkit.stages import scoring
from affectkit.stages import scoring as calibration
from affectkit.stages.fit_stage import Computed, FitStage
from affectkit.stages.inputs import artifacts, labels, splits
from affectkit.stages.reports import EvaluationShape
from affectkit.stages.scoring import (
    Scored,
    ScoringConfig,
    constants,
    gather,
    interpolation_said,
    interval_header,
    interval_said,
    rows_said,
)
from affectkit.stages.stage import Context, Need, Result, TextTable
from affectkit.store.atomic import write_text
from affectkit.tables import predictions as tables
from affectkit.tables.labels import Labels, identity, read
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Predictions

CLIPS_FILE = "clips.csv"


class EvaluateConfig(ScoringConfig):
    """What is scored, and what is drawn."""

    figures: bool = Field(False, description="draw figures into the artifact's folder figures/, PNG and SVG")
    draw_clips: str | None = Field(
        None, description="with --figures, the clips to draw over time: a pattern  [default: best, median, worst]"
    )


@dataclass(frozen=True)
class Resolved:
    """What is scored: the predictions, the labels, the task."""

    inputs: Evaluate.Inputs
    config: EvaluateConfig
    task: Task


class Evaluate(FitStage):
    """Score predictions against labels, on split test if there is one, else on val.

    Every pooled score has an interval, from drawing whole clips with replacement.

    Examples:

    `affectkit evaluate "$FUSED" --labels va.csv --task va --json`

    `affectkit evaluate "$FUSED" --labels va.csv --task va --against "$P" --by subject`

    `affectkit evaluate "$P" --labels expr.csv --task expr --figures --draw-clips 'video1*'`
    """

    name = "evaluate"
    makes = "report"
    says = "{inputs} against labels of {task}"
    version = 5
    file = "report.json"
    shape = EvaluationShape
    Config = EvaluateConfig

    @dataclass(frozen=True)
    class Inputs:
        """One prediction set, or two to compare by `against`."""

        predictions: Path = artifacts("predictions", help="a prediction artifact or a CSV file")
        labels: Labels = labels()
        splits: Path | None = splits()
        against: Path | None = artifacts(
            "predictions", help="another prediction set: the difference to it, with an interval", option=True,
            default=None,
        )  # fmt: skip

    def needs(self, config: EvaluateConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        if config.figures:
            yield Need("figures", "matplotlib", require_matplotlib)

    def reads_task(self, config: EvaluateConfig) -> tuple[Task, str]:
        task = tasks.get(config.task)
        return task, f"not {task.name}"

    def resolve(self, inputs: Inputs, config: EvaluateConfig) -> Resolved:
        task = tasks.get(config.task)
        config.checked(task)
        if config.draw_clips and not config.figures:
            raise UsageError("--draw-clips says which clips are drawn: give --figures as well")
        if inputs.against and not config.draws:
            raise UsageError("--against compares by draws: --draws 0 leaves none")
        return Resolved(inputs, config, task)

    def called(self, resolved: Resolved) -> str:
        return resolved.task.name

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        inputs = resolved.inputs
        config = resolved.config.model_dump(mode="json", exclude={"task", "draw_clips"})
        return {
            "config": config | {"clips": resolved.config.draw_clips},  # its name in fingerprints
            "task": resolved.task.model_dump(mode="json"),
            "predictions": tables.identity(inputs.predictions),
            "against": tables.identity(inputs.against) if inputs.against else None,
            "labels": identity(inputs.labels, resolved.task),
            "splits": tables.identity(inputs.splits) if inputs.splits else None,
        }

    def compute(self, resolved: Resolved, context: Context) -> Computed:
        """Pooled over all rows and, beside it and labelled so, the mean over clips; against another set on the rows
        that both have a score for."""
        inputs, config, task = resolved.inputs, resolved.config, resolved.task
        if config.figures:
            require_matplotlib()
        labels_of_clip = read(inputs.labels, task)
        predictions = tables.load(inputs.predictions, task)
        scored = gather(task, [predictions], labels_of_clip, config, inputs.splits)
        report = _report(task, scored, config)
        if inputs.against:
            report["against"] = _against(
                task, predictions, inputs.against, labels_of_clip, config, inputs.splits, scored.split
            )
        each = {} if task.level == "clip" else _each_clip(task, scored)

        def write(folder: Path) -> None:
            if each:
                write_text(folder / CLIPS_FILE, _clip_table(task, scored, each))
            if config.figures:
                from affectkit.stages.figures import draw

                draw(folder / "figures", task, scored, report, each, inputs.predictions, config.draw_clips)

        return Computed(report, write)

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        yield from rows_said(report)
        yield _scores_table(report)
        if "calibration" in report:
            calibration = report["calibration"]
            yield f"expected calibration error {calibration['ece']:.4f} ({calibration['bins']} bins)"
        yield from (f"note: {caution}" for caution in report["cautions"])
        if other := report.get("against"):
            yield from _difference_said(report, other)
        if result.artifact is not None and (result.artifact.path / "figures").is_dir():
            yield f"figures are in {result.artifact.path / 'figures'}"


STAGE = Evaluate


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
    task: Task, predictions: Predictions, other: Path, known: dict[str, ClipLabels], config: ScoringConfig,
    splits: Path | None, split: str,
) -> dict[str, Any]:  # fmt: skip
    """The set less another one, metric by metric, on the rows that both have."""
    same = config.model_copy(update={"split": split or None})
    scored = gather(task, [predictions, tables.load(other, task)], known, same, splits)
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


def _scores_table(report: Mapping[str, Any]) -> TextTable:
    rows = []
    for name, value in report["scores"].items():
        if not name.startswith("clip-mean/"):
            per_clip = report["scores"].get(f"clip-mean/{name}")
            cells = (name, f"{value:.4f}", interval_said(report["intervals"].get(name)))
            rows.append((*cells, "" if per_clip is None else f"{per_clip:.4f}"))
    return TextTable(("score", "pooled", interval_header(report), "mean over clips"), tuple(rows))


def _difference_said(report: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str | TextTable]:
    yield f"against {other['path']}, on {other['rows']} rows of {other['clips']} clips that both have:"
    yield from (f"note: {each.replace(' of set 2', ' of the other set')}" for each in other.get("cautions", ()))
    yield from interpolation_said(other)
    rows = tuple(
        (name, f"{other['scores'][name]:.4f}", f"{gap['difference']:+.4f}",
         interval_said((gap["low"], gap["high"]), signed=True), f"{gap['p']:.3f}")
        for name, gap in other["differences"].items()
    )  # fmt: skip
    yield TextTable(("score", "of the other", "difference", interval_header(report), "p"), rows)
