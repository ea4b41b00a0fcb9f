"""Text on pictures: each word is drawn once, with an outline, and copied from then on. The font is Pillow's own."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from affectkit.overlays.colours import BLACK, TEXT, Colour

Mask = NDArray[np.uint8]
Side = Literal["left", "middle", "right"]
LONGEST = 200
"""Characters of a text that are drawn."""
_PLAIN = frozenset({"L", "N", "P", "S"})


def printable(text: str) -> str:
    """A text without what would change the direction of others, or cannot be seen."""
    kept = "".join(mark if unicodedata.category(mark)[0] in _PLAIN else " " for mark in text[: LONGEST + 1])
    return f"{kept[: LONGEST - 3]}..." if len(kept) > LONGEST else kept


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that pictures are the same on every machine."""
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return loaded


@lru_cache(maxsize=4096)
def width(text: str, size: int) -> int:
    """How wide a text is (pixels)."""
    return round(font(size).getlength(printable(text)))


def height(size: int) -> int:
    """How high a line is (pixels)."""
    return sum(font(size).getmetrics())


@lru_cache(maxsize=4096)
def fitted(text: str, size: int, most: int) -> str:
    """A text cut to so many pixels, with dots where something is missing.

    >>> fitted("happiness", 12, 1000)
    'happiness'
    """
    text = printable(text)
    if width(text, size) <= most:
        return text
    while text and width(f"{text}...", size) > most:
        text = text[:-1]
    return f"{text.rstrip()}..." if text else ""


@lru_cache(maxsize=4096)
def _masks(text: str, size: int, outline: int) -> tuple[Mask, Mask]:
    """The letters, and the letters with their outline, [H,W]."""
    shape = width(text, size) + 2 * outline + 2, height(size) + 2 * outline
    masks = []
    for stroke in (0, outline):
        image = Pillow.new("L", shape)
        ImageDraw.Draw(image).text((outline, outline), printable(text), 255, font(size), stroke_width=stroke)
        masks.append(np.asarray(image))
    return masks[0], masks[1]


def write(
    image: NDArray[np.uint8], text: str, x: float, y: float, size: int, colour: Colour = TEXT, *,
    side: Side = "left", outline: int | None = None,
) -> None:  # fmt: skip
    """Write a text whose left end, middle or right end is at x and whose top is at y; what leaves the picture is cut.

    `outline`: black around the letters (pixels), so that they can be read on anything.
    """
    if not text:
        return
    reach = max(1, size // 9) if outline is None else outline
    letters, around = _masks(text, size, reach)
    left = round(x) - reach - {"left": 0, "middle": width(text, size) // 2, "right": width(text, size)}[side]
    top = round(y) - reach
    if reach:
        paint(image, around, left, top, BLACK)
    paint(image, letters, left, top, colour)


def paint(image: NDArray[np.uint8], mask: Mask, left: int, top: int, colour: Colour) -> None:
    """Colour the pixels of a mask [h,w] (255: all of it) whose corner is at (left, top)."""
    rows = slice(max(0, top), max(0, min(image.shape[0], top + mask.shape[0])))
    columns = slice(max(0, left), max(0, min(image.shape[1], left + mask.shape[1])))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None].astype(np.uint16)
    below = image[rows, columns]
    below[...] = (below * (255 - part) + np.array(colour, np.uint16) * part + 127) // 255
