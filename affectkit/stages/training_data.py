"""What heads and networks learn from: labelled clips with their splits, tasks learnt along, and a digest of it all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from affectkit import tasks
from affectkit.config import canonical_json
from affectkit.errors import UsageError
from affectkit.learning.features import of_clip
from affectkit.learning.order import labelled as labelled_units
from affectkit.plugins import Auxiliary, Example, Network, Units
from affectkit.stages import quality_gates
from affectkit.stages.training_cautions import cautions, labelled
from affectkit.store import Artifact, Features, open_features
from affectkit.store.kinds import wrong_kind
from affectkit.tables import used_clips
from affectkit.tables.labels import Labels
from affectkit.tables.pooling import Pooling, align, check_pooling
from affectkit.tables.used_clips import SplitOptions, Used
from affectkit.tasks import Task
from affectkit.types import ClipLabels, FeatureSequence, Floats

UPSTREAM = {"image": ("faces", "crops"), "audio": ("audio", "sound")}


class DataOptions(SplitOptions, Protocol):
    """What the configs of training stages say of labels and splits."""

    @property
    def label_pooling(self) -> Pooling: ...


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
        upstream = opened(parts[0])
        features = Features(upstream) if isinstance(upstream, Artifact) else upstream
        return AuxiliarySource(features, Path(parts[1]), tasks.get(parts[2]))


@dataclass(frozen=True)
class AuxiliaryClips:
    """Clips of another task with their labels, and how these are pooled into rows."""

    source: AuxiliarySource
    task: Task
    labels: dict[str, ClipLabels]
    clips: list[str]
    pooling: Pooling

    @property
    def upstream(self) -> Artifact:
        """What the clips are of."""
        return self.source.features.artifact


def choose(
    features: Features, shared: list[str], labels: Labels, task: Task, options: DataOptions, splits: Path | None,
    auxiliary: Sequence[AuxiliarySource], what: str = "features", needs_val: bool = True,
) -> tuple[Used, list[AuxiliaryClips]]:  # fmt: skip
    """The labelled clips among `shared`, and those of tasks learnt along. Raises UsageError, as `used_clips.choose` and
    the readers of the tables do, and for labels that cannot be pooled in this way."""
    check_pooling(options.label_pooling, task)
    used = used_clips.choose(features, shared, labels, task, options, splits, what, needs_val)
    return used, [_auxiliary(source, used, options) for source in auxiliary]


def _auxiliary(source: AuxiliarySource, used: Used, options: DataOptions) -> AuxiliaryClips:
    """Labels are pooled as those of the task itself, or taken at the midpoint where that does not fit."""
    labels, clips = used_clips.auxiliary_clips(source.features, source.labels, source.task, used)
    unfit = "mode" if source.task.kind == "regression" else "mean"
    pooling: Pooling = "midpoint" if options.label_pooling == unfit else options.label_pooling
    return AuxiliaryClips(source, source.task, {clip: labels[clip] for clip in clips}, clips, pooling)


Rows = Iterable[tuple[str, Iterable[Floats | None]]]
"""Of each clip a line that names it and its content, and its labels."""


def digest_of(rows: Rows, splits: Mapping[str, str], auxiliary: Iterable[tuple[Any, Rows]]) -> str:
    """A digest of clips with their content and labels, of the split of every clip, and of other tasks' clips."""
    total = sha256()

    def add(clips: Rows) -> None:
        for line, columns in clips:
            total.update(line.encode())
            for column in columns:
                total.update(np.ascontiguousarray(column, "<f8").tobytes())

    add(rows)
    total.update(canonical_json(dict(splits)).encode())  # of all clips: the artifact stores the table
    for about, clips in auxiliary:
        total.update(canonical_json(about).encode())
        add(clips)
    return total.hexdigest()


# ---- heads: examples


@dataclass(frozen=True)
class HeadData:
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
        subjects = {example.clip: example.subject for example in (*self.train, *self.val) if example.subject}
        return sha256(canonical_json(subjects).encode()).hexdigest() if subjects else None


def head_data(
    features: Sequence[Features], labels: Labels, task: Task, options: DataOptions, splits: Path | None,
    auxiliary: Sequence[AuxiliarySource] = (), *, needs_val: bool = True,
) -> HeadData:  # fmt: skip
    """Examples of the labelled clips that all features have. Raises UsageError, as the readers of the tables do, and
    for no val clip where they are needed."""
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]
    used, chosen = choose(features[0], shared, labels, task, options, splits, auxiliary, needs_val=needs_val)
    quality_gates.check_measured(quality_gates.of(features), (*used.train, *used.val))
    pooling = options.label_pooling
    train, val = (
        [_example(clip, features, used.labels[clip], task, pooling, used.subject(clip)) for clip in clips]
        for clips in (used.train, used.val)
    )
    if used.cautions and not any(labelled(example).any() for example in train):
        raise UsageError(f"no row of the features of split train has a label: {used.cautions[0]}")
    learnt_along = [
        Auxiliary(
            each.task,
            [_example(clip, [each.source.features], each.labels[clip], each.task, each.pooling) for clip in each.clips],
        )
        for each in chosen
    ]
    digest = digest_of(
        (_row(example, features, used.splits) for example in (*train, *val)),
        used.splits,
        (
            ([each.task.model_dump(mode="json"), each.source.features.identity],
             [_row(example, [each.source.features]) for example in examples.train])
            for each, examples in zip(chosen, learnt_along, strict=True)
        ),
    )  # fmt: skip
    left_out = quality_gates.lines(features, [*used.train, *used.val])
    doubts = [*used.cautions, *left_out, *cautions({"train": train, "val": val}, task)]
    return HeadData(train, val, learnt_along, used.splits, used.warnings, digest, doubts)


def sequences(features: Sequence[Features], clip: str) -> tuple[FeatureSequence, ...]:
    """A clip's inputs."""
    return tuple(each.sequence(clip) for each in features)


def _example(
    clip: str, features: Sequence[Features], labels: ClipLabels, task: Task, pooling: Pooling,
    subject: str | None = None,
) -> Example:  # fmt: skip
    for each in features:
        each.artifact.check(clip)
    inputs = sequences(features, clip)
    if task.level == "clip":
        return Example(clip, inputs, np.asarray(labels.values[:1]), subject)
    return Example(clip, inputs, align(labels, inputs[0].start, inputs[0].end, pooling), subject)


def _row(
    example: Example, features: Sequence[Features], splits: Mapping[str, str] | None = None
) -> tuple[str, list[Floats | None]]:
    split = f"{splits[example.clip]} " if splits is not None else ""
    digests = " ".join(each.digest(example.clip) for each in features)
    return f"{example.clip} {split}{digests} ", [example.labels]


# ---- networks: units


@dataclass(frozen=True)
class NetworkData:
    """The clips that are used, their labels, and those of tasks learnt along, which are at the network's level."""

    upstream: Artifact
    used: Used
    auxiliary: list[AuxiliaryClips]
    digest: str

    @property
    def tasks(self) -> list[Task]:
        """Of what is learnt along."""
        return [each.task for each in self.auxiliary]

    def units(self, network: Network, plugin: Any, pooling: str) -> tuple[list[Units], Units]:
        """The training units of the network's task and of each other one, and the validation units.

        Raises UsageError for a split without a labelled unit.
        """
        used = self.used
        train, val = (
            _labelled(network.units(self.upstream, clips, used.labels, pooling, training), f"split {name}")
            for name, clips, training in (("train", used.train, True), ("val", used.val, False))
        )
        learnt_along = [
            _labelled(
                plugin(network.options, each.task).units(each.upstream, each.clips, each.labels, each.pooling, True),
                f"auxiliary task {each.task.name}",
            )
            for each in self.auxiliary
        ]
        return [train, *learnt_along], val


def network_data(
    upstream: Artifact, labels: Labels, task: Task, kind: str, network: str, options: DataOptions,
    splits: Path | None, auxiliary: Sequence[AuxiliarySource] = (),
) -> NetworkData:  # fmt: skip
    """The labelled clips of a faces or audio artifact, for a network of this kind and name. Raises UsageError, as the
    readers of the tables do."""
    for artifact in (upstream, *(source.features.artifact for source in auxiliary)):
        check_upstream(artifact, kind, network)
    features = Features(upstream)
    used, chosen = choose(features, features.clips, labels, task, options, splits, auxiliary, UPSTREAM[kind][1])
    learnt_along = [_at_level(each, task) for each in chosen]
    digest = digest_of(
        _rows(upstream, [*used.train, *used.val], used.labels),
        used.splits,
        (
            ([each.task.model_dump(mode="json"), each.upstream.stage.fingerprint],
             _rows(each.upstream, each.clips, each.labels))
            for each in learnt_along
        ),
    )  # fmt: skip
    return NetworkData(upstream, used, learnt_along, digest)


def check_upstream(artifact: Artifact, kind: str, network: str) -> None:
    """Raises UsageError where the artifact is not what the network reads."""
    wanted, what = UPSTREAM[kind]
    if artifact.stage.stage != wanted:
        error = wrong_kind(artifact.path, artifact.stage.stage, wanted)
        raise UsageError(f"network {network} is trained on {what}; {error}")


def _at_level(auxiliary: AuxiliaryClips, task: Task) -> AuxiliaryClips:
    """A network with one score a clip learns from labels over time as one label a clip."""
    other = auxiliary.task
    if task.level == "time" or other.level == "clip":
        return auxiliary
    labels = {
        clip: replace(each, start=np.zeros(1), end=np.full(1, np.inf), values=of_clip(each.values, other))
        for clip, each in auxiliary.labels.items()
    }
    return replace(auxiliary, task=other.model_copy(update={"level": "clip"}), labels=labels)


def _rows(artifact: Artifact, clips: Sequence[str], labels: Mapping[str, ClipLabels]) -> Rows:
    for clip in clips:
        values = labels[clip]
        yield f"{clip} {artifact.digest(clip)} {len(values)} ", (values.start, values.end, values.values)


def _labelled(units: Units, where: str) -> Units:
    if not labelled_units(units).any():
        raise UsageError(f"nothing to learn from: no labelled face or speech in {len(units.clips)} clips of {where}")
    return units
