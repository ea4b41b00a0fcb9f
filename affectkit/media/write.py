"""Writing ordinary H.264 clips, for demonstrations and tests: the same pictures give the same bytes on every processor.

Encoders do not promise that. libx264's result depends on the number of threads, and its AVX-512 code reads memory that
was never written; lossy sound encoders and the colour conversion of swscale round as the processor's extensions do. So
libx264 runs one thread of code that every processor has, colours are converted in whole numbers, and sound is lossless.
"""

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
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

Audio = tuple[NDArray[np.float32], int]


def write_video(
    path: Path | str, images: Iterable[Image], fps: float, *, audio: Audio | None = None, crf: int = 20
) -> None:
    """Writes `images` (uint8 [H,W,3] RGB of one even size) as mp4: H.264, 4:2:0, BT.709, limited range.

    `audio`: mono samples float32 [S] in -1..1 and their sampling rate (Hz), written as FLAC (16 bits). The file
    appears under its name only when it is complete. Raises ValueError for no image, an odd or a changing size.
    """
    import av
    from av import VideoFrame

    path = Path(path)
    pictures = iter(images)
    first = next(pictures, None)
    if first is None:
        raise ValueError("a video needs at least one image")
    with _replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        video = _video_stream(container, first, fps, crf)
        sound = None if audio is None else _Sound(container, *audio)
        for number, image in enumerate(chain([first], pictures)):
            if image.shape != first.shape:
                raise ValueError(f"image {number} is {image.shape}, the first one {first.shape}")
            frame = VideoFrame.from_ndarray(_bt709(image), format="yuv420p")
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
    context.thread_count = 1
    context.options = {"crf": str(crf), "preset": "veryfast", "x264-params": "cpu-independent=1"}
    return stream


_Y = np.array([11966, 40254, 4064], np.int32)  # BT.709, limited range, times 2^16
_U = np.array([-6596, -22188, 28784], np.int32)
_V = np.array([28784, -26144, -2640], np.int32)


def _bt709(image: Image) -> Image:
    """A picture [H,W,3] as planes of 4:2:0 below each other, uint8 [H * 3 / 2, W]; chroma lies between four pixels."""
    height, width = image.shape[:2]
    red, green, blue = (image[..., channel].astype(np.int32) for channel in range(3))
    luma = (_Y[0] * red + _Y[1] * green + _Y[2] * blue + (1 << 15) >> 16) + 16
    red, green, blue = (
        plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2] for plane in (red, green, blue)
    )
    chroma = [(c[0] * red + c[1] * green + c[2] * blue + (1 << 17) >> 18) + 128 for c in (_U, _V)]
    planes = np.concatenate([plane.ravel() for plane in (luma, *chroma)])
    return planes.astype(np.uint8).reshape(height * 3 // 2, width)


class _Sound:
    """Feeds audio in step with the pictures, so that the file is interleaved."""

    def __init__(self, container: OutputContainer, samples: NDArray[np.float32], sampling_rate: int) -> None:
        if samples.ndim != 1:
            raise ValueError(f"audio is mono [S], not {list(samples.shape)}")
        self.container = container
        self.samples, self.sampling_rate = samples, sampling_rate
        # With fixed predictors, since those that fit the sound best are found in floating point.
        self.stream: AudioStream = container.add_stream(
            "flac", rate=sampling_rate, layout="mono", options={"lpc_type": "fixed"}
        )
        self.written = 0

    def write_until(self, time: float) -> None:
        import av

        end = min(len(self.samples), round(time * self.sampling_rate))
        if end > self.written:
            block = np.rint(np.clip(self.samples[None, self.written : end], -1, 1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = self.sampling_rate, self.written
            frame.time_base = Fraction(1, self.sampling_rate)
            self.container.mux(self.stream.encode(frame))
            self.written = end

    def finish(self) -> None:
        self.write_until(len(self.samples) / self.sampling_rate)
        self.container.mux(self.stream.encode(None))
