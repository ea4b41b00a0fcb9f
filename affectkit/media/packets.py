"""The video packets of an open file, and the presentation times that they carry."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream


Stamp = tuple[int | None, int | None, int | None]
"""Presentation time, decoding time and duration of a frame (ticks), as far as they are told."""


def video_stream(container: InputContainer) -> VideoStream:
    """The stream that FFmpeg holds for the main one; the demuxer drops all others. Raises ClipError without one."""
    from av.stream import Discard, Disposition
    from av.video.stream import VideoStream

    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        kinds = sorted({other.type or "unknown" for other in container.streams if other is not stream})
        raise ClipError(f"no video stream (streams: {', '.join(kinds) or 'none'})")
    if stream.codec_context is None:
        raise ClipError("no decoder for the video stream")
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return stream


def read_packets(
    container: InputContainer, stream: VideoStream | AudioStream, report: Callable[[str], None]
) -> Iterator[Packet]:
    """The stream's packets that hold data, as far as they can be read; what stops them goes to `report`.

    A torn last packet is left out: a decoder would make half a picture of it. Blocks of plain samples (PCM) are kept as
    far as they go, since a file written to a pipe does not know its length and ends anywhere.
    """
    from av.error import FFmpegError

    held: Packet | None = None
    try:
        for packet in container.demux(stream):
            if packet.size:
                if held is not None:
                    yield held
                held = packet
    except FFmpegError as error:
        report(f"reading stops early: {error.strerror}")
    except IndexError:  # PyAV 18, at the very end: a stream that it did not know at first (MPEG-TS)
        pass
    plain = stream.codec_context.codec.canonical_name.startswith("pcm_")
    if held is not None and held.is_corrupt and not plain:
        report("cut off: the last frame's data is incomplete")
    elif held is not None:
        yield held


def nominal_step(stream: VideoStream) -> int:
    """Ticks between frames at the rate that the headers give, for want of anything better."""
    rate = stream.guessed_rate or stream.average_rate or Fraction(25)
    return max(1, round(1 / (rate * stream.time_base))) if stream.time_base else 1


def presentation_ticks(
    packets: Iterable[Stamp], nominal_step: int, *, guessed: bool = False
) -> tuple[NDArray[np.int64], int, int, bool]:
    """Sorted presentation times [T], the end of the last, the median interval, and whether any time was assumed.

    Packets are (pts, dts, duration) in ticks. Without a pts the dts stands in, and without either the previous
    time + the nominal step. `guessed`: the container stores no presentation times, and the codec reorders frames; if
    the times still rise from packet to packet, they are not those of presentation. The last frame lasts as long as its
    packet says, else the median interval (of a single frame: the nominal step). Raises ClipError where there is no
    packet.

    >>> presentation_ticks([(0, 0, 0), (20, 10, 0), (10, 20, 0)], 9)
    (array([ 0, 10, 20]), 30, 10, False)
    """
    ticks = array("q")
    stop, missing, rising = 0, False, True
    for pts, dts, duration in packets:
        if pts is None:
            missing = True
            pts = dts if dts is not None else ticks[-1] + nominal_step if ticks else 0
        rising &= not ticks or pts > ticks[-1]
        ticks.append(pts)
        stop = max(stop, pts + (duration or 0)) if len(ticks) > 1 else pts + (duration or 0)
    if not ticks:
        raise ClipError("no video frame in the file")
    ordered = np.sort(np.frombuffer(ticks, np.int64))
    intervals = np.diff(ordered)
    intervals = intervals[intervals > 0]
    step = max(1, round(float(np.median(intervals)))) if len(intervals) else nominal_step
    last = int(ordered[-1])
    return ordered, stop if stop > last else last + step, step, missing or (guessed and rising and len(ticks) > 1)
