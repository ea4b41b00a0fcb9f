"""Scenes of data sets that label whole clips: one feeling, or a mixture, comes up, holds and partly fades."""

from __future__ import annotations

import numpy as np

from affectkit.practice.feelings import LOW, NEUTRAL, Values, feelings_of
from affectkit.practice.scenes import Scene, frame_times, make_scene, swell
from affectkit.practice.settings import SetSettings, mixed_splits, split_sizes

PERSONS = 14
"""Appearances in a set; they recur in all splits."""
_SHOWN = 1.6
"""How much of a reaction shows in the face at intensity 1; what goes beyond the face's range is cut."""
_SHARES = {"train": 0.62, "val": 0.25, "test": 0.13}


def clip_splits(settings: SetSettings) -> list[str]:
    """The split of each clip, in random order."""
    return mixed_splits(settings.rng(3), split_sizes(settings.clips, _SHARES))


def class_scene(settings: SetSettings, number: int, feeling: Values) -> Scene:
    """Clip `number`, in which one of the persons shows `feeling` [7] at an intensity of its own."""
    rng = settings.rng(5, number)
    neutral = NEUTRAL.row
    strength = rng.uniform(0.8, 1.0)
    return _scene(settings, rng, number, neutral + strength * (feeling - neutral))


def mixed_scene(settings: SetSettings, number: int, intensities: Values) -> Scene:
    """Clip `number`, in which one of the persons reacts with seven intensities [7] at once."""
    neutral = NEUTRAL.row
    feeling = neutral + _SHOWN * intensities @ (feelings_of("eri") - neutral)
    return _scene(settings, settings.rng(5, number), number, np.clip(feeling, [*LOW, -1, -1], 1))


def draw_intensities(rng: np.random.Generator, strongest: int) -> Values:
    """Seven intensities in 0..1, together at most 1: one reaction prevails, others join in."""
    intensities = np.zeros(7)
    intensities[strongest] = rng.uniform(0.35, 0.95)
    weaker = np.delete(np.arange(7), strongest)
    intensities[weaker] = (1 - intensities[strongest]) * rng.uniform(0.2, 1) * rng.dirichlet(np.full(6, 0.4))
    return intensities


def _scene(settings: SetSettings, rng: np.random.Generator, number: int, feeling: Values) -> Scene:
    times = frame_times(settings.frames, settings.fps)
    look = settings.look(int(settings.rng(8, number).integers(PERSONS)))
    return make_scene(rng, look, swell(rng, feeling, times), times)
