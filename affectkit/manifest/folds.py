"""Folds of clips for cross-validation: groups stay whole, classes are spread evenly, and the seed decides the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from affectkit.errors import UsageError
from affectkit.tasks import Task
from affectkit.types import ClipLabels, without_face


def deal(
    clips: Sequence[str], labels: Mapping[str, ClipLabels], task: Task, folds: int, by: Literal["clip", "subject"],
    subjects: Mapping[str, str], seed: int = 0,
) -> dict[str, int]:  # fmt: skip
    """The fold 0..folds-1 of each clip.

    Clips of a group (the faces of one clip, or a subject) share a fold. For classes, groups are dealt class by class by
    the label that most of their rows have, each to the fold with the fewest of that class, then with the fewest clips.

    Raises UsageError: fewer groups than folds, a clip without a subject.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        group = without_face(clip) if by == "clip" else subjects.get(clip) or subjects.get(without_face(clip))
        if group is None:
            raise UsageError(f"clip '{clip}' has no subject: fill the column subject, or make folds by clip")
        groups[group].append(clip)
    if len(groups) < folds:
        raise UsageError(f"{len(groups)} labelled {by}s cannot be dealt to {folds} folds")
    names = sorted(groups)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    kinds = {name: _kind([labels[clip] for clip in groups[name]], task) for name in order}
    order.sort(key=lambda name: (kinds[name], -len(groups[name])))
    filled = [0] * folds
    of_kind: dict[tuple[int, int], int] = defaultdict(int)
    found: dict[str, int] = {}
    for name in order:
        fold = min(range(folds), key=lambda k: (of_kind[k, kinds[name]], filled[k], k))
        of_kind[fold, kinds[name]] += 1
        filled[fold] += len(groups[name])
        found |= dict.fromkeys(groups[name], fold)
    return found


def _kind(labels: Sequence[ClipLabels], task: Task) -> int:
    """The class that most rows have; 0 for tasks without classes."""
    if task.kind != "multiclass":
        return 0
    values = np.concatenate([one.values[:, 0] for one in labels])
    values = values[np.isfinite(values)].astype(int)
    return int(np.bincount(values).argmax()) if len(values) else -1
