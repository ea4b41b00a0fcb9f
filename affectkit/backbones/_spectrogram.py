"""Windows of sound as pictures: mel spectrograms in the colour map viridis, as DeepSpectrum draws them.

**Spectrogram** (Amiriparian et al., "Snore sound classification using image-based deep spectrum features", Interspeech
2017, and its program): Hann windows of the next power of two of int(0.025 sampling rate) samples, half a window apart,
none beyond the ends; power; mel bands (Slaney, area-normalised); 10 log10 of at least 1e-10, less the window's own
maximum. The range is the window's own too, all of it: the darkest colour is its minimum (`top_db` cuts it off).

**Picture.** DeepSpectrum plots that with `librosa.display.specshow(y_axis="mel", x_axis="time")` on 227 x 227 pixels
without a border and reads the plot back. Here each pixel takes the level of the cell that holds its centre, which is
what the plot comes to: one cell a frame, all of one width; one cell a band, from the middle between its own mel
frequency and the last one's to the middle between it and the next one's, on librosa's mel axis (linear to 1 kHz, then
an octave as high as 500 Hz before). Low frequencies lie at the bottom, time runs to the right, level i of 256 holds
[i, i + 1) / 256 of the range. One constant level (silence) is the darkest colour.

**Arithmetic** is float64 until the level, and one window at a time: a picture is the same bits beside whatever other
windows. It is the plot's pixel for pixel (measured: none of 12.9 million differed, over 250 sounds of 0.06 to 5 s).
Only where a value lies on the border of two levels within rounding could one differ, by 3 of 255 at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.backbones import _viridis
from affectkit.errors import UsageError
from affectkit.types import Floats

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 227
"""Pixels a side."""

FLOOR = 1e-10
"""The least power that is told from silence."""

LINEAR_TO = 1000.0
"""Hz: the mel axis is linear below and logarithmic above."""


class Spectrograms:
    """Draws windows of sound on a device.

    `fmax` is the highest frequency (Hz; default half the sampling rate), `top_db` the range below the maximum that is
    kept. Raises UsageError where `n_mels` bands are too narrow to hold a frequency of the spectrum each.
    """

    def __init__(self, sampling_rate: int, n_mels: int, fmax: float | None, top_db: float | None, device: str) -> None:
        import torch

        self._sampling_rate = sampling_rate
        self._n_mels = n_mels
        self.window = stft_window(sampling_rate)
        self.hop = self.window // 2
        top = fmax or sampling_rate / 2
        self._top_db = top_db
        self._bands = torch.from_numpy(mel_bands(sampling_rate, self.window, n_mels, top)).to(device)
        self._hann = torch.hann_window(self.window, dtype=torch.float64, device=device)
        self._rows = torch.from_numpy(band_of_row(n_mels, top)).to(device)
        self._colours = torch.from_numpy(_viridis.table()).to(device).T.contiguous()  # [3,256]

    def frames(self, samples: int) -> int:
        """How many frames a window of that many samples has."""
        return 1 + (samples - self.window) // self.hop if samples >= self.window else 0

    def __call__(self, windows: NDArray[np.float32]) -> Tensor:
        """float32 [N,S] of at least one frame -> uint8 [N,3,227,227] on the device."""
        import torch

        columns = frame_of_column(self.frames(windows.shape[1]), self._sampling_rate, self.hop)
        cells = torch.from_numpy(columns).to(self._rows.device) * self._n_mels + self._rows[:, None]  # [227,227]
        sound = torch.from_numpy(np.array(windows)).to(self._rows.device)
        pictures = self._colours.new_empty((len(windows), 3, SIDE, SIDE))
        with torch.inference_mode(), one_thread():
            for window, picture in zip(sound, pictures, strict=True):
                levels = self.levels(window).flatten().index_select(0, cells.flatten())
                for channel, colours in zip(picture, self._colours, strict=True):
                    channel.copy_(colours.index_select(0, levels).view(SIDE, SIDE))
        return pictures

    def decibels(self, window: Tensor) -> Tensor:
        """[S] -> float64 [F,n_mels], dB below the window's maximum."""
        import torch

        frames = window.double().unfold(0, self.window, self.hop) * self._hann  # [F,window]
        spectrum = torch.fft.rfft(frames)
        power = spectrum.real.square() + spectrum.imag.square()
        level = (power @ self._bands).clamp_(min=FLOOR).log10_().mul_(10)
        level -= level.max()
        return level if self._top_db is None else level.clamp_(min=-self._top_db)

    def levels(self, window: Tensor) -> Tensor:
        """[S] -> int [F,n_mels], 0..255."""
        level = self.decibels(window)
        low, high = level.aminmax()
        span = high - low
        return level.sub_(low).div_(span.where(span > 0, 1)).mul_(256).int().clamp_(max=255)


@contextmanager
def one_thread() -> Iterator[None]:
    """A window is too little work to share: threads would wait for each other longer than they compute."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def stft_window(sampling_rate: int) -> int:
    """Samples of one frame: 25 ms, up to the next power of two.

    >>> stft_window(16000), stft_window(44100)
    (512, 2048)
    """
    return 1 << (int(0.025 * sampling_rate) - 1).bit_length()


def mel_bands(sampling_rate: int, window: int, n_mels: int, fmax: float) -> NDArray[np.float64]:
    """[window / 2 + 1, n_mels] weights of each frequency in each band. Raises UsageError for an empty band."""
    import warnings

    from librosa.filters import mel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # librosa's own about empty bands
        bands = mel(sr=sampling_rate, n_fft=window, n_mels=n_mels, fmax=fmax)
    empty = int((bands.max(axis=1) == 0).sum())
    if empty:
        raise UsageError(
            f"{n_mels} mel bands up to {fmax:g} Hz leave {empty} of them without a frequency "
            f"({sampling_rate / window:g} Hz apart): give fewer with n_mels, or a higher fmax"
        )
    return np.ascontiguousarray(bands.T, np.float64)


def band_of_row(n_mels: int, fmax: float) -> NDArray[np.int64]:
    """[227] the band that each row of pixels shows, from the top."""
    from librosa import mel_frequencies

    edges = cell_edges(mel_frequencies(n_mels, fmin=0.0, fmax=fmax))
    return cell_of_pixel(mel_axis(edges))[::-1].copy()


def frame_of_column(frames: int, sampling_rate: int, hop: int) -> NDArray[np.int64]:
    """[227] the frame that each column of pixels shows."""
    if frames == 1:
        return np.zeros(SIDE, np.int64)
    return cell_of_pixel(cell_edges(np.arange(frames) * hop / sampling_rate))


def cell_edges(centres: Floats) -> Floats:
    """[n] centres -> [n + 1] edges, in the middle between two; the outer ones as far out as the next ones in.

    >>> cell_edges(np.array([0.0, 2.0, 6.0])).tolist()
    [-1.0, 1.0, 4.0, 8.0]
    """
    half = np.diff(centres) * 0.5
    return np.concatenate([centres[:1] - half[:1], centres[:-1] + half, centres[-1:] + half[-1:]])


def cell_of_pixel(edges: Floats) -> NDArray[np.int64]:
    """[n + 1] edges -> [227] the cell that holds each pixel's centre.

    The middle of the picture is an edge where n is even. Which of the two cells a centre on an edge belongs to is up to
    rounding, in matplotlib and so here: the same operations in the same order.

    >>> cell_of_pixel(np.array([0.0, 1.0, 2.0]))[[0, 112, 113, 226]].tolist()
    [0, 0, 0, 1]
    """
    scale = 1 / (edges[-1] - edges[0])
    first = np.floor(SIDE * scale * edges + SIDE * (-edges[0] * scale) + 0.5)  # pixel of each edge
    return np.searchsorted(first, np.arange(SIDE), side="right") - 1


def mel_axis(hertz: Floats) -> Floats:
    """Height on librosa's mel axis, a symmetric logarithm to base 2.

    >>> mel_axis(np.array([500.0, 1000.0, 2000.0, 4000.0])).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return np.where(hertz > LINEAR_TO, 2 + np.log2(np.maximum(hertz, LINEAR_TO) / LINEAR_TO), 2 * hertz / LINEAR_TO)
