"""What the labels of a data set are like, split by split, and what speaks against them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from affectkit.manifest.label_doubts import constant_targets, time_doubts, value_doubts
from affectkit.plugins import RawLabels
from affectkit.tasks import Task
from affectkit.types import ClipLabels

BINS = 20  # of a histogram from -1 to 1


def described(task: Task, values: Mapping[str, np.ndarray], splits: Mapping[str, str]) -> dict[str, Any]:
    """Clips, rows, invalid rows and the labels' distribution, by split."""
    found: dict[str, Any] = {}
    by_split: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip, own in values.items():
        by_split[splits.get(clip, "none")].append(own)
    for split, parts in sorted(by_split.items()):
        rows = np.concatenate(parts)
        valid = rows[np.isfinite(rows).all(axis=1)]
        found[split] = {"clips": len(parts), "rows": len(rows), "invalid_rows": len(rows) - len(valid)}
        found[split] |= _distribution(task, valid)
    return {"splits": found}


def _distribution(task: Task, valid: np.ndarray) -> dict[str, Any]:
    if task.kind == "multiclass":
        counts = np.bincount(valid[:, 0].astype(int), minlength=task.outputs) if len(valid) else np.zeros(task.outputs)
        return {"classes": dict(zip(task.targets, map(int, counts), strict=True))}
    if task.kind == "multilabel":
        return {"positive": dict(zip(task.targets, valid.sum(axis=0).astype(int).tolist(), strict=True))}
    low = 0.0 if len(valid) and valid.min() >= 0 else -1.0
    edges = np.linspace(low, 1.0, BINS + 1)
    return {
        "range": {name: [float(column.min()), float(column.max())] if len(column) else []
                  for name, column in zip(task.targets, valid.T, strict=True)},
        "histogram_edges": edges.round(6).tolist(),
        "histogram": {name: np.histogram(column, edges)[0].tolist()
                      for name, column in zip(task.targets, valid.T, strict=True)},
        "outside": {name: int(((column < low) | (column > 1)).sum())
                    for name, column in zip(task.targets, valid.T, strict=True)},
    }  # fmt: skip


def constant_splits(task: Task, rows: Mapping[str, RawLabels], splits: Mapping[str, str]) -> list[str]:
    """The splits whose labels are the same in every row, for every target: placeholders, most likely."""
    by_split: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip, raw in rows.items():
        by_split[splits.get(clip, "none")].append(raw.values)
    return [
        split
        for split, parts in sorted(by_split.items())
        if len(constant_targets(task, np.concatenate(parts))) == len(task.label_columns)
    ]


def doubts_of(reader: Any, task: Task, rows: Mapping[str, RawLabels], seconds: Mapping[str, float]) -> list[str]:
    """What speaks against values being on the task's scale and, where the files say times, against those in seconds."""
    known: Mapping[str, ClipLabels] = reader.labels(task) if getattr(reader, "says_times", False) else {}
    values = {
        clip: ClipLabels(np.zeros(len(raw.values)), np.full(len(raw.values), np.inf), raw.values)
        for clip, raw in rows.items()
    }
    return time_doubts(task, known, seconds) + value_doubts(task, values)
