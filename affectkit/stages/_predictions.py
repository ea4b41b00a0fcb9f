"""Predictions as artifacts: reading them (or a CSV of anybody's), and bringing several models to common rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.digests import sha256_file
from affectkit.errors import UsageError
from affectkit.manifest.alignment import Pooling, align
from affectkit.manifest.predictions_csv import read_predictions
from affectkit.manifest.splits import read_splits
from affectkit.store import Artifact, is_artifact, open_artifact
from affectkit.store.kinds import PREDICTIONS, wrong_kind
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats, Predictions, without_face


def load(path: Path, task: Task) -> Predictions:
    """Predictions of an artifact folder or a CSV file, columns in the task's order. Raises UsageError."""
    if not _names_artifact(path):
        return read_predictions(path, task)
    artifact = open_artifact(path)
    if artifact.stage.table is None or "scores" not in artifact.schema.columns:
        raise wrong_kind(path, artifact.stage.stage, *PREDICTIONS)
    columns = artifact.schema.names["scores"]
    if sorted(columns) != sorted(task.targets):
        raise UsageError(
            f"{path} predicts {', '.join(columns)}; task {task.name} has {', '.join(task.targets)}: "
            "give the --task that its head was trained for"
        )
    order = [columns.index(target) for target in task.targets]
    for clip in artifact.clips:
        artifact.check(clip)
    parts = [(clip, artifact.read(clip)) for clip in artifact.clips]
    says_observed = "observed" in artifact.schema.columns  # those of earlier releases do not
    return Predictions(
        np.repeat(np.array([clip for clip, _ in parts], dtype=np.str_), [len(r["start"]) for _, r in parts]),
        _joined(parts, "start"),
        _joined(parts, "end"),
        np.concatenate([r["scores"] for _, r in parts])[:, order].astype(float) if parts else np.zeros((0, len(order))),
        tuple(task.targets),
        np.repeat(np.array([r["split"] for _, r in parts], dtype=np.str_), [len(r["start"]) for _, r in parts]),
        _joined(parts, "observed").astype(float) if says_observed else np.zeros(0),
    )


def identity(path: Path) -> str:
    """What a table is: the digest of a CSV's bytes, or of an artifact's recipe and clips. Raises UsageError."""
    if not _names_artifact(path):
        try:
            return sha256_file(path)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    artifact = open_artifact(path)
    return _hashed([artifact.stage.fingerprint, *(f"{clip} {artifact.digest(clip)}" for clip in artifact.clips)])


def records(predictions: Predictions) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(clip, source digest, columns) for `store.write_table`; the source is the scores' own digest."""
    for clip, rows in by_clip(predictions).items():
        scores = np.asarray(predictions.scores[rows], np.float32)
        record = {
            "start": predictions.start[rows],
            "end": predictions.end[rows],
            "valid": np.isfinite(scores).all(axis=1),
            "observed": np.asarray(predictions.observed[rows], np.float32),
            "scores": scores,
            "split": str(predictions.split[rows][0]),
        }
        yield clip, sha256(scores.tobytes()).hexdigest(), record


def ends(sets: Sequence[Predictions]) -> dict[str, float]:
    """When each clip's rows end (s), in any of the sets."""
    found: dict[str, float] = {}
    for one in sets:
        for clip, rows in by_clip(one).items():
            found[clip] = max(found.get(clip, 0.0), float(one.end[rows].max()))
    return found


def by_clip(predictions: Predictions) -> dict[str, slice]:
    """Where each clip's rows lie. Raises UsageError when a clip's rows are not together."""
    changes = np.flatnonzero(predictions.clip[1:] != predictions.clip[:-1]) + 1
    bounds = [0, *changes.tolist(), len(predictions)] if len(predictions) else []
    found = {str(predictions.clip[a]): slice(a, b) for a, b in pairwise(bounds)}
    if len(found) < len(bounds) - 1:
        raise UsageError("the rows of a clip are not next to each other: sort the predictions by clip")
    return found


def truth(
    predictions: Predictions, labels: Mapping[str, ClipLabels], task: Task, pooling: Pooling = "midpoint"
) -> Floats:
    """[N,K] (multiclass [N,1]) the label of each row; NaN where there is none. Raises UsageError when none is."""
    values = np.full((len(predictions), len(task.label_columns)), np.nan)
    for clip, rows in by_clip(predictions).items():
        if clip in labels:
            values[rows] = align(labels[clip], predictions.start[rows], predictions.end[rows], pooling)
    if len(values) and np.isnan(values).any(axis=1).all():
        raise UsageError("no row of the predictions has a label: do the clip names and times agree?")
    return values


def with_splits(predictions: Predictions, labels: Mapping[str, ClipLabels], splits: Path | None) -> Predictions:
    """The same predictions with the split of each clip by the first table that names any, as in training: the splits
    file, the labels, else what the predictions say themselves."""
    table = split_table(labels, splits)
    if not table:
        return predictions
    split = np.array([split_in(table, clip) for clip in predictions.clip.tolist()], np.str_)
    return replace(predictions, split=split)


def split_table(labels: Mapping[str, ClipLabels], splits: Path | None) -> dict[str, str]:
    """The splits of a file, else those that the labels give."""
    return read_splits(splits) if splits else {clip: entry.split for clip, entry in labels.items() if entry.split}


def split_in(table: Mapping[str, str], clip: str) -> str:
    """A clip's split; a face `name#1` is in the split of `name` unless listed itself."""
    return table.get(clip) or table.get(without_face(clip)) or ""


def _joined(parts: list[tuple[str, dict[str, Any]]], name: str) -> Floats:
    return np.concatenate([record[name] for _, record in parts]) if parts else np.zeros(0)


def _hashed(texts: list[str]) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()


def artifact_paths(paths: Sequence[Path]) -> list[Path]:
    """Those of the prediction sets that are artifacts, for the upstream record."""
    return [Artifact(path).path for path in paths if _names_artifact(path)]


def _names_artifact(path: Path) -> bool:
    """Whether predictions are an artifact, and no CSV."""
    return is_artifact(path) or os.path.isdir(path)  # noqa: PTH112  (False for a name that is too long)
