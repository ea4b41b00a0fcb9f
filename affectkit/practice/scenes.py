"""What happens in a clip: feelings that come and go, or valence and arousal that roam, and the face that follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.practice.animated_face import Frame, View, render
from affectkit.practice.face_features import Expression, smoothstep
from affectkit.practice.feelings import NEUTRAL, PARAMETERS, Values, affect_shown, face_of
from affectkit.practice.looks import Look
from affectkit.practice.portable import settled
from affectkit.practice.views import make_blinks, make_views, wander
from affectkit.practice.voice import make_voice

CHANGE = 0.5  # s from one feeling to the next
PEAK = 0.9  # bound of |valence| and |arousal| that roam
_DRIFT = 0.12  # wandering of valence and arousal that no feeling explains
_BY_VALENCE = np.array([0.9, 0.0, 0.0, 0.0, -0.4])  # what it does to PARAMETERS
_BY_AROUSAL = np.array([0.0, 0.35, 0.5, 0.7, 0.0])


@dataclass(frozen=True, repr=False)
class Scene:
    """A clip of T frames before it is drawn: valence, arousal [T] in [-1, 1], and what is seen in each frame."""

    look: Look
    valence: Values
    arousal: Values
    expressions: tuple[Expression, ...]
    views: tuple[View, ...]

    def __len__(self) -> int:
        return len(self.views)

    def frames(self, size: int) -> Iterator[Frame]:
        """The T pictures, uint8 [size,size,3]."""
        for expression, view in zip(self.expressions, self.views, strict=True):
            yield render(expression, view, size, self.look)

    def voice(self, rng: np.random.Generator, fps: float) -> NDArray[np.float32]:
        """The sound [S] at 16 kHz: babble that follows valence and arousal."""
        return make_voice(rng, self.valence, self.arousal, fps)


def make_scene(rng: np.random.Generator, look: Look, shown: Values, times: Values) -> Scene:
    """A clip whose face shows `shown` [T,7] (five parameters, valence, arousal) at `times` (s).

    How strongly this face shows things, its set at rest, and a little wandering of valence and arousal, which the face
    follows, are the clip's own; so no cue is exact.
    """
    drift = np.stack([wander(rng, times, _DRIFT), wander(rng, times, _DRIFT)], axis=1)  # [T,2]
    affect = settled(np.clip(shown[:, 5:] + drift, -0.98, 0.98))
    rest = np.array([getattr(look.rest, name) for name in PARAMETERS])
    neutral = NEUTRAL.row[:5]
    manner = rng.uniform(0.75, 1.2, 5)
    faces = neutral + rest + manner * (shown[:, :5] - neutral)
    faces = settled(faces + drift[:, :1] * _BY_VALENCE + drift[:, 1:] * _BY_AROUSAL)
    expressions = tuple(face_of(face, blink) for face, blink in zip(faces, make_blinks(rng, times), strict=True))
    return Scene(look, affect[:, 0], affect[:, 1], expressions, make_views(rng, times, affect[:, 1]))


def frame_times(frames: int, fps: float) -> Values:
    """[T] the middle of each frame's interval, s."""
    return np.asarray((np.arange(frames) + 0.5) / fps, np.float64)


def episodes(
    rng: np.random.Generator, feelings: Values, order: list[int], times: Values
) -> tuple[Values, NDArray[np.intp]]:
    """One feeling after the other: what is shown [T,7], and the class of each frame [T].

    `feelings` [K,7]; `order`: the classes, one an episode. Episodes last about as long as one another, each with its
    own intensity; the class changes in the middle of a transition.
    """
    lasts = rng.uniform(0.7, 1.3, len(order))
    length = times[-1] + times[0]
    borders = np.cumsum(lasts)[:-1] / lasts.sum() * length
    begun = smoothstep((times[:, None] - borders) / CHANGE + 0.5)  # [T,E-1]
    full = np.column_stack([np.ones(len(times)), begun])
    weights = full - np.column_stack([begun, np.zeros(len(times))])  # [T,E], rows sum to 1
    strength = rng.uniform(0.7, 1.0, len(order))
    neutral = NEUTRAL.row
    shown = neutral + (weights * strength) @ (feelings[order] - neutral)
    which = (times[:, None] >= borders).sum(axis=1)
    return np.asarray(shown), np.asarray(order)[which]


def swell(rng: np.random.Generator, feeling: Values, times: Values) -> Values:
    """One feeling that comes up early in the clip, holds, and partly fades: what is shown [T,7] of `feeling` [7]."""
    length = times[-1] + times[0]
    onset, fade = rng.uniform(0.0, 0.2) * length, rng.uniform(0.75, 0.95) * length
    left = rng.uniform(0.3, 0.8)
    level = smoothstep((times - onset) / CHANGE + 0.5) * (1 - (1 - left) * smoothstep((times - fade) / CHANGE))
    neutral = NEUTRAL.row
    return np.asarray(neutral + level[:, None] * (feeling - neutral))


def roaming(rng: np.random.Generator, times: Values) -> Values:
    """Valence and arousal that go their own ways: what is shown [T,7]."""
    valence = affect_curve(rng, times)
    arousal = min((affect_curve(rng, times) for _ in range(8)), key=lambda curve: _likeness(curve, valence))
    return affect_shown(valence, arousal)


def affect_curve(rng: np.random.Generator, times: Values) -> Values:
    """A smooth random curve [T] within +-`PEAK`: three slow sinusoids on a random level, softly limited.

    >>> curve = affect_curve(np.random.default_rng(0), np.arange(0, 60, 0.1))
    >>> bool(np.abs(curve).max() <= PEAK and np.abs(np.diff(curve)).max() < 0.4)
    True
    """
    level = rng.uniform(-0.35, 0.35)
    return settled(PEAK * np.tanh(1.7 * (level + wander(rng, times, 1.0))))


def _likeness(a: Values, b: Values) -> float:
    """|cosine| of two curves about their means; 0 where there is nothing to compare."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(float(a @ b)) / norm if norm else 0.0
