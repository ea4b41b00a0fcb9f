"""Which clip is train, val or test, and the guard against one subject in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from affectkit.errors import UsageError
from affectkit.manifest.clip_ids import split_name
from affectkit.manifest.csv_table import read_table
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
