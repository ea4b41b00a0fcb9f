"""Speech by silero-vad (MIT; its weights come with the package), through its batched ONNX front end.

That front end gives the probabilities of the package's streaming model, 512 samples at 16 kHz at a time, in one call
for 16 s; it keeps no state between clips. It knows 16 kHz only: other rates are resampled first.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import MissingExtra, require
from affectkit.speech.waveform import silent
from affectkit.types import Floats

SAMPLING_RATE = 16000
_loading = Lock()


def silero_segments(waveform: NDArray[np.float32], sampling_rate: int, threshold: float) -> Floats:
    """[K,2] (s), with the package's defaults: speech begins at `threshold` and ends 0.15 below it for 100 ms or more;
    segments of 250 ms or less are dropped, the others widened by 30 ms on each side. A frame is 32 ms.

    Raises MissingExtra without silero-vad.
    """
    package, model = _model()
    if silent(waveform):
        return np.zeros((0, 2))
    audio = _resampled(waveform, sampling_rate)
    found = package.get_speech_timestamps_sequence(
        audio, model, threshold=threshold, sampling_rate=SAMPLING_RATE, neg_threshold=max(threshold - 0.15, 0.01),
        min_speech_duration_ms=250, min_silence_duration_ms=100, speech_pad_ms=30,
    )  # fmt: skip
    times = np.array([(one["start"], one["end"]) for one in found], np.float64).reshape(-1, 2) / SAMPLING_RATE
    return np.minimum(times, len(waveform) / sampling_rate)


def _resampled(waveform: NDArray[np.float32], sampling_rate: int) -> NDArray[np.float32]:
    if sampling_rate == SAMPLING_RATE:
        return waveform
    import soxr

    return np.asarray(soxr.resample(waveform, sampling_rate, SAMPLING_RATE, "HQ"), np.float32)


def _model() -> tuple[Any, Any]:
    with _loading:  # threads that come together would each load it, and mix up torch's thread count
        return _load()


@cache
def _load() -> tuple[Any, Any]:
    """(silero_vad, its sequence model). A session of ONNX Runtime may be used by several threads at once."""
    require("silero_vad", "silero-vad", "vad", "--vad silero")
    import torch

    # The package sets torch to one thread for the whole process.
    threads = torch.get_num_threads()
    try:
        package = import_module("silero_vad")
        return package, package.load_silero_vad(sequence=True)
    except TypeError as error:  # an old release: it knows no `sequence`
        raise MissingExtra("silero-vad", "vad", "--vad silero") from error
    finally:
        torch.set_num_threads(threads)
