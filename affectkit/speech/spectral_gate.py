"""Noise out of a waveform: spectral gating by noisereduce (Sainburg, 2019).

Each band of the spectrum is turned down where it does not stand out of its own noise floor. The floor is a running
mean over 2 s (non-stationary), so it follows a background that changes. Bands are turned down to a quarter instead of
being muted, which is noisereduce's own default and costs more of the speech than it takes of the noise: of synthesized
speech in white and pink noise, an SNR of 0, 5, 10 and 20 dB becomes 3.5, 7.8, 10.4 and 11.9 dB (scale-invariant; when
muted 4.8, 5.7, 6.3 and 6.5 dB). So it is for noisy recordings only: clean ones are made worse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import MissingExtra
from affectkit.speech.waveform import checked, silent
from affectkit.types import Floats

PROP_DECREASE = 0.75
N_FFT, HOP = 1024, 256  # samples
_DITHER = 1e-7  # of full scale: -140 dB


def denoise(samples: Floats, sampling_rate: int) -> NDArray[np.float32]:
    """[S] float32: the waveform with its noise turned down, as long as before; silence stays silence.

    The same samples give the same result; nothing runs beside this thread. Recordings of more than 600,000 samples are
    gated in pieces of that size that overlap by 30,000, through a temporary file.
    Raises MissingExtra without noisereduce, ClipError for samples that are not finite.
    """
    waveform = checked(samples, sampling_rate)
    try:
        import noisereduce
    except ModuleNotFoundError as error:
        if error.name != "noisereduce":
            raise
        raise MissingExtra("noisereduce", "denoise", "--denoise spectral-gate") from None
    if silent(waveform):
        return np.zeros_like(waveform)
    # A band that is exactly zero in a whole piece would be divided by its mean, zero.
    dither = _DITHER * np.random.default_rng(0).standard_normal(len(waveform))
    gated = noisereduce.reduce_noise(
        y=waveform + dither, sr=sampling_rate, stationary=False, prop_decrease=PROP_DECREASE, time_constant_s=2.0,
        freq_mask_smooth_hz=_at_least(500.0, sampling_rate / (N_FFT / 2)),
        time_mask_smooth_ms=_at_least(50.0, 1000 * HOP / sampling_rate),
        thresh_n_mult_nonstationary=2, sigmoid_slope_nonstationary=10, chunk_size=600_000, padding=30_000,
        n_fft=N_FFT, hop_length=HOP, n_jobs=1, use_torch=False, use_tqdm=False,
    )  # fmt: skip
    return np.where(waveform == 0, 0, gated).astype(np.float32)


def _at_least(wanted: float, step: float) -> float:
    """A width of smoothing that spans a step of the spectrogram, which noisereduce insists on, at any sampling rate."""
    return max(wanted, 1.001 * step)
