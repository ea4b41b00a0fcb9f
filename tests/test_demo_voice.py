"""The demo's voice: the same on every run, and what arousal does to it can be measured."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from affectkit.practice.voice import SAMPLING_RATE, make_voice

FPS = 10.0


def voice(arousal: float, seed: int = 0, seconds: float = 3.0) -> NDArray[np.float32]:
    flat = np.full(round(seconds * FPS), arousal)
    return make_voice(np.random.default_rng(seed), np.zeros_like(flat), flat, FPS)


def pitch(samples: NDArray[np.float32]) -> float:
    """Median over loud frames of the lag of the highest autocorrelation, in Hz."""
    frames = samples[: len(samples) // 800 * 800].reshape(-1, 800)
    loud = frames[frames.std(axis=1) > 0.5 * frames.std(axis=1).max()]
    found = []
    for frame in loud:
        self_likeness = np.correlate(frame, frame, "full")[799:]
        low = SAMPLING_RATE // 450
        found.append(SAMPLING_RATE / (low + np.argmax(self_likeness[low : SAMPLING_RATE // 60])))
    return float(np.median(found))


def test_the_same_seed_gives_the_same_bits() -> None:
    assert voice(0.3).tobytes() == voice(0.3).tobytes()
    assert voice(0.3).tobytes() != voice(0.3, seed=1).tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_arousal_raises_pitch_and_energy(seed: int) -> None:
    low, high = voice(-0.8, seed), voice(0.8, seed)
    assert low.dtype == np.float32 and len(low) == 3 * SAMPLING_RATE
    assert np.abs(high).max() <= 1 and np.isfinite(high).all()
    assert 6 < 20 * np.log10(high.std() / low.std()) < 24  # dB
    assert 1.5 < pitch(high) / pitch(low) < 3.0


def test_a_voice_falls_silent_now_and_then() -> None:
    samples = voice(0.5, seconds=8.0)
    level = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600).std(axis=1)
    assert 0.05 < (level < 0.1 * level.max()).mean() < 0.6
