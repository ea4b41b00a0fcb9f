"""Which clip is train, val or test, and the guard against one subject in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.errors import UsageError
from affectkit.tables.csv import read_table
from affectkit.tables.ids import split_name
from affectkit.tables.subjects import By, Subjects
from affectkit.tasks import Task
from affectkit.types import ClipLabels, without_face


def read_splits(path: Path) -> dict[str, str]:
    """A splits CSV (`clip,split`): split by clip id.

    Raises UsageError with file and line: wrong columns, ids or splits, a clip in two splits.
    """
    table = read_table(path, "splits", text=("clip", "split"), numbers=())
    clips, splits = table.clips(), table.words("split", split_name)
    by_clip: dict[str, str] = {}
    for row in range(len(table)):
        first = by_clip.setdefault(clips[row], splits[row])
        if first != splits[row]:
            raise table.error(row, f"clip '{clips[row]}' is in {splits[row]} here and in {first} above; keep one")
    return by_clip


@dataclass(frozen=True)
class SplitRequest:
    """What the command line says of splits: a splits CSV; the share of the training clips (of all clips where nothing
    gives a split) to draw for validation, by clip or by subject, and the seed of the draw."""

    file: Path | None = None
    val_fraction: float | None = None
    by: By = "clip"
    seed: int = 0


def resolve_splits(
    clips: Collection[str],
    labels: Mapping[str, ClipLabels],
    manifest: Mapping[str, Mapping[str, Any]],
    request: SplitRequest,
) -> dict[str, str]:
    """The split of each of `clips`, sorted by id; `manifest` has `split` and `subject` of a clip where they are known.

    The first that names any split decides for all clips: the file, the labels, the manifest. Clips that it leaves out
    are in no split and absent from the result. A face `name#1` is in the split of `name` unless listed itself, and
    faces of one clip are drawn together.

    Raises UsageError: no splits and no fraction; a fraction where there is a validation split; splits that name none
    of the clips; a draw by subject where a subject is unknown; a subject, or the faces of one clip, in two splits.
    """
    subjects = Subjects.named(labels, manifest)
    splits = _stated(clips, labels, manifest, request.file)
    if request.val_fraction is not None:
        if "val" in splits.values():
            raise UsageError("a validation split is given already: leave out the fraction for validation")
        splits = _draw(splits or dict.fromkeys(clips, "train"), subjects, request)
    elif not splits:
        raise UsageError(
            "no clip has a split: give --splits FILE (clip,split), a column split in the labels or the manifest, or a "
            "fraction for validation (--val-fraction)"
        )
    _refuse_parted(
        splits, without_face, "faces of one clip are in two splits: {clips}; scores would be too good: keep clips whole"
    )
    _refuse_parted(
        splits, subjects.of,
        "subject '{group}' is in two splits: clip {clips}; scores would be too good: keep subjects whole (a fraction "
        "for validation can be drawn by subject)",
    )  # fmt: skip
    return dict(sorted(splits.items()))


def _stated(
    clips: Collection[str],
    labels: Mapping[str, ClipLabels],
    manifest: Mapping[str, Mapping[str, Any]],
    file: Path | None,
) -> dict[str, str]:
    """The splits of the first table that names any; empty if none does."""
    tables = (
        (file, read_splits(file) if file else {}),
        ("the labels", split_table(labels, None)),
        ("the manifest", {name: split_name(entry["split"]) for name, entry in manifest.items() if entry.get("split")}),
    )
    source, table = next(((source, table) for source, table in tables if table), (None, {}))
    splits = {name: split for name in clips if (split := split_in(table, name))}
    if clips and table and not splits:
        raise UsageError(
            f"{source} gives a split to none of the {len(clips)} clips ('{min(table)}', not '{min(clips)}')"
        )
    return splits


def split_table(labels: Mapping[str, ClipLabels], file: Path | None) -> dict[str, str]:
    """The splits of a file, else those that the labels give."""
    return read_splits(file) if file else {name: label.split for name, label in labels.items() if label.split}


def split_in(table: Mapping[str, str], clip: str) -> str:
    """The split that a table gives a clip, "" for none; a face `name#1` is in the split of `name` unless it is listed.

    >>> split_in({"a": "val", "a#1": "test"}, "a#0"), split_in({"a": "val", "a#1": "test"}, "a#1")
    ('val', 'test')
    """
    return table.get(clip) or table.get(without_face(clip)) or ""


def _draw(splits: dict[str, str], subjects: Subjects, request: SplitRequest) -> dict[str, str]:
    fraction = request.val_fraction or 0
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction for validation is {fraction:g}; needed is a number between 0 and 1")
    training = (name for name, split in splits.items() if split == "train")
    groups = subjects.groups(training, request.by, "draw validation clips by clip")
    keys = sorted(groups)
    if len(keys) < 2:
        raise UsageError(f"{len(keys)} training {request.by} cannot be divided into train and val; two are needed")
    count = min(max(round(fraction * len(keys)), 1), len(keys) - 1)
    drawn = np.random.default_rng(request.seed).permutation(len(keys))[:count]
    return splits | {name: "val" for place in drawn for name in groups[keys[place]]}


def _refuse_parted(splits: Mapping[str, str], group_of: Callable[[str], str | None], message: str) -> None:
    """Raises UsageError where clips of one group are in two splits: faces of a clip share its sound, light and
    background, clips of a subject a face and a voice."""
    first: dict[str, str] = {}
    for name in sorted(splits):
        group = group_of(name)
        other = name if group is None else first.setdefault(group, name)
        if splits[other] != splits[name]:
            clips = f"'{other}' in {splits[other]}, '{name}' in {splits[name]}"
            raise UsageError(message.format(group=group, clips=clips))


def deal(
    clips: Sequence[str], labels: Mapping[str, ClipLabels], task: Task, folds: int, by: By,
    subjects: Subjects, seed: int = 0,
) -> dict[str, int]:  # fmt: skip
    """The fold 0..folds-1 of each clip.

    Clips of a group (the faces of one clip, or a subject) share a fold. For classes, groups are dealt class by class by
    the label that most of their rows have, each to the fold with the fewest of that class, then with the fewest clips.

    Raises UsageError: fewer groups than folds, a clip without a subject.
    """
    groups = subjects.groups(clips, by, "make folds by clip")
    if len(groups) < folds:
        raise UsageError(f"{len(groups)} labelled {by}s cannot be dealt to {folds} folds")
    names = sorted(groups)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    kinds = {name: _kind([labels[clip] for clip in groups[name]], task) for name in order}
    order.sort(key=lambda name: (kinds[name], -len(groups[name])))
    filled = [0] * folds
    of_kind: dict[tuple[int, int], int] = defaultdict(int)
    folds_by_clip: dict[str, int] = {}
    for name in order:
        fold = min(range(folds), key=lambda k: (of_kind[k, kinds[name]], filled[k], k))
        of_kind[fold, kinds[name]] += 1
        filled[fold] += len(groups[name])
        folds_by_clip |= dict.fromkeys(groups[name], fold)
    return folds_by_clip


def _kind(labels: Sequence[ClipLabels], task: Task) -> int:
    """The class that most rows have; 0 for tasks without classes."""
    if task.kind != "multiclass":
        return 0
    values = np.concatenate([of_clip.values[:, 0] for of_clip in labels])
    values = values[np.isfinite(values)].astype(int)
    return int(np.bincount(values).argmax()) if len(values) else -1


def folds_of(groups: ArrayLike, count: int, seed: int | None = None) -> NDArray[np.int64]:
    """Folds [N] of about equal size that keep each group (clip or subject) whole: largest first, to the smallest fold.

    `seed`: groups of one size come in random order, not in that of their names. Raises ValueError for fewer groups than
    folds, or fewer than 2 folds.

    >>> folds_of(["a", "b", "b", "c"], 2).tolist()
    [1, 0, 0, 1]
    """
    names, which, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= count <= len(names):
        raise ValueError(f"{count} folds of {len(names)} groups: at least 2 folds, and a group for each")
    order = np.arange(len(names)) if seed is None else np.random.default_rng(seed).permutation(len(names))
    fold, filled = np.zeros(len(names), np.int64), np.zeros(count, np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[which]
