"""Cross-validation (`train-head --folds K`): every labelled clip is predicted by a head that never saw it.

Fold k is test. Where the head chooses anything by validation (when to stop, an option, the width of smoothing), fold
k + 1 is val and the others are train; where it does not, all the others are train. Clips that have split test are left
out: they stay for the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from affectkit import metrics, plugins, tasks
from affectkit.config import canonical_json
from affectkit.errors import UsageError, listed
from affectkit.stages.fit_stage import Computed, FitStage, Report
from affectkit.stages.predict import Predict, PredictConfig
from affectkit.stages.reports import FoldsShape
from affectkit.stages.stage import Context, Result
from affectkit.stages.train_head import TrainConfig, TrainHead
from affectkit.store import Artifact, Schema, predictions_schema, write_table
from affectkit.store.atomic import write_text
from affectkit.tables import predictions, timeline
from affectkit.tables.labels import identity, read
from affectkit.tables.splits import SplitRequest, deal, resolve_splits
from affectkit.tables.subjects import Subjects
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Predictions

SPLITS_FILE = "fold_{}.csv"


@dataclass(frozen=True, repr=False)
class Resolved:
    """What is cross-validated: the labels of each clip, the fold of each clip, how many there are, and whether one of
    them is val."""

    inputs: TrainHead.Inputs
    config: TrainConfig
    task: Task
    labels: Mapping[str, ClipLabels]
    fold: Mapping[str, int]
    folds: int
    with_val: bool

    def split_table(self, number: int) -> str:
        """The splits CSV of a fold."""
        return split_table(self.fold, number, self.folds, self.with_val)


class CrossValidate(FitStage):
    """Train a head a fold, predict its clips, and put all predictions together. Every step is cached."""

    name = "cross-validate"
    makes = "predictions"
    version = 2
    file = "folds.json"
    shape = FoldsShape
    Config = TrainConfig
    Inputs = TrainHead.Inputs

    def resolve(self, inputs: TrainHead.Inputs, config: TrainConfig) -> Resolved:
        """Refuses fewer folds than are needed for test, train and val, fewer clips (subjects) than folds, a validation
        share, and what plain heads do without."""
        if inputs.trials or inputs.aux or inputs.tensorboard:
            raise UsageError("--folds trains plain heads: leave out --tune, --aux and --tensorboard")
        if config.val_fraction is not None:
            raise UsageError("--val-fraction and --folds both say which clips are val: give one of them")
        task, folds = tasks.get(config.task), inputs.folds or 0
        with_val = _needs_val(config, task)
        if folds < 2 + with_val:
            needed = "three are needed, for test, val and train" if with_val else "two are needed, for test and train"
            raise UsageError(f"--folds {folds}: {needed}")
        labels = read(inputs.labels, task)
        return Resolved(inputs, config, task, labels, _folds(inputs, labels, task, config, folds), folds, with_val)

    def called(self, resolved: Resolved) -> str:
        return resolved.config.head

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        features, fold = resolved.inputs.features, resolved.fold
        digests = " ".join(each.digest(clip) for each in features for clip in sorted(fold))
        return {
            "config": resolved.config.model_dump(mode="json"),
            "folds": sha256(canonical_json(fold).encode()).hexdigest(),
            "labels": identity(resolved.inputs.labels, resolved.task),
            "upstream": [each.identity for each in features],
            "features": sha256(digests.encode()).hexdigest(),
        }

    def table(self, resolved: Resolved) -> Schema:
        return predictions_schema(list(resolved.task.targets))

    def compute(self, resolved: Resolved, context: Context) -> Computed:
        """The predictions of all clips, each by the head of its fold, and the scores: pooled, and of every fold."""
        numbers, with_val = range(resolved.folds), resolved.with_val
        within = Context(context.cache, context.runtime, context.device)
        with TemporaryDirectory() as folder:
            heads, parts = zip(*(_fold(resolved, number, Path(folder), within) for number in numbers), strict=True)
        joined = _joined([predictions.load(part, resolved.task) for part in parts], resolved.fold)
        report = _report(resolved, joined, heads)
        trained_on = resolved.folds - 1 - with_val
        report["trained_on"] = f"{trained_on} of {resolved.folds} folds" + (", 1 is val" if with_val else "")

        def write(folder: Path) -> None:
            for number in numbers:
                write_text(folder / SPLITS_FILE.format(number), resolved.split_table(number))
            write_table(folder, self.table(resolved), predictions.records(joined))

        return Computed(report, write, parts)

    def lines(self, result: Result) -> Iterator[str]:
        report = result.report
        each = ", ".join("none" if score is None else f"{score:.4f}" for score in report["folds"])
        yield f"{report['metric']} of {report['clips']} clips out of fold: {report['pooled']:.4f} over all rows"
        yield f"by fold: {each} (mean {report['mean']:.4f} ± {report['deviation']:.4f})"
        yield from (f"note: {caution}" for caution in report["cautions"])


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
    return "clip,split\n" + "".join(f"{clip},{names.get(place, 'train')}\n" for clip, place in sorted(fold.items()))


def _folds(
    inputs: TrainHead.Inputs, labels: Mapping[str, ClipLabels], task: Task, config: TrainConfig, folds: int
) -> dict[str, int]:
    """The fold of every labelled clip that is not in split test."""
    features, splits = inputs.features, inputs.splits
    shared = [clip for clip in features[0].clips if clip in labels and all(clip in other for other in features[1:])]
    table = features[0].clip_table()
    held_out: set[str] = set()
    if splits or any(labels[clip].split for clip in shared) or any(entry.get("split") for entry in table.values()):
        split_of_clip = resolve_splits(shared, labels, table, SplitRequest(splits))
        held_out = {clip for clip, split in split_of_clip.items() if split == "test"}
    clips = [clip for clip in shared if clip not in held_out]
    used = {clip: labels[clip] for clip in clips}
    return deal(clips, used, task, folds, config.split_by, Subjects.named(labels, table), config.seed)


def _fold(resolved: Resolved, number: int, folder: Path, context: Context) -> tuple[Report, Path]:
    """The report of a fold's head, and its predictions of the fold's clips."""
    table = folder / SPLITS_FILE.format(number)
    write_text(table, resolved.split_table(number))
    features, labels = resolved.inputs.features, resolved.inputs.labels
    inputs = TrainHead.Inputs(features=features, labels=labels, splits=table)
    head = TrainHead(needs_val=resolved.with_val).run(inputs, resolved.config, context)
    clips = sorted(clip for clip, place in resolved.fold.items() if place == number)
    scored = Predict.Inputs(head=Artifact(head.path), inputs=features, clips=clips)
    return dict(head.report), Predict().run(scored, PredictConfig(), context).path


def _joined(parts: Sequence[Predictions], fold: Mapping[str, int]) -> Predictions:
    """The clips of each fold, as split test."""
    chosen = [
        part.select(np.array([fold.get(clip) == number for clip in part.clip.tolist()]))
        for number, part in enumerate(parts)
    ]
    joined = {
        name: np.concatenate([getattr(part, name) for part in chosen])
        for name in ("clip", "start", "end", "scores", "observed")
    }
    order = np.argsort(joined["clip"], kind="stable")
    clip, start, end, scores, observed = (joined[name][order] for name in joined)
    return Predictions(clip, start, end, scores, parts[0].columns, np.full(len(clip), "test"), observed)


def _report(resolved: Resolved, joined: Predictions, heads: Sequence[Report]) -> Report:
    task, fold = resolved.task, resolved.fold
    at, truth = timeline.at_labels(joined, resolved.labels, task)
    scores = timeline.scores_at(joined, at)
    used = np.isfinite(truth).all(axis=1) & np.isfinite(scores).all(axis=1)
    number_of_row = np.array([fold[clip] for clip in at.clip.tolist()])
    each = [
        metrics.score_of_part(task, truth[rows], scores[rows])[task.metric]
        for number in range(len(heads))
        if (rows := used & (number_of_row == number)).any()
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
