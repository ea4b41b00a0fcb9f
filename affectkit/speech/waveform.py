"""What every function of this room asks of a waveform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError
from affectkit.types import Floats

SILENCE = 1e-6
"""A waveform whose peak is below this is digital silence: a thirtieth of the smallest step of 16 bits (-120 dB)."""


def checked(samples: Floats, sampling_rate: int) -> NDArray[np.float32]:
    """[S] float32, contiguous. Raises ClipError for NaN and infinity, ValueError for another shape or rate."""
    if np.ndim(samples) != 1 or sampling_rate <= 0:
        raise ValueError(f"samples are [S] at a positive rate, not {list(np.shape(samples))} at {sampling_rate}")
    waveform = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(waveform).all():
        raise ClipError("the waveform has samples that are not finite numbers")
    return waveform


def silent(waveform: NDArray[np.float32]) -> bool:
    """Whether there is nothing at all to hear; so for no samples.

    >>> silent(np.zeros(100, np.float32)), silent(np.full(100, 2**-15, np.float32))
    (True, False)
    """
    return not len(waveform) or float(np.abs(waveform).max()) < SILENCE
