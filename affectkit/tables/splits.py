"""Which clip is train, val or test, and the guard against one subject in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.errors import UsageError
from affectkit.tables.csv import read_table
from affectkit.tables.ids import split_name
from affectkit.tasks import Task
from affectkit.types import ClipLabels, without_face


def read_splits(path: Path) -> dict[str, str]:
    """A splits CSV (`clip,split`): split by clip id.

    Raises UsageError with file and line: wrong columns, ids or splits, a clip in two splits.
    """
    table = read_table(path, "splits", text=("clip", "split"), numbers=())
    clips, splits = table.clips(), table.words("split", split_name)
    found: dict[str, str] = {}
    for row in range(len(table)):
        first = found.setdefault(clips[row], splits[row])
        if first != splits[row]:
            raise table.error(row, f"clip '{clips[row]}' is in {splits[row]} here and in {first} above; keep one")
    return found


@dataclass(frozen=True)
class SplitRequest:
    """What the command line says of splits: a splits CSV; the share of the training clips (of all clips where nothing
    gives a split) to draw for validation, by clip or by subject, and the seed of the draw."""

    file: Path | None = None
    val_fraction: float | None = None
    by: Literal["clip", "subject"] = "clip"
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
    subjects = {name: entry["subject"] for name, entry in manifest.items() if entry.get("subject")}
    subjects |= {name: label.subject for name, label in labels.items() if label.subject}
    splits = _given(clips, labels, manifest, request.file)
    if request.val_fraction is not None:
        if "val" in splits.values():
            raise UsageError("a validation split is given already: leave out the fraction for validation")
        splits = _draw(splits or dict.fromkeys(clips, "train"), subjects, request)
    elif not splits:
        raise UsageError(
            "no clip has a split: give --splits FILE (clip,split), a column split in the labels or the manifest, or a "
            "fraction for validation (--val-fraction)"
        )
    _check_faces(splits)
    _check_subjects(splits, subjects)
    return dict(sorted(splits.items()))


def _given(
    clips: Collection[str],
    labels: Mapping[str, ClipLabels],
    manifest: Mapping[str, Mapping[str, Any]],
    file: Path | None,
) -> dict[str, str]:
    """The splits of the first table that names any; empty if none does."""
    tables = (
        (file, read_splits(file) if file else {}),
        ("the labels", {name: label.split for name, label in labels.items() if label.split}),
        ("the manifest", {name: split_name(entry["split"]) for name, entry in manifest.items() if entry.get("split")}),
    )
    source, table = next(((source, table) for source, table in tables if table), (None, {}))
    found = {name: split for name in clips if (split := table.get(name) or table.get(without_face(name)))}
    if clips and table and not found:
        raise UsageError(
            f"{source} gives a split to none of the {len(clips)} clips ('{min(table)}', not '{min(clips)}')"
        )
    return found


def _draw(splits: dict[str, str], subjects: Mapping[str, str], request: SplitRequest) -> dict[str, str]:
    fraction = request.val_fraction or 0
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction for validation is {fraction:g}; needed is a number between 0 and 1")
    groups: dict[str, list[str]] = defaultdict(list)
    for name in (name for name, split in splits.items() if split == "train"):
        group = without_face(name) if request.by == "clip" else _subject(name, subjects)
        if group is None:
            raise UsageError(f"clip '{name}' has no subject: fill the column subject, or draw validation clips by clip")
        groups[group].append(name)
    keys = sorted(groups)
    if len(keys) < 2:
        raise UsageError(f"{len(keys)} training {request.by} cannot be divided into train and val; two are needed")
    count = min(max(round(fraction * len(keys)), 1), len(keys) - 1)
    drawn = np.random.default_rng(request.seed).permutation(len(keys))[:count]
    return splits | {name: "val" for place in drawn for name in groups[keys[place]]}


def _subject(name: str, subjects: Mapping[str, str]) -> str | None:
    return subjects.get(name) or subjects.get(without_face(name))


def _check_faces(splits: Mapping[str, str]) -> None:
    """All faces of a clip share its sound, light and background: they belong to one split."""
    first: dict[str, str] = {}
    for name in sorted(splits):
        other = first.setdefault(without_face(name), name)
        if splits[other] != splits[name]:
            raise UsageError(
                f"faces of one clip are in two splits: '{other}' in {splits[other]}, '{name}' in {splits[name]}; "
                "scores would be too good: keep clips whole"
            )


def _check_subjects(splits: Mapping[str, str], subjects: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for name in sorted(splits):
        subject = _subject(name, subjects)
        if subject is None:
            continue
        other = first.setdefault(subject, name)
        if splits[other] != splits[name]:
            raise UsageError(
                f"subject '{subject}' is in two splits: clip '{other}' in {splits[other]}, '{name}' in {splits[name]}; "
                "scores would be too good: keep subjects whole (a fraction for validation can be drawn by subject)"
            )


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


def folds_of(groups: ArrayLike, count: int, seed: int | None = None) -> NDArray[np.int64]:
    """Folds [N] of about equal size that keep each group (clip or subject) whole: largest first, to the smallest fold.

    `seed`: groups of one size come in random order, not in that of their names. Raises ValueError for fewer groups than
    folds, or fewer than 2 folds.

    >>> folds_of(["a", "b", "b", "c"], 2).tolist()
    [1, 0, 0, 1]
    """
    found, which, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= count <= len(found):
        raise ValueError(f"{count} folds of {len(found)} groups: at least 2 folds, and a group for each")
    order = np.arange(len(found)) if seed is None else np.random.default_rng(seed).permutation(len(found))
    fold, filled = np.zeros(len(found), np.int64), np.zeros(count, np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[which]
