"""What faces do: fixed settings of the animated face for basic expressions, compounds and reactions.

A feeling is a face with the valence and arousal that go with it, by the circumplex of Russell (1980). The settings are
ours, after the action units that Ekman & Friesen (1978) name for the basic expressions, as far as the animated face has
them. A compound is the blend of its two basic expressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.practice.face_features import Expression
from affectkit.practice.portable import settled
from affectkit.tasks import BUILT_IN

PARAMETERS = ("smile", "jaw", "brows", "eyes", "frown")
LOW = np.array([-1.0, 0.0, -1.0, -1.0, 0.0])
"""The least value of each parameter; the greatest is 1."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Feeling:
    """A face (`Expression` without its blink) and its place on the circumplex, both at full intensity."""

    smile: float
    jaw: float
    brows: float
    eyes: float
    frown: float
    valence: float
    arousal: float

    @property
    def row(self) -> Values:
        """[7]: the five parameters, valence, arousal."""
        return np.array([*(getattr(self, name) for name in PARAMETERS), self.valence, self.arousal])


NEUTRAL = Feeling(smile=0.1, jaw=0.02, brows=0.0, eyes=0.0, frown=0.0, valence=0.0, arousal=-0.1)
BASIC: Mapping[str, Feeling] = {
    "Neutral": NEUTRAL,
    "Anger": Feeling(smile=-0.4, jaw=0.06, brows=-1.0, eyes=0.15, frown=1.0, valence=-0.65, arousal=0.6),
    "Disgust": Feeling(smile=-0.75, jaw=0.3, brows=-0.7, eyes=-0.8, frown=0.5, valence=-0.7, arousal=0.2),
    "Fear": Feeling(smile=-0.6, jaw=0.42, brows=0.75, eyes=1.0, frown=0.8, valence=-0.6, arousal=0.8),
    "Happiness": Feeling(smile=1.0, jaw=0.2, brows=0.1, eyes=-0.25, frown=0.0, valence=0.8, arousal=0.35),
    "Sadness": Feeling(smile=-1.0, jaw=0.0, brows=0.0, eyes=-0.55, frown=0.35, valence=-0.65, arousal=-0.5),
    "Surprise": Feeling(smile=0.1, jaw=0.8, brows=1.0, eyes=1.0, frown=0.0, valence=0.15, arousal=0.8),
    "Other": Feeling(smile=0.45, jaw=0.0, brows=0.8, eyes=-0.7, frown=0.0, valence=0.3, arousal=-0.35),
}
REACTIONS: Mapping[str, Feeling] = {
    "Adoration": Feeling(smile=0.75, jaw=0.04, brows=0.7, eyes=0.2, frown=0.0, valence=0.75, arousal=0.0),
    "Amusement": Feeling(smile=1.0, jaw=0.5, brows=0.0, eyes=-0.5, frown=0.0, valence=0.8, arousal=0.6),
    "Anxiety": Feeling(smile=-0.45, jaw=0.0, brows=0.4, eyes=-0.05, frown=0.9, valence=-0.5, arousal=0.4),
    "Disgust": BASIC["Disgust"],
    "Empathic-Pain": Feeling(smile=-0.9, jaw=0.12, brows=-0.3, eyes=-0.9, frown=0.8, valence=-0.7, arousal=-0.2),
    "Fear": BASIC["Fear"],
    "Surprise": BASIC["Surprise"],
}
_COMPOUNDS = {
    "Fearfully": "Fear", "Happily": "Happiness", "Sadly": "Sadness", "Disgustedly": "Disgust", "Angrily": "Anger",
    "Surprised": "Surprise", "Fearful": "Fear", "Angry": "Anger",
}  # fmt: skip
_DFEW = {"Happy": "Happiness", "Sad": "Sadness", "Angry": "Anger"}
_SHARES = (0.9, 0.75)


def parts(compound: str) -> tuple[str, str]:
    """The two basic expressions of a compound.

    >>> parts("Sadly_Fearful")
    ('Sadness', 'Fear')
    """
    first, second = compound.split("_")
    return _COMPOUNDS[first], _COMPOUNDS[second]


def feelings_of(task: str) -> Values:
    """[K,7] what each class or target of `expr`, `compound`, `dfew` or `eri` looks like, in the task's order."""
    names = BUILT_IN[task].targets
    if task == "compound":
        return np.stack([_blend([BASIC[part].row for part in parts(name)]) for name in names])
    feelings = REACTIONS if task == "eri" else BASIC
    return np.stack([feelings[_DFEW.get(name, name) if task == "dfew" else name].row for name in names])


def affect_shown(valence: Values, arousal: Values) -> Values:
    """[T,7] the parameters that valence and arousal [T] alone draw, and both of them.

    Valence moves mouth corners, cheeks and (when negative) the inner brows; arousal opens mouth and eyes and raises the
    brows.
    """
    good, bad = np.maximum(valence, 0), np.maximum(-valence, 0)
    jaw = settled(((arousal + 1) / 2) ** 1.8)
    return np.stack([valence, jaw, arousal - 0.35 * bad, arousal - 0.25 * good, bad, valence, arousal], axis=-1)


def face_of(values: Values, blink: float) -> Expression:
    """The `Expression` of five parameters, each cut to its range."""
    smile, jaw, brows, eyes, frown = np.clip(values, LOW, 1).tolist()
    return Expression(smile, jaw, brows, eyes, frown, blink)


def _blend(rows: Sequence[Values]) -> Values:
    """More than the mean of two, and more of the first: five of the seven compounds are a surprise."""
    neutral = NEUTRAL.row
    mixed = neutral + sum(share * (row - neutral) for share, row in zip(_SHARES, rows, strict=True))
    return np.clip(mixed, [*LOW, -1, -1], 1)
