"""How many frames a video has: by its packets, or for certain, by decoding them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from affectkit.media import Sampling, VideoReader, scan


@dataclass(frozen=True)
class Counted:
    """Frames of one clip's media, what is wrong with it, and how long it lasts (s), where it says so."""

    frames: int
    problem: str | None = None
    seconds: float = float("nan")


def count_frames(path: Path, decode: bool = False) -> Counted:
    """Frames of different presentation times. Raises ClipError where none is there."""
    if not decode:
        index = scan(path)
        return Counted(len(set(index.ticks.tolist())), "; ".join(index.damage) or None, index.duration)
    reader, count, end = VideoReader(path, Sampling(fps="native"), threads=1), 0, float("nan")
    for frame in reader:
        count, end = count + 1, frame.end
    return Counted(count, reader.problem, end)
