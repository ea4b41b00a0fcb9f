"""Appearances: the one public-domain portrait made to look like many, as far as warps and colours go.

They stand for the variety of faces that a recogniser meets, and are no identities: a different skin, other proportions
and another wall make a clip unlike the next one, and leave the same person behind all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectkit.practice.face_features import Expression, Grid, bump, smoothstep
from affectkit.practice.portable import power, settled, sine

MIDDLE = (225.0, 118.0)  # the photograph's point about which a face is stretched: the bridge of the nose
Planes = NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Look:
    """`stretch`: width and height of the head; `jaw`, `eyes` > 0 are wider, `nose`, `mouth` lower (photograph pixels).

    Colours: `gamma` (above 1 is darker), `saturation`, `hue` (radians), `tint` multiplies the channels, `soft` is the
    share of a blurred copy. The wall has `paper`, a colour that multiplies its light grey, and `stripes`: their
    strength, wavelength (photograph pixels) and direction (radians). `rest` is how the face looks when it does nothing.
    The defaults are the photograph as it was taken.
    """

    stretch: tuple[float, float] = (1.0, 1.0)
    jaw: float = 0.0
    eyes: float = 0.0
    nose: float = 0.0
    mouth: float = 0.0
    gamma: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    tint: tuple[float, ...] = (1.0, 1.0, 1.0)
    soft: float = 0.0
    paper: tuple[float, ...] = (1.0, 1.0, 1.0)
    stripes: tuple[float, float, float] = (0.0, 50.0, 0.0)
    rest: Expression = Expression()

    def reshape(self, x: Grid, y: Grid) -> tuple[Grid, Grid]:
        """From positions [H,W] on this head to those on the photograph's. Nothing folds."""
        dx, dy = (x - MIDDLE[0]) / self.stretch[0], (y - MIDDLE[1]) / self.stretch[1]
        wide = self.jaw * smoothstep((dy - 10) / 50) + self.eyes * bump(0 * dx, dy + 16, 1, 16)
        lower = self.nose * bump(dx, dy - 2, 24, 12) + self.mouth * bump(dx, dy - 28, 28, 13)
        near = bump(dx, dy, 62, 80)
        return MIDDLE[0] + dx * (1 - wide * near), MIDDLE[1] + dy - lower

    def paint(self, picture: Planes, x: Grid, y: Grid, wall: Grid) -> None:
        """Recolours a picture [3,H,W], 0 to 255, in place."""
        np.clip(picture, 0, 255, out=picture)
        tone: Planes = np.float32(255) * power(picture / np.float32(255), self.gamma)
        red, green, blue = tone
        # Not as a matrix product: its sums are ordered by the processor.
        tone = np.stack([r * red + g * green + b * blue for r, g, b in self._mixing()])
        if self.soft:
            tone += np.float32(self.soft) * (_blurred(tone) - tone)
        strength, length, direction = self.stripes
        across = float(settled(np.cos(direction))) * x + float(settled(np.sin(direction))) * y
        shade = 1 + strength * sine(2 * np.pi / length * across)
        for plane, colour in zip(tone, self.paper, strict=True):
            plane *= 1 + wall * (colour * shade - 1)
        picture[:] = tone

    def _mixing(self) -> Planes:
        """The colour matrix [3,3]: turned about the grey axis, saturated, tinted."""
        c, s = np.cos(self.hue), np.sin(self.hue) / np.sqrt(3)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        turned = c * np.eye(3) + (1 - c) / 3 + s * cross
        grey = np.tile(LUMA, (3, 1))
        mixing = np.array(self.tint)[:, None] * (grey + self.saturation * (turned - grey))
        return settled(mixing).astype(np.float32)


AS_PHOTOGRAPHED = Look()


def draw_look(rng: np.random.Generator) -> Look:
    """A random appearance; faces keep being found by a detector."""
    return Look(
        stretch=(float(rng.uniform(0.93, 1.05)), float(rng.uniform(0.96, 1.05))),
        jaw=float(rng.uniform(-0.08, 0.08)),
        eyes=float(rng.uniform(-0.035, 0.035)),
        nose=float(rng.uniform(-1.5, 1.5)),
        mouth=float(rng.uniform(-1.5, 1.5)),
        gamma=float(np.exp(rng.uniform(-0.25, 0.45))),
        saturation=float(rng.uniform(0.4, 1.3)),
        hue=float(rng.uniform(-0.2, 0.2)),
        tint=tuple(np.exp(rng.uniform(-0.1, 0.1, 3)).tolist()),
        soft=float(rng.choice([0.0, 0.0, 0.5, 0.9])),
        paper=tuple(rng.uniform(0.15, 1.15, 3).tolist()),
        stripes=(float(rng.uniform(0, 0.4)), float(rng.uniform(12, 90)), float(rng.uniform(0, np.pi))),
        rest=_resting(rng),
    )


def _resting(rng: np.random.Generator) -> Expression:
    """A face's own set of mouth, brows and eyes: what is a frown in one face is nothing in another."""
    smile, brows, eyes = rng.uniform(-0.12, 0.12, 3).tolist()
    return Expression(smile=smile, brows=brows, eyes=eyes, frown=float(rng.uniform(0, 0.1)))


def _blurred(picture: Planes) -> Planes:
    """The mean of each pixel's 3 x 3 neighbours, edges repeated."""
    rows = np.pad(picture, ((0, 0), (1, 1), (0, 0)), mode="edge")
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    columns = np.pad(rows, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return np.asarray((columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]) / np.float32(9))
