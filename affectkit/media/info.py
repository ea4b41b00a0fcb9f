"""A video file in short."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from affectkit.media.reader import VideoReader
from affectkit.media.sampling import Sampling


@dataclass(frozen=True)
class MediaInfo:
    """width, height after rotation (pixels); duration (s) and frames as the packets say, and fps their mean; origin:
    presentation time of the first video frame (s); damage: what is wrong, empty if the file is whole."""

    container: str
    codec: str
    width: int
    height: int
    duration: float
    frames: int
    fps: float
    origin: float
    has_audio: bool
    assumed_times: bool
    damage: str


def probe(path: Path | str) -> MediaInfo:
    """What a video file holds: its packets are counted and its first frame is decoded. Raises ClipError."""
    with VideoReader(path, Sampling(fps="native"), threads=1) as reader:
        height, width = next(iter(reader)).image.shape[:2]
        index = reader.index
    return MediaInfo(
        container=index.container,
        codec=index.codec,
        width=width,
        height=height,
        duration=index.duration,
        frames=len(index),
        fps=len(index) / index.duration,
        origin=index.origin,
        has_audio=index.has_audio,
        assumed_times=reader.assumed_times,
        damage="; ".join(index.damage),
    )
