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


def plain_clip(path: Path, seconds: float, fps: float = 25.0) -> Path:
    """640x360 of almost nothing: a grey field with a square that wanders, quick to encode and to decode."""
    write_video(path, _square(round(seconds * fps)), fps)
    return path


def _square(count: int) -> Iterator[np.ndarray]:
    image = np.full((360, 640, 3), 96, np.uint8)
    for number in range(count):
        x, y = (number * 2) % 576, (number // 3) % 296
        image[:] = 96
        image[y : y + 64, x : x + 64] = 200
        yield image
