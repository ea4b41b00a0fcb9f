"""Samples of one rate as samples of another, as a stream: memory is that of the result."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import gcd

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

CONTEXT = 0.25
"""Sound (s) before a cut that is resampled with it, so that the filter finds no edge there."""


def entry(first: int, rate: int, sampling_rate: int) -> int:
    """Where to begin so that output sample `first` comes out as if everything before had been resampled too.

    The input sample, at least `CONTEXT` earlier if there are so many, at which the two grids meet.

    >>> entry(8000, 44100, 16000), entry(8000, 16000, 16000)
    (11025, 8000)
    """
    if rate == sampling_rate:
        return first
    step = rate // gcd(rate, sampling_rate)
    return max(0, (first * rate // sampling_rate - int(CONTEXT * rate)) // step * step)


def resampled(blocks: Iterable[Samples], rate: int, sampling_rate: int) -> Iterator[Samples]:
    """The joined `blocks` (mono float32 at `rate` Hz) at `sampling_rate` Hz, by soxr's HQ filter (linear phase).

    Output sample k stands for the moment k / sampling_rate after the first input sample. Equal rates: unchanged.
    """
    if rate == sampling_rate:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32", quality="HQ")
    for block in _merged(blocks, 1 << 13):  # a call has its price
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def joined(blocks: Iterable[Samples]) -> Samples:
    """All blocks as one array; each is let go as it is copied, so memory hardly exceeds the result's."""
    waiting = deque(_merged(blocks))
    whole = np.empty(sum(map(len, waiting)), np.float32)
    at = 0
    while waiting:
        block = waiting.popleft()
        whole[at : at + len(block)] = block
        at += len(block)
    return whole


def _merged(blocks: Iterable[Samples], least: int = 1 << 20) -> Iterator[Samples]:
    small: list[Samples] = []
    length = 0
    for block in blocks:
        small.append(block)
        length += len(block)
        if length >= least:
            yield np.concatenate(small)
            small, length = [], 0
    if small:
        yield np.concatenate(small)
