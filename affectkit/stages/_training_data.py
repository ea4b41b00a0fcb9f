"""What a head is fitted on: the clips of each split with their labels, and those of tasks that are learnt along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from affectkit import tasks
from affectkit.config import canonical_json
from affectkit.errors import UsageError
from affectkit.manifest.alignment import align, check_pooling
from affectkit.plugins import Auxiliary, Example
from affectkit.stages import _left_out, _used_clips
from affectkit.stages._labels import Labels
from affectkit.stages._used_clips import Used, choose
from affectkit.store import Artifact, Features, open_features
from affectkit.tasks import Task
from affectkit.types import ClipLabels, FeatureSequence

if TYPE_CHECKING:
    from affectkit.stages.train import TrainConfig


@dataclass(frozen=True)
class AuxiliarySource:
    """Where an auxiliary task comes from: `--aux FEATURES:LABELS:TASK`. Networks take crops or sound for features."""

    features: Features
    labels: Labels
    task: Task

    @staticmethod
    def of(text: str, opened: Callable[[str], Features | Artifact] = open_features) -> AuxiliarySource:
        """Raises UsageError for anything else."""
        parts = text.rsplit(":", 2)
        if len(parts) < 3 or not all(parts):
            raise UsageError(f"--aux {text} is not FEATURES:LABELS:TASK, such as .affectkit/embed/x-123:va.csv:va")
        found = opened(parts[0])
        source = Features(found) if isinstance(found, Artifact) else found
        return AuxiliarySource(source, Path(parts[1]), tasks.get(parts[2]))


@dataclass(frozen=True)
class Data:
    """The clips that are used, in order; the split of every clip; what was left out, and what says nothing."""

    train: list[Example]
    val: list[Example]
    auxiliary: list[Auxiliary]
    splits: dict[str, str]
    warnings: list[str]
    digest: str
    cautions: list[str]

    @property
    def subjects(self) -> str | None:
        """A digest of who is in which clip; None where no subject is known."""
        known = {one.clip: one.subject for one in (*self.train, *self.val) if one.subject}
        return sha256(canonical_json(known).encode()).hexdigest() if known else None


def gather(
    features: Sequence[Features], labels: Labels, task: Task, config: TrainConfig, splits: Path | None,
    auxiliary: Sequence[AuxiliarySource] = (), *, needs_val: bool = True,
) -> Data:  # fmt: skip
    """Examples of the labelled clips that all features have. Raises UsageError, as the readers of the tables do, and
    for no val clip where they are needed."""
    check_pooling(config.label_pooling, task)
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]
    used = choose(features[0], shared, labels, task, config, splits, needs_val=needs_val)
    train, val = (
        [_example(clip, features, used.labels[clip], task, config, used.subject(clip)) for clip in clips]
        for clips in (used.train, used.val)
    )
    if used.cautions and not any(_is_labelled(one) for one in train):
        raise UsageError(f"no row of the features of split train has a label: {used.cautions[0]}")
    along = [_auxiliary(source, used, config) for source in auxiliary]
    digest = _digest([*train, *val], features, used.splits, list(zip(auxiliary, along, strict=True)))
    cautions = [*used.cautions, *_left_out.lines({"train": train, "val": val}, task)]
    return Data(train, val, along, used.splits, used.warnings, digest, cautions)


def _is_labelled(example: Example) -> bool:
    return example.labels is not None and bool(np.isfinite(example.labels).all(axis=1).any())


def sequences(features: Sequence[Features], clip: str) -> tuple[FeatureSequence, ...]:
    """A clip's inputs."""
    return tuple(one.sequence(clip) for one in features)


def _auxiliary(source: AuxiliarySource, used: Used, config: TrainConfig) -> Auxiliary:
    known, clips = _used_clips.along(source.features, source.labels, source.task, used)
    pooling = config.label_pooling if source.task.kind == "regression" else "midpoint"
    update = config.model_copy(update={"label_pooling": pooling})
    return Auxiliary(
        source.task, [_example(clip, [source.features], known[clip], source.task, update) for clip in clips]
    )


def _example(
    clip: str, features: Sequence[Features], labels: ClipLabels, task: Task, config: TrainConfig,
    subject: str | None = None,
) -> Example:  # fmt: skip
    for one in features:
        one.artifact.check(clip)
    inputs = sequences(features, clip)
    if task.level == "clip":
        return Example(clip, inputs, np.asarray(labels.values[:1]), subject)
    first = inputs[0]
    return Example(clip, inputs, align(labels, first.start, first.end, config.label_pooling), subject)


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
