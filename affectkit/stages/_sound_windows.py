"""The feature rows that windows over a clip's waveform give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectkit.plugins import AudioBackbone
from affectkit.speech.windows import Windowing, touches
from affectkit.types import Bools, Floats


@dataclass(frozen=True, repr=False)
class Rows:
    """The rows of one window: start, end [R] (s, on the clip's clock), valid [R], and which frames [R] they are."""

    start: Floats
    end: Floats
    valid: Bools
    frames: np.ndarray


def rows_of(
    windows: list[slice], number: int, offset: float, speech: Floats, windowing: Windowing, backbone: AudioBackbone
) -> Rows:
    """The rows that window `number` of a clip gives; `speech` [K,2] (s) are the stretches of speech.

    Several frames a window: windows that overlap would give each moment twice, so a frame counts where it is nearest
    to the middle of its window. A row is valid where it touches speech and its window is long enough.
    """
    rate, own = backbone.sampling_rate, windows[number]
    first, real = own.start / rate, (own.stop - own.start) / rate
    begin, end = backbone.frames(windowing.heard(own.stop - own.start, rate))
    frames = np.flatnonzero(np.asarray(begin) < real)
    if len(begin) > 1:
        middle = (np.asarray(begin) + np.asarray(end)) / 2
        overlap = (windowing.window - windowing.hop) / 2
        low = overlap if number else -np.inf
        high = windowing.hop + overlap if number + 1 < len(windows) else real
        frames = np.flatnonzero((middle >= low) & (middle < high))
    start = offset + first + np.asarray(begin)[frames]
    stop = offset + first + np.minimum(np.asarray(end)[frames], real)
    enough = real >= min(windowing.shortest, windowing.window) - 0.5 / rate
    return Rows(start, stop, touches(start, stop, speech) & enough, frames)
