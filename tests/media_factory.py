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
