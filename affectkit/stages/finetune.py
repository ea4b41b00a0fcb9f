"""`affectkit finetune`: Train a backbone and its head together, on cached crops or waveforms.

Cached crops or waveforms and labels -> a backbone and its head, trained together.

The folder holds `network.json` and `network.safetensors` (see `learning.saved`), `finetune.json` (what became of it:
scores, clips, units, the split table) and `history.jsonl`. Several GPUs train together where torchrun starts it; then
process 0 writes, and the artifact names how many there were, since they make the batches larger.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from affectkit import plugins, tasks
from affectkit.config import Config, Runtime, fingerprint
from affectkit.devices import keep_memory, resolve
from affectkit.learning import saved
from affectkit.learning.processes import Processes
from affectkit.plugins import Epoch, Interrupted, Network, Units
from affectkit.prefetch import worker_count
from affectkit.stages import reports
from affectkit.stages.batches import Lengths
from affectkit.stages.embed import notices as about_licence
from affectkit.stages.inputs import artifacts, auxiliary, file, labels, splits
from affectkit.stages.resumable import Partly, Unfinished, fitted
from affectkit.stages.stage import TRAINING, TRAINING_KEPT, Context, Result, Stage, TextTable
from affectkit.stages.train import Trained, lineage
from affectkit.stages.training_data import AuxiliarySource, NetworkData, network_data
from affectkit.stages.training_outcome import check_tensorboard, collapse, curves, outcome, training_said
from affectkit.stages.tune import watched
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import write_text
from affectkit.store.kinds import wrong_kind
from affectkit.tables.labels import Labels
from affectkit.tables.pooling import Pooling
from affectkit.tasks import Task
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from affectkit.training.parallel import World


VERSION = 1
NAME = "finetune"
REPORT_FILE = "finetune.json"
HISTORY_FILE = "history.jsonl"
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


def finetune(
    cache: Cache, upstream: Artifact, labels: Labels, config: FinetuneConfig, runtime: Runtime, *,
    device: str = "auto", splits: Path | None = None, out: Path | None = None, tensorboard: Path | None = None,
    auxiliary: Sequence[AuxiliarySource] = (), clips: Iterable[str] | None = None,
) -> Trained:  # fmt: skip
    """Train a network on an artifact's clips, or on some of its `clips`.

    An interrupted training is gone on with by the same call. Auxiliary tasks come from faces or audio artifacts of
    their own. Raises `Stopped` for Ctrl-C where there is a network already.
    """
    check_tensorboard(tensorboard)
    processes = Processes.here()
    task = tasks.get(config.task)
    plugin = plugins.get("networks", config.network)
    options = plugins.parse_options(plugin, config.option, config.network)
    data = network_data(upstream, labels, task, plugin.kind, config.network, config, splits, auxiliary, clips)
    weights = plugins.weights("networks", config.network, plugin, options, config.weights)
    inputs: dict[str, Any] = {
        "stage": NAME,
        "version": VERSION,
        "task": task.model_dump(mode="json"),
        "network": plugins.identity(config.network, plugin, options),
        "weights": weights.sha256,
        "seed": config.seed,
        "label_pooling": config.label_pooling,
        "data": data.digest,
        "upstream": upstream.stage.fingerprint,
        **({"decoder": f"pillow-{version('pillow')}"} if plugin.kind == "image" else {}),
        **({"auxiliary": [one.model_dump(mode="json") for one in data.tasks]} if auxiliary else {}),
        **({"processes": processes.count} if processes.count > 1 else {}),
        **_short_windows(plugin, options, data),
    }
    found = cache.find(NAME, config.network, inputs, out)
    state = Unfinished(cache.path(NAME, config.network, inputs, out), fingerprint(inputs))
    if found is not None:
        if processes.first and not cache.dry:
            state.remove()
        return Trained(found, True, read_report(found))
    from affectkit.training import precision
    from affectkit.training.parallel import joined

    keep_memory()
    network = plugins.instance("networks", config.network, plugin, options, task)
    place = processes.device(resolve(device))
    precision.check(network.options.precision, place)  # before a state that was begun on a GPU is touched
    with joined(processes, resolve(place)) as world:
        tuning = _Finetuning(plugin, network, weights, data, config, runtime, state, tensorboard, world)
        if not world.first:
            tuning.follow()
            return Trained(upstream, False, {})  # process 0 has the artifact
        artifact, report = fitted(
            cache, NAME, config.network, inputs, tuning.run, REPORT_FILE, state, out=out, upstream=[upstream.path],
            extra={
                "features": [lineage(upstream)], "columns": [_COLUMNS[plugin.kind]],
                "config": config.model_dump(mode="json"), "weights": weights.about(), "device": place,
            },
        )  # fmt: skip
    return Trained(artifact, False, report)


def read_report(artifact: Artifact) -> dict[str, Any]:
    """What became of it. Raises UsageError when the artifact is no fine-tuned network."""
    if artifact.stage.stage != NAME:
        raise wrong_kind(artifact.path, artifact.stage.stage, NAME)
    return reports.read_report(artifact.path / REPORT_FILE, reports.FinetunedShape)


@dataclass(frozen=True, repr=False)
class _Finetuning:
    """What is trained on what, and how."""

    plugin: Any
    network: Network
    weights: WeightsFile
    data: NetworkData
    config: FinetuneConfig
    runtime: Runtime
    state: Unfinished
    tensorboard: Path | None
    world: World

    @property
    def tasks(self) -> list[Task]:
        return [self.network.task, *self.data.tasks]

    def follow(self) -> None:
        """Train beside process 0, which does the rest."""
        self._train(None)

    def run(self, folder: Path) -> dict[str, Any]:
        """Train, and write what was learnt; the report. Raises `Partly` for Ctrl-C, with the best so far written."""
        return self._train(folder)

    def _train(self, folder: Path | None) -> dict[str, Any]:
        from affectkit.learning import output_layer
        from affectkit.nets.joints import scale_outputs
        from affectkit.training.engine import seeded

        network, options, world = self.network, self.network.options, self.world
        units, held = self.data.units(network, self.plugin, self.config.label_pooling)
        labels = [_known(one) for one in units]
        outputs = output_layer.chosen(options.output, self.tasks, labels)
        with seeded(self.config.seed, world.device):
            module = network.build(self.weights, outputs)
            scale_outputs(module.output, self.tasks, labels)
            module = world.joined_norms(module).to(world.device)
            parameters = network.blocks(module)
            stopped: dict[str, int] = {}
            try:
                history = self._tune(module, parameters, units, held)
            except Interrupted as stop:
                if world.size > 1:  # torchrun passes Ctrl-C on to those who have had it from the terminal
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                history, stopped = stop.history, {"after_epochs": len(stop.history)}
        if folder is None:
            if stopped:
                raise KeyboardInterrupt
            return {}
        saved.save(folder, self.config.network, network, module, self.tasks[0], self.weights, outputs, self.tasks[1:])
        write_text(folder / HISTORY_FILE, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))
        report = self._report(history, module, [len(one) for one in (*units, held)], bool(stopped))
        if stopped:
            raise Partly(report | {"stopped": stopped})
        return report

    def _tune(self, module: Any, parameters: Any, units: Sequence[Units], held: Units) -> list[Epoch]:
        from affectkit.training.tuning import Tuning, tune

        first, options, seed = self.world.first, self.network.options, self.config.seed
        show = self.runtime.progress if first else False
        with (
            curves(self.tensorboard if first else None, seed, self.tasks[0].metric) as log,
            watched(self.config.network, _UNITS[self.plugin.kind], options.epochs, show) as shown,
        ):

            def monitor(epoch: Epoch) -> None:
                log(epoch)
                shown.epoch(epoch)

            tuning = Tuning(
                module, parameters, self.tasks, units, held, options, seed, self.world, worker_count(self.runtime),
                monitor, shown.step,
            )  # fmt: skip
            return tune(tuning, self.state.training(seed))

    def _report(
        self, history: Sequence[Epoch], module: Any, units: Sequence[int], stopped: bool
    ) -> dict[str, Any]:  # fmt: skip
        used, task, best = self.data.used, self.tasks[0], history[-1].best
        trained = {id(one) for block in self.network.blocks(module) for one in block}
        along = [{"task": one.task.name, "clips": len(one.clips)} for one in self.data.auxiliary]
        return {
            "task": task.model_dump(mode="json"),
            "network": self.config.network,
            "val_score": {"metric": task.metric, "mean": best, "deviation": 0.0, "seeds": {self.config.seed: best}},
            "epochs": len(history),
            "training": {str(self.config.seed): outcome(history, task.metric, stopped)},
            "clips": {"train": len(used.train), "val": len(used.val), "left_out": used.warnings},
            "units": {"train": units[0], "val": units[-1]},
            "auxiliary": [one | {"units": count} for one, count in zip(along, units[1:-1], strict=True)],
            "parameters": sum(one.numel() for one in module.parameters() if id(one) in trained),
            "weights": self.weights.about(),
            "processes": self.world.size,
            "cautions": [
                *used.warnings,
                *used.cautions,
                *self._cautions(),
                *([line] if (line := collapse(history, task.metric)) else []),
            ],
            "splits": used.splits,
        }

    def _cautions(self) -> list[str]:
        if self.plugin.kind != "audio":
            return []
        clips = [*self.data.used.train, *self.data.used.val]
        return Lengths.of(self.data.upstream, clips).notices(self.network.options.windowing)


def _short_windows(plugin: Any, options: Any, data: NetworkData) -> dict[str, int]:
    """What tells a training that keeps the only window of short clips from one that left such clips out; nothing where
    there are none."""
    if plugin.kind != "audio":
        return {}
    used = [
        (data.upstream, [*data.used.train, *data.used.val]),
        *((one.upstream, one.clips) for one in data.auxiliary),
    ]
    short = sum(len(Lengths.of(upstream, clips).short(options.windowing)) for upstream, clips in used)
    return {"short_windows": short} if short else {}


def _known(units: Any) -> Any:
    """[N,K] the labels of the rows that units are about, without those that are unlabelled."""

    labels = units.labels[np.unique(units.targets[units.targets >= 0])]
    return labels[np.isfinite(labels).all(axis=1)]


class Finetune(Stage):
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
    Config = FinetuneConfig
    plugin = ("networks", "network")
    runtime = ("workers",)
    has_device = True
    kept = TRAINING_KEPT

    @dataclass(frozen=True)
    class Inputs:
        """Crops or sound, and labels."""

        artifact: Artifact = artifacts(
            "crops", "sound", help="what extract faces printed, or extract audio for a network that listens"
        )
        labels: Labels = labels()
        splits: Path | None = splits()
        aux: Sequence[AuxiliarySource] = auxiliary("crops", "sound")
        tensorboard: Path | None = file(
            "write training curves there for TensorBoard",
            kind="made",
            metavar="DIR",
            in_recipes=False,
            panel=TRAINING,
        )

    def run(self, inputs: Inputs, config: FinetuneConfig, context: Context) -> Result:
        done = finetune(
            context.cache, inputs.artifact, inputs.labels, config, context.runtime, device=context.device,
            splits=inputs.splits, out=context.out, tensorboard=inputs.tensorboard, auxiliary=inputs.aux,
        )  # fmt: skip
        return Result(done.artifact.path, done.artifact, done.cached, done.report)

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
