"""Fine-tuned networks as `affectkit finetune` leaves them, without any training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from affectkit import plugins, tasks
from affectkit.learning import saved as saved_module
from affectkit.plugins import Outputs
from affectkit.stages.trained import lineage
from affectkit.store import Artifact, Cache
from affectkit.tasks import Task

SMALL: dict[str, list[str]] = {
    "static": ["backbone=test_resnet", "width=16", "input_size=32"],
    "pyramid": ["backbone=test_resnet", "input_size=32", "steps=3", "strides=1,2,clip", "heads=2", "joint=8"],
    "speech": ["model=tiny", "hidden=16", "window=1", "hop=0.4", "min_window=0.4"],
}
"""Options of networks that are small."""


def outputs(task: Task) -> Outputs:
    """With the usual activation."""
    return Outputs(count=task.outputs, activation="tanh" if task.kind == "regression" else "linear")


def built(name: str, task: Task, *options: str, seed: int = 0) -> tuple[Any, Any]:
    """A network and its module, whose norms are no identities."""
    import torch

    plugin = plugins.get("networks", name)
    network = plugin(plugins.parse_options(plugin, [*SMALL[name], *options], name), task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = network.build(plugin.weights(network.options, "random"), [outputs(task)])
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network, module.eval()


def saved(folder: Path, name: str, task: Task, *options: str, licence: str = "none") -> tuple[Any, Any]:
    """The same, saved."""
    network, module = built(name, task, *options)
    weights = replace(type(network).weights(network.options, "random"), licence=licence)
    folder.mkdir(parents=True, exist_ok=True)
    saved_module.save(folder, name, network, module, task, weights, [outputs(task)])
    return network, module


def finetune(cache: Cache, upstream: Artifact, name: str, task: str, *options: str, **about: Any) -> Artifact:
    """A finetune artifact over `upstream`; its splits are `about["splits"]`."""
    splits = about.pop("splits", {})
    inputs = {
        "stage": "finetune", "task": tasks.get(task).model_dump(mode="json"), "network": {"name": name},
        "test": [options, str(about)],
        "upstream": upstream.stage.fingerprint,
    }  # fmt: skip

    def write(folder: Path) -> None:
        saved(folder, name, tasks.get(task), *options, **about)
        score = {"metric": tasks.get(task).metric, "mean": 0.0, "deviation": 0.0}
        report = {
            "task": tasks.get(task).model_dump(mode="json"), "splits": splits, "val_score": score,
            "clips": {"left_out": []}, "epochs": 0, "units": {}, "parameters": 0,
            "weights": saved_module.weights_of(folder).about() | {"path": None},
        }  # fmt: skip
        (folder / "finetune.json").write_text(json.dumps(report))

    return cache.create_whole(
        "finetune", name, inputs, write, upstream=[upstream.path],
        extra={"features": [lineage(upstream)], "columns": ["values"]},
    )  # fmt: skip
