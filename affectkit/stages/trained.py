"""What was trained, as others read it: reports of heads and networks, the heads, the recipe of their features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affectkit import plugins
from affectkit.config import validate
from affectkit.stages import catalogue
from affectkit.stages.fit_stage import FitStage, Report
from affectkit.store import Artifact, ancestors
from affectkit.store.kinds import TRAINED, wrong_kind
from affectkit.tasks import Task

REFITTED = "refitted"
"""Folder within a seed's, of the head that was fitted again on train and val clips."""


def trained_report(artifact: Artifact) -> Report:
    """What a head or a network says of itself. Raises UsageError for any other artifact."""
    if (name := artifact.stage.stage) not in TRAINED:
        raise wrong_kind(artifact.path, name, *TRAINED)
    stage = catalogue.get(name)
    assert isinstance(stage, FitStage)
    return stage.report_of(artifact)


def lineage(artifact: Artifact) -> list[dict[str, Any]]:
    """The recipe of a feature artifact, media first: what `predict` replays on new clips."""
    return [
        {
            "stage": each.stage.stage,
            "config": each.stage.provenance.get("config"),
            "numerics": each.stage.numerics,
            "fingerprint": each.stage.fingerprint,
            "inputs": each.stage.inputs,
        }
        for each in (*ancestors(artifact), artifact)
    ]


def load_heads(artifact: Artifact, task: Task, *, refitted: bool = False) -> list[Any]:
    """The heads of all seeds; `refitted`: those that were fitted again on train and val clips, where there are any."""
    plugin = plugins.get("heads", artifact.stage.inputs["head"]["name"])
    folders = sorted(artifact.path.glob("seed_*"))
    if refitted:
        folders = [again if (again := folder / REFITTED).is_dir() else folder for folder in folders]
    name = artifact.stage.inputs["head"]["name"]
    return [plugins.loaded("heads", name, plugin, folder, task) for folder in folders]


def stored_task(report: Mapping[str, Any]) -> Task:
    """The task that a head was trained for."""
    return validate(Task, report["task"], "the task of a trained head")
