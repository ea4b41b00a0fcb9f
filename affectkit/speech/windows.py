"""Windows over a clip's waveform, and whether they touch speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectkit.types import Bools, Floats


@dataclass(frozen=True)
class Windowing:
    """Length, distance and least length of windows (s), and whether a short one is filled with zeros.

    Windows begin every `hop` seconds. One that holds less than `shortest` of sound is left out, except the first: a
    clip has at least one row (SUN, arXiv 2403.12609: 4 s, every 2 s, at least 2 s, padded with zeros).
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
        length, hop, shortest = (
            max(1, round(seconds * sampling_rate)) for seconds in (self.window, self.hop, self.shortest)
        )
        begins = [at for at in range(0, samples, hop) if at == 0 or samples - at >= shortest]
        return [slice(at, min(at + length, samples)) for at in begins]

    def heard(self, samples: int, sampling_rate: int) -> int:
        """How many samples the backbone gets for a window of so many."""
        return max(samples, round(self.window * sampling_rate)) if self.padded else samples


def touches(start: Floats, end: Floats, stretches: Floats) -> Bools:
    """[R] whether [start, end) overlaps any of the sorted, disjoint stretches [K,2].

    >>> touches(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 4.0]), np.array([[1.5, 3.0]]))
    array([False,  True, False])
    """
    before_end = np.searchsorted(stretches[:, 0], end)  # stretches that begin before the row ends
    gone = np.searchsorted(stretches[:, 1], start, side="right")  # stretches that are over when it begins
    return np.asarray(before_end > gone)
