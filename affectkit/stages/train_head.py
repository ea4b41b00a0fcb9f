"""`affectkit train-head`: Train a light head on cached features."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from affectkit import plugins, tasks
from affectkit.config import Config, Runtime
from affectkit.errors import UsageError
from affectkit.plugins import Epoch, Interrupted, Monitor
from affectkit.progress import display
from affectkit.stages import quality_gates
from affectkit.stages import smooth as smoothing
from affectkit.stages.fit_stage import Report
from affectkit.stages.inputs import artifacts, auxiliary, labels, splits, value
from affectkit.stages.reports import HISTORY_FILE, TrainedShape, history_of, lines_of, write_history
from affectkit.stages.resumable import KeptOnInterrupt, Partly, ResumableStage, Unfinished
from affectkit.stages.stage import TRAINING, Context, Result, TextTable
from affectkit.stages.trained import REFITTED, lineage
from affectkit.stages.training_data import AuxiliarySource, HeadData, head_data
from affectkit.stages.training_outcome import check_tensorboard, collapse, curves, outcome, tensorboard, training_said
from affectkit.store import Features
from affectkit.store.atomic import write_text
from affectkit.tables.labels import Labels
from affectkit.tables.pooling import Pooling
from affectkit.tasks import Task

NOTICES_FILE = "notices.json"
_SAID = ("training", "refit", "cautions")


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
    smooth: smoothing.Choice = Field(
        "none",
        description="none, or a hamming, box, median or gaussian window over the raw scores of predictions in time, "
        "before softmax",
    )
    half_width: Annotated[float, Field(ge=0, le=smoothing.LONGEST)] | Literal["auto"] = Field(
        "auto", description="seconds that the window reaches to either side (auto: what is best on validation)"
    )
    refit: bool | None = Field(
        None,
        description="fit the chosen head again on train and val clips; val clips are still predicted by the head from "
        "before  [default: where it is fitted at once, without early stopping]",
    )


@dataclass(frozen=True, repr=False)
class Resolved:
    """What is trained on what. `refit`: again, on train and val clips."""

    inputs: TrainHead.Inputs
    config: TrainConfig
    task: Task
    plugin: Any
    options: Config
    data: HeadData
    refit: bool

    def head(self) -> Any:
        """A head that is still to be fitted."""
        return plugins.instance("heads", self.config.head, self.plugin, self.options, self.task)


class TrainHead(ResumableStage):
    """Train a light head on cached features: fitted on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best head so far can be used.

    Examples:

    `affectkit train-head "$FEATURES" --labels va.csv --task va --head transformer`

    `affectkit train-head "$FEATURES" --labels eri.csv --task eri --head lstm -o hidden=64 --seeds 3`

    `affectkit train-head "$FEATURES" --labels expr.csv --task expr --aux "$FEATURES":va.csv:va`

    `affectkit train-head "$FEATURES" --labels dfew.csv --task dfew --head gru --folds 5 --split-by subject`

    `affectkit train-head "$FEATURES" --labels va.csv --task va --tune 3 --search window=2,4,8 --smooth hamming`
    """

    name = "train-head"
    makes = "head"
    says = "{plugin} for {task} on {inputs}"
    version = 1
    file = "head.json"
    shape = TrainedShape
    Config = TrainConfig
    plugin = ("heads", "head")

    @dataclass(frozen=True)
    class Inputs:
        """Features and labels, and whether to search options or to cross-validate."""

        features: Sequence[Features] = artifacts(
            "features", help="feature artifacts, or PATH:layer_07 for one of several layers", many=True,
            metavar="FEATURES",
        )  # fmt: skip
        labels: Labels = labels()
        splits: Path | None = splits()
        aux: Sequence[AuxiliarySource] = auxiliary("features")
        face_quality: Features | None = quality_gates.face_quality()
        min_face_size: float | None = quality_gates.limit("min_face_size")
        max_yaw: float | None = quality_gates.limit("max_yaw")
        min_sharpness: float | None = quality_gates.limit("min_sharpness")
        folds: int | None = value(
            int, None, "cross-validate instead: every clip is predicted by the head of the fold it is out of",
            least_value=2, most_value=1000, in_recipes=False, panel=TRAINING,
        )  # fmt: skip
        trials: int | None = value(
            int, None, "search the head's options on the validation clips first, N trials; -o fixes an option",
            least_value=1, most_value=100_000, option_name="--tune", metavar="N", in_recipes=False, panel=TRAINING,
        )  # fmt: skip
        search: Sequence[str] = value(
            str, (), "with --tune, what to search: low..high[:log] or a,b,c (all lists: every combination; repeatable)",
            metavar="KEY=VALUES", many=True, in_recipes=False, panel=TRAINING,
        )  # fmt: skip
        tensorboard: Path | None = tensorboard()

    def __init__(self, needs_val: bool = True) -> None:
        """needs_val: whether features without a val clip are refused."""
        self.needs_val = needs_val

    def run(self, inputs: Inputs, config: TrainConfig, context: Context) -> Result:
        """Cross-validate where folds are given; else train, by the options that are best where they are searched."""
        if inputs.search and not inputs.trials:
            raise UsageError("--search says what --tune N searches: give --tune as well")
        inputs = _through_gates(inputs)
        if inputs.folds:
            from affectkit.stages.cross_validate import CrossValidate

            with KeptOnInterrupt(
                "the folds that are finished, and the fold under way; the same command goes on from there"
            ):
                return CrossValidate().run(inputs, config, context)
        if not inputs.trials:
            return super().run(inputs, config, context)
        from affectkit.stages.tune import tune

        with KeptOnInterrupt("the trials that are finished; the same command goes on from there"):
            tuned = tune(
                context.cache, inputs.features, inputs.labels, config, context.runtime, trials=inputs.trials,
                search=list(inputs.search), device=context.device, splits=inputs.splits, auxiliary=inputs.aux,
            )  # fmt: skip
        result = super().run(inputs, tuned.config, context)
        return replace(result, report={**result.report, "tuned": tuned.report, "lines": list(tuned.lines())})

    def resolve(self, inputs: Inputs, config: TrainConfig) -> Resolved:
        check_tensorboard(inputs.tensorboard)
        inputs = _through_gates(inputs)
        task = tasks.get(config.task)
        plugin = plugins.get("heads", config.head)
        options = plugins.parse_options(plugin, config.option, config.head)
        smoothing.agree(config.smooth, config.half_width, task)
        data = head_data(
            inputs.features, inputs.labels, task, config, inputs.splits, inputs.aux, needs_val=self.needs_val
        )
        can_refit = hasattr(plugin, "refitted")
        if config.refit and not can_refit:
            raise UsageError(
                f"--refit: {config.head} stops by the validation score, so it needs val clips that it is not fitted "
                "on; heads that are fitted at once (functionals, kernel-elm) can be fitted again"
            )
        refit = can_refit and config.refit is not False and bool(data.val)
        return Resolved(inputs, config, task, plugin, options, data, refit)

    def called(self, resolved: Resolved) -> str:
        return resolved.config.head

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        inputs, config, data = resolved.inputs, resolved.config, resolved.data
        identity: dict[str, Any] = {
            "task": resolved.task.model_dump(mode="json"),
            "head": plugins.identity(config.head, resolved.plugin, resolved.options),
            "seeds": [config.seed, config.seeds],
            "label_pooling": config.label_pooling,
            "data": data.digest,
            "upstream": [features.identity for features in inputs.features],
        }
        if inputs.aux:
            identity["auxiliary"] = [[aux.features.identity, aux.task.model_dump(mode="json")] for aux in inputs.aux]
        if resolved.refit:
            identity["refit"] = True
        if data.subjects and getattr(resolved.head(), "groups", False):
            identity["subjects"] = data.subjects
        if config.smooth != "none":
            identity["smoothing"] = {"kind": config.smooth, "half_width": config.half_width}
        return identity

    def upstream(self, resolved: Resolved) -> list[Path]:
        gates = quality_gates.of(resolved.inputs.features)
        measured = [] if gates is None else [gates.measured.path]
        return [*(features.path for features in resolved.inputs.features), *measured]

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        features = resolved.inputs.features
        return {
            **super().provenance(resolved),
            "features": [lineage(each.artifact) for each in features],
            "columns": [each.name for each in features],
            **({} if (gates := quality_gates.of(features)) is None else {"quality_gates": gates.about()}),
        }

    def train(self, resolved: Resolved, context: Context, folder: Path, state: Unfinished) -> Report:
        """Fill a folder `seed_N` for each seed with its weights and history; the report has the split table.

        Raises `Partly` for Ctrl-C: then they are the seeds that are finished or, where none is, the first one's best.
        """
        first_seed, seeds = resolved.config.seed, resolved.config.seeds
        scores: dict[int, float] = {}
        stopped: dict[str, int] = {}
        for seed in range(first_seed, first_seed + seeds):
            seed_folder = folder / f"seed_{seed}"
            try:
                if not state.take(seed_folder):
                    _fit(resolved, context, seed, seed_folder, state.training(seed))
                    state.keep(seed, seed_folder)
            except KeyboardInterrupt as stop:
                if scores:
                    shutil.rmtree(seed_folder, ignore_errors=True)
                    stopped = {"after_seeds": len(scores)}
                    break
                if not isinstance(stop, Interrupted):
                    raise
                stopped = {"after_epochs": len(stop.history)}
            scores[seed] = history_of(seed_folder / HISTORY_FILE)[-1].best
            if stopped:
                break
        report = _report(resolved, context, scores, folder, bool(stopped))
        if stopped:
            raise Partly(report | {"stopped": stopped})
        return report

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        if "folds" in report:
            from affectkit.stages.cross_validate import CrossValidate

            yield from CrossValidate().lines(result)
            return
        yield from report.get("lines", ())
        score = report["val_score"]
        yield from training_said(report)
        several = len(report.get("seeds", ())) > 1 or score["deviation"]
        yield f"val {score['metric']} {score['mean']:.4f}" + (f" ± {score['deviation']:.4f}" if several else "")
        if report.get("refit"):
            yield (
                "fitted again on train and val clips; the val score, and predictions of val clips, are of the head "
                "before"
            )
        if smoothing := report.get("smoothing"):
            width, scores = smoothing["half_width"], smoothing["val"]
            yield (
                f"smoothing {smoothing['kind']}, half-width {width:g} s: "
                f"val {scores[f'{width:g}']:.4f}, without {scores['0']:.4f} (mean over seeds)"
            )

    def json(self, result: Result) -> dict[str, Any]:
        report = result.report
        if "folds" in report:
            return super().json(result)
        about: dict[str, Any] = {"artifact": str(result.path)}
        if "tuned" in report:
            about["tuned"] = report["tuned"]
        about |= {"cached": result.cached, "val_score": report["val_score"], "clips": report["clips"]}
        about |= {name: report[name] for name in _SAID if name in report}
        return about | ({"smoothing": report["smoothing"]} if report.get("smoothing") else {})


STAGE = TrainHead


def _through_gates(inputs: TrainHead.Inputs) -> TrainHead.Inputs:
    """The inputs whose features are read through the gates that they ask for."""
    features = quality_gates.gated(inputs.features, quality_gates.gates_of(inputs))
    return replace(
        inputs, features=features, face_quality=None, min_face_size=None, max_yaw=None, min_sharpness=None
    )  # fmt: skip


def _fit(resolved: Resolved, context: Context, seed: int, folder: Path, state: Path) -> None:
    """Train one seed and write its folder; on Ctrl-C, its best so far."""
    config, data, head = resolved.config, resolved.data, resolved.head()
    said = f"train-head {config.head}, seed {seed}"
    if config.seeds > 1:
        said += f" ({seed - config.seed + 1} of {config.seeds})"
    with (
        _bar(said, context.runtime) as show,
        curves(resolved.inputs.tensorboard, seed, resolved.task.metric, show) as monitor,
    ):
        try:
            history = head.fit(
                data.train, data.val, seed=seed, device=context.device, monitor=monitor, auxiliary=data.auxiliary,
                state=state,
            )  # fmt: skip
        except Interrupted as stop:
            _write(folder, head, stop.history)
            raise
    _write(folder, head, history)
    if left_out := list(getattr(head, "notices", ())):
        write_text(folder / NOTICES_FILE, json.dumps(left_out))
    if resolved.refit:
        again = head.refitted([*data.train, *data.val], seed=seed, device=context.device)
        (folder / REFITTED).mkdir()
        again.save(folder / REFITTED)


def _report(resolved: Resolved, context: Context, scores: dict[int, float], folder: Path, stopped: bool) -> Report:
    config, data, metric = resolved.config, resolved.data, resolved.task.metric
    folders = {seed: folder / f"seed_{seed}" for seed in scores}
    histories = {str(seed): history_of(path / HISTORY_FILE) for seed, path in folders.items()}
    collapses = {seed: collapse(history, metric) for seed, history in histories.items()}
    report: Report = {
        "task": resolved.task.model_dump(mode="json"),
        "val_score": _val_score(resolved, scores),
        "training": {seed: outcome(history, metric, stopped) for seed, history in histories.items()},
        "refit": resolved.refit,
        "fitted_splits": ["train", "val"] if resolved.refit else ["train"],
        "clips": {"train": len(data.train), "val": len(data.val), "left_out": data.warnings},
        "cautions": [
            *data.warnings,
            *data.cautions,
            *(lines_of(notices) if (notices := folders[min(folders)] / NOTICES_FILE).exists() else ()),
            *(f"seed {seed}: {line}" if len(scores) > 1 else line for seed, line in collapses.items() if line),
        ],
        "splits": data.splits,
    }
    if config.smooth != "none":
        report["smoothing"] = {"kind": config.smooth, "half_width": config.half_width, "val": {}}
        if data.val:
            unlabelled = [replace(example, labels=None) for example in data.val]
            heads = [
                plugins.loaded("heads", config.head, resolved.plugin, path, resolved.task) for path in folders.values()
            ]
            raw = [head.predict(unlabelled, device=context.device) for head in heads]
            report["smoothing"] = smoothing.choose(resolved.task, data.val, raw, config.smooth, config.half_width)
    return report


def _val_score(resolved: Resolved, scores: dict[int, float]) -> dict[str, Any]:
    """Over the seeds; of the heads that were fitted on train clips alone. None where there are no val clips."""
    metric = resolved.task.metric
    if not resolved.data.val:
        return {"metric": metric, "mean": None, "deviation": None, "seeds": {}}
    values = np.array(list(scores.values()))
    return {"metric": metric, "mean": float(values.mean()), "deviation": float(values.std()), "seeds": scores}


def _write(folder: Path, head: Any, history: Sequence[Epoch]) -> None:
    folder.mkdir()
    head.save(folder)
    write_history(folder / HISTORY_FILE, history)


@contextmanager
def _bar(what: str, runtime: Runtime) -> Iterator[Monitor]:
    """A monitor that shows epochs, loss, scores and the time left if none is saved by stopping early."""
    with display(what, runtime.progress) as shown:
        shown.show(0.0, "epoch 1")

        def monitor(epoch: Epoch) -> None:
            scores = f"loss {epoch.loss:.4f}, val {epoch.score:.4f}, best {epoch.best:.4f}"
            shown.show(epoch.epoch / epoch.epochs, f"epoch {epoch.epoch} of {epoch.epochs}, {scores}")

        yield monitor
