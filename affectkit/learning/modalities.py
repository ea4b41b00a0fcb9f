"""Modalities of a clip, each with rows of its own rate and length, read at the rows of the first.

What a network gets of a row is the modalities side by side and after them a flag each, 1 where the modality is there;
the network itself is in `nets.modalities`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from affectkit.errors import UsageError
from affectkit.learning.options import TrainingOptions
from affectkit.plugins import Example
from affectkit.types import Bools, FeatureSequence, Floats, Indices

TICK = 1e-6  # s: closer times are one
Dims = tuple[int, ...]


class ModalityOptions(TrainingOptions):
    """Of heads whose inputs are modalities with rows of their own; with `combine` their rows must be the same ones."""

    max_gap: float = Field(
        1.0, ge=0, le=3600, description="seconds from a row to the nearest of another input over which that is read"
    )
    modality_dropout: float = Field(
        0.0, ge=0, lt=1, description="training: rate at which a modality is taken from a window, never the last one"
    )


def columns(dims: Dims) -> list[slice]:
    """Where each modality stands in a row; the flags follow the last.

    >>> columns((2, 3))
    [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.cumsum(dims).tolist()
    return [slice(end - dim, end) for end, dim in zip(ends, dims, strict=True)]


def side_by_side(example: Example, dims: Dims, max_gap: float) -> FeatureSequence:
    """The rows of the first input: values [T,sum(dims)+M] with zeros where a modality is missing, valid where any is
    there. Raises UsageError that names the clip: other dimensions, NaN or infinity in a valid row."""
    first = example.inputs[0]
    values = np.zeros((len(first), sum(dims) + len(dims)), np.float32)
    for number, (one, place) in enumerate(zip(example.inputs, columns(dims), strict=True)):
        _check(example.clip, number, one, dims[number])
        found, there = _own(one) if number == 0 else _of(one, first, max_gap)
        values[there, place] = found[there]
        values[there, sum(dims) + number] = 1
    flags = values[:, sum(dims) :]
    return FeatureSequence(first.start, first.end, values, np.asarray((flags > 0).any(axis=1)))


def read_at(sequence: FeatureSequence, time: Floats, max_gap: float) -> tuple[Floats, Bools]:
    """What a sequence says at each moment of `time` [T] (s): values [T,D], there [T].

    The mean of the valid rows that cover the moment; where there is none, a straight line between the middles of the
    last valid row before and the first one after it, of which one that ends more than `max_gap` before, or begins more
    than that after, does not count; of one alone, its values. Nothing where neither counts.

    >>> start = np.array([0.0, 2.0, 3.0])
    >>> rows = FeatureSequence(start, start + 1, np.array([[1.0], [4.0], [0.0]]), np.array([True, True, False]))
    >>> values, there = read_at(rows, np.array([0.5, 1.25, 3.5, 5.0]), max_gap=1.0)
    >>> values[:, 0].tolist(), there.tolist()
    ([1.0, 2.125, 4.0, 0.0], [True, True, True, False])
    """
    valid = np.flatnonzero(sequence.valid)
    valid = valid[np.argsort(np.asarray(sequence.start)[valid], kind="stable")]
    start, end = (np.asarray(one, np.float64)[valid] for one in (sequence.start, sequence.end))
    found = np.zeros((len(time), sequence.dim))
    count = np.zeros(len(time), int)
    for held, row in _holding(start, end, time):
        found[held] += sequence.values[valid[row]]
        count[held] += 1
    there = count > 0
    found[there] /= count[there, None]
    rest = np.flatnonzero(~there)
    if len(valid) and len(rest):
        (left, right), part, near = _neighbours(start, end, time[rest], max_gap)
        rest, part = rest[near], part[near, None]
        found[rest] = (1 - part) * sequence.values[valid[left[near]]] + part * sequence.values[valid[right[near]]]
        there[rest] = True
    return found.astype(np.float32), there


def _holding(start: Floats, end: Floats, time: Floats) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of a moment and a row that holds it, both ends included; a moment is in each array at most once. Rows are
    in order of `start`."""
    first = np.searchsorted(np.maximum.accumulate(end), time - TICK)
    last = np.searchsorted(start, time + TICK, side="right")
    for step in range(int((last - first).max(initial=0))):  # as many as rows overlap: two, for most windows
        row = first + step
        held = np.flatnonzero(row < last)
        held = held[end[row[held]] >= time[held] - TICK]
        yield held, row[held]


def _neighbours(
    start: Floats, end: Floats, time: Floats, max_gap: float
) -> tuple[tuple[Indices, Indices], Floats, Bools]:
    """For moments that no row holds: the rows before and after, how much the second counts, whether any is near."""
    by_end = np.argsort(end, kind="stable")
    before = np.searchsorted(end[by_end], time) - 1
    after = np.searchsorted(start, time)
    left, right = by_end[np.maximum(before, 0)], np.minimum(after, len(start) - 1)
    near_left = (before >= 0) & (time - end[left] <= max_gap + TICK)
    near_right = (after < len(start)) & (start[right] - time <= max_gap + TICK)
    middle = (start + end) / 2
    span = middle[right] - middle[left]
    part = np.divide(time - middle[left], span, out=np.zeros(len(time)), where=span > 0)
    part = np.where(near_left & near_right, part, near_right)  # of one alone: all of it
    return (left, right), part, near_left | near_right


def _own(sequence: FeatureSequence) -> tuple[Floats, Bools]:
    return sequence.values, np.asarray(sequence.valid, bool)


def _of(other: FeatureSequence, first: FeatureSequence, max_gap: float) -> tuple[Floats, Bools]:
    """Another input at the rows of the first; of an input with the very same rows, a valid row is read as it is."""
    found, there = read_at(other, first.middle, max_gap)
    if np.array_equal(first.start, other.start) and np.array_equal(first.end, other.end):
        values, valid = _own(other)
        return np.where(valid[:, None], values, found), valid | there
    return found, there


def _check(clip: str, number: int, sequence: FeatureSequence, dim: int) -> None:
    if sequence.dim != dim:
        raise UsageError(
            f"clip '{clip}' has {sequence.dim} feature dimensions where {dim} are expected (input {number + 1})"
        )
    finite = np.asarray(np.isfinite(sequence.values).all(axis=1))
    if not finite[np.asarray(sequence.valid, bool)].all():
        raise UsageError(f"clip '{clip}' has NaN or infinity in a valid feature row of input {number + 1}: embed again")
