"""Writing ordinary H.264 clips, for demonstrations and tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from affectkit.media.picture import Image

if TYPE_CHECKING:
    from av import VideoFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

Audio = tuple[NDArray[np.float32], int]


def write_video(
    path: Path | str, images: Iterable[Image], fps: float, *, audio: Audio | None = None, crf: int = 20
) -> None:
    """Writes `images` (uint8 [H,W,3] RGB of one even size) as mp4: H.264, 4:2:0, BT.709, limited range.

    `audio`: mono samples float32 [S] in -1..1 and their sampling rate (Hz), written as AAC. The file appears under its
    name only when it is complete. Raises ValueError for no image, an odd or a changing size.
    """
    import av

    path = Path(path)
    pictures = iter(images)
    first = next(pictures, None)
    if first is None:
        raise ValueError("a video needs at least one image")
    with _replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        video = _video_stream(container, first, fps, crf)
        sound = None if audio is None else _Sound(container, *audio)
        encodable = _Encodable()
        for number, image in enumerate(chain([first], pictures)):
            if image.shape != first.shape:
                raise ValueError(f"image {number} is {image.shape}, the first one {first.shape}")
            frame = encodable(image)
            frame.pts, frame.time_base = number, 1 / Fraction(video.codec_context.framerate)
            container.mux(video.encode(frame))
            if sound is not None:
                sound.write_until((number + 1) / fps)
        container.mux(video.encode(None))
        if sound is not None:
            sound.finish()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _video_stream(container: OutputContainer, image: Image, fps: float, crf: int) -> VideoStream:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"images are of even size, not {width}x{height}")
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited
    context.options = {"crf": str(crf), "preset": "veryfast"}
    return stream


class _Encodable:
    """RGB images as BT.709 4:2:0 frames."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(self, image: Image) -> VideoFrame:
        import av
        from av.video.reformatter import ColorRange, Colorspace

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )


class _Sound:
    """Feeds audio in step with the pictures, so that the file is interleaved."""

    def __init__(self, container: OutputContainer, samples: NDArray[np.float32], sampling_rate: int) -> None:
        if samples.ndim != 1:
            raise ValueError(f"audio is mono [S], not {list(samples.shape)}")
        self.container = container
        self.samples, self.sampling_rate = samples, sampling_rate
        self.stream: AudioStream = container.add_stream("aac", rate=sampling_rate, layout="mono")
        self.written = 0

    def write_until(self, time: float) -> None:
        import av

        end = min(len(self.samples), round(time * self.sampling_rate))
        if end > self.written:
            block = np.ascontiguousarray(self.samples[None, self.written : end], np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = self.sampling_rate, self.written
            frame.time_base = Fraction(1, self.sampling_rate)
            self.container.mux(self.stream.encode(frame))
            self.written = end

    def finish(self) -> None:
        self.write_until(len(self.samples) / self.sampling_rate)
        self.container.mux(self.stream.encode(None))
