"""A picture as a clip of one frame, and an animated one (WebP, PNG) as a clip of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from affectkit.errors import ClipError
from affectkit.media.colours import read_picture, upright_rgb
from affectkit.media.container import regular_file
from affectkit.media.reader import Frame
from affectkit.media.sampling import Sampling
from affectkit.moments import TICK

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

STILL_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
MAX_ANIMATION = 2**33
"""Pixels of all frames of an animation, at most: three minutes of full HD at 24 frames a second."""
SHOWN = 1.0
"""Seconds that a picture is said to be shown, since it does not say itself."""
_ANIMATED = ("PNG", "WEBP")
_UNTIMED = 100
"""Milliseconds that a frame of an animation is shown where it says 0, as browsers do."""


class StillReader:
    """Iterates over the one frame of a picture, or over the sampled frames of an animated one, as `VideoReader` does
    over those of a video; without a `sampling`, over all. Raises ClipError.

    A frame of an animation is shown for its own duration, from 0 s on. `start` and `end` (s) cut it.
    """

    partial = False
    problem: str | None = None
    origin = 0.0
    expected = 1

    def __init__(
        self, path: Path | str, sampling: Sampling | None = None, *,
        start: float | None = None, end: float | None = None,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        self.sampling = sampling or Sampling(fps="native")
        self.start, self.end = start or 0.0, end
        regular_file(self.path)

    def __iter__(self) -> Iterator[Frame]:
        with read_picture(self.path) as picture:
            count = getattr(picture, "n_frames", 1) if picture.format in _ANIMATED else 1
            if count == 1:
                yield Frame(upright_rgb(picture), 0.0, SHOWN, 0)
                return
            if picture.width * picture.height * count > MAX_ANIMATION:
                raise ClipError(
                    f"an animation of {count:,} frames of {picture.width} x {picture.height}: too large to be read as "
                    f"pictures; make a video of it: ffmpeg -i {self.path.name} {self.path.stem}.mp4"
                )
            yield from self._animated(picture, count)

    def _animated(self, picture: Picture, count: int) -> Iterator[Frame]:
        times = np.cumsum([0, *(_shown(picture, number) for number in range(count))]) / 1000
        length = float(times[-1])
        stop = length if self.end is None else min(self.end, length)
        if not 0 <= self.start < stop:
            raise ClipError(f"a clip from {self.start:g} to {stop:g} s is empty: the animation lasts {length:g} s")
        inside = np.flatnonzero((times[:-1] >= self.start - TICK) & (times[:-1] < stop - TICK))
        if not len(inside):  # the frame on show
            inside = np.flatnonzero(times[:-1] <= self.start)[-1:]
        chosen = inside[self.sampling.pick(times[inside] - self.start, stop - self.start)]
        for number in chosen.tolist():
            picture.seek(number)
            begin, over = (float(time) - self.start for time in times[number : number + 2])
            yield Frame(upright_rgb(picture), begin, over, number)


def _shown(picture: Picture, number: int) -> float:
    """How long a frame of an animation is shown (ms)."""
    picture.seek(number)
    picture.load()
    return float(picture.info.get("duration") or _UNTIMED)
