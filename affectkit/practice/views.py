"""What a recogniser should ignore in a clip, drawn at random: pose, camera, light, colours, blinks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.practice.animated_face import Colour, View
from affectkit.practice.portable import settled

Curve = NDArray[np.floating]


def wander(rng: np.random.Generator, times: Curve, amplitude: float) -> Curve:
    """A smooth random curve [T] around 0: three sinusoids of 2.5 to 8 s, together at most about `amplitude`."""
    periods, phases, weights = rng.uniform(2.5, 8, 3), rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.4, 1, 3)
    waves = np.sin(2 * np.pi * times[:, None] / periods + phases)  # [T,3]
    return settled(amplitude * (waves @ weights) / (0.8 * weights.sum()))


def make_blinks(rng: np.random.Generator, times: Curve) -> Curve:
    """Closing of the lids [T], 0 to 1: about a blink every four seconds."""
    moments = rng.uniform(times[0], times[-1], rng.poisson((times[-1] - times[0]) / 4))
    return settled(np.exp(-0.5 * ((times[:, None] - moments) / 0.07) ** 2).max(axis=1, initial=0))


def make_views(rng: np.random.Generator, times: Curve, arousal: Curve) -> tuple[View, ...]:
    """Pose, camera and light of every frame. Arousal only speeds the head's tremor up; its mean stays 0."""
    tremor = 1.2 * (arousal + 1) / 2 * np.sin(2 * np.pi * times * rng.uniform(1.2, 1.9) + rng.uniform(0, 6))
    shift = _pairs(wander(rng, times, 5), settled(wander(rng, times, 4) + tremor))
    turn = _pairs(wander(rng, times, 6), wander(rng, times, 4))
    roll, lean = wander(rng, times, 5).tolist(), (1 + wander(rng, times, 0.04)).tolist()
    centre = 226 + rng.uniform(-7, 7), 111 + rng.uniform(-7, 7)
    zoom = (rng.uniform(0.92, 1.12) * (1 + wander(rng, times, 0.03))).tolist()
    exposure = settled(np.exp(rng.uniform(-0.3, 0.05) + wander(rng, times, 0.12))).tolist()
    light = _pairs(wander(rng, times, 0.3), wander(rng, times, 0.15))
    camera_roll, mirror = float(rng.uniform(-3, 3)), bool(rng.random() < 0.5)
    cast, wall = _colour(rng, 0.05), _colour(rng, 0.05)
    return tuple(
        View(
            shift[n], turn[n], roll[n], lean[n], centre, camera_roll, zoom[n], mirror, exposure[n], light[n], cast, wall
        )
        for n in range(len(times))
    )


def _pairs(x: Curve, y: Curve) -> list[tuple[float, float]]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _colour(rng: np.random.Generator, spread: float) -> Colour:
    red, green, blue = settled(np.exp(rng.uniform(-spread, spread, 3))).tolist()
    return red, green, blue
