"""log-mel: energies in mel bands, in dB. No network, no weights: the baseline that any speech embedding should beat.

25 ms Hann windows every 10 ms, power spectrum, Slaney mel bands (librosa's), 10 log10 with a floor of -100 dB.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.types import Floats
from affectkit.weights import WeightsFile

LENGTH, HOP, FFT = 400, 160, 512  # samples at 16 kHz
FLOOR = 1e-10


class LogMelOptions(Config):
    """What is computed."""

    bands: int = Field(40, ge=1, le=128, description="mel bands from 0 to 8 kHz")
    pool: Literal["mean+std", "mean", "none"] = Field("mean+std", description="over the window, or none: a row a frame")


class LogMel:
    """Mean and deviation of each band's level over the window, or the levels every 10 ms."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["none"]] = "none"
    Options: ClassVar[type[Config]] = LogMelOptions
    sampling_rate = 16_000
    names: ClassVar[dict[str, list[str]]] = {}
    images = False

    @classmethod
    def weights(cls, options: LogMelOptions, choice: str) -> WeightsFile:
        """There are none: `auto` and `random` mean the same. Raises UsageError for a path."""
        if choice not in ("auto", "random"):
            raise UsageError(f"log-mel has no weights (given {choice}): leave out --weights")
        return WeightsFile("log-mel", None, "none", "Apache-2.0", "no weights")

    def __init__(self, options: LogMelOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from librosa.filters import mel

        self._options = options
        self._bands = mel(sr=self.sampling_rate, n_fft=FFT, n_mels=options.bands, dtype=np.float64).T  # [257,K]
        self._taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH)
        self.outputs = {"values": options.bands * (2 if options.pool == "mean+std" else 1)}

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """See `affectkit.plugins.AudioBackbone.frames`."""
        count = max(0, 1 + (samples - LENGTH) // HOP)
        if self._options.pool == "none":
            start = np.arange(count) * HOP / self.sampling_rate
            return start, start + LENGTH / self.sampling_rate
        return np.zeros(min(count, 1)), np.full(min(count, 1), samples / self.sampling_rate)

    def __call__(self, batch: NDArray[np.float32]) -> dict[str, Any]:
        """float32 [N,S] -> float32 [N,F,D]. Windows go one by one: the result is the same whatever the batch."""
        found = [self._describe(window) for window in batch]
        empty = np.zeros((0, len(self.frames(batch.shape[1])[0]), self.outputs["values"]), np.float32)
        return {"values": np.stack(found) if found else empty}

    def _describe(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(window) < LENGTH:
            return np.zeros((0, self.outputs["values"]), np.float32)
        pieces = np.lib.stride_tricks.sliding_window_view(window.astype(np.float64), LENGTH)[::HOP]
        power = np.abs(np.fft.rfft(pieces * self._taper, FFT)) ** 2
        levels = 10 * np.log10(np.maximum(power @ self._bands, FLOOR))  # [F,K]
        pooled = {
            "none": lambda: levels,
            "mean": lambda: levels.mean(axis=0)[None],
            "mean+std": lambda: np.concatenate([levels.mean(axis=0), levels.std(axis=0)])[None],
        }
        return pooled[self._options.pool]().astype(np.float32)


PLUGIN = LogMel
