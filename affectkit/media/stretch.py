"""The part of a file's sound that one clip takes, decoded and resampled as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.errors import ClipError
from affectkit.media.audio_entry import HEAD, SEEKABLE, WORTHWHILE, grid_of, seek
from affectkit.media.decode import Findings
from affectkit.media.index import LONGEST
from affectkit.media.resample import Samples, entry, resampled
from affectkit.media.sound import Line, audio_frames, audio_stream, check_rate, timed
from affectkit.moments import TICK

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

MAX_SAMPLES = 1 << 30
"""Longer waveforms are refused (18.6 h at 16 kHz): they would not fit into memory."""


class Stretch:
    """The sound of an open container from `start` to `end`, s from `zero` (None: from the first sample).

    `first`: time of the file's first audio sample; `zero`: the clip's time zero (both s on the file's clock); `begin`
    and `stop`: the clip's samples, counted at the output rate from the file's first one; `needed`: the file's sample,
    at its own rate, with which resampling begins. Raises ClipError where nothing decodes or the times make no sense.
    """

    def __init__(
        self, container: InputContainer, findings: Findings, zero: float | None, start: float, end: float | None,
        sampling_rate: int,
    ) -> None:  # fmt: skip
        self.container, self.findings, self.sampling_rate = container, findings, sampling_rate
        self.stream = audio_stream(container)
        frames = audio_frames(container, self.stream, findings)
        self.head = list(islice(frames, HEAD))
        if not self.head:
            raise ClipError(f"no sound decodes: {findings or 'the decoder gives none'}")
        self.rate = check_rate(self.head[0].sample_rate)
        self.first = self.head[0].time or 0.0
        self.zero = (self.first if zero is None else zero) + start
        lead = self.zero - self.first
        if not abs(lead) <= LONGEST:
            raise ClipError(f"presentation times make no sense: sound at {self.first:g} s, the clip at {self.zero:g} s")
        self.begin = max(0, ceil((lead - TICK) * sampling_rate))
        self.stop = None if end is None else max(0, ceil((lead + end - start - TICK) * sampling_rate))
        self.needed = entry(self.begin, self.rate, sampling_rate)
        self.ended = False
        self._decode(chain(self.head, frames), 0)

    def _decode(self, frames: Iterable[AudioFrame], at: int) -> None:
        self.line = Line(self.rate, self.first, at, self.needed)
        self._blocks = timed(frames, self.rate, self.findings)

    @property
    def offset(self) -> float:
        """Time of the clip's first sample on its own clock (s)."""
        return max(0.0, self.first + self.begin / self.sampling_rate - self.zero)

    def enter(self, path: Path) -> bool:
        """Go near the clip if it lies far inside the file and the samples will be the same.

        False: the container stands somewhere else now, and the file must be opened anew to decode from its beginning.
        """
        if self.needed < WORTHWHILE * self.rate or self.container.format.name not in SEEKABLE:
            return True
        grid = grid_of(path, self.head)
        if grid is None:
            return True
        if not seek(self.container, self.stream, self.first + self.needed / self.rate):
            return False
        frames = audio_frames(self.container, self.stream, self.findings)
        frame = next(frames, None)
        at = None if frame is None or frame.time is None else grid.position(frame.time)
        if frame is None or at is None or at > self.needed - self.rate // 4:
            return False
        self._decode(chain([frame], frames), at)
        return True

    def samples(self) -> Iterator[Samples]:
        """The clip's samples at the output rate."""
        at = self.needed * self.sampling_rate // self.rate
        for block in resampled(self._to_the_end(), self.rate, self.sampling_rate):
            kept = block[max(0, self.begin - at) : None if self.stop is None else max(0, self.stop - at)]
            at += len(block)
            if len(kept):
                yield kept
            if self.stop is not None and at >= self.stop:
                return
            if at - self.begin > MAX_SAMPLES:
                hours = MAX_SAMPLES / self.sampling_rate / 3600
                raise ClipError(f"sound of more than {hours:.3g} h in one clip: cut it by start and end in a manifest")

    def _to_the_end(self) -> Iterator[Samples]:
        yield from self.line(self._blocks)
        self.ended = True

    def nothing(self) -> str:
        """Why the clip has no sample."""
        begins = self.first - self.zero
        if begins >= (inf if self.stop is None else (self.stop - self.begin) / self.sampling_rate) and begins > 0:
            return f"no sound in the clip: it begins {begins:g} s after the clip's start, when the clip is over"
        ends = begins + self.line.at / self.rate
        return (
            f"no sound in the clip: it ends {-ends:g} s before the clip's start"
            if ends <= 0
            else ("no sound in the clip: it is shorter than the time between two samples")
        )
