"""`affectkit fuse`: several models' predictions -> one, by weights fitted on the validation clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import metrics, plugins, tasks
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.manifest import read_labels
from affectkit.stages import _predictions as rows
from affectkit.store import Artifact, Cache, predictions_schema, write_table
from affectkit.store.atomic import write_text
from affectkit.tasks import Task
from affectkit.types import Floats, Predictions

VERSION = 1


class FuseConfig(Config):
    """What is computed."""

    task: str = Field(description="va, expr, eri, compound, au, or a TOML file")
    method: str = Field("dwf", description="a fuser (affectkit list fusers)")
    option: list[str] = Field([], description="an option of the fuser, key=value (repeatable)")
    seed: int = Field(0, ge=0, lt=1 << 32, description="seed of everything random")


@dataclass(frozen=True)
class Fused:
    """The artifact, and the scores on the rows the fuser was fitted on: optimistic, for comparison only."""

    artifact: Artifact
    cached: bool
    report: dict[str, Any]


def fuse(
    cache: Cache, sets: Sequence[Path], labels: Path, config: FuseConfig, *,
    splits: Path | None = None, out: Path | None = None,
) -> Fused:  # fmt: skip
    """Fit on the rows of the validation split only and combine all rows."""
    if len(sets) < 2:
        raise UsageError(f"fuse combines two or more prediction sets; {len(sets)} given")
    task = tasks.get(config.task)
    plugin = plugins.get("fusers", config.method)
    options = plugins.parse_options(plugin, config.option, config.method)
    inputs = {
        "stage": "fuse",
        "version": VERSION,
        "task": task.model_dump(mode="json"),
        "fuser": {"name": config.method, "version": plugin.version, "options": plugins.describe(options)},
        "seed": config.seed,
        "predictions": [rows.identity(path) for path in sets],
        "labels": rows.identity(labels),
        "splits": rows.identity(splits) if splits else None,
    }
    found = cache.find("fuse", config.method, inputs, out)
    if found is not None:
        return Fused(found, True, json.loads((found.path / "fuser.json").read_text(encoding="utf-8")))
    fused, report = _fit(task, plugin(options, task), sets, labels, splits, config.seed)

    def write(folder: Path) -> None:
        write_text(folder / "fuser.json", json.dumps(report, indent=1))
        write_table(folder, predictions_schema(list(task.targets)), rows.records(fused))

    artifact = cache.create_whole(
        "fuse", config.method, inputs, write, table=predictions_schema(list(task.targets)),
        upstream=rows.artifact_paths(sets), out=out, extra={"config": config.model_dump(mode="json")},
    )  # fmt: skip
    return Fused(artifact, False, report)


def _fit(
    task: Task, fuser: Any, sets: Sequence[Path], labels: Path, splits: Path | None, seed: int
) -> tuple[Predictions, dict[str, Any]]:
    known = read_labels(labels, task)
    given = [rows.load(path, task) for path in sets]
    base, scores = rows.common_rows(given)
    base = rows.with_splits(base, known, splits)
    wanted = rows.truth(base, known, task)
    has_score = np.asarray(np.isfinite(scores).any(axis=0)).all(axis=1)
    fit = (base.split == "val") & np.isfinite(wanted).all(axis=1) & has_score
    if not fit.any():
        raise UsageError("fuse is fitted on validation rows only, and no labelled row has split 'val': give --splits")
    fuser.fit(scores[:, fit], wanted[fit], base.clip[fit], seed=seed)
    combined = fuser.combine(scores)
    fused = Predictions(base.clip, base.start, base.end, combined, base.columns, base.split)
    report = {
        "fitted_on": {"split": "val", "rows": int(fit.sum()), "clips": len(np.unique(base.clip[fit]))},
        "left_out": sorted(set().union(*(one.clip.tolist() for one in given)) - set(base.clip.tolist())),
        "in_sample": _compare(task, wanted[fit], scores[:, fit], combined[fit], [str(path) for path in sets]),
        "fuser": fuser.state(),
    }
    return fused, report


def _compare(task: Task, wanted: Floats, scores: Floats, fused: Floats, names: Sequence[str]) -> Mapping[str, float]:
    """The task's metric of each model, of their plain average and of the fusion, on the same rows."""
    found = {}
    for name, one in [
        *zip(names, scores, strict=True),
        ("equal weights", np.nanmean(scores, axis=0)),
        ("fused", fused),
    ]:
        ok = np.isfinite(one).all(axis=1)
        if ok.any():
            found[name] = metrics.main(task, wanted[ok], one[ok])
    return found
