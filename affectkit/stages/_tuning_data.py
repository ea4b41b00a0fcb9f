"""What a network is trained on: units of the clips of each split, and of tasks that are learnt along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit.config import canonical_json
from affectkit.errors import UsageError
from affectkit.manifest.alignment import check_pooling
from affectkit.plugins import Network, Units
from affectkit.stages import _used_clips
from affectkit.stages._labels import Labels
from affectkit.stages._training_data import AuxiliarySource
from affectkit.stages._used_clips import Used
from affectkit.store import Artifact, Features
from affectkit.store.kinds import wrong_kind
from affectkit.tasks import Task
from affectkit.types import ClipLabels

if TYPE_CHECKING:
    from affectkit.stages.finetune import FinetuneConfig

UPSTREAM = {"image": ("faces", "crops"), "audio": ("audio", "sound")}


@dataclass(frozen=True)
class Along:
    """Clips of another task, with labels of its level as the network is trained with it."""

    task: Task
    upstream: Artifact
    labels: dict[str, ClipLabels]
    clips: list[str]
    pooling: str


@dataclass(frozen=True)
class TuningData:
    """The clips that are used, their labels, and those of tasks learnt along."""

    upstream: Artifact
    used: Used
    along: list[Along]
    digest: str

    @property
    def tasks(self) -> list[Task]:
        """Of what is learnt along."""
        return [one.task for one in self.along]

    def units(self, network: Network, plugin: Any, pooling: str) -> tuple[list[Units], Units]:
        """The training units of the network's task and of each other one, and the validation units.

        Raises UsageError for a split without a labelled unit.
        """
        used = self.used
        train, val = (
            _labelled(network.units(self.upstream, clips, used.labels, pooling, training), f"split {name}")
            for name, clips, training in (("train", used.train, True), ("val", used.val, False))
        )
        others = [
            _labelled(
                plugin(network.options, one.task).units(one.upstream, one.clips, one.labels, one.pooling, True),
                f"auxiliary task {one.task.name}",
            )
            for one in self.along
        ]
        return [train, *others], val


def gather(
    upstream: Artifact, labels: Labels, task: Task, kind: str, config: FinetuneConfig, splits: Path | None,
    auxiliary: Sequence[AuxiliarySource] = (), clips: Iterable[str] | None = None,
) -> TuningData:  # fmt: skip
    """The labelled clips of a faces or audio artifact, or of some of its `clips`. Raises UsageError, as the readers of
    the tables do."""
    check_pooling(config.label_pooling, task)
    what = UPSTREAM[kind][1]
    for artifact in (upstream, *(source.features.artifact for source in auxiliary)):
        check_upstream(artifact, kind, config.network)
    features = Features(upstream, only=None if clips is None else frozenset(clips))
    used = _used_clips.choose(features, features.clips, labels, task, config, splits, what)
    along = [_along(source, used, task, config) for source in auxiliary]
    return TuningData(upstream, used, along, _digest(upstream, used, along))


def check_upstream(artifact: Artifact, kind: str, network: str) -> None:
    """Raises UsageError where the artifact is not what the network reads."""
    wanted, what = UPSTREAM[kind]
    if artifact.stage.stage != wanted:
        error = wrong_kind(artifact.path, artifact.stage.stage, wanted)
        raise UsageError(f"network {network} is trained on {what}; {error}")


def _along(source: AuxiliarySource, used: Used, task: Task, config: FinetuneConfig) -> Along:
    """A network with one score a clip learns from labels over time as one label a clip."""
    known, clips = _used_clips.along(source.features, source.labels, source.task, used)
    own = source.task
    if task.level == "clip" and own.level == "time":
        from affectkit.heads._auxiliary import of_clip

        known = {clip: replace(known[clip], **_whole(of_clip(known[clip].values, own))) for clip in clips}
        own = own.model_copy(update={"level": "clip"})
    unfit = "mode" if own.kind == "regression" else "mean"
    pooling = "midpoint" if config.label_pooling == unfit else config.label_pooling
    return Along(own, source.features.artifact, {clip: known[clip] for clip in clips}, clips, pooling)


def _whole(values: Any) -> dict[str, Any]:
    return {"start": np.zeros(1), "end": np.full(1, np.inf), "values": values}


def _labelled(units: Units, where: str) -> Units:
    from affectkit.finetuning.sampling import labelled

    if not labelled(units).any():
        raise UsageError(f"nothing to learn from: no labelled face or speech in {len(units.clips)} clips of {where}")
    return units


def _digest(upstream: Artifact, used: Used, along: Sequence[Along]) -> str:
    """What is trained on: clips, their crops' or sound's digests, splits and labels."""
    total = sha256()

    def add(artifact: Artifact, clips: Sequence[str], labels: Mapping[str, ClipLabels]) -> None:
        for clip in clips:
            total.update(f"{clip} {artifact.digest(clip)} {len(labels[clip])} ".encode())
            for column in (labels[clip].start, labels[clip].end, labels[clip].values):
                total.update(np.ascontiguousarray(column, "<f8").tobytes())

    add(upstream, [*used.train, *used.val], used.labels)
    total.update(canonical_json(used.splits).encode())  # of all clips: the artifact stores the table
    for one in along:
        total.update(canonical_json([one.task.model_dump(mode="json"), one.upstream.stage.fingerprint]).encode())
        add(one.upstream, one.clips, one.labels)
    return total.hexdigest()
