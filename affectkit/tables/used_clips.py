"""Which clips are learnt from and which are held out, for heads and for networks alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from affectkit.errors import UsageError, listed
from affectkit.store import Features
from affectkit.tables.label_doubts import constant_targets, doubts
from affectkit.tables.labels import Labels, match_labels, read
from affectkit.tables.recordings import recording, refuse
from affectkit.tables.splits import SplitRequest, resolve_splits
from affectkit.tables.subjects import By, Subjects
from affectkit.tasks import Task
from affectkit.types import ClipLabels, without_face


class SplitOptions(Protocol):
    """What the configs of training stages say of splits."""

    @property
    def seed(self) -> int: ...
    @property
    def split_by(self) -> By: ...
    @property
    def val_fraction(self) -> float | None: ...


@dataclass(frozen=True)
class Used:
    """The labels, the clips of each split that are used, in order, the split of every clip, and what was left out;
    the names and subjects that are held out, and the `features` that they are of."""

    labels: dict[str, ClipLabels]
    train: list[str]
    val: list[str]
    splits: dict[str, str]
    warnings: list[str]
    held_out: frozenset[str]
    held_out_subjects: frozenset[str]
    features: Features
    subjects: Subjects
    cautions: tuple[str, ...] = ()

    def subject(self, clip: str) -> str | None:
        """Who is seen or heard in a clip, where a table says so."""
        return self.subjects.of(clip)


def choose(
    features: Features, shared: list[str], labels: Labels, task: Task, options: SplitOptions, splits: Path | None,
    what: str = "features", needs_val: bool = True,
) -> Used:  # fmt: skip
    """The labelled clips among `shared`, those that all inputs have. Raises UsageError, as the readers of the tables
    do, for a split without clips (val: where it is needed), and for a clip that is in two splits under two names."""
    notes: list[str] = []
    by_clip = read(labels, task, notes)
    match = match_labels(shared, by_clip)
    table = features.clip_table()
    request = SplitRequest(splits, options.val_fraction, options.split_by, options.seed)
    split = resolve_splits(shared, by_clip, table, request)
    refuse(features, split, what)
    chosen = {name: [clip for clip in match.clips if split.get(clip) == name] for name in ("train", "val")}
    for name, clips in chosen.items():
        if not clips and (needs_val or name == "train"):
            raise UsageError(f"no labelled clip with {what} has split '{name}'")
    subjects = Subjects.named(by_clip, table)
    held_out = {without_face(clip) for clip, name in split.items() if name != "train"}
    return Used(
        by_clip, chosen["train"], chosen["val"], split, notes + match.warnings, frozenset(held_out),
        frozenset().union(*map(subjects.everybody, held_out)),
        features, subjects, tuple(_cautions(task, by_clip, chosen, features)),
    )  # fmt: skip


def _cautions(
    task: Task, labels: Mapping[str, ClipLabels], chosen: Mapping[str, list[str]], features: Features
) -> list[str]:
    """What speaks against the labels of the chosen clips being what they are taken for."""
    used = {clip: labels[clip] for clips in chosen.values() for clip in clips}
    ends = {clip: _end(features, clip) for clip in used} if task.level == "time" else {}
    cautions = doubts(task, used, ends)
    for split, clips in chosen.items():
        constant = constant_targets(task, np.concatenate([labels[clip].values for clip in clips])) if clips else ()
        if constant:
            cautions.append(f"labels of split {split} are constant: {', '.join(constant)}")
    return cautions


def _end(features: Features, clip: str) -> float:
    """When a clip's rows end (s); NaN of one without rows."""
    return float(np.max(features.artifact.column(clip, "end"), initial=-np.inf))


def auxiliary_clips(
    features: Features, labels: Labels, task: Task, used: Used
) -> tuple[dict[str, ClipLabels], list[str]]:
    """Labels of an auxiliary task, and the clips that it may be learnt from: none that is held out, under whatever
    name, nor anybody seen there. Raises UsageError where there is none."""
    by_clip = read(labels, task)
    subjects = Subjects.named(by_clip, features.clip_table())
    has_splits = any(entry.split for entry in by_clip.values())
    held_out = {recording(used.features, clip) for clip, name in used.splits.items() if name != "train"}
    clips = [
        clip
        for clip in match_labels(features.clips, by_clip).clips
        if (by_clip[clip].split == "train" or not has_splits)
        and _is_free(clip, subjects, used)
        and (recording(features, clip) or clip) not in held_out
    ]
    if left := sorted(set(features.clips) & set(by_clip) - set(clips)):
        used.warnings.append(f"left out of task {task.name}, held out here or not in its split train: {listed(left)}")
    if not clips:
        raise UsageError(
            f"no clip of {features.path} is left to learn task {task.name} from: those of "
            f"{labels} are held out here, or not in its split train"
        )
    return by_clip, clips


def _is_free(clip: str, subjects: Subjects, used: Used) -> bool:
    """Whether neither a clip nor anybody in it is held out."""
    return without_face(clip) not in used.held_out and not subjects.everybody(clip) & used.held_out_subjects
