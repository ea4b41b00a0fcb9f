"""The features of the demo's face: where brows, eyes, cheeks and mouth go when its expression changes.

Every map is backward (from a pixel of the picture to the one of the photograph that is seen there) and keeps the
order of its neighbours, so that nothing folds. Positions were measured on the photograph, in its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.practice.portable import exp

Grid = NDArray[np.floating]

FACE_X, FACE_Y = (170.0, 280.0), (72.0, 206.0)  # nothing outside moves with the expression
EYES = ((203.5, 101.5), (247.0, 103.5))
BROWS = ((201.0, 90.0), (251.0, 93.5))
INNER_BROWS = ((213.0, 92.5), (238.0, 93.5))
CHEEKS = ((199.0, 122.0), (251.0, 124.0))
CORNERS = ((202.5, 139.8), (245.5, 140.6))
MOUTH_X, MOUTH_Y, MOUTH_HALF_WIDTH = 224.0, 146.0, 21.5
NOSE_Y, CHIN_Y, NECK_Y = 131.0, 177.0, 206.0
CAVITY, TONGUE = (44.0, 12.0, 14.0), (122.0, 52.0, 52.0)


@dataclass(frozen=True)
class Expression:
    """What the face does. `smile` -1 (corners down) to 1, `jaw` 0 (shut) to 1 (wide open), `brows` -1 (lowered) to 1
    (raised), `eyes` -1 (nearly shut) to 1 (wide), `frown` 0 to 1 (inner brows drawn down), `blink` 0 to 1."""

    smile: float = 0.0
    jaw: float = 0.0
    brows: float = 0.0
    eyes: float = 0.0
    frown: float = 0.0
    blink: float = 0.0


@dataclass(frozen=True, repr=False)
class Mouth:
    """The inside of the mouth, over the face: opacity and depth [H,W], 0 to 1."""

    opacity: Grid
    depth: Grid

    def colour(self, channel: int) -> Grid:
        """Dark behind the teeth, the tongue below."""
        return CAVITY[channel] + (TONGUE[channel] - CAVITY[channel]) * self.depth


def smoothstep(t: Grid) -> Grid:
    """0 up to t = 0, 1 from t = 1, without a kink."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def bump(dx: Grid, dy: Grid, width: float, height: float) -> Grid:
    """A Gaussian with standard deviations `width` and `height`."""
    return exp(-0.5 * ((dx / width) ** 2 + (dy / height) ** 2))


def move_features(x: Grid, y: Grid, expression: Expression) -> tuple[Grid, Grid, Mouth]:
    """From positions [H,W] on the face to those in the photograph, and the inside of the mouth."""
    x, y = _brows_and_cheeks(x, y, expression)
    y = _eyes(x, y, expression)
    y, mouth = _mouth(x, y, expression)
    return x, y, mouth


def _brows_and_cheeks(x: Grid, y: Grid, e: Expression) -> tuple[Grid, Grid]:
    """Moves brows, cheeks and mouth corners; widens a smiling mouth. The photograph smiles already: 0.7."""
    rise = np.zeros_like(y)  # how far what is seen here has moved up
    lift = 5.6 * (e.smile - 0.7) - 2.0 * e.jaw
    for brow, inner, cheek, corner in zip(BROWS, INNER_BROWS, CHEEKS, CORNERS, strict=True):
        rise += 3.6 * e.brows * bump(x - brow[0], y - brow[1] + 1.5 * e.brows, 13, 5)
        rise -= 2.6 * e.frown * bump(x - inner[0], y - inner[1], 6, 5)
        rise += 1.5 * (e.smile - 0.7) * bump(x - cheek[0], y - cheek[1], 13, 10)
        rise += lift * bump(x - corner[0], y - corner[1] + lift, 10, 11)
    if e.smile < 0:
        rise -= 1.5 * e.smile * bump(x - MOUTH_X, y - MOUTH_Y, 12, 11)
    narrow = 0.10 * (0.7 - e.smile) + 0.06 * e.jaw
    return x + narrow * (x - MOUTH_X) * bump(x - MOUTH_X, y - MOUTH_Y, 20, 13), y + rise


def _eyes(x: Grid, y: Grid, e: Expression) -> Grid:
    """Widens or narrows the eyes: the photograph is stretched vertically around each."""
    squeeze = -0.36 * e.eyes if e.eyes > 0 else -0.75 * e.eyes
    squeeze += e.blink * (2.0 - squeeze)
    for ex, ey in EYES:
        y = y + squeeze * (y - ey) * bump(x - ex, y - ey, 9.5, 6)
    return y


def _mouth(x: Grid, y: Grid, e: Expression) -> tuple[Grid, Mouth]:
    """Closes the photograph's smiling lips over its teeth, or drops the jaw.

    Each column is cut at the upper lip's edges, the bite of the teeth, the lower lip's edges and the chin; the map
    is piecewise linear from these knots as they are `now` to those in the `photo`.
    """
    arch = np.clip(1 - ((x - MOUTH_X) / MOUTH_HALF_WIDTH) ** 2, 0, 1)  # the lips' edges are parabolas
    corner = 140.0 + 0.02 * (x - MOUTH_X)
    shut = min(max(0.75 - 0.9 * e.smile, 0.0), 1.0) * (1 - 0.45 * e.jaw)
    gap = 11.5 * e.jaw * np.sqrt(arch) * (0.5 + 0.5 * arch)
    drop = 10.0 * e.jaw * exp(-0.5 * ((x - MOUTH_X) / 24) ** 2)
    teeth, top, lip = 6 * arch, corner + 0.8 * arch, corner + 4 * arch
    bite, hidden = lip + teeth, shut * teeth
    lip_now = lip + 0.4 * hidden
    bite_now = lip_now + 0.4 + teeth - hidden
    lower = bite_now + gap
    margin = 0.9 * shut  # the teeth are not quite inside their parabolas: shut lips must hide all of them
    photo = [NOSE_Y, top - margin, lip - margin, lip + hidden, bite, bite + margin, bite + 5.5, CHIN_Y, NECK_Y]
    now = [NOSE_Y, top, lip_now, lip_now + 0.4, bite_now, lower, lower + 5.5 + 0.25 * hidden, CHIN_Y + drop, NECK_Y]
    below = y - bite_now
    hole = np.clip(below + 0.5, 0, 1) * np.clip(gap - below + 0.5, 0, 1) * np.clip(gap - 0.5, 0, 1)
    between = np.clip(y - lip_now + 0.8, 0, 1) * np.clip(0.8 - below, 0, 1)  # lips nearly shut throw a shadow there
    shadow = 0.75 * between * np.clip(1 - (teeth - hidden) / 3, 0, 1) * np.clip(4 * arch, 0, 1)
    depth = 0.8 * smoothstep((below / 13 - 0.35) * 1.8)
    return _piecewise(y, now, photo), Mouth(np.maximum(hole, shadow), depth)


def _piecewise(y: Grid, now: list[Grid | float], photo: list[Grid | float]) -> Grid:
    """Where `y` lies in the photograph if its knots `photo` are at `now`; both increase. Outside them, `y` stays."""
    moved = y.copy()
    for k in range(len(now) - 1):
        length = np.maximum(np.float32(1e-3), now[k + 1] - now[k])
        slope = (photo[k + 1] - photo[k]) / length
        moved += np.clip(y - now[k], 0, length) * (slope - 1)
    return moved
