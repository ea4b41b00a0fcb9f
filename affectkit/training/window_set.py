"""Windows of features with their labels as a torch data set, for loops of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from affectkit.errors import UsageError
from affectkit.learning.windows import median_hop, slide
from affectkit.tables.pooling import Pooling, align, check_pooling
from affectkit.tasks import Task
from affectkit.types import ClipLabels, FeatureSequence

IGNORED = -100
"""The class of a row without a label, which torch's losses leave out."""


class WindowSet(Dataset[dict[str, Any]]):
    """Windows over the rows of labelled clips. An item is a dictionary, which torch's DataLoader puts into batches:

    values float32 [L,D]; valid bool [L], False where there is no face or speech; labels float32 [L,K], NaN where there
    is none, or [K] for a task with one label a clip (classes: int64 [L] or a number, -100 where there is none); clip,
    its id; start, end, the window's (s).

    Windows of seconds have one length L: a clip shorter than a window is padded with rows that are not valid and have
    no label. The last window of a clip ends with it. A window of a whole clip has the clip's length.
    """

    def __init__(
        self, sequences: Mapping[str, FeatureSequence], labels: Mapping[str, ClipLabels], task: Task,
        window: float | Literal["clip"] = 4.0, hop: float | None = None, label_pooling: Pooling = "midpoint",
    ) -> None:  # fmt: skip
        check_pooling(label_pooling, task)
        self.task, self.clips = task, list(sequences)
        self._sequences = list(sequences.values())
        self._labels = [
            labels[clip].values[:1] if task.level == "clip"
            else align(labels[clip], sequence.start, sequence.end, label_pooling)
            for clip, sequence in sequences.items()
        ]  # fmt: skip
        self.steps, stride = _steps(window, hop, self._sequences)
        self._offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in self._sequences])])
        self._windows = slide(self._offsets, self.steps, stride)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        if not -len(self) <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        number %= len(self)
        place = int(self._windows.clip[number])
        first, last = self._windows.offsets[number], self._windows.offsets[number + 1]
        rows = self._windows.rows[first:last] - self._offsets[place]
        sequence, labels = self._sequences[place], self._labels[place]
        return {
            "values": torch.from_numpy(self._padded(np.asarray(sequence.values[rows], np.float32), 0)),
            "valid": torch.from_numpy(self._padded(np.asarray(sequence.valid[rows], bool), False)),
            "labels": self._label(labels[0] if self.task.level == "clip" else self._padded(labels[rows], np.nan)),
            "clip": self.clips[place],
            "start": float(sequence.start[rows[0]]),
            "end": float(sequence.end[rows[-1]]),
        }

    def __repr__(self) -> str:
        length = "clips" if self.steps is None else f"{self.steps} rows"
        return f"WindowSet({len(self)} windows of {length}, {len(self.clips)} clips, task {self.task.name})"

    def _padded(self, rows: Any, value: Any) -> Any:
        """Rows [L,...] of a whole window."""
        if self.steps is None or len(rows) == self.steps:
            return np.array(rows)
        whole = np.full((self.steps, *rows.shape[1:]), value, rows.dtype)
        whole[: len(rows)] = rows
        return whole

    def _label(self, labels: Any) -> Any:
        if self.task.kind != "multiclass":
            return torch.from_numpy(np.asarray(labels, np.float32))
        classes = labels[..., 0]
        return torch.from_numpy(np.asarray(np.where(np.isnan(classes), IGNORED, classes), np.int64))


def _steps(
    window: float | Literal["clip"], hop: float | None, sequences: list[FeatureSequence]
) -> tuple[int | None, int]:
    """Length of a window and distance between windows, in rows. Raises UsageError."""
    if isinstance(window, str):
        if window != "clip" or hop is not None:
            raise UsageError(f"a window is seconds, or clip without a hop (given {window!r}, hop {hop})")
        return None, 1
    hop = window / 2 if hop is None else hop
    if not 0 < hop <= window:
        raise UsageError(f"window {window:g} and hop {hop:g}: a hop is above 0, and not longer than the window")
    between = median_hop(sequences)
    return max(1, round(window / between)), max(1, round(hop / between))
