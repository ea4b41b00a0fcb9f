"""Windows over a clip's waveform, and whether they touch speech."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf

import numpy as np

from affectkit.types import Bools, Floats
from affectkit.windows import starts


@dataclass(frozen=True)
class Windowing:
    """Length, distance and least length of windows (s), and whether a short one is filled with zeros.

    Windows begin every `hop` seconds. One that holds less than `shortest` of sound is left out, except the first: a
    clip has at least one row (SUN, arXiv 2403.12609: 4 s, every 2 s, at least 2 s, padded with zeros). An infinite
    window is the whole clip, see `whole_clips`.
    """

    window: float
    hop: float
    shortest: float
    padded: bool

    def cut(self, samples: int, sampling_rate: int) -> list[slice]:
        """The samples of each window of a waveform.

        >>> [(w.start, w.stop) for w in Windowing(4, 2, 2, True).cut(70, 10)]
        [(0, 40), (20, 60), (40, 70)]
        """
        if isinf(self.window):
            return [slice(0, samples)] if samples else []
        length, hop, shortest = self._samples(sampling_rate)
        begins = starts(samples - 1, length, hop, "rest", shortest).tolist() if samples else []
        return [slice(at, min(at + length, samples)) for at in begins]

    def heard(self, samples: int, sampling_rate: int) -> int:
        """How many samples the backbone gets for a window of so many."""
        return max(samples, round(self.window * sampling_rate)) if self.padded else samples

    def full(self, sampling_rate: int) -> int | None:
        """Samples of a window that the clip does not end in; None where every clip is one window, of any length."""
        return None if isinf(self.window) else round(self.window * sampling_rate)

    def is_short(self, samples: int, sampling_rate: int) -> bool:
        """Whether a clip of so many samples has one window only, which holds less than the least.

        >>> [Windowing(4, 2, 2, True).is_short(samples, 10) for samples in (0, 1, 19, 20)]
        [False, True, True, False]
        """
        least = min(self.shortest, self.window)
        return samples > 0 and samples / sampling_rate < least - 0.5 / sampling_rate

    def unheard(self, samples: int, sampling_rate: int) -> int:
        """How many samples at the end of a clip no window holds.

        >>> Windowing(4, 4, 2, True).unheard(55, 10), Windowing(4, 2, 2, True).unheard(55, 10)
        (15, 0)
        """
        windows = self.cut(samples, sampling_rate)
        return samples - windows[-1].stop if windows else 0

    def _samples(self, sampling_rate: int) -> tuple[int, int, int]:
        """window, hop and shortest in samples."""
        length, hop, shortest = (
            max(1, round(seconds * sampling_rate)) for seconds in (self.window, self.hop, self.shortest)
        )
        return length, hop, shortest


def whole_clips() -> Windowing:
    """One window a clip, of the clip's own length."""
    return Windowing(inf, inf, 0.0, padded=False)


def touches(start: Floats, end: Floats, stretches: Floats) -> Bools:
    """[R] whether [start, end) overlaps any of the sorted, disjoint stretches [K,2].

    >>> touches(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 4.0]), np.array([[1.5, 3.0]]))
    array([False,  True, False])
    """
    before_end = np.searchsorted(stretches[:, 0], end)  # stretches that begin before the row ends
    gone = np.searchsorted(stretches[:, 1], start, side="right")  # stretches that are over when it begins
    return np.asarray(before_end > gone)
