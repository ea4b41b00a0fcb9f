"""`affectkit compare`: prediction sets side by side, and which differences are beyond noise.

All sets are scored on the rows that every one of them has, so that none is better for having left out what is hard.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit import bootstrap, metrics, tasks
from affectkit.errors import UsageError
from affectkit.stages import scoring
from affectkit.stages.evaluate import intervals
from affectkit.stages.reports import ComparisonShape, report_at_hand
from affectkit.stages.scoring import Scored, ScoringConfig, gather
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import write_text
from affectkit.tables import predictions as tables
from affectkit.tables.labels import Labels, identity, read
from affectkit.tasks import Task

VERSION = 4
REPORT_FILE = "report.json"


class CompareConfig(ScoringConfig):
    """What is scored, and what with what."""

    draws: int = Field(1000, ge=1, le=1_000_000, description="bootstrap draws of intervals and differences")
    reference: Literal["first", "best"] = Field(
        "first", description="what the others are compared with: the first set, or the best by the task's metric"
    )


@dataclass(frozen=True)
class Comparison:
    """The artifact and what it says: each system's scores and intervals, and its differences to the reference."""

    artifact: Artifact
    report: dict[str, Any]


def compare(
    cache: Cache, sets: Sequence[Path], labels: Labels, config: CompareConfig, *,
    splits: Path | None = None, out: Path | None = None,
) -> Comparison:  # fmt: skip
    """Score two or more prediction sets on their common rows. Raises UsageError."""
    if len(sets) < 2:
        raise UsageError(f"compare takes two or more prediction sets; {len(sets)} given (evaluate scores a single one)")
    task = tasks.get(config.task)
    config.checked(task)
    inputs = {
        "stage": "compare",
        "version": VERSION,
        "config": config.model_dump(mode="json", exclude={"task"}),
        "task": task.model_dump(mode="json"),
        "predictions": [tables.identity(path) for path in sets],
        "names": [str(path) for path in sets],
        "labels": identity(labels, task),
        "splits": tables.identity(splits) if splits else None,
    }
    found = cache.find("compare", task.name, inputs, out)
    said = report_at_hand(cache, found, REPORT_FILE, ComparisonShape)
    if found is not None and said is not None:
        return Comparison(found, said)
    known = read(labels, task)
    scored = gather(task, [tables.load(path, task) for path in sets], known, config, splits)
    report = _report(task, scored, [str(path) for path in sets], config)
    artifact = cache.create_whole(
        "compare", task.name, inputs,
        lambda folder: write_text(folder / REPORT_FILE, json.dumps(report, indent=1)),
        upstream=tables.artifact_paths(sets), out=out,
    )  # fmt: skip
    return Comparison(artifact, report)


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
