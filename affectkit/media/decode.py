"""The decoding pass: frames with their presentation times, in order, whatever state the file is in."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import ClipError
from affectkit.media.container import open_media
from affectkit.media.index import PacketIndex
from affectkit.media.packets import read_packets, video_stream
from affectkit.media.plan import ReadingPlan

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.video.stream import VideoStream

MAX_PIXELS = 2**25
"""Frames that declare more pixels (8192 x 4096) are refused before memory is taken for them."""
_FEW_THREADS = 2**23
"""Frames of more pixels (beyond 4K) are decoded by two threads at most: each holds frames of its own."""

Timed = tuple[int, "VideoFrame"]
_SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")


class Findings:
    """What is wrong with a clip: each cause once, with its count. With `fail`, the first one is a ClipError."""

    def __init__(self, known: tuple[str, ...], *, assumed_times: bool, fail: bool) -> None:
        self.assumed_times = assumed_times
        self._known, self._fail = known, fail
        self._counts: dict[str, int] = {}
        for what in known:
            self._count(what)

    def report(self, what: str) -> None:
        if what not in self._known:
            self._count(what)

    def _count(self, what: str) -> None:
        if self._fail:
            raise ClipError(what)
        self._counts[what] = self._counts.get(what, 0) + 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        return "; ".join(what if n == 1 else f"{what} ({n} times)" for what, n in self._counts.items())


def decoded(
    path: Path, index: PacketIndex, plan: ReadingPlan, threads: int, findings: Findings
) -> Generator[Timed, None, None]:
    """(presentation tick, frame) in strictly rising order: at least the plan's needed frames, and some before.

    A clip that is cut out of a longer file is entered at the key frame before it, if the file can be entered there;
    otherwise decoding starts at the file's beginning.
    """
    enter = plan.entry > index.zero and index.container in _SEEKABLE and not index.damage and not index.assumed_times
    for entry in (plan.entry, None) if enter else (None,):
        with closing(_run(path, index, plan, threads, findings, entry)) as frames:
            first = next(frames, None)
            if entry is not None and (first is None or first[0] > entry):
                continue
            if first is not None:
                yield first
                yield from frames
            return


def _run(
    path: Path, index: PacketIndex, plan: ReadingPlan, threads: int, findings: Findings, entry: int | None
) -> Generator[Timed, None, None]:
    from av.error import FFmpegError

    with open_media(path) as container:
        stream = video_stream(container)
        pixels = check_size(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS * 9 // 8)}  # where the size grows; padded
        stream.codec_context.thread_count = threads if pixels <= _FEW_THREADS else min(threads or 2, 2)
        # Frame threads report an error some packets late, and can lose good frames to it.
        stream.codec_context.thread_type = "SLICE" if index.damage else "AUTO"
        if entry is not None:
            try:
                container.seek(entry, stream=stream)
            except FFmpegError:
                return
        packets = read_packets(container, stream, findings.report)
        if entry is not None:
            packets = _from_key_frame(packets, entry)
        yield from _timed(_frames(packets, stream, index, plan, findings), index, findings)


def check_size(width: int, height: int) -> int:
    """The number of pixels. Raises ClipError where there are more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise ClipError(
            f"pictures of {width} x {height}: {MAX_PIXELS:,} pixels (8192 x 4096) at most are read from a video; make "
            "them smaller first, as by ffmpeg -i VIDEO -vf scale=3840:-2 OUT"
        )
    return width * height


def _from_key_frame(packets: Iterator[Packet], entry: int) -> Iterator[Packet]:
    """The packets, if the first one is a key frame shown at `entry` or before; else none.

    Frames decoded after a key frame and shown before it may depend on what was left out.
    """
    first = next(packets, None)
    if first is not None and first.is_keyframe and first.pts is not None and first.pts <= entry:
        yield first
        yield from packets


def _frames(
    packets: Iterator[Packet], stream: VideoStream, index: PacketIndex, plan: ReadingPlan, findings: Findings
) -> Iterator[VideoFrame]:
    context = stream.codec_context
    for packet in packets:
        if plan.needed is not None:
            needed = packet.pts in plan.needed
            if index.independent and not needed:
                continue
            context.skip_frame = "DEFAULT" if needed or not index.droppable else "NONREF"
        yield from frames_of(packet, context, "frames do not decode", findings)
    yield from frames_of(None, context, "frames do not decode", findings)


def frames_of(packet: Packet | None, context: Any, problem: str, findings: Findings) -> Iterator[Any]:
    """The frames of a packet (None: those that the decoder still holds); an error goes to `findings`."""
    from av.error import FFmpegError

    try:
        yield from context.decode(packet)
    except (FFmpegError, ValueError) as error:  # ValueError: from PyAV 19 on, once a decoder could not be opened
        findings.report(f"{problem}: {getattr(error, 'strerror', None) or error}")


def _timed(frames: Iterator[VideoFrame], index: PacketIndex, findings: Findings) -> Iterator[Timed]:
    last: int | None = None
    for tick, frame in _clocked(frames, index) if index.assumed_times else ((frame.pts, frame) for frame in frames):
        if tick is None:
            findings.assumed_times = True
            tick = index.zero if last is None else last + index.step
        if frame.is_corrupt:
            findings.report("damaged pictures left out")
        elif last is None or tick > last:
            last = tick
            yield tick, frame
        elif tick < last:
            findings.report("frames left out because presentation times go back")


def _clocked(frames: Iterator[VideoFrame], index: PacketIndex) -> Iterator[tuple[int | None, VideoFrame]]:
    """The frames with the index's times, where packets lack true ones: decoders give frames in the order in which they
    are shown. A frame's own time, where it has a true one, says which it is; what precedes the first key frame does
    not decode."""
    number = -1
    for frame in frames:
        if number < 0 and frame.key_frame:
            number += index.lead
        number += 1
        if frame.pts is not None and not index.decoding_times:
            number = max(number, index.number(frame.pts))
        yield (int(index.ticks[number]) if number < len(index) else frame.pts), frame
