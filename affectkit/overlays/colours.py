"""Colours that everybody can tell apart (Okabe and Ito 2008), on a dark ground."""

from __future__ import annotations

Colour = tuple[int, int, int]

GROUND: Colour = (18, 22, 28)
PANEL: Colour = (30, 36, 44)
GRID: Colour = (62, 70, 82)
GAP: Colour = (52, 52, 56)
DIM: Colour = (160, 168, 178)
TEXT: Colour = (238, 241, 245)
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

SERIES: tuple[Colour, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 175, 125), (240, 228, 66), (213, 94, 0), (204, 121, 167), (110, 140, 255),
    (222, 222, 222),
)  # fmt: skip
"""Of curves and bars, in order. The green and the blue are lighter than in print, to stand out from the dark ground."""
FACES: tuple[Colour, ...] = (
    (240, 228, 66), (86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 175, 125), (213, 94, 0),
)  # fmt: skip
"""Of faces, by their number."""


def of_face(number: int) -> Colour:
    """The colour of a face."""
    return FACES[number % len(FACES)]


def of_series(number: int) -> Colour:
    """The colour of a curve or a bar."""
    return SERIES[number % len(SERIES)]
