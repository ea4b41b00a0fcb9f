"""Cached waveforms of many clips as one long one, cut into windows as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.store import Artifact
from affectkit.store.kinds import wrong_kind
from affectkit.types import Floats, Indices

if TYPE_CHECKING:
    from torch import Tensor
NOISE = (0.0001, 0.005)
GAIN = (-20.0, -1.0)


class WaveTable:
    """The waveforms of these clips of an audio artifact, one after another; clip c has the samples
    offsets[c]:offsets[c+1].

    offsets [C+1]; `sampling_rate` (Hz); begin [C] (s) the moment of each clip's first sample on its own clock;
    stretches: [K,2] (s, on the clip's clock) of speech for each clip. Samples stay in the memory-mapped artifact until
    `load`, which may be called from several threads. Raises UsageError for an artifact of another stage.
    """

    def __init__(self, upstream: Artifact, clips: Sequence[str]) -> None:
        if upstream.stage.stage != "audio":
            raise wrong_kind(upstream.path, upstream.stage.stage, "audio")
        self.clips = tuple(clips)
        self.sampling_rate = int(upstream.stage.inputs["config"]["sampling_rate"])
        self._samples = [upstream.column(clip, "samples") for clip in self.clips]
        self.offsets: Indices = np.cumsum([0, *map(len, self._samples)], dtype=np.int64)
        self.begin: Floats = np.array([float(upstream.column(clip, "offset")) for clip in self.clips])
        self.stretches: list[Floats] = [
            np.stack([upstream.column(clip, "start"), upstream.column(clip, "end")], axis=1) for clip in self.clips
        ]

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __repr__(self) -> str:
        return f"WaveTable({len(self) / self.sampling_rate:.0f} s of {len(self.clips)} clips)"

    def load(
        self, first: Indices, samples: int, rng: np.random.Generator | None = None, probability: float = 0.0
    ) -> Tensor:
        """first [B], the global number of each window's first sample -> float32 [B,samples].

        A window that its clip ends in is filled with zeros; -1 is silence. With a generator each window is augmented
        with this probability.
        """
        import torch

        if len(first) and np.max(first) >= len(self):
            raise ValueError(f"a window begins at {np.max(first)} of {len(self)} samples")
        heard = np.zeros((len(first), samples), np.float32)
        for window, begin in zip(heard, np.asarray(first).tolist(), strict=True):
            if begin >= 0:
                clip = int(np.searchsorted(self.offsets, begin, side="right")) - 1
                own = self._samples[clip][begin - int(self.offsets[clip]) :][:samples]
                window[: len(own)] = own
                if rng is not None and rng.random() < probability:
                    augment(window[: len(own)], rng)
        return torch.from_numpy(heard)


def augment(wave: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Change a waveform [S] in place by one of: polarity inversion, white noise, gain.

    SUN's (arXiv 2403.12609; it applies one to every window). White noise: its standard deviation is 0.0001-0.005 of the
    waveform's, as in the code that the authors published (the paper does not say). Gain: -20..-1 dB, as in the paper.
    """
    kind = int(rng.integers(3))
    if kind == 0:
        np.negative(wave, out=wave)
    elif kind == 1:
        share = np.float32(rng.uniform(*NOISE))
        wave += share * wave.std() * rng.standard_normal(len(wave), np.float32)
    else:
        wave *= np.float32(10 ** (rng.uniform(*GAIN) / 20))
