"""How many frames a video has: by its packets, or for certain, by decoding them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from affectkit.media import Sampling, VideoReader, scan


@dataclass(frozen=True)
class Counted:
    """Frames of one clip's media, and what is wrong with it."""

    frames: int
    problem: str | None = None


def count_frames(path: Path, decode: bool = False) -> Counted:
    """Frames of different presentation times. Raises ClipError where none is there."""
    if not decode:
        index = scan(path)
        return Counted(len(set(index.ticks.tolist())), "; ".join(index.damage) or None)
    reader = VideoReader(path, Sampling(fps="native"), threads=1)
    count = sum(1 for _ in reader)
    return Counted(count, reader.problem)
