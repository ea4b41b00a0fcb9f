"""Which clip is train, val or test, and the guard against one subject in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError
from affectkit.manifest.clip_ids import split_name, without_face
from affectkit.manifest.csv_table import read_table
from affectkit.types import Clip, ClipLabels


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


def resolve_splits(
    clips: Collection[str],
    *,
    splits_file: Path | None = None,
    labels: Mapping[str, ClipLabels] | None = None,
    manifest: Iterable[Clip] = (),
    val_fraction: float | None = None,
    seed: int = 0,
) -> dict[str, str]:
    """The split of each of `clips`, sorted by id.

    The first that names any split decides for all clips: the file, the labels, the manifest; clips that it leaves out
    are in no split and absent from the result. A face `name#1` is in the split of `name` unless listed itself.
    `val_fraction` makes the validation split where there is none: that share of the training clips (of all clips if
    there are no splits), drawn with `seed`, subjects kept whole where they are known and faces of one clip together.

    Raises UsageError: no splits and no `val_fraction`; both a validation split and `val_fraction`; splits that name
    none of the clips; a subject in two splits.
    """
    labels = labels or {}
    listed = list(manifest)
    subjects = {clip.id: clip.subject for clip in listed if clip.subject}
    subjects |= {name: label.subject for name, label in labels.items() if label.subject}
    splits = _given(clips, splits_file, labels, listed)
    if val_fraction is not None:
        if "val" in splits.values():
            raise UsageError("a validation split is given already: leave out the fraction for validation")
        splits = _draw(splits or dict.fromkeys(clips, "train"), subjects, val_fraction, seed)
    elif not splits:
        raise UsageError(
            "no clip has a split: give a splits CSV (clip,split), a column split in the labels or the manifest, or a "
            "fraction for validation"
        )
    _check_subjects(splits, subjects)
    return dict(sorted(splits.items()))


def _given(
    clips: Collection[str], splits_file: Path | None, labels: Mapping[str, ClipLabels], manifest: Collection[Clip]
) -> dict[str, str]:
    """The splits of the first table that names any; empty if none does."""
    tables = (
        (splits_file, read_splits(splits_file) if splits_file else {}),
        ("the labels", {name: label.split for name, label in labels.items() if label.split}),
        ("the manifest", {clip.id: clip.split for clip in manifest if clip.split}),
    )
    for source, table in tables:
        if table:
            found = {name: split for name in clips if (split := table.get(name) or table.get(without_face(name)))}
            if clips and not found:
                raise UsageError(
                    f"{source} names none of the {len(clips)} clips: '{min(table)}' against '{min(clips)}'"
                )
            return found
    return {}


def _draw(splits: dict[str, str], subjects: Mapping[str, str], fraction: float, seed: int) -> dict[str, str]:
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction for validation is {fraction:g}; needed is a number between 0 and 1")
    groups: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for name, split in splits.items():
        if split == "train":
            groups[_group(name, subjects)].append(name)
    keys = sorted(groups)
    if len(keys) < 2:
        raise UsageError(f"{len(keys)} training clip or subject cannot be divided into train and val; two are needed")
    count = min(max(round(fraction * len(keys)), 1), len(keys) - 1)
    drawn = np.random.default_rng(seed).permutation(len(keys))[:count]
    return splits | {name: "val" for place in drawn for name in groups[keys[place]]}


def _subject(name: str, subjects: Mapping[str, str]) -> str | None:
    return subjects.get(name) or subjects.get(without_face(name))


def _group(name: str, subjects: Mapping[str, str]) -> tuple[bool, str]:
    """What must not be divided: a subject, else a clip with all its faces."""
    subject = _subject(name, subjects)
    return (True, subject) if subject else (False, without_face(name))


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
                "scores would be too good"
            )
