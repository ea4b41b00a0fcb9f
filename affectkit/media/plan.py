"""From a clip's packet index to the frames that are wanted, and what decoding may leave out to get them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from affectkit.errors import ClipError
from affectkit.media.index import PacketIndex
from affectkit.media.sampling import Instants, Sampling


@dataclass(frozen=True, repr=False)
class ReadingPlan:
    """What to read of one file.

    start, duration (s); first, stop: ticks of the clip's first frame and of the first one after it (None: the file's
    end); instants: see `Sampling`; expected: number of sampled frames; entry: tick of the first of them; needed: ticks
    of the frames that must be decoded, None = all.
    """

    start: float
    duration: float
    first: int
    stop: int | None
    instants: Instants | None
    expected: int
    entry: int
    needed: frozenset[int] | None


def plan_clip(index: PacketIndex, sampling: Sampling, start: float | None, end: float | None) -> ReadingPlan:
    """The plan for a clip cut at `start` and `end` (s from the first frame). Raises ClipError if nothing is there."""
    begin = 0.0 if start is None else float(start)
    if not 0 <= begin < (inf if end is None else end):
        raise ClipError(f"a clip from {start} to {end} s is empty")
    first, last = index.cut(begin, end)
    duration = (index.duration if end is None else min(float(end), index.duration)) - begin
    chosen = first + sampling.pick(index.times[first:last] - begin, duration)
    return ReadingPlan(
        start=begin,
        duration=duration,
        first=int(index.ticks[first]),
        stop=int(index.ticks[last]) if last < len(index) else None,
        instants=sampling.instants(duration, last - first),
        expected=len(chosen),
        entry=int(index.ticks[chosen[0]]),
        needed=_needed(index, chosen, last),
    )


def _needed(index: PacketIndex, chosen: np.ndarray, last: int) -> frozenset[int] | None:
    """The chosen frames, and the next one after each, which ends its interval.

    Leaving out other frames cannot change the choice: no instant is nearest to them. But it is only safe where the
    packets are known to be the frames, and where the codec lets one frame out without harm to another.
    """
    distinct = bool((np.diff(index.ticks) > 0).all())
    if index.damage or index.assumed_times or not distinct or not (index.independent or index.droppable):
        return None
    numbers = np.union1d(np.concatenate([chosen, chosen + 1]), [last])
    numbers = numbers[numbers < len(index)]
    return frozenset(index.ticks[numbers].tolist()) if len(numbers) < len(index) else None
