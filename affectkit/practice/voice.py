"""Babble of a source-filter synthesiser (Fant 1960) that follows valence and arousal curves.

It is synthetic, says nothing, and is nobody's. Arousal raises pitch, energy and speed and flattens the spectrum;
smiling shortens the vocal tract a little, which lifts the formants. The speaker, the vowels, the pauses and the room's
noise are drawn independently of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE = 16_000
HIGHEST = 4000.0  # Hz; no harmonics above
STEP = 80  # samples between the moments at which the voice changes: 5 ms
VOWELS = np.array([(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240)])
"""First three formants (Hz) of a, e, i, o, u: Peterson & Barney (1952), men."""
BANDWIDTHS = np.array([80.0, 100.0, 140.0])

Curve = NDArray[np.floating]


@dataclass(frozen=True)
class Speaker:
    """What stays the same through a clip: pitch at rest (Hz), length of the vocal tract, level and room noise (dB)."""

    pitch: float
    tract: float
    level: float
    noise: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Speaker:
        return Speaker(*rng.uniform([110, 0.92, -2.0, -58], [190, 1.12, 2.0, -48]).tolist())


def make_voice(rng: np.random.Generator, valence: Curve, arousal: Curve, fps: float) -> NDArray[np.float32]:
    """Sound [S] at 16 kHz for curves [T] of `fps` values a second, within about -1..1."""
    speaker = Speaker.draw(rng)
    samples = round(len(arousal) / fps * SAMPLING_RATE)
    moments = np.arange(0, samples + STEP, STEP) / SAMPLING_RATE
    middles = (np.arange(len(arousal)) + 0.5) / fps
    a, v = (np.interp(moments, middles, curve) for curve in (arousal, valence))
    syllable = np.cumsum(2.6 * 2 ** (0.6 * a)) * STEP / SAMPLING_RATE + rng.uniform()  # syllables so far
    open_mouth = _loudness(rng, syllable, moments)
    melody = 0.08 * np.sin(2 * np.pi * syllable / rng.uniform(3, 5)) + 0.02 * rng.standard_normal(len(moments)).cumsum()
    pitch = speaker.pitch * 2 ** (0.7 * a + melody - np.linspace(melody[0], melody[-1], len(melody)))
    formants = _formants(rng, syllable) * (1 + 0.05 * v[:, None]) / speaker.tract
    gain = open_mouth * 10 ** ((9 * a + speaker.level - 20) / 20)
    fine = np.arange(samples) / SAMPLING_RATE
    voiced = _voiced(fine, moments, pitch, formants, tilt=1.5 - 0.5 * a)
    breath = 0.02 * rng.standard_normal(samples)
    room = 10 ** (speaker.noise / 20) * rng.standard_normal(samples)
    return np.tanh((voiced + breath) * np.interp(fine, moments, gain) + room).astype(np.float32)


def _loudness(rng: np.random.Generator, syllable: Curve, moments: Curve) -> Curve:
    """Opening and closing of the mouth [M], 0 to 1: once a syllable, and a pause every second or two."""
    swell = np.sin(np.pi * (syllable % 1)) ** 0.7
    begins = np.cumsum(rng.uniform(1.2, 2.4, 2 + int(moments[-1])))
    lasts = rng.uniform(0.25, 0.5, len(begins))
    inside = ((moments[:, None] >= begins) & (moments[:, None] < begins + lasts)).any(axis=1)
    smooth = np.ones(9) / 9
    return np.asarray(swell * np.convolve(~inside, smooth, "same"))


def _formants(rng: np.random.Generator, syllable: Curve) -> Curve:
    """Formants [M,3] (Hz) of a random vowel each syllable, gliding from one to the next."""
    vowels = VOWELS[rng.integers(0, len(VOWELS), int(syllable[-1]) + 2)]
    place = np.arange(len(vowels)) + 0.5
    return np.stack([np.interp(syllable, place, formant) for formant in vowels.T], axis=1)


def _voiced(fine: Curve, moments: Curve, pitch: Curve, formants: Curve, tilt: Curve) -> Curve:
    """Harmonics of the pitch, each as strong as the glottis (k^-tilt) and the vocal tract make it."""
    phase = 2 * np.pi * np.cumsum(np.interp(fine, moments, pitch)) / SAMPLING_RATE
    voice = np.zeros(len(fine))
    for k in range(1, int(HIGHEST / pitch.min()) + 1):
        frequency = k * pitch
        strength = np.where(frequency < HIGHEST, k**-tilt, 0) * _resonance(frequency, formants)
        voice += np.interp(fine, moments, strength) * np.sin(k * phase)
    return voice


def _resonance(frequency: Curve, formants: Curve) -> Curve:
    """Gain [M] of three resonances in a row at `frequency` [M]."""
    ratio = frequency[:, None] / formants
    width = BANDWIDTHS * frequency[:, None] / formants**2
    return np.asarray(np.prod(1 / np.sqrt((1 - ratio**2) ** 2 + width**2), axis=1))
