"""`affectkit finetune`: Train a backbone and its head together, on cached crops or waveforms.

Cached crops or waveforms and labels -> a backbone and its head, trained together.

The folder holds `network.json` and `network.safetensors` (see `learning.saved`), `finetune.json` (what became of it:
scores, clips, units, the split table) and `history.jsonl`. Several GPUs train together where torchrun starts it; then
process 0 writes, and the artifact names how many there were, since they make the batches larger.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from affectkit import plugins, tasks
from affectkit.config import Config
from affectkit.devices import keep_memory
from affectkit.devices import resolve as resolve_device
from affectkit.learning import saved
from affectkit.learning.processes import Processes
from affectkit.plugins import Epoch, Interrupted, Network, Units
from affectkit.prefetch import worker_count
from affectkit.stages.batches import Lengths
from affectkit.stages.embed import notices as about_licence
from affectkit.stages.fit_stage import Report
from affectkit.stages.inputs import artifacts, auxiliary, labels, splits
from affectkit.stages.reports import HISTORY_FILE, FinetunedShape, write_history
from affectkit.stages.resumable import Partly, ResumableStage, Unfinished
from affectkit.stages.stage import Context, Result, TextTable
from affectkit.stages.trained import lineage
from affectkit.stages.training_data import AuxiliarySource, NetworkData, network_data
from affectkit.stages.training_outcome import check_tensorboard, collapse, curves, outcome, tensorboard, training_said
from affectkit.stages.tune import watched
from affectkit.store import Artifact
from affectkit.tables.labels import Labels
from affectkit.tables.pooling import Pooling
from affectkit.tasks import Task
from affectkit.types import Floats
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from affectkit.training.parallel import World


_COLUMNS = {"image": "image", "audio": "samples"}
_UNITS = {"image": "images", "audio": "windows"}


class FinetuneConfig(Config):
    """What is computed. The network's own options (epochs, backbone, ...) are given by --option."""

    task: str = Field(description="a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file")
    network: str = Field("static", description="a network (affectkit list networks)")
    option: list[str] = Field([], description="an option of the network, key=value (repeatable)")
    weights: str = Field("auto", description="what training starts from: auto, a file, or random")
    label_pooling: Pooling = Field("midpoint", description="a crop's or a score's label")
    seed: int = Field(0, ge=0, lt=1 << 32, description="of all that is drawn")
    split_by: Literal["clip", "subject"] = Field("clip", description="what --val-fraction keeps together")
    val_fraction: float | None = Field(None, gt=0, lt=1, description="validation share where no table says the split")


@dataclass(frozen=True, repr=False)
class Resolved:
    """What is trained on what. `world`: the processes, once they have joined."""

    inputs: Finetune.Inputs
    config: FinetuneConfig
    plugin: Any
    options: Config
    network: Network
    weights: WeightsFile
    data: NetworkData
    processes: Processes
    world: World | None = None

    @property
    def tasks(self) -> list[Task]:
        """The network's task, and those that are learnt along."""
        return [self.network.task, *self.data.tasks]


class Finetune(ResumableStage):
    """Train a backbone and its head together, on cached crops or waveforms: on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best so far can be used.
    `embed --weights` and `predict` take what is printed. On several GPUs, torchrun starts a process for each.

    Examples:

    `affectkit finetune "$FACES" --labels expr.csv --task expr -o preset=sun -o backbone=tf_efficientnet_b1.in1k`

    `affectkit finetune "$FACES" --labels va.csv --task va -o loss=log-cosh -o unfreeze_epochs=2 -o layer_decay=0.85`

    `affectkit finetune "$FACES" --labels expr.csv --task expr -o batch_size=16 -o accumulate=4 -o precision=bfloat16`

    `affectkit finetune "$SOUND" --labels va.csv --task va --network speech -o trainable_blocks=4`

    `affectkit finetune "$FACES" --labels ce.csv --task compound --network pyramid --aux "$DFEW":va.csv:dfew-va.toml`

    `torchrun --nproc-per-node 4 -m affectkit finetune "$FACES" --labels va.csv --task va`
    """

    name = "finetune"
    makes = "network"
    says = "{plugin}, trained whole for {task} on {inputs}"
    version = 1
    file = "finetune.json"
    shape = FinetunedShape
    Config = FinetuneConfig
    plugin = ("networks", "network")
    runtime = ("workers",)

    @dataclass(frozen=True)
    class Inputs:
        """Crops or sound, and labels."""

        artifact: Artifact = artifacts(
            "crops", "sound", help="what extract faces printed, or extract audio for a network that listens"
        )
        labels: Labels = labels()
        splits: Path | None = splits()
        aux: Sequence[AuxiliarySource] = auxiliary("crops", "sound")
        tensorboard: Path | None = tensorboard()

    def resolve(self, inputs: Inputs, config: FinetuneConfig) -> Resolved:
        check_tensorboard(inputs.tensorboard)
        processes = Processes.here()
        task = tasks.get(config.task)
        plugin = plugins.get("networks", config.network)
        options = plugins.parse_options(plugin, config.option, config.network)
        data = network_data(
            inputs.artifact, inputs.labels, task, plugin.kind, config.network, config, inputs.splits, inputs.aux
        )
        weights = plugins.weights("networks", config.network, plugin, options, config.weights)
        network = plugins.instance("networks", config.network, plugin, options, task)
        return Resolved(inputs, config, plugin, options, network, weights, data, processes)

    def called(self, resolved: Resolved) -> str:
        return resolved.config.network

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        config, plugin, data, processes = resolved.config, resolved.plugin, resolved.data, resolved.processes.count
        return {
            "task": resolved.network.task.model_dump(mode="json"),
            "network": plugins.identity(config.network, plugin, resolved.options),
            "weights": resolved.weights.sha256,
            "seed": config.seed,
            "label_pooling": config.label_pooling,
            "data": data.digest,
            "upstream": data.upstream.stage.fingerprint,
            **({"decoder": f"pillow-{version('pillow')}"} if plugin.kind == "image" else {}),
            **({"auxiliary": [task.model_dump(mode="json") for task in data.tasks]} if data.tasks else {}),
            **({"processes": processes} if processes > 1 else {}),
            **_short_windows(plugin, resolved.options, data),
        }

    def upstream(self, resolved: Resolved) -> list[Path]:
        return [resolved.data.upstream.path]

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        assert resolved.world is not None
        return {
            "features": [lineage(resolved.data.upstream)], "columns": [_COLUMNS[resolved.plugin.kind]],
            "config": resolved.config.model_dump(mode="json"), "weights": resolved.weights.about(),
            "device": resolved.world.device,
        }  # fmt: skip

    def make(self, resolved: Resolved, identity: dict[str, Any], context: Context) -> Result:
        """Train in all processes, of which the first one makes the artifact; the others return what they read."""
        from affectkit.training import precision
        from affectkit.training.parallel import joined

        keep_memory()
        device = resolved.processes.device(resolve_device(context.device))
        precision.check(resolved.network.options.precision, device)  # before a state that was begun on a GPU is touched
        with joined(resolved.processes, resolve_device(device)) as world:
            resolved, context = replace(resolved, world=world), replace(context, device=device)
            if world.first:
                return super().make(resolved, identity, context)
            self.train(resolved, context, None, self.state(resolved, identity, context))
            return Result(resolved.data.upstream.path, resolved.data.upstream)

    def train(self, resolved: Resolved, context: Context, folder: Path | None, state: Unfinished) -> Report:
        """Train, and write the network and its history; without a folder, beside process 0, which does the rest."""
        from affectkit.learning import output_layer
        from affectkit.nets.joints import scale_outputs
        from affectkit.training.engine import seeded

        network, world, config = resolved.network, resolved.world, resolved.config
        assert world is not None
        task, *learnt_along = resolved.tasks
        units, held = resolved.data.units(network, resolved.plugin, config.label_pooling)
        labels = [_row_labels(each) for each in units]
        outputs = output_layer.chosen(network.options.output, resolved.tasks, labels)
        with seeded(config.seed, world.device):
            module = network.build(resolved.weights, outputs)
            scale_outputs(module.output, resolved.tasks, labels)
            module = world.joined_norms(module).to(world.device)
            parameters = network.blocks(module)
            stopped: dict[str, int] = {}
            try:
                history = _tune(resolved, context, world, module, parameters, units, held, state)
            except Interrupted as stop:
                if world.size > 1:  # torchrun passes Ctrl-C on to those who have had it from the terminal
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                history, stopped = stop.history, {"after_epochs": len(stop.history)}
        if folder is None:
            if stopped:
                raise KeyboardInterrupt
            return {}
        saved.save(folder, config.network, network, module, task, resolved.weights, outputs, learnt_along)
        write_history(folder / HISTORY_FILE, history)
        trained = {id(parameter) for block in network.blocks(module) for parameter in block}
        parameter_count = sum(each.numel() for each in module.parameters() if id(each) in trained)
        report = _report(resolved, history, parameter_count, [len(each) for each in (*units, held)], bool(stopped))
        if stopped:
            raise Partly(report | {"stopped": stopped})
        return report

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        yield from training_said(report)
        yield from (f"note: {notice}" for notice in about_licence(WeightsFile(**report["weights"])))
        score = report["val_score"]
        yield f"val {score['metric']} {score['mean']:.4f} after {report['epochs']} epochs"

    def json(self, result: Result) -> dict[str, Any]:
        told = ("val_score", "epochs", "clips", "units", "parameters", "training", "cautions")
        about = {name: result.report[name] for name in told if name in result.report}
        return {"artifact": str(result.path), "cached": result.cached, **about}


STAGE = Finetune


def _tune(
    resolved: Resolved, context: Context, world: World, module: Any, parameters: Any, units: Sequence[Units],
    held: Units, state: Unfinished,
) -> list[Epoch]:  # fmt: skip
    from affectkit.training.tuning import Tuning, tune

    options, seed, kind = resolved.network.options, resolved.config.seed, resolved.plugin.kind
    show, curves_folder = (context.runtime.progress, resolved.inputs.tensorboard) if world.first else (False, None)
    with (
        watched(resolved.config.network, _UNITS[kind], options.epochs, show) as shown,
        curves(curves_folder, seed, resolved.network.task.metric, shown.epoch) as monitor,
    ):
        tuning = Tuning(
            module, parameters, resolved.tasks, units, held, options, seed, world, worker_count(context.runtime),
            monitor, shown.step,
        )  # fmt: skip
        return tune(tuning, state.training(seed))


def _report(
    resolved: Resolved, history: Sequence[Epoch], parameters: int, units: Sequence[int], stopped: bool
) -> Report:
    """What became of a training of so many parameters; `units`: those of each task's training clips, then of val."""
    used, task, seed, best = resolved.data.used, resolved.network.task, resolved.config.seed, history[-1].best
    collapsed = collapse(history, task.metric)
    return {
        "task": task.model_dump(mode="json"),
        "network": resolved.config.network,
        "val_score": {"metric": task.metric, "mean": best, "deviation": 0.0, "seeds": {seed: best}},
        "epochs": len(history),
        "training": {str(seed): outcome(history, task.metric, stopped)},
        "clips": {"train": len(used.train), "val": len(used.val), "left_out": used.warnings},
        "units": {"train": units[0], "val": units[-1]},
        "auxiliary": [
            {"task": each.task.name, "clips": len(each.clips), "units": count}
            for each, count in zip(resolved.data.auxiliary, units[1:-1], strict=True)
        ],
        "parameters": parameters,
        "weights": resolved.weights.about(),
        "processes": resolved.processes.count,
        "cautions": [*used.warnings, *used.cautions, *_cautions(resolved), *([collapsed] if collapsed else [])],
        "splits": used.splits,
    }


def _cautions(resolved: Resolved) -> list[str]:
    if resolved.plugin.kind != "audio":
        return []
    clips = [*resolved.data.used.train, *resolved.data.used.val]
    return Lengths.of(resolved.data.upstream, clips).notices(resolved.network.options.windowing)


def _short_windows(plugin: Any, options: Any, data: NetworkData) -> dict[str, int]:
    """What tells a training that keeps the only window of short clips from one that left such clips out; nothing where
    there are none."""
    if plugin.kind != "audio":
        return {}
    used = [
        (data.upstream, [*data.used.train, *data.used.val]),
        *((each.upstream, each.clips) for each in data.auxiliary),
    ]
    short = sum(len(Lengths.of(upstream, clips).short(options.windowing)) for upstream, clips in used)
    return {"short_windows": short} if short else {}


def _row_labels(units: Units) -> Floats:
    """[N,K] the labels of the rows that units are about, without those that are unlabelled."""
    labels = units.labels[np.unique(units.targets[units.targets >= 0])]
    return labels[np.isfinite(labels).all(axis=1)]
