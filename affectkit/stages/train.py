"""Training a head: Cached features and labels -> a head, fitted on train clips and selected on val clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from affectkit import plugins, tasks
from affectkit.config import Config, Runtime, fingerprint, validate
from affectkit.devices import resolve
from affectkit.errors import UsageError
from affectkit.plugins import Epoch, Interrupted, Monitor
from affectkit.progress import display
from affectkit.stages import reports, smooth
from affectkit.stages import smooth as smooth_module
from affectkit.stages.reports import history_of
from affectkit.stages.resumable import Partly, Unfinished, fitted
from affectkit.stages.smooth import Choice
from affectkit.stages.training_data import AuxiliarySource, HeadData, head_data
from affectkit.stages.training_outcome import check_tensorboard, collapse, curves, outcome
from affectkit.store import Artifact, Cache, Features, ancestors
from affectkit.store.atomic import write_text
from affectkit.store.kinds import TRAINED, wrong_kind
from affectkit.tables.labels import Labels
from affectkit.tables.pooling import Pooling
from affectkit.tasks import Task

VERSION = 1
HEAD_FILE = "head.json"


class TrainConfig(Config):
    """What is computed. The head's own options (epochs, window, ...) are given by --option."""

    task: str = Field(description="a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file")
    head: str = Field("transformer", description="a head (affectkit list heads)")
    option: list[str] = Field([], description="an option of the head, key=value (repeatable)")
    label_pooling: Pooling = Field("midpoint", description="a feature row's label")
    seed: int = Field(0, ge=0, lt=1 << 32, description="first seed")
    seeds: int = Field(1, ge=1, le=100, description="heads to train, from consecutive seeds; predictions are averaged")
    split_by: Literal["clip", "subject"] = Field("clip", description="what --val-fraction keeps together")
    val_fraction: float | None = Field(None, gt=0, lt=1, description="validation share where no table says the split")
    smooth: Choice = Field("none", description="window over the raw scores of predictions in time, before softmax")
    half_width: Annotated[float, Field(ge=0, le=smooth_module.LONGEST)] | Literal["auto"] = Field(
        "auto", description="seconds that the window reaches to either side (auto: what is best on validation)"
    )
    refit: bool | None = Field(
        None,
        description="fit the chosen head again on train and val clips; val clips are still predicted by the head from "
        "before  [default: where it is fitted at once, without early stopping]",
    )


@dataclass(frozen=True)
class Trained:
    """The head's artifact and what it says of itself: the validation score of every seed, clips and rows used."""

    artifact: Artifact
    cached: bool
    report: dict[str, Any]


def train(
    cache: Cache, features: Sequence[Features], labels: Labels, config: TrainConfig, runtime: Runtime, *,
    device: str = "auto", splits: Path | None = None, out: Path | None = None, tensorboard: Path | None = None,
    auxiliary: Sequence[AuxiliarySource] = (), needs_val: bool = True,
) -> Trained:  # fmt: skip
    """Fit a head; its folder holds the weights of every seed, the split table, the history and the feature recipe.

    An interrupted training is gone on with by the same call (`Unfinished`). `needs_val`: raise UsageError where there
    are no val clips. Raises `Stopped` for Ctrl-C where there is a head already.
    """
    check_tensorboard(tensorboard)
    task = tasks.get(config.task)
    plugin = plugins.get("heads", config.head)
    options = plugins.parse_options(plugin, config.option, config.head)
    smooth_module.agree(config.smooth, config.half_width, task)
    data = head_data(features, labels, task, config, splits, auxiliary, needs_val=needs_val)
    can_refit = hasattr(plugin, "refitted")
    if config.refit and not can_refit:
        raise UsageError(
            f"--refit: {config.head} stops by the validation score, so it needs val clips that it is not fitted on; "
            "heads that are fitted at once (functionals, kernel-elm) can be fitted again"
        )
    refit = can_refit and config.refit is not False and bool(data.val)
    inputs = {
        "stage": "train-head",
        "version": VERSION,
        "task": task.model_dump(mode="json"),
        "head": plugins.identity(config.head, plugin, options),
        "seeds": [config.seed, config.seeds],
        "label_pooling": config.label_pooling,
        "data": data.digest,
        "upstream": [one.identity for one in features],
    }
    if auxiliary:
        inputs["auxiliary"] = [[one.features.identity, one.task.model_dump(mode="json")] for one in auxiliary]
    if refit:
        inputs["refit"] = True
    if getattr(plugins.instance("heads", config.head, plugin, options, task), "groups", False) and data.subjects:
        inputs["subjects"] = data.subjects
    if config.smooth != "none":
        inputs["smoothing"] = {"kind": config.smooth, "half_width": config.half_width}
    found = cache.find("train-head", config.head, inputs, out)
    state = Unfinished(cache.path("train-head", config.head, inputs, out), fingerprint(inputs))
    if found is not None:
        if not cache.dry:
            state.remove()
        return Trained(found, True, read_report(found))
    training = Training(plugin, options, task, data, config, resolve(device), runtime, state, tensorboard, refit)
    artifact, report = fitted(
        cache, "train-head", config.head, inputs, training.run, HEAD_FILE, state, out=out,
        upstream=[one.path for one in features],
        extra={"features": [lineage(one.artifact) for one in features], "columns": [one.column for one in features]},
    )  # fmt: skip
    return Trained(artifact, False, report)


def read_report(artifact: Artifact) -> dict[str, Any]:
    """What the head says of itself. Raises UsageError when the artifact is no head."""
    if artifact.stage.stage != "train-head":
        raise wrong_kind(artifact.path, artifact.stage.stage, *TRAINED)
    return reports.read_report(artifact.path / HEAD_FILE, reports.TrainedShape)


def lineage(artifact: Artifact) -> list[dict[str, Any]]:
    """The recipe of a feature artifact, media first: what `predict` replays on new clips."""
    return [
        {
            "stage": one.stage.stage,
            "config": one.stage.provenance.get("config"),
            "numerics": one.stage.numerics,
            "fingerprint": one.stage.fingerprint,
            "inputs": one.stage.inputs,
        }
        for one in (*ancestors(artifact), artifact)
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


HISTORY_FILE = "history.jsonl"
NOTICES_FILE = "notices.json"
REFITTED = "refitted"
"""Folder within a seed's, of the head that was fitted again on train and val clips."""


@dataclass(frozen=True, repr=False)
class Training:
    """What is trained on what, and how."""

    plugin: Any
    options: Config
    task: Task
    data: HeadData
    config: TrainConfig
    device: str
    runtime: Runtime
    state: Unfinished
    tensorboard: Path | None
    refit: bool = False

    def run(self, folder: Path) -> dict[str, Any]:
        """A folder `seed_N` for each seed, and the report on them.

        Raises `Partly` for Ctrl-C: then they are the seeds that are finished or, where none is, the first one's best.
        """
        scores: dict[int, float] = {}
        stopped: dict[str, int] = {}
        for seed in range(self.config.seed, self.config.seed + self.config.seeds):
            own = folder / f"seed_{seed}"
            try:
                if not self.state.take(own):
                    self._fit(seed, own)
                    self.state.keep(seed, own)
            except KeyboardInterrupt as stop:
                if scores:
                    shutil.rmtree(own, ignore_errors=True)
                    stopped = {"after_seeds": len(scores)}
                    break
                if not isinstance(stop, Interrupted):
                    raise
                stopped = {"after_epochs": len(stop.history)}
            scores[seed] = history_of(own / HISTORY_FILE)[-1].best
            if stopped:
                break
        report = self._report(scores, folder, bool(stopped))
        if stopped:
            raise Partly(report | {"stopped": stopped})
        return report

    def _fit(self, seed: int, folder: Path) -> None:
        """Train one seed and write its folder; on Ctrl-C, its best so far."""
        head = plugins.instance("heads", self.config.head, self.plugin, self.options, self.task)
        what, seeds = f"train-head {self.config.head}, seed {seed}", self.config.seeds
        if seeds > 1:
            what += f" ({seed - self.config.seed + 1} of {seeds})"
        with (
            curves(self.tensorboard, seed, self.task.metric) as log,
            _bar(what, self.runtime) as show,
        ):

            def monitor(epoch: Epoch) -> None:
                log(epoch)
                show(epoch)

            try:
                history = head.fit(
                    self.data.train, self.data.val, seed=seed, device=self.device, monitor=monitor,
                    auxiliary=self.data.auxiliary, state=self.state.training(seed),
                )  # fmt: skip
            except Interrupted as stop:
                _write(folder, head, stop.history)
                raise
        _write(folder, head, history)
        if left_out := list(getattr(head, "notices", ())):
            write_text(folder / NOTICES_FILE, json.dumps(left_out))
        if self.refit:
            again = head.refitted([*self.data.train, *self.data.val], seed=seed, device=self.device)
            (folder / REFITTED).mkdir()
            again.save(folder / REFITTED)

    def _report(self, scores: dict[int, float], folder: Path, stopped: bool) -> dict[str, Any]:
        histories = {str(seed): history_of(folder / f"seed_{seed}" / HISTORY_FILE) for seed in scores}
        metric = self.task.metric
        training = {seed: outcome(history, metric, stopped) for seed, history in histories.items()}
        fallen = {seed: collapse(history, metric) for seed, history in histories.items()}
        several = len(scores) > 1
        report: dict[str, Any] = {
            "task": self.task.model_dump(mode="json"),
            "val_score": self._val_score(scores),
            "training": training,
            "refit": self.refit,
            "fitted_splits": ["train", "val"] if self.refit else ["train"],
            "clips": {"train": len(self.data.train), "val": len(self.data.val), "left_out": self.data.warnings},
            "cautions": [
                *self.data.warnings,
                *self.data.cautions,
                *_notices(folder / f"seed_{next(iter(scores))}"),
                *(f"seed {seed}: {line}" if several else line for seed, line in fallen.items() if line),
            ],
            "splits": self.data.splits,
        }
        if self.config.smooth != "none" and not self.data.val:
            report["smoothing"] = {"kind": self.config.smooth, "half_width": self.config.half_width, "val": {}}
        elif self.config.smooth != "none":
            bare = [replace(one, labels=None) for one in self.data.val]
            folders = [folder / f"seed_{seed}" for seed in scores]
            heads = [plugins.loaded("heads", self.config.head, self.plugin, one, self.task) for one in folders]
            raw = [head.predict(bare, device=self.device) for head in heads]
            chosen = smooth.choose(self.task, self.data.val, raw, self.config.smooth, self.config.half_width)
            report["smoothing"] = chosen
        return report

    def _val_score(self, scores: dict[int, float]) -> dict[str, Any]:
        """Over the seeds; of the heads that were fitted on train clips alone. None where there are no val clips."""
        if not self.data.val:
            return {"metric": self.task.metric, "mean": None, "deviation": None, "seeds": {}}
        values = np.array(list(scores.values()))
        about = {"mean": float(values.mean()), "deviation": float(values.std()), "seeds": scores}
        return {"metric": self.task.metric, **about}


def _write(folder: Path, head: Any, history: Sequence[Epoch]) -> None:
    folder.mkdir()
    head.save(folder)
    write_text(folder / HISTORY_FILE, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))


def _notices(folder: Path) -> list[str]:
    """What a seed's head left out of its training clips."""
    return reports.lines_of(folder / NOTICES_FILE) if (folder / NOTICES_FILE).exists() else []


@contextmanager
def _bar(what: str, runtime: Runtime) -> Iterator[Monitor]:
    """A monitor that shows epochs, loss, scores and the time left if none is saved by stopping early."""
    with display(what, runtime.progress) as shown:
        shown.show(0.0, "epoch 1")

        def monitor(epoch: Epoch) -> None:
            scores = f"loss {epoch.loss:.4f}, val {epoch.score:.4f}, best {epoch.best:.4f}"
            shown.show(epoch.epoch / epoch.epochs, f"epoch {epoch.epoch} of {epoch.epochs}, {scores}")

        yield monitor
