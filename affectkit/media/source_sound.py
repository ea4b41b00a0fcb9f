"""The sound of a media file for another file: its packets as they are where an MP4 may hold them, else as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError
from affectkit.media.container import open_media
from affectkit.media.decode import Findings
from affectkit.media.packets import read_packets
from affectkit.media.sound import Line, Timed, audio_frames, audio_stream

if TYPE_CHECKING:
    from av import AudioFrame, Packet
    from av.container import OutputContainer

COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "flac")
"""Codecs whose packets go into an MP4 as they are. Opus is not: where its sound starts late, what it skips moves it."""
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # Hz that AAC has
_LAYOUTS = ("mono", "stereo", "5.1")
_LEAD = 0.1  # s of packets kept before the first picture: decoders need them; an edit list keeps them unheard
_HEAD = 4  # packets that are looked at before it is known how


class SourceSound:
    """A file's sound from `origin` (s, on the file's clock) on, which is then time 0; up to `end` (s from there; None:
    all that there is).

    `how`: "copied" or "aac"; `problem` says after the last packet what is missing or damaged, None if nothing is.
    Raises ClipError where the file has no sound that can be read.
    """

    def __init__(self, path: Path, origin: Fraction, end: float | None = None) -> None:
        self._findings = Findings((), assumed_times=False, fail=False)
        self._origin, self._end = origin, inf if end is None else end
        self._container = open_media(path)
        try:
            self._source = audio_stream(self._container)
            self._rest = read_packets(self._container, self._source, self._findings.report)
            self._first = list(islice(self._rest, _HEAD))
            self.how = "copied" if self._is_copied() else "aac"
            if self.how == "aac":
                self._container.close()
                self._container = open_media(path)
                self._source = audio_stream(self._container)
        except BaseException:
            self._container.close()
            raise

    @property
    def problem(self) -> str | None:
        """What is missing or damaged."""
        return str(self._findings) or None

    def _is_copied(self) -> bool:
        context = self._source.codec_context
        name = context.codec.canonical_name
        has_times = bool(self._first) and all(
            packet.pts is not None and packet.dts is not None for packet in self._first
        )
        return name in COPIED and has_times and (name != "aac" or bool(context.extradata))

    def join(self, output: OutputContainer) -> None:
        """Add a stream to a file that is about to be written."""
        self._output = output
        self._packets = self._copied() if self.how == "copied" else self._encoded()
        self._held = next(self._packets, None)

    def mux_until(self, time: float | None) -> None:
        """Write the packets that begin before `time` (s); None: all that are left."""
        while self._held is not None and (time is None or self._held[0] < time):
            self._output.mux(self._held[1])
            self._held = next(self._packets, None)

    def close(self) -> None:
        """Close the file that is read."""
        self._packets.close() if hasattr(self, "_packets") else None
        self._container.close()

    def _copied(self) -> Any:
        stream = self._output.add_stream_from_template(self._source)
        stream.metadata.clear()
        return self._shifted(stream)

    def _shifted(self, stream: Any) -> Iterator[tuple[float, Packet]]:
        for packet in self._all_packets():
            if packet.pts is None or packet.dts is None:
                self._findings.report("sound without times is left out")
                continue
            unit = Fraction(packet.time_base)
            shift = round(self._origin / unit)
            time = float((packet.pts - shift) * unit)
            if time >= self._end:
                return
            if time + float((packet.duration or 0) * unit) <= -_LEAD:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            yield time, packet

    def _all_packets(self) -> Iterator[Packet]:
        yield from chain(self._first, self._rest)

    def _encoded(self) -> Any:
        frames = audio_frames(self._container, self._source, self._findings)
        first = next(frames, None)
        if first is None:
            raise ClipError(f"no sound decodes: {self._findings or 'the decoder gives none'}")
        rate = first.sample_rate if first.sample_rate in _RATES else 48000
        layout = first.layout.name if first.layout.name in _LAYOUTS else "stereo"
        stream = self._output.add_stream("aac", rate=rate, layout=layout)
        stream.bit_rate = 96_000 * stream.codec_context.channels
        return self._as_aac(chain([first], frames), stream, rate, layout)

    def _as_aac(
        self, frames: Iterator[AudioFrame], stream: Any, rate: int, layout: str
    ) -> Iterator[tuple[float, Packet]]:
        import av
        from av.audio.resampler import AudioResampler

        resampler = AudioResampler(format="flt", layout=layout, rate=rate)
        channels = stream.codec_context.channels
        blocks = _blocks(frames, resampler, channels)
        first = next(blocks, None)
        if first is None:
            return
        zero = first.time or 0.0
        position = round((zero - float(self._origin)) * rate)
        line = Line(rate, zero, 0, max(0, -position))
        position = max(0, position)
        for block in line(chain([first], blocks)):
            samples = block if block.ndim == 2 else np.zeros((len(block), channels), np.float32)
            left = self._end * rate - position
            samples = samples[: int(min(left, len(samples)))] if left > 0 else samples[:0]
            if not len(samples):
                break
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
            position += len(samples)
            yield from _timed(stream.encode(frame))
        for problem in line.problems():
            self._findings.report(problem)
        yield from _timed(stream.encode(None))


def _timed(packets: list[Packet]) -> Iterator[tuple[float, Packet]]:
    for packet in packets:
        yield float((packet.pts or 0) * Fraction(packet.time_base)), packet


def _blocks(frames: Iterator[AudioFrame], resampler: Any, channels: int) -> Iterator[Timed]:
    """The frames at the output's rate: float32 [S,C]."""
    for frame in chain(frames, [None]):
        for part in resampler.resample(frame):
            values: NDArray[np.float32] = np.asarray(part.to_ndarray(), np.float32).reshape(-1, channels)
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
            yield Timed(part.time, len(values), lambda values=values: values)  # type: ignore[misc]
