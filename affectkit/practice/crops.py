"""Aligned face crops cut from drawn pictures: where the face is need not be detected, the picture's maker knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from affectkit.practice.animated_face import HEAD, PICTURE_WIDTH, Frame, View
from affectkit.practice.feelings import Values
from affectkit.practice.looks import MIDDLE, Look
from affectkit.practice.portable import settled

SIDE = 112
CENTRE, WIDTH = (225.0, 108.0), 138.0
"""What a crop shows, in the photograph's pixels: eyes and mouth come to lie about where ArcFace has them."""


def aligned(picture: Frame, view: View, look: Look, side: int = SIDE) -> Image.Image:
    """The face in a picture [H,H,3], turned upright and scaled to side x side pixels."""
    corners = np.array([(0, 0), (side, 0), (0, side)], np.float64)
    flip = np.array([-1.0 if view.mirror else 1.0, 1.0])
    wanted = np.array(CENTRE) + (corners / side - 0.5) * flip * WIDTH
    origin, right, down = settled(seen_at(wanted, view, look, len(picture)))
    a, d = (right - origin) / side
    b, e = (down - origin) / side
    coefficients = (a, b, origin[0], d, e, origin[1])
    return Image.fromarray(picture).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )


def seen_at(points: Values, view: View, look: Look, size: int) -> Values:
    """Where points [N,2] of the photograph's face at rest are seen in a picture, in pixels from its upper left corner.

    The inverse of the maps in `animated_face`, but for those of the features, which bend only what is near them.
    """
    middle, head, shift = np.array(MIDDLE), np.array(HEAD), np.array(view.shift)
    points = middle + (points - middle) * look.stretch
    points = head + shift + view.lean * _turned(points - head, view.roll)
    points = _turned(points - np.array(view.centre), -view.camera_roll) * (size * view.zoom / PICTURE_WIDTH)
    return np.asarray(points * [-1.0 if view.mirror else 1.0, 1.0] + size / 2)


def save_crop(path: Path, image: Image.Image) -> None:
    """A JPEG file; its folder must be there."""
    image.save(path, "JPEG", quality=92)


def _turned(points: Values, degrees: float) -> Values:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.asarray(points @ np.array([[c, s], [-s, c]]))
