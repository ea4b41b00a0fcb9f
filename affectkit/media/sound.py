"""The decoding pass over sound: mono samples in one unbroken line, as their presentation times say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError
from affectkit.media.decode import Findings, frames_of
from affectkit.media.index import LONGEST
from affectkit.media.packets import read_packets
from affectkit.media.resample import Samples

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.plane import AudioPlane
    from av.audio.stream import AudioStream
    from av.container import InputContainer

RATES = (1_000, 768_000)
"""Sampling rates (Hz) that a file may have."""
MAX_CHANNELS, MAX_PLANES = 64, 8
_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
TOLERANCE = 0.02
"""Sound follows on what came before if its presentation time is off by no more than this (s): containers round."""
UNREMARKABLE = 0.05
"""Silence put in, or overlap left out, is reported where it comes to more than this (s)."""
MOST_SILENCE, SILENCE_SHARE = 600, 3
"""Silence is put into gaps up to so many seconds, and so many times the sound that came before, in all of a clip: a few
packets with hours between them are not hours of sound."""
_SILENCE = 1 << 16


@dataclass(frozen=True)
class Timed:
    """So many mono samples, made when they are asked for (float32 [length]); `time` of the first on the file's clock
    (s), None where the file does not say."""

    time: float | None
    length: int
    samples: Callable[[], Samples]


def audio_stream(container: InputContainer) -> AudioStream:
    """The stream that FFmpeg holds for the main one; the demuxer drops all others. Raises ClipError without one."""
    from av.audio.stream import AudioStream
    from av.stream import Discard

    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        kinds = sorted({other.type or "unknown" for other in container.streams})
        raise ClipError(f"no audio stream (streams: {', '.join(kinds) or 'none'})")
    if stream.codec_context is None:
        raise ClipError("no decoder for the audio stream")
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    if rate:
        check_rate(rate)
    if channels > MAX_CHANNELS:
        raise ClipError(f"{channels} audio channels are refused ({MAX_CHANNELS} at most are accepted)")
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.codec_context.thread_count = 1
    if stream.codec_context.codec.canonical_name == "flac":  # else broken frames come out as noise at full scale
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


def check_rate(rate: int) -> int:
    """A sampling rate (Hz), as it is. Raises ClipError for one outside of `RATES`."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ClipError(f"a sampling rate of {rate:,} Hz is refused ({RATES[0]:,} to {RATES[1]:,} are accepted)")
    return rate


def audio_frames(container: InputContainer, stream: AudioStream, findings: Findings) -> Iterator[AudioFrame]:
    """The stream's frames from where the container stands; what does not decode goes to `findings`."""
    context = stream.codec_context
    for packet in read_packets(container, stream, findings.report):
        yield from frames_of(packet, context, "sound does not decode", findings)
    yield from frames_of(None, context, "sound does not decode", findings)


def mono(frame: AudioFrame) -> Samples:
    """The mean of a frame's channels, float32 [S], full scale = 1; computed in double precision.

    Raises ClipError for a sample format that is not understood, and for too many channels.
    """
    kind, channels = _KINDS.get(frame.format.name.removesuffix("p")), frame.layout.nb_channels
    planes = channels if frame.format.is_planar else 1
    if kind is None:
        raise ClipError(f"samples of the format {frame.format.name} are not understood")
    if planes > MAX_PLANES or channels > MAX_CHANNELS:
        raise ClipError(f"{channels} audio channels in {frame.format.name} are refused")
    count = frame.samples * channels // planes
    values = np.stack([np.frombuffer(memoryview(plane), kind, count) for plane in planes_of(frame, planes)])
    values = values if frame.format.is_planar else values.reshape(-1, channels).T  # [C,S]
    with np.errstate(over="ignore", invalid="ignore"):
        return _full_scale(values.mean(axis=0, dtype=np.float64), values.dtype).astype(np.float32)


def planes_of(frame: AudioFrame, count: int) -> list[AudioPlane]:
    """A frame's planes. PyAV counts one too many where there are 8: its own `planes` and `to_ndarray()` then read from
    nowhere (18) or raise (19)."""
    from av.audio.plane import AudioPlane

    return [AudioPlane(frame, index) for index in range(count)]


def _full_scale(values: NDArray[np.float64], kind: np.dtype) -> NDArray[np.float64]:
    """Integers as parts of full scale: two's complement, or, for u8, around 128."""
    if kind == np.uint8:
        return (values - 128) / 128
    if kind.kind == "i":
        return values / 2.0 ** (8 * kind.itemsize - 1)
    return values


def timed(frames: Iterable[AudioFrame], rate: int, findings: Findings) -> Iterator[Timed]:
    """The frames in mono. Samples that are no numbers become silence; sound at another rate is left out."""
    for frame in frames:
        if frame.sample_rate == rate:
            yield Timed(frame.time, frame.samples, partial(_numbers, frame, findings))
        else:
            findings.report(f"sound at another sampling rate than the first {rate:,} Hz is left out")


def _numbers(frame: AudioFrame, findings: Findings) -> Samples:
    samples = mono(frame)
    if np.isfinite(samples).all():
        return samples
    findings.report("samples that are no numbers, taken as silence")
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


class Line:
    """Puts timed blocks one after the other from sample `at` on; `first`: the time of sample 0 (s).

    Where a block's time lies more than `TOLERANCE` after the end of what there is, silence is put in; where it lies as
    much before, what overlaps is left out. `silence`, `overlap`: how many samples that was, at `wanted` and later.
    Where it would be more silence than `MOST_SILENCE` and `SILENCE_SHARE` allow, the line ends: `gap` is then when (s)
    sound stops and goes on.
    """

    def __init__(self, rate: int, first: float, at: int = 0, wanted: int = 0) -> None:
        self.rate, self.first, self.at = rate, first, at
        self.wanted = wanted
        self.silence = self.overlap = self._heard = 0
        self.gap: tuple[float, float] | None = None

    def __call__(self, blocks: Iterable[Timed]) -> Iterator[Samples]:
        """The samples from `wanted` on."""
        for block in blocks:
            jump = 0 if block.time is None else self._position(block.time) - self.at
            left_out = 0
            if jump > TOLERANCE * self.rate:
                if self._is_too_long(jump):
                    self.gap = self.at / self.rate, (self.at + jump) / self.rate
                    return
                yield from self._silence(jump)
            elif jump < -TOLERANCE * self.rate:
                left_out = min(block.length, -jump)
                self.overlap += left_out if self.at > self.wanted else 0
            early = max(0, self.wanted - self.at)
            self.at += block.length - left_out
            self._heard += max(0, block.length - left_out - early)
            if early < block.length - left_out:
                yield block.samples()[left_out + early :]

    def _position(self, time: float) -> int:
        if not abs(time - self.first) <= LONGEST:
            raise ClipError(f"presentation times make no sense: sound at {self.first:g} s and at {time:g} s")
        return round((time - self.first) * self.rate)

    def _is_too_long(self, count: int) -> bool:
        most = MOST_SILENCE * self.rate + SILENCE_SHARE * self._heard
        return self.silence + self._needed(count) > most

    def _needed(self, count: int) -> int:
        return count - min(count, max(0, self.wanted - self.at))

    def _silence(self, count: int) -> Iterator[Samples]:
        needed = self._needed(count)
        self.at += count
        self.silence += needed
        for begin in range(0, needed, _SILENCE):
            yield np.zeros(min(_SILENCE, needed - begin), np.float32)

    def problems(self) -> list[str]:
        """What was put in or left out, if it is worth a word."""
        told = []
        if self.gap is not None:
            stops, goes_on = self.gap
            told.append(
                f"sound stops after {stops:.6g} s and goes on at {goes_on:.6g} s: so much silence "
                f"({goes_on - stops:.6g} s) is not put in, and what follows is left out; name it by start and end in a "
                "manifest"
            )
        if self.silence > UNREMARKABLE * self.rate:
            told.append(f"silence put in where sound is missing: {self.silence / self.rate:.3g} s")
        if self.overlap > UNREMARKABLE * self.rate:
            told.append(f"sound left out where presentation times go back: {self.overlap / self.rate:.3g} s")
        return told
