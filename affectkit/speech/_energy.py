"""Loud stretches of a waveform: the rule of `librosa.effects.split`."""

from __future__ import annotations

import numpy as np
from librosa.effects import split
from numpy.typing import NDArray

from affectkit.speech.waveform import silent
from affectkit.types import Floats

FRAME, HOP = 2048, 512  # samples; 128 and 32 ms at 16 kHz


def energy_segments(waveform: NDArray[np.float32], sampling_rate: int, top_db: float) -> Floats:
    """[K,2] (s): frames whose RMS is less than `top_db` dB below that of the loudest frame.

    The rule is relative, so in digital silence (a peak below 1e-6) it would keep everything: there, nothing is kept.
    Quiet noise alone is not silence and is kept.
    """
    if silent(waveform):
        return np.zeros((0, 2))
    kept = split(waveform, top_db=top_db, frame_length=FRAME, hop_length=HOP)
    return np.asarray(kept, np.float64).reshape(-1, 2) / sampling_rate
