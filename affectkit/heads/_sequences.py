"""Features and labels of many clips in one flat table, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affectkit.errors import UsageError
from affectkit.heads import _missing
from affectkit.heads._modalities import Dims
from affectkit.heads._normalise import Normaliser
from affectkit.heads._options import Missing, Normalise
from affectkit.heads._windows import Indices
from affectkit.plugins import Example
from affectkit.tasks import Level, Task
from affectkit.types import Bools, FeatureSequence, Floats


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of C clips, one after another: clip c has the rows offsets[c]:offsets[c+1], those that a head sees.

    values [R+1,D] float32, the last row zeros, for padding; valid [R]; time [R] (s); kept [R] the number of each row
    within its clip; labels [R+1,K] (time level) or [C,K] (clip level), NaN = unlabelled.
    """

    values: Floats
    valid: Bools
    time: Floats
    kept: Indices
    offsets: Indices
    labels: Floats
    level: Level

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    @property
    def labelled(self) -> Bools:
        """[R+1] rows (time level) or [C] clips that have a label and can be predicted."""
        there = np.asarray(np.isfinite(self.labels).all(axis=1))
        return there & (np.diff(self.offsets) > 0) if self.level == "clip" else there

    @property
    def padding(self) -> int:
        """The number of the row of zeros."""
        return len(self.values) - 1

    def spans(self) -> list[slice]:
        """The rows of each clip."""
        return [slice(int(a), int(b)) for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def normaliser(self, kind: Normalise, dims: Dims = ()) -> Normaliser:
        """Fitted on this table's valid rows, before `prepare`; `dims` of modalities side by side."""
        clips = (self.values[rows][self.valid[rows]] for rows in self.spans())
        return Normaliser.fit(kind, clips, self.values.shape[1], dims)

    def prepare(self, normaliser: Normaliser, missing: Missing) -> None:
        """Normalise, then fill the invalid rows, in place."""
        for rows in self.spans():
            normaliser.apply(self.values[rows], self.valid[rows])
            _missing.fill(self.values[rows], self.valid[rows], self.time[rows], missing)


def labelled(split: str, examples: Sequence[Example], task: Task, missing: Missing, dim: int | None = None) -> Table:
    """`gather` for training. Raises UsageError for a split without a labelled row besides."""
    if not examples:
        raise UsageError(f"the {split} split has no clips with features and labels")
    table = gather(examples, task, missing, dim)
    if not table.labelled.any():
        raise UsageError(f"the {split} split ({len(examples)} clips) has no labelled row that is valid")
    return table


def gather(examples: Sequence[Example], task: Task, missing: Missing, dim: int | None = None) -> Table:
    """One table of the examples' sequences, in float32. Examples without labels get NaN.

    Raises UsageError that names the clip: more inputs than one, other than `dim` dimensions (default: the first
    clip's), NaN or infinity in a valid row, labels that do not fit the task or the rows.
    """
    sequences = [_only(example) for example in examples]
    dim = sequences[0].dim if dim is None else dim
    keep = [_missing.kept(np.asarray(sequence.valid, bool), missing) for sequence in sequences]
    offsets = np.concatenate([[0], np.cumsum([mask.sum() for mask in keep])]).astype(np.int64)
    total = int(offsets[-1])
    clip_level = task.level == "clip"
    columns = len(task.label_columns)
    table = Table(
        values=np.zeros((total + 1, dim), np.float32),
        valid=np.zeros(total, bool),
        time=np.zeros(total),
        kept=np.concatenate([np.flatnonzero(mask) for mask in keep] or [np.zeros(0, np.int64)]),
        offsets=offsets,
        labels=np.full((len(examples) if clip_level else total + 1, columns), np.nan, np.float32),
        level=task.level,
    )
    for c, (example, sequence, mask, rows) in enumerate(zip(examples, sequences, keep, table.spans(), strict=True)):
        table.values[rows] = _read(example, sequence, mask, dim)
        table.valid[rows] = np.asarray(sequence.valid, bool)[mask]
        table.time[rows] = sequence.middle[mask]
        labels = _labels(example, task, 1 if clip_level else len(sequence), columns)
        if labels is not None:
            table.labels[slice(c, c + 1) if clip_level else rows] = labels if clip_level else labels[mask]
    return table


def _only(example: Example) -> FeatureSequence:
    if len(example.inputs) != 1:
        raise UsageError(
            f"this head takes one feature artifact; clip '{example.clip}' comes with {len(example.inputs)}"
        )
    return example.inputs[0]


def _read(example: Example, sequence: FeatureSequence, mask: Bools, dim: int) -> Floats:
    """The rows of one clip that are kept, zeros where invalid."""
    if sequence.dim != dim:
        raise UsageError(f"clip '{example.clip}' has {sequence.dim} feature dimensions where {dim} are expected")
    valid = np.asarray(sequence.valid, bool)[mask]
    values = np.asarray(sequence.values if mask.all() else sequence.values[mask], np.float32)
    values = np.where(valid[:, None], values, np.float32(0))
    if not np.isfinite(values).all():
        raise UsageError(f"clip '{example.clip}' has NaN or infinity in a valid feature row: embed it again")
    return values


def _labels(example: Example, task: Task, rows: int, columns: int) -> Floats | None:
    if example.labels is None:
        return None
    labels = np.asarray(example.labels, np.float64)
    if labels.shape != (rows, columns):
        raise UsageError(
            f"labels of clip '{example.clip}' are {list(labels.shape)}; task {task.name} needs [{rows},{columns}]"
        )
    given = labels[np.isfinite(labels)]
    if np.isinf(labels).any():
        raise UsageError(f"labels of clip '{example.clip}' hold infinity")
    classes = {"multiclass": task.outputs, "multilabel": 2}.get(task.kind)
    if classes and not (np.isin(given, np.arange(classes))).all():
        raise UsageError(
            f"labels of clip '{example.clip}' hold a value other than 0..{classes - 1} for task {task.name}"
        )
    return labels
