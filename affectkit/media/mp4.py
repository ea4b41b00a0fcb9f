"""Writing an MP4 whose pictures have the times that they are given, with the sound of another file beside them."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from affectkit.errors import ClipError
from affectkit.media.picture import Image
from affectkit.media.source_sound import SourceSound

if TYPE_CHECKING:
    from av import Packet

_BT709, _LIMITED = 1, 1
_LARGEST_TICKS = 1 << 30
"""Units of time a second; more do not fit into an MP4."""


def rate_factor(quality: int) -> int:
    """x264's constant rate factor for a quality of 1 to 100, higher is better.

    >>> rate_factor(75), rate_factor(100), rate_factor(1)
    (20, 10, 50)
    """
    return round(50 - 0.4 * quality)


class Mp4Writer:
    """Encodes pictures as H.264 (4:2:0, BT.709, limited range), each shown at its own time, in units of `tick` seconds.

    width, height: of the pictures, even; aspect: width of a pixel over its height; sound: what is heard with them. No
    title, place or comment is written. The file is whole only after the block has ended well. Raises ClipError where
    the encoder refuses.
    """

    def __init__(
        self, path: Path, width: int, height: int, tick: Fraction, *, quality: int = 75,
        aspect: Fraction = Fraction(1), sound: SourceSound | None = None, threads: int = 0,
    ) -> None:  # fmt: skip
        import av

        if width % 2 or height % 2:
            raise ValueError(f"pictures are of even size, not {width}x{height}")
        if tick.denominator > _LARGEST_TICKS:
            raise ClipError(f"times in units of {tick} s do not fit into an MP4")
        self._tick, self._sound = tick, sound
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=None)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.time_base = tick
        context = self._stream.codec_context
        context.time_base = tick
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        context.sample_aspect_ratio = aspect
        context.thread_count = threads
        # Without B-frames packets come in order of presentation: nothing shifts, and the last one's length is kept.
        context.options = {"crf": str(rate_factor(quality)), "preset": "veryfast", "bf": "0"}
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._ends: dict[int, int] = {}
        if sound is not None:
            sound.join(self._container)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.mux_until(None)
                self._container.close()
                return
        except BaseException:
            self._abandon()
            raise
        finally:
            if self._sound is not None:
                self._sound.close()
        self._abandon()

    def write(self, image: Image, start: int, end: int) -> None:
        """Show a picture uint8 [H,W,3] RGB from `start` to `end` (ticks); starts rise."""
        from av import VideoFrame
        from av.error import FFmpegError
        from av.video.reformatter import ColorRange, Colorspace

        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )
        frame.pts, frame.time_base = start, self._tick
        self._ends[start] = end
        try:
            self._mux(self._stream.encode(frame))
        except FFmpegError as error:
            raise ClipError(f"the result cannot be encoded: {error.strerror}") from error

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            start = int(packet.pts if packet.pts is not None else 0)
            packet.duration = max(1, self._ends.pop(start, start + 1) - start)
            if self._sound is not None:
                self._sound.mux_until(float(start * self._tick))
            self._container.mux(packet)

    def _abandon(self) -> None:
        with suppress(Exception):  # what is half written is thrown away
            self._container.close()
