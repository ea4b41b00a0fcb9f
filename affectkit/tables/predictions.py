"""Predictions CSV: `clip[,start,end][,split],<columns>[,valid][,observed]`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.digests import sha256_file, sha256_lines
from affectkit.errors import UsageError
from affectkit.store import Artifact, is_artifact, open_artifact
from affectkit.store.kinds import PREDICTIONS, wrong_kind
from affectkit.tables.csv import CsvTable, read_table
from affectkit.tables.csv_text import read_text
from affectkit.tables.ids import split_name
from affectkit.tables.pooling import Pooling, align
from affectkit.tables.splits import split_in, split_table
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats, Predictions

_ROUNDED = 0.05


def read_predictions(path: Path, task: Task) -> Predictions:
    """Predictions of a task, whoever made them: rows sorted by clip and time, columns in the task's order.

    One column a target, found by name; columns of other names are ignored. Classes hold probabilities: 0 to 1, and for
    multiclass tasks a sum of 1 (0.05 is left for rounding; nothing is rescaled). An empty cell is NaN, a row that
    could not be predicted; so is one with `valid` 0, whatever its cells hold. `observed` is the share of what a row was
    made from that had a face or speech. Rows may overlap; without times a row holds for the whole clip.

    Raises UsageError with file and line: missing columns, text, infinity, values that are no probabilities, two rows
    for one clip and time, start >= end, unknown splits, `valid` or `observed` outside of 0 to 1.
    """
    valid, observed = ((name,) if name not in task.targets else () for name in ("valid", "observed"))
    table = read_table(
        path,
        f"predictions for {task.name}",
        text=("clip", "split", *valid),
        numbers=("start", "end", *observed, *task.targets),
        optional=("start", "end", "split", *valid, *observed),
    )
    scores = np.column_stack([table.numbers[name] for name in task.targets])
    if "valid" in table.text:
        words = table.words("valid", _is_valid)
        scores[np.array(words.values)[words.codes] == "0"] = np.nan
    _check_scores(table, task, scores)
    start, end = table.intervals()
    clips = table.clips()
    order = np.lexsort((end, start, clips.codes))
    twice = np.all([np.diff(column[order]) == 0 for column in (clips.codes, start, _finite(end))], axis=0)
    if twice.any():
        first, second = sorted(order[int(np.argmax(twice)) :][:2].tolist())
        raise table.error(second, f"clip '{clips[first]}' has two rows for one time (line {table.line(first)} as well)")
    split = np.full(len(table), "", "U5")
    if "split" in table.text:
        words = table.words("split", lambda text: split_name(text) if text else "")
        split = np.array(words.values, "U5")[words.codes]
    clip = np.array(clips.values)[clips.codes]
    share = _shares(table) if observed else np.full(len(table), np.nan)
    return Predictions(clip[order], start[order], end[order], scores[order], task.targets, split[order], share[order])


def _is_valid(text: str) -> str:
    """0 or 1; an empty cell is 1. Raises UsageError."""
    word = {"": "1", "true": "1", "1.0": "1", "false": "0", "0.0": "0"}.get(text.lower(), text)
    if word not in ("0", "1"):
        raise UsageError(f"valid is '{text}', needed is 0 or 1: rename the column if it says something else")
    return word


def _shares(table: CsvTable) -> Floats:
    """The column `observed`; NaN without it. Raises UsageError."""
    shares = table.numbers.get("observed", np.full(len(table), np.nan))
    if (bad := (shares < 0) | (shares > 1)).any():
        row = int(np.argmax(bad))
        raise table.error(row, f"observed is {shares[row]:g}, needed is a share from 0 to 1: rename the column if it "
                               "says something else")  # fmt: skip
    return shares


def _check_scores(table: CsvTable, task: Task, scores: Floats) -> None:
    bad = np.isinf(scores)
    needed = "a finite number"
    if task.kind != "regression":
        bad |= (scores < 0) | (scores > 1)
        needed = "a probability from 0 to 1 (scores before softmax or sigmoid are not)"
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise table.error(row, f"{task.targets[column]} is {scores[row, column]:g}, needed is {needed}")
    if task.kind == "multiclass":
        total = scores.sum(axis=1)
        off = np.abs(total - 1) > _ROUNDED
        if off.any():
            row = int(np.argmax(off))
            raise table.error(row, f"the probabilities of {task.name} add up to {total[row]:g}, not 1")


def _check_sums(path: Path, task: Task, scores: Floats) -> None:
    """Raises UsageError for some of more classes: what is left of their probabilities does not add up."""
    off = np.abs(scores.sum(axis=1) - 1) > _ROUNDED
    if off.any():
        raise UsageError(
            f"{path} has classes that task {task.name} does not have: the probabilities of its own add up to "
            f"{scores[off][0].sum():.3g} where they should to 1: predict again with --task {task.name}"
        )


def _finite(end: Floats) -> Floats:
    """Ends whose differences are numbers."""
    return np.where(np.isinf(end), -1.0, end)


def load(path: Path, task: Task) -> Predictions:
    """Predictions of an artifact folder or a CSV file, columns in the task's order. Raises UsageError."""
    return stored(open_artifact(path), task) if _names_artifact(path) else read_predictions(path, task)


def columns_of(path: Path) -> list[str]:
    """The names of an artifact's scores, or of all columns of a CSV file. Raises UsageError."""
    if not _names_artifact(path):
        return list(read_text(path).header)
    artifact = open_artifact(path)
    if artifact.stage.table is None or "scores" not in artifact.schema.columns:
        raise wrong_kind(path, artifact.stage.stage, *PREDICTIONS)
    return list(artifact.schema.names["scores"])


def stored(artifact: Artifact, task: Task, clips: Sequence[str] | None = None) -> Predictions:
    """Predictions of an artifact, or of some of its clips, columns in the task's order; a model of several tasks has
    other columns beside them. Raises UsageError, and HostileFile for a clip that is damaged."""
    path = artifact.path
    if artifact.stage.table is None or "scores" not in artifact.schema.columns:
        raise wrong_kind(path, artifact.stage.stage, *PREDICTIONS)
    columns = artifact.schema.names["scores"]
    if not set(columns) >= set(task.targets):
        published = "card" in artifact.stage.provenance
        which = (
            f"predict again with --task {task.name}" if published else "give the --task that its head was trained for"
        )
        raise UsageError(
            f"{path} predicts {', '.join(columns)}; task {task.name} has {', '.join(task.targets)}: {which}"
        )
    order = [columns.index(target) for target in task.targets]
    chosen = artifact.clips if clips is None else clips
    for clip in chosen:
        artifact.check(clip)
    parts = [(clip, artifact.read(clip)) for clip in chosen]
    scores = (
        np.concatenate([r["scores"] for _, r in parts])[:, order].astype(float) if parts else np.zeros((0, len(order)))
    )
    if task.kind == "multiclass" and len(columns) > len(order):
        _check_sums(path, task, scores)
    says_observed = "observed" in artifact.schema.columns  # those of earlier releases do not
    return Predictions(
        np.repeat(np.array([clip for clip, _ in parts], dtype=np.str_), [len(r["start"]) for _, r in parts]),
        _joined(parts, "start"),
        _joined(parts, "end"),
        scores,
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
    return sha256_lines([artifact.stage.fingerprint, *(f"{clip} {artifact.digest(clip)}" for clip in artifact.clips)])


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
    ends_by_clip: dict[str, float] = {}
    for predictions in sets:
        for clip, rows in by_clip(predictions).items():
            ends_by_clip[clip] = max(ends_by_clip.get(clip, 0.0), float(predictions.end[rows].max()))
    return ends_by_clip


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
    """Predictions with the split of each clip by the first table that names any, as in training: the splits file, the
    labels, else what the predictions say themselves."""
    table = split_table(labels, splits)
    if not table:
        return predictions
    split = np.array([split_in(table, clip) for clip in predictions.clip.tolist()], np.str_)
    return replace(predictions, split=split)


def _joined(parts: list[tuple[str, dict[str, Any]]], name: str) -> Floats:
    return np.concatenate([record[name] for _, record in parts]) if parts else np.zeros(0)


def _names_artifact(path: Path) -> bool:
    """Whether predictions are an artifact, and no CSV."""
    return is_artifact(path) or os.path.isdir(path)  # noqa: PTH112
