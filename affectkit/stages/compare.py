"""`affectkit compare`: Lay prediction sets side by side and say which differences are beyond noise.

Prediction sets side by side, and which differences are beyond noise.

All sets are scored on the rows that every one of them has, so that none is better for having left out what is hard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit import bootstrap, metrics, tasks
from affectkit.errors import UsageError
from affectkit.stages import scoring
from affectkit.stages.evaluate import intervals
from affectkit.stages.fit_stage import Computed, FitStage
from affectkit.stages.inputs import artifacts, labels, splits
from affectkit.stages.reports import ComparisonShape
from affectkit.stages.scoring import Scored, ScoringConfig, gather, interval_header, rows_said
from affectkit.stages.stage import Context, Result, TextTable
from affectkit.tables import predictions as tables
from affectkit.tables.labels import Labels, identity, read
from affectkit.tasks import Task


class CompareConfig(ScoringConfig):
    """What is scored, and what with what."""

    draws: int = Field(1000, ge=1, le=1_000_000, description="bootstrap draws of intervals and differences")
    reference: Literal["first", "best"] = Field(
        "first", description="what the others are compared with: the first set, or the best by the task's metric"
    )


@dataclass(frozen=True)
class Resolved:
    """What is laid side by side: the prediction sets, the labels, the task."""

    inputs: Compare.Inputs
    config: CompareConfig
    task: Task

    @property
    def names(self) -> list[str]:
        """The sets as they were named."""
        return [str(path) for path in self.inputs.predictions]


class Compare(FitStage):
    """Lay prediction sets side by side and say which differences are beyond noise.

    All are scored on the rows that every set has; differences are drawn clip by clip, the same clips for both.

    Examples:

    `affectkit compare "$VIDEO" "$AUDIO" "$FUSED" --labels va.csv --task va`

    `affectkit compare a.csv b.csv c.csv --labels expr.csv --task expr --reference best --json`
    """

    name = "compare"
    makes = "report"
    says = "{inputs} side by side"
    version = 4
    file = "report.json"
    shape = ComparisonShape
    Config = CompareConfig

    @dataclass(frozen=True)
    class Inputs:
        """The sets, and what they are scored against."""

        predictions: Sequence[Path] = artifacts(
            "predictions", help="two or more prediction artifacts or CSV files", many=True, least=2
        )
        labels: Labels = labels()
        splits: Path | None = splits()

    def reads_task(self, config: CompareConfig) -> tuple[Task, str]:
        task = tasks.get(config.task)
        return task, f"not {task.name}"

    def resolve(self, inputs: Inputs, config: CompareConfig) -> Resolved:
        if (count := len(inputs.predictions)) < 2:
            raise UsageError(f"compare takes two or more prediction sets; {count} given (evaluate scores a single one)")
        task = tasks.get(config.task)
        config.checked(task)
        return Resolved(inputs, config, task)

    def called(self, resolved: Resolved) -> str:
        return resolved.task.name

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        inputs = resolved.inputs
        return {
            "config": resolved.config.model_dump(mode="json", exclude={"task"}),
            "task": resolved.task.model_dump(mode="json"),
            "predictions": [tables.identity(path) for path in inputs.predictions],
            "names": resolved.names,
            "labels": identity(inputs.labels, resolved.task),
            "splits": tables.identity(inputs.splits) if inputs.splits else None,
        }

    def compute(self, resolved: Resolved, context: Context) -> Computed:
        """Every set on the rows that all of them have."""
        inputs, task = resolved.inputs, resolved.task
        sets = [tables.load(path, task) for path in inputs.predictions]
        scored = gather(task, sets, read(inputs.labels, task), resolved.config, inputs.splits)
        return Computed(_report(task, scored, resolved.names, resolved.config), lambda folder: None)

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        yield from rows_said(report)
        marks = [chr(ord("A") + place) if place < 26 else str(place + 1) for place in range(len(report["systems"]))]
        systems = list(zip(marks, report["systems"], strict=True))
        yield from (f"{mark}: {system['path']}" for mark, system in systems)
        reference = marks[report["reference"]["place"]]
        yield _systems_table(report, systems, reference)
        yield f"* beyond noise; constant: {report['constant']['what']}"
        for mark, system in systems:
            if gap := system.get("differences", {}).get(report["metric"]):
                yield _verdict(report["metric"], mark, reference, gap)
        yield from (f"note: {caution}" for caution in report["cautions"])


STAGE = Compare


def _report(task: Task, scored: Scored, names: Sequence[str], config: CompareConfig) -> dict[str, Any]:
    made = [intervals(task, scored, number, config) for number in range(len(names))]
    systems: list[dict[str, Any]] = [
        {"path": name, "scores": metrics.score(task, scored.truth, one), "intervals": own["intervals"]}
        for name, one, own in zip(names, scored.scores, made, strict=True)
    ]
    reference = _best(task, systems) if config.reference == "best" else 0
    for number, differences in _differences(task, scored, reference, config).items():
        systems[number]["differences"] = differences
    return {
        "task": task.name,
        "metric": task.metric,
        "split": scored.split or "all",
        "reference": {"place": reference, "path": names[reference], "chosen": config.reference},
        "systems": systems,
        "constant": scoring.constant_report(task, scored.truth),
        "bootstrap": made[0]["bootstrap"] | {"adjusted": "Holm, over the systems, metric by metric"},
        "cautions": scored.cautions + made[0]["cautions"] + _chosen_by_score(config, len(names)),
        **scored.counts,
    }


def _differences(
    task: Task, scored: Scored, reference: int, config: CompareConfig
) -> dict[int, dict[str, dict[str, Any]]]:
    """Of every other system: each metric less the reference's, and whether that is beyond noise."""
    found = {
        number: bootstrap.paired(
            task, scored.truth, one, scored.scores[reference], scored.clusters,
            draws=config.draws, seed=config.seed, level=config.level,
        )
        for number, one in enumerate(scored.scores) if number != reference
    }  # fmt: skip
    said: dict[int, dict[str, dict[str, Any]]] = {number: {} for number in found}
    for name in next(iter(found.values())):
        adjusted = bootstrap.holm(one[name].p for one in found.values())
        for (number, one), p in zip(found.items(), adjusted, strict=True):
            beyond = p < 1 - config.level
            said[number][name] = one[name]._asdict() | {"p_adjusted": p, "beyond_noise": beyond}
    return said


def _best(task: Task, systems: Sequence[dict[str, Any]]) -> int:
    """The place of the system with the best value of the task's metric; of equals, the first."""
    values = np.array([system["scores"][task.metric] for system in systems])
    return int(values.argmin() if task.metric == "mae" else values.argmax())


def _chosen_by_score(config: CompareConfig, systems: int) -> list[str]:
    if config.reference == "first" or systems < 3:
        return []
    return ["the reference was chosen by its score on these rows, which flatters it"]


def _systems_table(
    report: Mapping[str, Any], systems: Sequence[tuple[str, Mapping[str, Any]]], reference: str
) -> TextTable:
    rows: list[tuple[str, ...]] = []
    for name in report["systems"][0]["scores"]:
        for mark, system in systems:
            cells = [_with_interval(system["scores"][name], system["intervals"].get(name), "")]
            if gap := system.get("differences", {}).get(name):
                cells.append(_with_interval(gap["difference"], (gap["low"], gap["high"]), "+"))
                cells.append(f"{gap['p_adjusted']:.3f}{' *' if gap['beyond_noise'] else ''}")
            rows.append((name if mark == systems[0][0] else "", mark, *cells))
        rows.append(("", "constant", f"{report['constant']['scores'][name]:.3f}"))
    return TextTable(("score", "", f"pooled, {interval_header(report)}", f"less {reference}", "p (Holm)"), tuple(rows))


def _verdict(metric: str, mark: str, reference: str, gap: Mapping[str, Any]) -> str:
    if not gap["beyond_noise"]:
        return f"{mark} and {reference} cannot be told apart by {metric} (p {gap['p_adjusted']:.3f})"
    better = (gap["difference"] < 0) == (metric == "mae")
    word = "better" if better else "worse"
    return f"{mark} is {word} than {reference} by {metric}, beyond noise (p {gap['p_adjusted']:.3f})"


def _with_interval(value: float, bounds: Sequence[float] | None, sign: str) -> str:
    interval = f" [{bounds[0]:{sign}.3f}, {bounds[1]:{sign}.3f}]" if bounds else ""
    return f"{value:{sign}.3f}{interval}"
