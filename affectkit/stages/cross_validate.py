"""Cross-validation (`train-head --folds K`): every labelled clip is predicted by a head that never saw it.

Fold k is test. Where the head chooses anything by validation (when to stop, an option, the width of smoothing), fold
k + 1 is val and the others are train; where it does not, all the others are train. Clips that have split test are left
out: they stay for the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from affectkit import metrics, plugins, tasks
from affectkit.config import Runtime, canonical_json
from affectkit.errors import UsageError, listed
from affectkit.stages.predict import Predict, PredictConfig
from affectkit.stages.reports import FoldsShape, report_at_hand
from affectkit.stages.stage import Context
from affectkit.stages.train import TrainConfig, train
from affectkit.store import Artifact, Cache, Features, predictions_schema, write_table
from affectkit.store.atomic import write_text
from affectkit.tables import predictions, timeline
from affectkit.tables.labels import Labels, identity, read
from affectkit.tables.splits import SplitRequest, deal, resolve_splits
from affectkit.tables.subjects import Subjects
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Predictions

VERSION = 2
REPORT_FILE = "folds.json"
SPLITS_FILE = "fold_{}.csv"


@dataclass(frozen=True)
class CrossValidated:
    """Predictions of all clips, each by the head of its fold, and the scores: pooled, and of every fold."""

    artifact: Artifact
    cached: bool
    report: dict[str, Any]


def cross_validate(
    cache: Cache, features: Sequence[Features], labels: Labels, config: TrainConfig, runtime: Runtime, *,
    folds: int, device: str = "auto", splits: Path | None = None, out: Path | None = None,
) -> CrossValidated:  # fmt: skip
    """Train a head a fold, predict its clips, and put all predictions together. Every step is cached.

    Raises UsageError: fewer folds than are needed for test, train and val, fewer clips (subjects) than folds, a
    validation share.
    """
    if config.val_fraction is not None:
        raise UsageError("--val-fraction and --folds both say which clips are val: give one of them")
    task = tasks.get(config.task)
    with_val = _needs_val(config, task)
    if folds < 2 + with_val:
        needed = "three are needed, for test, val and train" if with_val else "two are needed, for test and train"
        raise UsageError(f"--folds {folds}: {needed}")
    known = read(labels, task)
    fold = _folds(features, known, task, config, folds, splits)
    inputs = {
        "stage": "cross-validate",
        "version": VERSION,
        "config": config.model_dump(mode="json"),
        "folds": sha256(canonical_json(fold).encode()).hexdigest(),
        "labels": identity(labels, task),
        "upstream": [one.identity for one in features],
        "features": sha256(
            " ".join(one.digest(clip) for one in features for clip in sorted(fold)).encode()
        ).hexdigest(),
    }
    found = cache.find("cross-validate", config.head, inputs, out)
    said = report_at_hand(cache, found, REPORT_FILE, FoldsShape)
    if found is not None and said is not None:
        return CrossValidated(found, True, said)
    with TemporaryDirectory() as folder:
        made = [
            _one(cache, features, labels, config, runtime, fold, number, folds, device, Path(folder), with_val)
            for number in range(folds)
        ]
    joined = _joined([predictions.load(artifact.path, task) for _, artifact in made], fold)
    report = _report(task, joined, known, fold, [head for head, _ in made])
    report["trained_on"] = f"{folds - 1 - with_val} of {folds} folds" + (", 1 is val" if with_val else "")

    def write(own: Path) -> None:
        write_text(own / REPORT_FILE, json.dumps(report, indent=1))
        for number in range(folds):
            write_text(own / SPLITS_FILE.format(number), split_table(fold, number, folds, with_val))
        write_table(own, predictions_schema(list(task.targets)), predictions.records(joined))

    artifact = cache.create_whole(
        "cross-validate", config.head, inputs, write, table=predictions_schema(list(task.targets)),
        upstream=[artifact.path for _, artifact in made], out=out, extra={"config": config.model_dump(mode="json")},
    )  # fmt: skip
    return CrossValidated(artifact, False, report)


def _needs_val(config: TrainConfig, task: Task) -> bool:
    """Whether anything is chosen by validation clips."""
    plugin = plugins.get("heads", config.head)
    options = plugins.parse_options(plugin, config.option, config.head)
    head = plugins.instance("heads", config.head, plugin, options, task)
    return bool(getattr(head, "selects", True)) or (config.smooth != "none" and config.half_width == "auto")


def split_table(fold: Mapping[str, int], number: int, folds: int, with_val: bool = True) -> str:
    """The splits CSV of one fold.

    >>> print(split_table({"a": 0, "b": 1, "c": 2}, 2, 3), end="")
    clip,split
    a,val
    b,train
    c,test
    """
    names = {(number + 1) % folds: "val"} if with_val else {}
    names |= {number: "test"}
    return "clip,split\n" + "".join(f"{clip},{names.get(own, 'train')}\n" for clip, own in sorted(fold.items()))


def _folds(
    features: Sequence[Features], known: Mapping[str, ClipLabels], task: Task, config: TrainConfig, folds: int,
    splits: Path | None,
) -> dict[str, int]:  # fmt: skip
    """The fold of every labelled clip that is not in split test."""
    shared = [clip for clip in features[0].clips if clip in known and all(clip in one for one in features[1:])]
    table = features[0].clip_table()
    held_out: set[str] = set()
    if splits or any(known[clip].split for clip in shared) or any(entry.get("split") for entry in table.values()):
        given = resolve_splits(shared, known, table, SplitRequest(splits))
        held_out = {clip for clip, split in given.items() if split == "test"}
    clips = [clip for clip in shared if clip not in held_out]
    used = {clip: known[clip] for clip in clips}
    return deal(clips, used, task, folds, config.split_by, Subjects.named(known, table), config.seed)


def _one(
    cache: Cache, features: Sequence[Features], labels: Labels, config: TrainConfig, runtime: Runtime,
    fold: Mapping[str, int], number: int, folds: int, device: str, folder: Path, with_val: bool,
) -> tuple[dict[str, Any], Artifact]:  # fmt: skip
    """The report of a fold's head, and its predictions of the fold's own clips."""
    table = folder / SPLITS_FILE.format(number)
    write_text(table, split_table(fold, number, folds, with_val))
    head = train(cache, features, labels, config, runtime, device=device, splits=table, needs_val=with_val)
    own = sorted(clip for clip, place in fold.items() if place == number)
    inputs = Predict.Inputs(head=head.artifact, inputs=features, clips=own)
    done = Predict().run(inputs, PredictConfig(), Context(cache, runtime, device))
    return head.report, Artifact(done.path)


def _joined(parts: Sequence[Predictions], fold: Mapping[str, int]) -> Predictions:
    """Each fold's own clips, as split test."""
    own = [
        part.select(np.array([fold.get(clip) == number for clip in part.clip.tolist()]))
        for number, part in enumerate(parts)
    ]
    joined = {
        name: np.concatenate([getattr(part, name) for part in own])
        for name in ("clip", "start", "end", "scores", "observed")
    }
    order = np.argsort(joined["clip"], kind="stable")
    clip, start, end, scores, observed = (joined[name][order] for name in joined)
    return Predictions(clip, start, end, scores, parts[0].columns, np.full(len(clip), "test"), observed)


def _report(
    task: Task, joined: Predictions, known: Mapping[str, ClipLabels], fold: Mapping[str, int],
    heads: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    at, truth = timeline.at_labels(joined, known, task)
    scores = timeline.scores_at(joined, at)
    used = np.isfinite(truth).all(axis=1) & np.isfinite(scores).all(axis=1)
    place = np.array([fold[clip] for clip in at.clip.tolist()])
    each = [
        metrics.score_of_part(task, truth[own], scores[own])[task.metric]
        for number in range(len(heads))
        if (own := used & (place == number)).any()
    ]
    pooled = metrics.main(task, truth[used], scores[used])
    defined = [value for value in each if not np.isnan(value)] or [pooled]
    scored = sorted(set(at.clip[used].tolist()))
    unscored = sorted(set(fold) - set(scored))
    return {
        "metric": task.metric,
        "pooled": pooled,
        "folds": [None if np.isnan(value) else value for value in each],
        "mean": float(np.mean(defined)),
        "deviation": float(np.std(defined)),
        "rows": int(used.sum()),
        "clips": len(scored),
        "cautions": [
            *heads[0].get("cautions", []),
            *([f"not scored, for want of a label or a score: {listed(unscored, 'clips')}"] if unscored else []),
        ],
        "val_scores": [head["val_score"]["mean"] for head in heads],
    }
