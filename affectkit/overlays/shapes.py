"""Rectangles, lines and discs on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from affectkit.overlays.colours import BLACK, Colour
from affectkit.overlays.letters import Mask, paint
from affectkit.types import Floats

Picture = NDArray[np.uint8]
_FINE = 4  # subpixels a side, where lines are drawn smooth


def fill(image: Picture, x0: float, y0: float, x1: float, y1: float, colour: Colour, share: float = 1.0) -> None:
    """Fill a rectangle; `share` of it is the colour, the rest what was there."""
    part = image[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))]
    if share >= 1:
        part[...] = colour
    elif part.size:
        kept = round(256 * (1 - share))
        part[...] = (part.astype(np.uint16) * kept + np.array(colour, np.uint16) * (256 - kept)) >> 8


def frame(image: Picture, x0: float, y0: float, x1: float, y1: float, colour: Colour, thick: int) -> None:
    """The sides of a rectangle, with a thin black line on both sides of them."""
    a, b, c, d = round(x0), round(y0), round(x1), round(y1)
    edge = max(1, thick // 2)
    for reach, shade in ((thick + 2 * edge, BLACK), (thick, colour)):
        out, into = reach // 2, reach - reach // 2
        fill(image, a - out, b - out, c + out, b + into, shade)
        fill(image, a - out, d - into, c + out, d + out, shade)
        fill(image, a - out, b - out, a + into, d + out, shade)
        fill(image, c - into, b - out, c + out, d + out, shade)


@lru_cache(maxsize=256)
def disc(radius: float) -> Mask:
    """A filled circle, smooth, as a mask."""
    side = 2 * int(np.ceil(radius)) + 1
    image = Pillow.new("L", (side * _FINE, side * _FINE))
    middle, reach = side * _FINE / 2, radius * _FINE
    ImageDraw.Draw(image).ellipse((middle - reach, middle - reach, middle + reach - 1, middle + reach - 1), 255)
    return np.asarray(image.resize((side, side), Pillow.Resampling.BOX))


def dot(image: Picture, x: float, y: float, radius: float, colour: Colour, share: float = 1.0) -> None:
    """A filled circle about (x, y)."""
    mask = disc(round(radius * 2) / 2)
    if share < 1:
        mask = (mask * share).astype(np.uint8)
    paint(image, mask, round(x) - mask.shape[1] // 2, round(y) - mask.shape[0] // 2, colour)


def lines(image: Picture, strokes: Sequence[Floats], colour: Colour, thick: float, share: float = 1.0) -> None:
    """Strokes [P,2] (x, y), smooth."""
    strokes = [np.asarray(stroke, float) for stroke in strokes if len(stroke) > 1]
    if strokes:
        _draw(image, strokes, np.concatenate(strokes), colour, thick, share)


def segments(image: Picture, ends: Floats, colour: Colour, thick: float, share: float = 1.0) -> None:
    """Straight lines [E,2,2], each from a point (x, y) to another, smooth."""
    if len(ends):
        _draw(image, np.asarray(ends, float), np.asarray(ends, float).reshape(-1, 2), colour, thick, share)


def _draw(
    image: Picture, strokes: Sequence[Floats] | Floats, points: Floats, colour: Colour, thick: float, share: float
) -> None:  # fmt: skip
    """Draw strokes, of which these are the points; only the part of the picture about them is worked on."""
    low = np.clip(np.floor(points.min(axis=0)) - thick - 1, 0, [image.shape[1], image.shape[0]]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + thick + 2, 0, [image.shape[1], image.shape[0]]).astype(int)
    width, height = (high - low).tolist()
    if width <= 0 or height <= 0:
        return
    fine = 1 if width * height > 1 << 20 else 2
    mask = Pillow.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(mask)
    pixels = max(1, round(thick * fine))
    if isinstance(strokes, np.ndarray):
        for line in ((strokes - low) * fine).reshape(len(strokes), -1).tolist():
            pen.line(line, 255, pixels)
    else:
        for stroke in strokes:
            pen.line(((stroke - low) * fine).ravel().tolist(), 255, pixels, joint="curve")
    if fine > 1:
        mask = mask.resize((width, height), Pillow.Resampling.BOX)
    alpha = np.asarray(mask)
    paint(image, (alpha * share).astype(np.uint8) if share < 1 else alpha, int(low[0]), int(low[1]), colour)
