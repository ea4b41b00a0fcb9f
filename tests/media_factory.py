"""Clips made at test time. Each picture carries its number and its orientation, and both survive lossy codecs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from affectkit.media.sound import planes_of

Image = NDArray[np.uint8]

B_FRAMES = {"preset": "veryfast", "bf": "3", "g": "30"}
"""Encoder options: frames out of order, a key frame a second."""

BITS = 12
CORNERS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 220))
"""Colours of the top row of cells, from left to right."""


def numbered(count: int, width: int = 96, height: int = 64, first: int = 0) -> Iterator[Image]:
    """Pictures of 4x4 cells: a row of colours, then 12 bits of the picture's number, black or white."""
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    for number in range(first, first + count):
        cells = np.zeros((4, 4, 3), np.uint8)
        cells[0] = CORNERS
        bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8).reshape(3, 4)
        cells[1:] = bits[..., None] * 225 + 15
        yield cells[rows][:, columns]


def number_of(image: Image) -> int:
    """The number that a picture carries. Raises AssertionError where it is not upright or a cell is unclear."""
    height, width = image.shape[:2]
    cells = np.array(
        [
            [image[int((row + 0.5) * height / 4), int((column + 0.5) * width / 4)] for column in range(4)]
            for row in range(4)
        ],
        int,
    )
    assert np.abs(cells[0] - CORNERS).max() < 60, f"not upright, or wrong colours: {cells[0].tolist()}"
    brightness = cells[1:].mean(axis=2).reshape(-1)
    assert ((brightness < 90) | (brightness > 165)).all(), f"unclear bits: {brightness}"
    return sum(1 << bit for bit in range(BITS) if brightness[bit] > 127)


def make_clip(
    path: Path,
    images: int | Iterable[Image] = 30,
    *,
    size: tuple[int, int] = (96, 64),
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    rotation: tuple[float, bool, bool] | None = None,
    audio: bool = False,
    attributes: dict[str, Any] | None = None,
) -> Path:
    """Encodes `images` (a number: so many numbered pictures of `size`, width and height) and returns `path`.

    `pts`: presentation times in units of `time_base` (default 0, 1, 2, ...); `rotation`: counter-clockwise degrees,
    horizontal flip, vertical flip of the display matrix; `attributes`: set on the encoder; `audio`: a quiet tone.
    """
    pictures = iter(numbered(images, *size) if isinstance(images, int) else images)
    first = next(pictures)
    height, width = first.shape[:2]
    number = 0
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=1 / time_base)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = time_base
        stream.codec_context.options = (
            {"preset": "ultrafast"} if options is None and codec == "libx264" else options or {}
        )
        for name, value in (attributes or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
        for number, picture in enumerate(chain([first], pictures)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = (number if pts is None else pts[number]), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            write_tone(output, sound, float((number + 1) * time_base))
    return path


def write_tone(output: Any, stream: Any, seconds: float, sampling_rate: int = 16000) -> None:
    """A 440 Hz tone on an audio stream of an open container."""
    times = np.arange(int(seconds * sampling_rate)) / sampling_rate
    block = (0.1 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = sampling_rate, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def make_audio(path: Path, seconds: float = 1.0) -> Path:
    """A file that holds an AAC stream and nothing else."""
    with av.open(str(path), "w") as output:
        write_tone(output, output.add_stream("aac", rate=16000, layout="mono"), seconds)
    return path


def repeated(source: Path, target: Path, times: int) -> Path:
    """A long clip without encoding it: the packets of `source` again and again, in time."""
    with av.open(str(source)) as once, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(once.streams.video[0])
        for turn in range(times):
            once.seek(0)
            packets = [packet for packet in once.demux(video=0) if packet.size]
            shift = turn * sum(packet.duration for packet in packets)
            for packet in packets:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                output.mux(packet)
    return target


def cut_off(source: Path, target: Path, fraction: float) -> Path:
    """The first part of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * fraction)])
    return target


def beep(
    seconds: float, at: float, sampling_rate: int, length: float = 0.05, hz: float = 1000.0
) -> NDArray[np.float32]:
    """Silence [S] with a burst of a sine from `at` (s) on, at its peak at once."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate - at
    burst = 0.5 * np.cos(2 * np.pi * hz * times)
    return np.where((times >= -1e-9) & (times < length), burst, 0).astype(np.float32)


def beep_time(samples: NDArray[np.float32], sampling_rate: int, threshold: float = 0.15) -> float:
    """When the burst begins (s, from the first sample)."""
    loud = np.flatnonzero(np.abs(samples) > threshold)
    assert len(loud), "no beep"
    return float(loud[0]) / sampling_rate


def audio_block(samples: NDArray[np.float32], sampling_rate: int, pts: int, fmt: str = "fltp") -> av.AudioFrame:
    """A frame of `samples` [S] or [C,S] in -1..1; in the sample format `fmt`."""
    planes = np.atleast_2d(samples)
    scale = {"u8": 128, "s16": 2**15, "s32": 2**31}.get(fmt.removesuffix("p"))
    if scale is None:
        values = planes.astype(np.float32 if fmt.startswith("flt") else np.float64)
    else:
        kind = {"u8": np.uint8, "s16": np.int16, "s32": np.int32}[fmt.removesuffix("p")]
        whole = np.clip(np.rint(planes.astype(np.float64) * scale), -scale, scale - 1)
        values = (whole + 128 if kind == np.uint8 else whole).astype(kind)
    if not fmt.endswith("p"):
        values = values.T.reshape(1, -1)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(planes)]
    frame = av.AudioFrame(format=fmt, layout=layout, samples=planes.shape[1])
    for plane, row in zip(planes_of(frame, len(values)), values, strict=True):
        plane.update(np.pad(row, (0, plane.buffer_size // row.itemsize - len(row))))
    frame.sample_rate, frame.pts, frame.time_base = sampling_rate, pts, Fraction(1, sampling_rate)
    return frame


def make_sound(
    path: Path,
    samples: NDArray[np.float32],
    sampling_rate: int,
    *,
    codec: str = "pcm_s16le",
    fmt: str | None = None,
    starts: Sequence[float] | None = None,
    block: int = 1024,
    container: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes `samples` [S] or [C,S] through an encoder, block by block, and returns `path`.

    `starts`: the presentation time of each block (s), in place of unbroken ones.
    """
    planes = np.atleast_2d(samples)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(
            codec, rate=sampling_rate, layout={1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(planes)]
        )
        kind = fmt or stream.codec_context.format.name
        stream.codec_context.format = kind
        stream.codec_context.options = {"strict": "experimental"} | (options or {})  # FFmpeg's own Vorbis
        for number, first in enumerate(range(0, planes.shape[1], block)):
            pts = first if starts is None else round(starts[number] * sampling_rate)
            output.mux(stream.encode(audio_block(planes[:, first : first + block], sampling_rate, pts, kind)))
        output.mux(stream.encode(None))
    return path


def make_flash_and_beep(
    path: Path, *, seconds: float = 3.0, at: float = 1.5, video_start: float = 0.0, audio_start: float = 0.0,
    codec: str = "aac", sampling_rate: int = 48000, fps: int = 25, channels: int = 1,
    pictures: tuple[Image, Image] | None = None,
) -> Path:  # fmt: skip
    """A dark video with one white picture, and silence with a beep, both at `at` (s, the file's clock).

    The streams begin at `video_start` and `audio_start`, and end at `seconds`. `pictures`: others than dark and white.
    """
    dark, white = pictures or (np.full((48, 64, 3), 16, np.uint8), np.full((48, 64, 3), 255, np.uint8))
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=fps)
        video.height, video.width = dark.shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, fps)
        video.codec_context.options = {"preset": "ultrafast", "g": str(fps)}
        sound = output.add_stream(codec, rate=sampling_rate, layout={1: "mono", 2: "stereo"}[channels])
        kind = sound.codec_context.format.name
        packets = []
        for number in range(round(video_start * fps), round(seconds * fps)):
            flash = number == round(at * fps)
            frame = av.VideoFrame.from_ndarray(white if flash else dark, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            packets += video.encode(frame)
        packets += video.encode(None)
        samples = np.tile(beep(seconds - audio_start, at - audio_start, sampling_rate), (channels, 1))
        for first in range(0, samples.shape[1], 1024):
            pts = first + round(audio_start * sampling_rate)
            packets += sound.encode(audio_block(samples[:, first : first + 1024], sampling_rate, pts, kind))
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path
