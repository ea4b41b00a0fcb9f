"""What happens in a clip of the demo: random valence and arousal curves, the expressions that they draw, and
everything that a recogniser should ignore (pose, camera, light, colours, blinks), drawn independently of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.stages._animated_face import Colour, Frame, View, render
from affectkit.stages._face_features import Expression
from affectkit.stages._portable import DECIMALS, settled

PEAK = 0.9  # bound of |valence| and |arousal|

Curve = NDArray[np.floating]


@dataclass(frozen=True, repr=False)
class Scene:
    """A clip before it is drawn: valence, arousal [T] in [-1, 1], and per frame what is seen."""

    valence: Curve
    arousal: Curve
    expressions: tuple[Expression, ...]
    views: tuple[View, ...]

    def frames(self, size: int) -> Iterator[Frame]:
        """The T pictures, uint8 [size,size,3]."""
        for expression, view in zip(self.expressions, self.views, strict=True):
            yield render(expression, view, size)


@dataclass(frozen=True)
class Manner:
    """How strongly a clip's face shows a feeling; it varies from clip to clip, so cues are not exact."""

    smile: float = 1.0
    jaw: float = 1.0
    brows: float = 1.0
    eyes: float = 1.0
    frown: float = 1.0

    def express(self, valence: float, arousal: float, blink: float = 0.0) -> Expression:
        """Valence moves mouth corners, cheeks and (when negative) the inner brows; arousal opens mouth and eyes and
        raises the brows."""
        return Expression(
            smile=_bounded(self.smile * valence),
            jaw=min(round(self.jaw * ((arousal + 1) / 2) ** 1.8, DECIMALS), 1.0),
            brows=_bounded(self.brows * (arousal + 0.35 * min(valence, 0.0))),
            eyes=_bounded(self.eyes * (arousal - 0.25 * max(valence, 0.0))),
            frown=min(self.frown * max(-valence, 0.0), 1.0),
            blink=blink,
        )


def make_scene(rng: np.random.Generator, frames: int, fps: float) -> Scene:
    """A clip of `frames` frames; frame n shows the middle of its interval [n, n + 1] / fps."""
    times = (np.arange(frames) + 0.5) / fps
    valence = affect_curve(rng, times)
    arousal = min((affect_curve(rng, times) for _ in range(8)), key=lambda curve: _likeness(curve, valence))
    manner = Manner(*rng.uniform(0.8, 1.15, 5).tolist())
    blinks = make_blinks(rng, times)
    shown = zip(valence.tolist(), arousal.tolist(), blinks.tolist(), strict=True)
    expressions = tuple(manner.express(v, a, blink) for v, a, blink in shown)
    return Scene(valence, arousal, expressions, make_views(rng, times, arousal))


def affect_curve(rng: np.random.Generator, times: Curve) -> Curve:
    """A smooth random curve [T] within +-`PEAK`: three slow sinusoids on a random level, softly limited.

    >>> curve = affect_curve(np.random.default_rng(0), np.arange(0, 60, 0.1))
    >>> bool(np.abs(curve).max() <= PEAK and np.abs(np.diff(curve)).max() < 0.4)
    True
    """
    level = rng.uniform(-0.35, 0.35)
    return settled(PEAK * np.tanh(1.7 * (level + wander(rng, times, 1.0))))


def wander(rng: np.random.Generator, times: Curve, amplitude: float) -> Curve:
    """A smooth random curve [T] around 0: three sinusoids of 2.5 to 8 s, together at most about `amplitude`."""
    periods, phases, weights = rng.uniform(2.5, 8, 3), rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.4, 1, 3)
    waves = np.sin(2 * np.pi * times[:, None] / periods + phases)  # [T,3]
    return settled(amplitude * (waves @ weights) / (0.8 * weights.sum()))


def _bounded(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def _likeness(a: Curve, b: Curve) -> float:
    """|cosine| of two curves about their means; 0 where there is nothing to compare."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(float(a @ b)) / norm if norm else 0.0


def make_blinks(rng: np.random.Generator, times: Curve) -> Curve:
    """Closing of the lids [T], 0 to 1: about a blink every four seconds."""
    moments = rng.uniform(times[0], times[-1], rng.poisson((times[-1] - times[0]) / 4))
    return settled(np.exp(-0.5 * ((times[:, None] - moments) / 0.07) ** 2).max(axis=1, initial=0))


def make_views(rng: np.random.Generator, times: Curve, arousal: Curve) -> tuple[View, ...]:
    """Pose, camera and light of every frame. Arousal only speeds the head's tremor up; its mean stays 0."""
    tremor = 1.2 * (arousal + 1) / 2 * np.sin(2 * np.pi * times * rng.uniform(1.2, 1.9) + rng.uniform(0, 6))
    shift_x, shift_y = wander(rng, times, 5), settled(wander(rng, times, 4) + tremor)
    turn_x, turn_y = wander(rng, times, 6), wander(rng, times, 4)
    roll, lean = wander(rng, times, 5), 1 + wander(rng, times, 0.04)
    centre = 226 + rng.uniform(-7, 7), 111 + rng.uniform(-7, 7)
    zoom = rng.uniform(0.92, 1.12) * (1 + wander(rng, times, 0.03))
    exposure = settled(np.exp(rng.uniform(-0.3, 0.05) + wander(rng, times, 0.12)))
    light_x, light_y = wander(rng, times, 0.3), wander(rng, times, 0.15)
    camera_roll, mirror = float(rng.uniform(-3, 3)), bool(rng.random() < 0.5)
    cast, wall = _colour(rng, 0.05), _colour(rng, 0.05)
    return tuple(
        View(
            shift=(float(shift_x[n]), float(shift_y[n])),
            turn=(float(turn_x[n]), float(turn_y[n])),
            roll=float(roll[n]),
            lean=float(lean[n]),
            centre=centre,
            camera_roll=camera_roll,
            zoom=float(zoom[n]),
            mirror=mirror,
            exposure=float(exposure[n]),
            light=(float(light_x[n]), float(light_y[n])),
            cast=cast,
            wall=wall,
        )
        for n in range(len(times))
    )


def _colour(rng: np.random.Generator, spread: float) -> Colour:
    red, green, blue = settled(np.exp(rng.uniform(-spread, spread, 3))).tolist()
    return red, green, blue
