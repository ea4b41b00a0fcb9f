"""`affectkit train-head`: cached features and labels -> a head, fitted on train clips and selected on val clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from affectkit import plugins, tasks
from affectkit.config import Config, Runtime, fingerprint, validate
from affectkit.errors import UsageError
from affectkit.manifest.alignment import Pooling
from affectkit.stages import _reports, _smooth, _training_log
from affectkit.stages._devices import resolve
from affectkit.stages._labels import Labels
from affectkit.stages._resumable import fitted
from affectkit.stages._seeds import REFITTED, Training
from affectkit.stages._smooth import Choice
from affectkit.stages._training_data import AuxiliarySource, gather
from affectkit.stages._unfinished import Unfinished
from affectkit.store import Artifact, Cache, Features, ancestors
from affectkit.store.kinds import TRAINED, wrong_kind
from affectkit.tasks import Task

VERSION = 1
HEAD_FILE = "head.json"


class TrainConfig(Config):
    """What is computed. The head's own options (epochs, window, ...) are given by --option."""

    task: str = Field(description="va, expr, eri, compound, au, or a TOML file")
    head: str = Field("transformer", description="a head (affectkit list heads)")
    option: list[str] = Field([], description="an option of the head, key=value (repeatable)")
    label_pooling: Pooling = Field("midpoint", description="a feature row's label")
    seed: int = Field(0, ge=0, lt=1 << 32, description="first seed")
    seeds: int = Field(1, ge=1, le=100, description="heads to train, from consecutive seeds; predictions are averaged")
    split_by: Literal["clip", "subject"] = Field("clip", description="what --val-fraction keeps together")
    val_fraction: float | None = Field(None, gt=0, lt=1, description="validation share where no table says the split")
    smooth: Choice = Field("none", description="window over the raw scores of predictions in time, before softmax")
    half_width: Annotated[float, Field(ge=0, le=_smooth.LONGEST)] | Literal["auto"] = Field(
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

    An interrupted training is gone on with by the same call (`_unfinished`). `needs_val`: raise UsageError where there
    are no val clips. Raises `Stopped` for Ctrl-C where there is a head already.
    """
    _training_log.check(tensorboard)
    task = tasks.get(config.task)
    plugin = plugins.get("heads", config.head)
    options = plugins.parse_options(plugin, config.option, config.head)
    _smooth.agree(config.smooth, config.half_width, task)
    data = gather(features, labels, task, config, splits, auxiliary, needs_val=needs_val)
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
    if getattr(plugin(options, task), "groups", False) and data.subjects:
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
    return _reports.read_report(artifact.path / HEAD_FILE, _reports.TrainedShape)


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
    return [plugin.load(folder, task) for folder in folders]


def stored_task(report: Mapping[str, Any]) -> Task:
    """The task that a head was trained for."""
    return validate(Task, report["task"], "the task of a trained head")
