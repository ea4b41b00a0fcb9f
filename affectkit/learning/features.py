"""Features and labels of many clips in one flat table, read once.

Several feature inputs of a clip as the one that a network reads: layers of a speech model, mostly.

They share their rows. Heads made for modalities with rows of their own read the others at the rows of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from affectkit.errors import HostileFile, UsageError
from affectkit.learning.modalities import Dims, ModalityOptions, side_by_side
from affectkit.learning.normalise import Normaliser
from affectkit.learning.options import Combine, Missing, Normalise, TrainingOptions
from affectkit.learning.windows import Indices
from affectkit.moments import around
from affectkit.plugins import Auxiliary, Example
from affectkit.tasks import Level, Task
from affectkit.types import Bools, FeatureSequence, Floats


def kept(valid: Bools, policy: Missing) -> Bools:
    """Rows [T] that a head sees: the valid ones for `skip`, else all; none of a clip without any valid row."""
    if policy == "skip" or not valid.any():
        return np.asarray(valid, dtype=bool)
    return np.ones(len(valid), dtype=bool)


def fill(values: Floats, valid: Bools, time: Floats, policy: Missing) -> None:
    """Fill the invalid rows of one clip in place: values [T,D], valid [T], time [T] (s, ascending).

    `hold` repeats the last valid row, `interpolate` draws a line in time between the valid neighbours; both repeat the
    nearest valid row before the first and after the last one. `zero` writes zeros, after normalisation: the training
    mean under `standard`. `skip` has no row to fill.

    >>> rows = np.array([[0.0], [1.0], [0.0], [0.0], [4.0]])
    >>> fill(rows, rows[:, 0] > 0, np.arange(5.0), "interpolate")
    >>> rows[:, 0]
    array([1., 1., 2., 3., 4.])
    """
    there, gaps = np.flatnonzero(valid), np.flatnonzero(~valid)
    if not len(there) or not len(gaps):
        return
    if policy == "zero":
        values[gaps] = 0
        return
    left, right = (there[place] for place in around(there, gaps))
    if policy == "hold":
        values[gaps] = values[left]
        return
    span = time[right] - time[left]
    part = np.divide(time[gaps] - time[left], span, out=np.zeros(len(gaps)), where=span > 0)[:, None]
    part = np.clip(part, 0, 1).astype(values.dtype)
    values[gaps] = (1 - part) * values[left] + part * values[right]


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
            fill(self.values[rows], self.valid[rows], self.time[rows], missing)


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
    keep = [kept(np.asarray(sequence.valid, bool), missing) for sequence in sequences]
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


@dataclass(frozen=True)
class Inputs:
    """How `count` inputs become one. `concat` and `weights` put their dimensions side by side, and the network of the
    latter learns a weight for each; `sweep` takes the one `chosen` on the validation clips. Modalities have `dims`
    dimensions each, and are read where no row of theirs is farther than `max_gap` seconds."""

    combine: Combine | None = None
    count: int = 1
    chosen: int | None = None
    dims: Dims = ()
    max_gap: float = 0.0

    @staticmethod
    def of(examples: Sequence[Example], options: TrainingOptions) -> Inputs:
        """What these examples come with. Raises UsageError for several inputs where none is expected."""
        count, combine = len(examples[0].inputs) if examples else 1, options.combine
        if count > 1 and combine is None:
            if isinstance(options, ModalityOptions):
                return Inputs(None, count, None, tuple(one.dim for one in examples[0].inputs), options.max_gap)
            raise UsageError(
                f"this head takes one feature artifact; clip '{examples[0].clip}' comes with {count}: set option "
                "combine=weights (layers of one model), concat or sweep"
            )
        return Inputs(combine if count > 1 else None, count)

    @staticmethod
    def again(options: TrainingOptions, count: int, chosen: int | None, dims: Dims) -> Inputs:
        """Those of a saved head. Raises HostileFile for modalities of a head that reads none."""
        if dims and not isinstance(options, ModalityOptions):
            raise HostileFile("a saved head has modalities that no head of its kind reads")
        max_gap = options.max_gap if isinstance(options, ModalityOptions) and dims else 0.0
        return Inputs(options.combine if count > 1 else None, count, chosen, dims, max_gap)

    @property
    def layers(self) -> int:
        """How many inputs the network weighs."""
        return self.count if self.combine == "weights" else 1

    def join(self, example: Example) -> Example:
        """The same clip with one input. Raises UsageError where the inputs do not fit each other."""
        if len(example.inputs) != self.count:
            takes = "one feature artifact" if self.count == 1 else f"{self.count} feature artifacts"
            raise UsageError(f"this head takes {takes}; clip '{example.clip}' comes with {len(example.inputs)}")
        if self.chosen is not None:
            return replace(example, inputs=(example.inputs[self.chosen],))
        if self.count == 1:
            return example
        if self.dims:
            return replace(example, inputs=(side_by_side(example, self.dims, self.max_gap),))
        first = example.inputs[0]
        for other in example.inputs[1:]:
            if not (np.array_equal(first.start, other.start) and np.array_equal(first.end, other.end)):
                raise UsageError(
                    f"the inputs of clip '{example.clip}' have rows of other times: this head needs equal ones"
                )
            if self.layers > 1 and other.dim != first.dim:
                raise UsageError(f"layers of {first.dim} and {other.dim} dimensions cannot be weighed: combine=concat")
        values = np.concatenate([np.asarray(one.values, np.float32) for one in example.inputs], axis=1)
        valid = np.logical_and.reduce([np.asarray(one.valid, bool) for one in example.inputs])
        return replace(example, inputs=(FeatureSequence(first.start, first.end, values, valid),))


def auxiliary_table(auxiliary: Auxiliary, task: Task, missing: Missing, dim: int) -> Table:
    """The clips of an auxiliary task, for a head of `task` that reads `dim` dimensions.

    A head with one score a clip learns from labels over time as their mean (classes: the most frequent); one with a
    score a step learns from a clip's label by the mean of its steps. Raises UsageError, as `labelled` does.
    """
    own, examples = auxiliary.task, auxiliary.train
    if task.level == "clip" and own.level == "time":
        examples = [replace(example, labels=of_clip(example.labels, own)) for example in examples]
        own = own.model_copy(update={"level": "clip"})
    return labelled(f"auxiliary {own.name}", examples, own, missing, dim)


def refuse(auxiliary: Sequence[Auxiliary], head: str) -> None:
    """For heads that learn one task only. Raises UsageError if there is another."""
    if auxiliary:
        raise UsageError(f"head {head} learns one task: leave out --aux, or choose a head that is trained by gradient")


def of_clip(labels: Floats | None, task: Task) -> Floats:
    """[1,K] one label of the valid rows' labels [T,K]: their mean, the most frequent class, what half of them have."""
    labels = np.asarray(labels, float)
    labels = labels[np.isfinite(labels).all(axis=1)]
    if not len(labels):
        return np.full((1, len(task.label_columns)), np.nan)
    if task.kind == "regression":
        return labels.mean(axis=0, keepdims=True)
    if task.kind == "multilabel":
        return (labels.mean(axis=0, keepdims=True) >= 0.5).astype(float)
    return np.array([[float(np.bincount(labels[:, 0].astype(int)).argmax())]])
