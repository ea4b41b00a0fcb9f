"""Clips to measure on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from affectkit.media import Sampling, VideoReader, write_video

REAL = Path("../shared/media/single_face.mp4")
FPS = 30.0


def face_clip(folder: Path, seconds: float, source: Path = REAL) -> Path:
    """An H.264 clip of a face, 640x360 at 30 fps: `source` forth and back, else a still portrait that moves."""
    path = folder / "face.mp4"
    images = [frame.image for frame in VideoReader(source, Sampling(fps="native"))] if source.exists() else None
    frames = _forth_and_back(images) if images else _portrait()
    write_video(path, islice(frames, round(seconds * FPS)), FPS)
    return path


def _forth_and_back(images: list[np.ndarray]) -> Iterator[np.ndarray]:
    while True:
        yield from images
        yield from reversed(images)


def _portrait() -> Iterator[np.ndarray]:
    """scikit-image's astronaut, panned slowly."""
    from skimage.data import astronaut
    from skimage.transform import resize

    image = (resize(astronaut(), (720, 720)) * 255).astype(np.uint8)
    step = 0
    while True:
        x, y = round(40 + 40 * np.sin(step / 20)), round(30 + 30 * np.cos(step / 33))
        yield image[y : y + 360, x : x + 640]
        step += 1


def repeated(source: Path, times: int, out: Path) -> Path:
    """`source` shown `times` times over: its packets copied, nothing encoded."""
    import av

    with av.open(str(source)) as reading, av.open(str(out), "w") as writing:
        stream = reading.streams.video[0]
        copy = writing.add_stream_from_template(stream)
        packets = [packet for packet in reading.demux(stream) if packet.size]
        length = sum(packet.duration for packet in packets)
        data = [(bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe) for packet in packets]
        for time in range(times):
            for content, pts, dts, duration, is_key in data:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = copy, stream.time_base, is_key
                packet.pts, packet.dts, packet.duration = pts + time * length, dts + time * length, duration
                writing.mux(packet)
    return out
