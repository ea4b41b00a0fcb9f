"""Speech segments of a waveform, by one of the methods that listen."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from affectkit.errors import UsageError, unknown
from affectkit.speech.waveform import checked
from affectkit.types import Floats

Method = Literal["energy", "silero"]


def segments(
    samples: Floats, sampling_rate: int, method: Method, *, top_db: float = 30.0, threshold: float = 0.5
) -> Floats:
    """[K,2] start and end of speech (s from the waveform's start), sorted and disjoint, none for silence.

    samples: [S] mono, full scale 1. `energy` keeps what is at most `top_db` dB below the loudest frame: anything loud.
    `silero` keeps what a network gives a probability of speech of `threshold` or more: music and noise are left out.

    Raises UsageError for an unknown method and options out of range, MissingExtra without silero-vad, ClipError for
    samples that are not finite.
    """
    if method not in get_args(Method):
        raise unknown("speech detector", method, get_args(Method))
    if not 0 < top_db < np.inf:
        raise UsageError(f"top_db is {top_db:g}; needed is a number above 0 (dB below the loudest frame)")
    if not 0 < threshold < 1:
        raise UsageError(f"the threshold of speech is {threshold:g}; needed is a probability between 0 and 1")
    waveform = checked(samples, sampling_rate)
    # Imported here: they load librosa, soxr and silero-vad where they need them, one of them never all.
    if method == "energy":
        from affectkit.speech._energy import energy_segments

        return energy_segments(waveform, sampling_rate, top_db)
    from affectkit.speech._silero import silero_segments

    return silero_segments(waveform, sampling_rate, threshold)
