"""What a head is fitted on: the clips of each split with their labels, and those of tasks that are learnt along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit import tasks
from affectkit.config import canonical_json
from affectkit.errors import UsageError
from affectkit.manifest import (
    SplitRequest,
    align,
    check_pooling,
    match_labels,
    resolve_splits,
    without_face,
)
from affectkit.plugins import Auxiliary, Example
from affectkit.stages._labels import Labels, read
from affectkit.store import Features, open_features
from affectkit.tasks import Task
from affectkit.types import ClipLabels, FeatureSequence

if TYPE_CHECKING:
    from affectkit.stages.train import TrainConfig


@dataclass(frozen=True)
class AuxiliarySource:
    """Where an auxiliary task comes from: `--aux FEATURES:LABELS:TASK`."""

    features: Features
    labels: Labels
    task: Task

    @staticmethod
    def of(text: str) -> AuxiliarySource:
        """Raises UsageError for anything else."""
        parts = text.rsplit(":", 2)
        if len(parts) < 3 or not all(parts):
            raise UsageError(f"--aux {text} is not FEATURES:LABELS:TASK, such as .affectkit/embed/x-123:va.csv:va")
        return AuxiliarySource(open_features(parts[0]), Path(parts[1]), tasks.get(parts[2]))


@dataclass(frozen=True)
class Data:
    """The clips that are used, in order; the split of every clip; what was left out."""

    train: list[Example]
    val: list[Example]
    auxiliary: list[Auxiliary]
    splits: dict[str, str]
    warnings: list[str]
    digest: str


def gather(
    features: Sequence[Features], labels: Labels, task: Task, config: TrainConfig, splits: Path | None,
    auxiliary: Sequence[AuxiliarySource] = (),
) -> Data:  # fmt: skip
    """Examples of the labelled clips that all features have. Raises UsageError, as the readers of the tables do."""
    check_pooling(config.label_pooling, task)
    notes: list[str] = []
    known = read(labels, task, notes)
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]
    match = match_labels(shared, known)
    request = SplitRequest(splits, config.val_fraction, config.split_by, config.seed)
    table = features[0].clip_table()
    split = resolve_splits(shared, known, table, request)
    _refuse_copies(features[0], split)
    chosen = {name: [clip for clip in match.clips if split.get(clip) == name] for name in ("train", "val")}
    for name, clips in chosen.items():
        if not clips:
            raise UsageError(f"no labelled clip with features has split '{name}'")
    examples = {
        name: [_example(clip, features, known[clip], task, config) for clip in clips] for name, clips in chosen.items()
    }
    subjects = _subjects(known, table)
    held_out = {without_face(clip) for clip, name in split.items() if name != "train"}
    held_out_subjects = {subjects[clip] for clip in held_out if clip in subjects}
    along = [_auxiliary(source, held_out, held_out_subjects, config) for source in auxiliary]
    digest = _digest([*examples["train"], *examples["val"]], features, split, list(zip(auxiliary, along, strict=True)))
    return Data(examples["train"], examples["val"], along, split, notes + match.warnings, digest)


def sequences(features: Sequence[Features], clip: str) -> tuple[FeatureSequence, ...]:
    """A clip's inputs."""
    return tuple(one.sequence(clip) for one in features)


def _refuse_copies(features: Features, splits: Mapping[str, str]) -> None:
    """Two clips of equal features are one clip under two names. Raises UsageError where they are in two splits."""
    first: dict[str, str] = {}
    for clip, split in splits.items():
        other = first.setdefault(features.digest(clip), clip)
        if splits[other] != split and np.any(features.sequence(clip).valid):
            raise UsageError(
                f"clips '{other}' ({splits[other]}) and '{clip}' ({split}) have equal features: one is a copy of the "
                "other, and scores would be too good: leave one out, or put both in one split"
            )


def _auxiliary(
    source: AuxiliarySource, held_out: set[str], held_out_subjects: set[str], config: TrainConfig
) -> Auxiliary:
    """The clips of an auxiliary task that may be learnt from: none that is held out, nor anybody seen there."""
    known = read(source.labels, source.task)
    subjects = _subjects(known, source.features.clip_table())
    has_splits = any(entry.split for entry in known.values())
    clips = [
        clip
        for clip in match_labels(source.features.clips, known).clips
        if (known[clip].split == "train" or not has_splits)
        and without_face(clip) not in held_out
        and subjects.get(without_face(clip)) not in held_out_subjects
    ]
    if not clips:
        raise UsageError(
            f"no clip of {source.features.path} is left to learn task {source.task.name} from: those of "
            f"{source.labels} are held out here, or not in its split train"
        )
    pooling = config.label_pooling if source.task.kind == "regression" else "midpoint"
    update = config.model_copy(update={"label_pooling": pooling})
    return Auxiliary(
        source.task, [_example(clip, [source.features], known[clip], source.task, update) for clip in clips]
    )


def _example(clip: str, features: Sequence[Features], labels: ClipLabels, task: Task, config: TrainConfig) -> Example:
    inputs = sequences(features, clip)
    if task.level == "clip":
        return Example(clip, inputs, np.asarray(labels.values[:1]))
    first = inputs[0]
    return Example(clip, inputs, align(labels, first.start, first.end, config.label_pooling))


def _subjects(labels: Mapping[str, ClipLabels], table: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found = {without_face(clip): entry["subject"] for clip, entry in table.items() if entry.get("subject")}
    return found | {without_face(clip): entry.subject for clip, entry in labels.items() if entry.subject}


def _digest(
    examples: Sequence[Example], features: Sequence[Features], splits: Mapping[str, str],
    auxiliary: Sequence[tuple[AuxiliarySource, Auxiliary]],
) -> str:  # fmt: skip
    """What is fitted on: clips, their features' digests, splits and labels."""
    total = sha256()
    for example in examples:
        digests = " ".join(one.digest(example.clip) for one in features)
        total.update(f"{example.clip} {splits[example.clip]} {digests} ".encode())
        total.update(np.ascontiguousarray(example.labels, "<f8").tobytes())
    total.update(canonical_json(dict(splits)).encode())  # of all clips: the head stores the table
    for source, along in auxiliary:
        total.update(canonical_json([source.task.model_dump(mode="json"), source.features.identity]).encode())
        for example in along.train:
            total.update(f"{example.clip} {source.features.digest(example.clip)} ".encode())
            total.update(np.ascontiguousarray(example.labels, "<f8").tobytes())
    return total.hexdigest()
