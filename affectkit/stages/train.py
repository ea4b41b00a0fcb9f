"""`affectkit train-head`: cached features and labels -> a head, fitted on train clips and selected on val clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit import plugins, tasks
from affectkit.config import Config, Runtime, canonical_json
from affectkit.errors import UsageError
from affectkit.manifest import Pooling, SplitRequest, align, check_pooling, match_labels, read_labels, resolve_splits
from affectkit.plugins import Epoch, Example
from affectkit.stages._devices import resolve
from affectkit.stages._progress import bar, shown
from affectkit.store import Artifact, Cache, Features
from affectkit.store.atomic import write_text
from affectkit.tasks import Task
from affectkit.types import ClipLabels, FeatureSequence

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


@dataclass(frozen=True)
class Trained:
    """The head's artifact and what it says of itself: the validation score of every seed, clips and rows used."""

    artifact: Artifact
    cached: bool
    report: dict[str, Any]


@dataclass(frozen=True)
class _Data:
    """The clips that are used, in order."""

    train: list[Example]
    val: list[Example]
    splits: dict[str, str]
    warnings: list[str]


def train(
    cache: Cache, features: Sequence[Features], labels: Path, config: TrainConfig, runtime: Runtime, *,
    device: str = "auto", splits: Path | None = None, out: Path | None = None,
) -> Trained:  # fmt: skip
    """Fit a head; its folder holds the weights of every seed, the split table, the history and the feature recipe."""
    task = tasks.get(config.task)
    plugin = plugins.get("heads", config.head)
    options = plugins.parse_options(plugin, config.option, config.head)
    data = _gather(features, labels, task, config, splits)
    inputs = {
        "stage": "train-head",
        "version": VERSION,
        "task": task.model_dump(mode="json"),
        "head": {"name": config.head, "version": plugin.version, "options": plugins.describe(options)},
        "seeds": [config.seed, config.seeds],
        "label_pooling": config.label_pooling,
        "data": _digest(data, features),
        "upstream": [one.identity for one in features],
    }
    found = cache.find("train-head", config.head, inputs, out)
    if found is not None:
        return Trained(found, True, read_report(found))
    report: dict[str, Any] = {}

    def write(folder: Path) -> None:
        report.update(_fit_all(plugin, options, task, data, config, resolve(device), folder, runtime))
        report["splits"] = data.splits
        write_text(folder / HEAD_FILE, json.dumps(report, indent=1, ensure_ascii=False))

    artifact = cache.create_whole(
        "train-head", config.head, inputs, write, upstream=[one.path for one in features], out=out,
        extra={"features": [lineage(one.artifact) for one in features], "columns": [one.column for one in features]},
    )  # fmt: skip
    return Trained(artifact, False, report)


def read_report(artifact: Artifact) -> dict[str, Any]:
    """What the head says of itself. Raises UsageError when the artifact is no head."""
    if artifact.stage.stage != "train-head":
        raise UsageError(f"{artifact.path} is a {artifact.stage.stage} artifact, not a head of train-head")
    report: dict[str, Any] = json.loads((artifact.path / HEAD_FILE).read_text(encoding="utf-8"))
    return report


def lineage(artifact: Artifact) -> list[dict[str, Any]]:
    """The recipe of a feature artifact, media first: what `predict` replays on new clips."""
    steps = [lineage(Artifact(Path(path))) for path in artifact.stage.upstream]
    own = {
        "stage": artifact.stage.stage,
        "config": artifact.stage.provenance.get("config"),
        "numerics": artifact.stage.numerics,
        "fingerprint": artifact.stage.fingerprint,
        "inputs": artifact.stage.inputs,
    }
    return [step for chain in steps for step in chain] + [own]


def _gather(features: Sequence[Features], labels: Path, task: Task, config: TrainConfig, splits: Path | None) -> _Data:
    check_pooling(config.label_pooling, task)
    known = read_labels(labels, task)
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]
    match = match_labels(shared, known)
    request = SplitRequest(splits, config.val_fraction, config.split_by, config.seed)
    split = resolve_splits(shared, known, features[0].clip_table(), request)
    chosen = {name: [clip for clip in match.clips if split.get(clip) == name] for name in ("train", "val")}
    for name, clips in chosen.items():
        if not clips:
            raise UsageError(f"no labelled clip with features has split '{name}'")
    examples = {
        name: [_example(clip, features, known[clip], task, config) for clip in clips] for name, clips in chosen.items()
    }
    return _Data(examples["train"], examples["val"], split, match.warnings)


def _example(clip: str, features: Sequence[Features], labels: ClipLabels, task: Task, config: TrainConfig) -> Example:
    inputs = sequences(features, clip)
    if task.level == "clip":
        return Example(clip, inputs, np.asarray(labels.values[:1]))
    first = inputs[0]
    return Example(clip, inputs, align(labels, first.start, first.end, config.label_pooling))


def _digest(data: _Data, features: Sequence[Features]) -> str:
    """What was fitted on: clips, their features' digests, splits and labels."""
    total = sha256()
    for example in [*data.train, *data.val]:
        digests = " ".join(one.digest(example.clip) for one in features)
        total.update(f"{example.clip} {data.splits[example.clip]} {digests} ".encode())
        total.update(np.ascontiguousarray(example.labels, "<f8").tobytes())
    total.update(canonical_json(data.splits).encode())  # of all clips: the head stores the table
    return total.hexdigest()


def _fit_all(
    plugin: Any, options: Config, task: Task, data: _Data, config: TrainConfig, device: str, folder: Path,
    runtime: Runtime,
) -> dict[str, Any]:  # fmt: skip
    scores = {}
    for seed in range(config.seed, config.seed + config.seeds):
        head = plugin(options, task)
        history = _fit(head, data, seed, device, f"{config.head} seed {seed}", runtime)
        own = folder / f"seed_{seed}"
        own.mkdir()
        head.save(own)
        write_text(own / "history.jsonl", "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))
        scores[seed] = history[-1].best
    values = np.array(list(scores.values()))
    return {
        "task": task.model_dump(mode="json"),
        "val_score": {"metric": task.metric, "mean": float(values.mean()), "deviation": float(values.std()),
                      "seeds": scores},
        "clips": {"train": len(data.train), "val": len(data.val), "left_out": data.warnings},
    }  # fmt: skip


def _fit(head: Any, data: _Data, seed: int, device: str, what: str, runtime: Runtime) -> list[Epoch]:
    if not shown(runtime.progress):
        return list(head.fit(data.train, data.val, seed=seed, device=device, monitor=lambda epoch: None))
    with bar() as progress:
        task = progress.add_task(what, total=None, note="")

        def monitor(epoch: Epoch) -> None:
            note = f"loss {epoch.loss:.4f}, val {epoch.score:.4f}, best {epoch.best:.4f}"
            progress.update(task, total=epoch.epochs, completed=epoch.epoch, note=note)

        return list(head.fit(data.train, data.val, seed=seed, device=device, monitor=monitor))


def load_heads(artifact: Artifact, task: Task) -> list[Any]:
    """The heads of all seeds."""
    plugin = plugins.get("heads", artifact.stage.inputs["head"]["name"])
    return [plugin.load(folder, task) for folder in sorted(artifact.path.glob("seed_*"))]


def stored_task(report: Mapping[str, Any]) -> Task:
    """The task that a head was trained for."""
    return Task.model_validate(report["task"])


def sequences(features: Sequence[Features], clip: str) -> tuple[FeatureSequence, ...]:
    """A clip's inputs."""
    return tuple(one.sequence(clip) for one in features)
