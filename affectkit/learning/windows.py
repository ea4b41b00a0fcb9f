"""Windows over the rows of many clips, as indices: nothing is copied until a batch is gathered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from affectkit.errors import UsageError
from affectkit.tasks import Level
from affectkit.types import Bools, FeatureSequence, Indices
from affectkit.windows import starts

SECONDS_AT_TIME_LEVEL = 4.0  # SUN's best for expressions


@dataclass(frozen=True)
class WindowPlan:
    """Length of a window and distance between windows, in steps. `steps` None: the whole clip is one window."""

    steps: int | None
    stride: int


class WindowOptions(Protocol):
    """Options that say where windows lie."""

    @property
    def window(self) -> float | Literal["auto", "clip"]: ...
    @property
    def stride(self) -> float | None: ...


def plan(options: WindowOptions, level: Level, sequences: Sequence[FeatureSequence]) -> WindowPlan:
    """The options' seconds as steps of the median hop between neighbouring rows of the given clips.

    Raises UsageError for a stride longer than the window (rows would be left out) or without one.
    """
    window = options.window
    if window == "auto":
        window = SECONDS_AT_TIME_LEVEL if level == "time" else "clip"
    if window == "clip":
        if options.stride is not None:
            raise UsageError(f"option stride={options.stride:g} needs a window in seconds, not the whole clip")
        return WindowPlan(None, 1)
    stride = window / 2 if options.stride is None else options.stride
    if stride > window:
        raise UsageError(f"option stride={stride:g} is longer than window={window:g}: rows would be left out")
    hop = median_hop(sequences)
    return WindowPlan(max(1, round(window / hop)), max(1, round(stride / hop)))


def median_hop(sequences: Sequence[FeatureSequence]) -> float:
    """Median time (s) between neighbouring rows; for clips of one row each, the median length of a row."""
    hops = np.concatenate([np.diff(sequence.middle) for sequence in sequences] or [np.zeros(0)])
    hops = hops[hops > 0]
    if not len(hops):
        hops = np.concatenate([np.asarray(s.end) - np.asarray(s.start) for s in sequences] or [np.zeros(0)])
        hops = hops[hops > 0]
    return float(np.median(hops)) if len(hops) else 1.0


@dataclass(frozen=True, repr=False)
class Windows:
    """W windows: window w belongs to clip[w] and reads the table's rows[offsets[w]:offsets[w+1]].

    A window is about all the rows that it reads; or about its clip; or, where `target` is given, about row target[w].
    """

    clip: Indices
    rows: Indices
    offsets: Indices
    target: Indices | None = None

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def lengths(self) -> Indices:
        return np.diff(self.offsets)

    def padded(self, which: Indices, padding: int) -> Indices:
        """Rows of the chosen windows as [B,L], L the longest of them; steps past a window's end are `padding`."""
        lengths = self.lengths[which]
        steps = np.arange(lengths.max())
        at = np.minimum(self.offsets[which][:, None] + steps, len(self.rows) - 1)
        return np.where(steps < lengths[:, None], self.rows[at], padding)

    def any(self, marks: Bools) -> Bools:
        """[W] whether a window has a row that is marked; marks [R]."""
        if not len(self):
            return np.zeros(0, bool)
        return np.asarray(np.logical_or.reduceat(marks[self.rows], self.offsets[:-1]))

    def where(self, keep: Bools) -> Windows:
        """The windows marked in `keep` [W]."""
        lengths = self.lengths
        target = None if self.target is None else self.target[keep]
        offsets = np.concatenate([[0], np.cumsum(lengths[keep])])
        return Windows(self.clip[keep], self.rows[np.repeat(keep, lengths)], offsets, target)


def slide(offsets: Indices, steps: int | None, hop: int) -> Windows:
    """Windows of `steps` rows every `hop` rows of each clip (its rows: offsets[c]:offsets[c+1]).

    The last window of a clip is moved back to end with the clip, so that all are full; only a clip shorter than a
    window has a shorter one. A clip without rows has none.

    >>> windows = slide(np.array([0, 5, 7]), steps=4, hop=2)
    >>> windows.padded(np.arange(3), padding=-1)
    array([[ 0,  1,  2,  3],
           [ 1,  2,  3,  4],
           [ 5,  6, -1, -1]])
    """
    clips, begins, lengths = [], [], []
    for clip, (first, last) in enumerate(pairwise(offsets)):
        count = int(last - first)
        if not count:
            continue
        size = count if steps is None else min(steps, count)
        begin = first + starts(count - 1, size, hop, "back")
        clips.append(np.full(len(begin), clip))
        begins.append(begin)
        lengths.append(np.full(len(begin), size))
    return _contiguous(*(np.concatenate(parts or [np.zeros(0, np.int64)]) for parts in (clips, begins, lengths)))


def _contiguous(clip: Indices, start: Indices, length: Indices) -> Windows:
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    rows = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - start, length)
    return Windows(clip.astype(np.int64), rows.astype(np.int64), offsets)


def shuffled(lengths: Indices, batch_size: int, rng: np.random.Generator) -> list[Indices]:
    """Batches of window numbers in random order, of at most `batch_size` and equal within one: a last batch of a single
    window would give CCC and BatchNorm nothing to work with.

    Windows of like length are put together (within 16 batches' worth at a time), which saves padding.
    """
    order = rng.permutation(len(lengths))
    pools = np.split(order, range(16 * batch_size, len(order), 16 * batch_size))
    order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    batches = np.array_split(order, -(-len(order) // batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def by_length(lengths: Indices, budget: int = 1 << 16) -> Iterator[Indices]:
    """Batches of all windows, longest first, each of at most `budget` padded steps (or one window): for scoring."""
    order = np.argsort(-lengths, kind="stable")
    while len(order):
        size = max(1, budget // int(lengths[order[0]]))
        yield order[:size]
        order = order[size:]
