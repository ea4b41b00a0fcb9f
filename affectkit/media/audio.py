"""The sound of one clip: mono float32 at one rate, on the clock that the video's rows share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from affectkit.errors import ClipError
from affectkit.media.container import open_media
from affectkit.media.decode import Findings
from affectkit.media.index import LONGEST, scan
from affectkit.media.layout import layout
from affectkit.media.resample import Samples, entry, joined, resampled
from affectkit.media.sampling import TICK
from affectkit.media.sound import RATES, Line, Timed, audio_frames, audio_stream, timed

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_SAMPLES = 1 << 30
"""Longer waveforms are refused (18.6 h at 16 kHz): they would not fit into memory."""


@dataclass(frozen=True, repr=False, eq=False)
class Waveform:
    """Sound of a clip: samples float32 [S], mono, at `sampling_rate` Hz.

    Sample k is heard at `offset` + k / sampling_rate seconds on the clip's own clock, whose zero is that of the rows of
    its video; `origin` is that zero on the file's clock (s). `offset` is never negative; it is more than a sample where
    the sound begins after the picture. `problem`: what is wrong with the sound, None if nothing is.
    """

    samples: Samples
    sampling_rate: int
    offset: float
    origin: float
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def duration(self) -> float:
        """Length of the sound (s)."""
        return len(self.samples) / self.sampling_rate

    @property
    def end(self) -> float:
        """When the last sample is over, on the clip's clock (s)."""
        return self.offset + self.duration

    def __repr__(self) -> str:
        return f"Waveform({self.offset:.3f} to {self.end:.3f} s, {self.sampling_rate} Hz)"


def read_audio(
    path: Path | str,
    *,
    start: float | None = None,
    end: float | None = None,
    sampling_rate: int = 16000,
    on_truncated: Literal["keep", "fail"] = "keep",
) -> Waveform:
    """Decodes the main audio stream of a clip, mixes it down to the mean of its channels and resamples it.

    `start` and `end` (s, as `VideoReader` counts: from the file's first video frame; in a file without video, from its
    first audio sample) cut the clip: the samples in [start, end). Time zero is `start`, or that first frame. Sound from
    before is left out. The samples lie on one grid of the file, which begins at its first audio sample, so that a cut
    is exactly a part of the whole.

    Presentation times place the sound: see `sound.Line`. Delays of encoders and edit lists are FFmpeg's business.
    Damaged files give what decodes, and `problem` says what is wrong; with `on_truncated="fail"` that is a ClipError.

    Raises ClipError: cannot be opened, no audio stream, nothing decodes, no sound in [start, end), absurd rates, too
    many channels, too long.
    """
    path = Path(path)
    begin = 0.0 if start is None else float(start)
    if not 0 <= begin < (inf if end is None else end):
        raise ClipError(f"a clip from {start} to {end} s is empty")
    findings = Findings((), assumed_times=False, fail=on_truncated == "fail")
    with open_media(path) as container:
        zero = _video_zero(path, container, findings)
        stretch = _Stretch.of(container, findings, zero, begin, end, sampling_rate)
        samples = joined(stretch.samples())
        if stretch.ended and (missing := layout(path).missing):
            findings.report(f"cut off: the file ends {missing:,} bytes early")
    for problem in stretch.line.problems():
        findings.report(problem)
    if not len(samples):
        raise ClipError(stretch.nothing(str(findings)))
    return Waveform(samples, sampling_rate, stretch.offset, stretch.zero, str(findings) or None)


def _video_zero(path: Path, container: InputContainer, findings: Findings) -> float | None:
    """When the first video frame is shown (s, the file's clock); None in a file without video."""
    from av.stream import Disposition

    stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic or not container.streams.audio:
        return None
    try:
        return scan(path).origin
    except ClipError as error:
        findings.report(f"times count from the first audio sample, because of the video: {error}")
        return None


class _Stretch:
    """The part of a file's sound that one clip takes.

    `first`: time of the file's first audio sample; `zero`: time zero of the clip (s, both on the file's clock); `begin`
    and `stop`: the clip's samples, counted at the output rate from the file's first one.
    """

    def __init__(self, blocks: Iterator[Timed], rate: int, first: float, zero: float, length: float, out: int) -> None:
        self.rate, self.sampling_rate, self.first, self.zero = rate, out, first, zero
        self.begin = max(0, ceil((zero - first - TICK) * out))
        self.stop = None if length == inf else max(0, ceil((zero + length - first - TICK) * out))
        self.entry = entry(self.begin, rate, out)
        self.line = Line(rate, first, wanted=self.entry)
        self.ended = False
        self._blocks = blocks

    @classmethod
    def of(
        cls,
        container: InputContainer,
        findings: Findings,
        zero: float | None,
        start: float,
        end: float | None,
        out: int,
    ) -> _Stretch:
        """The part of an open container's sound from `start` to `end` (s, from `zero`, or the first sample)."""
        stream = audio_stream(container)
        frames = audio_frames(container, stream, findings)
        frame = next(frames, None)
        if frame is None:
            raise ClipError(f"no sound decodes: {findings or 'the decoder gives none'}")
        rate = frame.sample_rate
        if not RATES[0] <= rate <= RATES[1]:
            raise ClipError(f"a sampling rate of {rate:,} Hz is refused ({RATES[0]:,} to {RATES[1]:,} are accepted)")
        first = 0.0 if frame.time is None else frame.time
        zero = (first if zero is None else zero) + start
        if not abs(zero - first) <= LONGEST:
            raise ClipError(f"presentation times make no sense: sound begins at {first:g} s, the clip at {zero:g} s")
        length = inf if end is None else end - start
        return cls(timed(chain([frame], frames), rate, findings), rate, first, zero, length, out)

    @property
    def offset(self) -> float:
        """Time of the clip's first sample on its own clock (s)."""
        return max(0.0, self.first + self.begin / self.sampling_rate - self.zero)

    def samples(self) -> Iterator[Samples]:
        """The clip's samples at the output rate."""
        at = self.entry * self.sampling_rate // self.rate
        for block in resampled(self._line_to_end(), self.rate, self.sampling_rate):
            kept = block[max(0, self.begin - at) : None if self.stop is None else max(0, self.stop - at)]
            at += len(block)
            if len(kept):
                yield kept
            if self.stop is not None and at >= self.stop:
                return
            if at - self.begin > MAX_SAMPLES:
                hours = MAX_SAMPLES / self.sampling_rate / 3600
                raise ClipError(f"sound of more than {hours:.3g} h in one clip: cut it by start and end in a manifest")

    def _line_to_end(self) -> Iterator[Samples]:
        yield from self.line(self._blocks)
        self.ended = True

    def nothing(self, findings: str) -> str:
        """Why there is no sample."""
        sound = self.first - self.zero, self.first - self.zero + self.line.at / self.rate
        until = "" if self.stop is None else ", and the clip ends before"
        where = (
            f"it begins {sound[0]:g} s after the clip's start{until}"
            if sound[0] > 0
            else (f"it ends {-sound[1]:g} s before the clip's start")
        )
        return f"no sound in the clip: {where}" + (f"; {findings}" if findings else "")
