"""Which frames of a clip are looked at: those nearest in time to regular instants, each at most once."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from affectkit.config import Config
from affectkit.moments import TICK
from affectkit.types import Floats

Rate = Annotated[float, Field(gt=0, le=1000)]


@dataclass(frozen=True)
class Instants:
    """Instant k is at (k + offset) / rate seconds from the clip's start, for k in [0, count)."""

    rate: float
    offset: float
    count: int

    def until(self, time: Any) -> Any:
        """How many instants lie at or before `time` (s, not negative); scalars and arrays."""
        return np.minimum(((time + TICK) * self.rate - self.offset) // 1 + 1, self.count)


class Sampling(Config):
    """Either `fps` (a rate, or "native": every frame) or `frames` (so many, spread evenly over the clip).

    - fps N: the instants k/N from the clip's start, before its end.
    - frames N: the middles of N equal parts of the clip; a clip of N frames or fewer gives all of them.

    Each instant picks the frame whose presentation time is nearest (of two as near, the earlier); a frame is picked
    once, however many instants it is nearest to. So a rate above the clip's own gives every frame, and a clip whose
    frames are bunched can give fewer than `frames`.
    """

    fps: Rate | Literal["native"] | None = Field(default=None, description="frames a second, or native")
    frames: int | None = Field(default=None, ge=1, le=1_000_000, description="frames a clip, spread evenly")

    @model_validator(mode="after")
    def _one_rule(self) -> Sampling:
        if (self.fps is None) == (self.frames is None):
            raise ValueError("give either fps or frames")
        return self

    def instants(self, duration: float, available: int) -> Instants | None:
        """The instants in a clip of `duration` seconds and `available` frames; None where every frame is wanted."""
        if isinstance(self.fps, float):
            return Instants(self.fps, 0, max(1, ceil((duration - TICK) * self.fps)))
        if self.frames is None or available <= self.frames:
            return None
        return Instants(self.frames / max(duration, TICK), 0.5, self.frames)

    def pick(self, times: Floats, duration: float) -> NDArray[np.intp]:
        """Indices of the sampled frames, rising, each once.

        `times` [T]: sorted presentation times of the clip's frames (s, from the clip's start); `duration`: when the
        last one stops being shown.

        >>> Sampling(fps=2).pick(np.arange(10) / 5, 2.0)
        array([0, 2, 5, 7])
        >>> Sampling(frames=3).pick(np.arange(9) / 3, 3.0)
        array([1, 4, 7])
        """
        instants = self.instants(duration, len(times))
        if instants is None or not len(times):
            return np.arange(len(times))
        reach = np.append(instants.until((times[:-1] + times[1:]) / 2), instants.count)
        return np.flatnonzero(np.diff(reach, prepend=0) > 0)


class Picker:
    """`Sampling.pick` one frame at a time: a frame is judged as soon as its successor's time is known."""

    def __init__(self, instants: Instants | None) -> None:
        self.instants = instants
        self._served = 0.0

    def wants(self, time: float, following: float | None) -> bool:
        """Whether the frame at `time` is picked; `following` is the next frame's time, None after the last.

        Ask for every frame in order of time.
        """
        if self.instants is None:
            return True
        reach = self.instants.count if following is None else self.instants.until((time + following) / 2)
        wanted = reach > self._served
        self._served = max(reach, self._served)
        return wanted
