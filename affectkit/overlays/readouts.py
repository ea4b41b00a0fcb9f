"""The panel beside a picture: bars of scores, or the circumplex with the way that a face went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from affectkit.overlays import letters
from affectkit.overlays.colours import DIM, GRID, GROUND, PANEL, TEXT, WHITE, of_face, of_series
from affectkit.overlays.curves import AFFECT, ScoreCurves
from affectkit.overlays.shapes import Picture, dot, fill, lines
from affectkit.overlays.strip import title_of
from affectkit.types import Floats

TRAIL = 3.0
"""Seconds of the circumplex's trail."""
MOST_CELLS = 4
_DOTS = 24


@dataclass(frozen=True)
class Cell:
    """A part of the panel, for one model and face: its corner and size (pixels)."""

    curves: ScoreCurves
    x: int
    y: int
    width: int
    height: int


class ReadoutPanel:
    """Read-outs of some models and faces in a panel of a given size."""

    def __init__(
        self, curves: Sequence[ScoreCurves], style: Literal["bars", "circumplex"], width: int, height: int, unit: float
    ) -> None:
        self._style, self._unit = style, unit
        self._size = max(10, round(12 * unit))
        self._pad = max(2, round(6 * unit))
        self.width, self.height = width, height
        shown = list(curves[:MOST_CELLS])
        columns = 1 if width <= height or len(shown) == 1 else min(len(shown), 2)
        rows = -(-len(shown) // columns) if shown else 1
        wide, high = width // columns, height // rows
        self._cells = [
            Cell(each, number % columns * wide, number // columns * high, wide, high) for number, each in enumerate(shown)
        ]
        self._still = np.empty((height, width, 3), np.uint8)
        self._still[...] = GROUND
        for cell in self._cells:
            self._draw_still(cell)

    def draw(self, image: Picture, scores: Sequence[Floats], trails: Sequence[Floats]) -> None:
        """Draw into a picture [height,width,3]: scores [K] of each cell, NaN where there is none, and for the circumplex
        the scores [P,K] of the last `TRAIL` seconds, the oldest first."""
        image[...] = self._still
        for cell, values, trail in zip(self._cells, scores, trails, strict=False):
            if self._style == "bars":
                self._bars(image, cell, values)
            else:
                self._point(image, cell, values, trail)

    def _top(self, cell: Cell) -> int:
        """Where a cell's content begins, below its title."""
        return cell.y + self._pad + letters.height(self._size)

    def _draw_still(self, cell: Cell) -> None:
        face = cell.curves.face
        title = letters.fitted(title_of(cell.curves), self._size, cell.width - 2 * self._pad)
        colour = TEXT if face is None else of_face(face)
        letters.write(self._still, title, cell.x + self._pad, cell.y + self._pad // 2, self._size, colour, outline=0)
        if self._style == "bars":
            for number, (y, high, size) in enumerate(self._rows(cell)):
                left, right, _ = self._columns(cell, size)
                name = letters.fitted(cell.curves.names[number], size, left - cell.x - 2 * self._pad)
                letters.write(self._still, name, cell.x + self._pad, y + (high - letters.height(size)) // 2, size, TEXT, outline=0)
                fill(self._still, left, y + high * 0.2, right, y + high * 0.85, PANEL)
                zero = self._zero(cell, left, right)
                fill(self._still, zero, y + high * 0.1, zero + 1, y + high * 0.95, GRID)
            left_out = len(cell.curves.names) - len(self._rows(cell))
            if left_out:
                text = f"{left_out} more"
                letters.write(self._still, text, cell.x + cell.width - self._pad, cell.y + self._pad // 2, self._size, DIM, side="right", outline=0)
        else:
            self._draw_circle(cell)

    def _rows(self, cell: Cell) -> list[tuple[int, int, int]]:
        """(top, height, letters' size) of each bar that has room."""
        top, room = self._top(cell), cell.y + cell.height - self._pad - self._top(cell)
        least = letters.height(10)
        count = min(len(cell.curves.names), max(1, room // least))
        high = min(room // count, round(22 * self._unit)) if count else least
        size = self._size if high >= letters.height(self._size) else 10
        return [(top + number * high, high, size) for number in range(count)]

    def _columns(self, cell: Cell, size: int) -> tuple[int, int, int]:
        """Where bars begin and end, and where the number beside them ends."""
        names = max((letters.width(name, size) for name in cell.curves.names), default=0)
        number = letters.width("-0.00", size) + self._pad
        left = cell.x + self._pad + min(names, round(cell.width * 0.42)) + self._pad
        right = cell.x + cell.width - self._pad
        return left, max(left + 4, right - number), right

    def _zero(self, cell: Cell, left: int, right: int) -> int:
        low, high = cell.curves.range
        return left + round((right - left) * min(max((0 - low) / (high - low), 0.0), 1.0))

    def _bars(self, image: Picture, cell: Cell, values: Floats) -> None:
        rows = self._rows(cell)
        if not np.isfinite(values).all():
            self._say_unseen(image, cell)
            return
        low, high = cell.curves.range
        best = int(np.argmax(values[: len(rows)]))
        for number, (y, tall, size) in enumerate(rows):
            left, right, end = self._columns(cell, size)
            zero = self._zero(cell, left, right)
            value = float(values[number])
            x = left + (right - left) * min(max((value - low) / (high - low), 0.0), 1.0)
            fill(image, min(zero, x), y + tall * 0.2, max(zero, x) + 1, y + tall * 0.85, of_series(number))
            colour = WHITE if number == best else DIM
            text = f"{value:.2f}" if low >= 0 else f"{value:+.2f}"
            letters.write(image, text, end, y + (tall - letters.height(size)) // 2, size, colour, side="right", outline=0)

    def _say_unseen(self, image: Picture, cell: Cell) -> None:
        y = self._top(cell) + (cell.y + cell.height - self._top(cell)) // 2 - letters.height(self._size) // 2
        x = cell.x + cell.width / 2
        half = letters.width(cell.curves.unseen, self._size) / 2 + self._pad
        fill(image, x - half, y - self._pad / 2, x + half, y + letters.height(self._size) + self._pad / 2, GROUND)
        letters.write(image, cell.curves.unseen, x, y, self._size, WHITE, side="middle")

    def _circle(self, cell: Cell) -> tuple[float, float, float]:
        """Middle and radius of the circumplex."""
        line = letters.height(self._size)
        top, room = self._top(cell) + line, cell.y + cell.height - self._top(cell) - 3 * line
        radius = max(8.0, min(cell.width / 2 - 2 * self._pad, room / 2))
        return cell.x + cell.width / 2, top + max(room / 2, radius), radius

    def _draw_circle(self, cell: Cell) -> None:
        x, y, radius = self._circle(cell)
        angles = np.linspace(0, 2 * np.pi, 121)
        thick = max(1.0, 1.2 * self._unit)
        lines(self._still, [np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])], GRID, thick)
        fill(self._still, x - radius, y, x + radius, y + 1, GRID)
        fill(self._still, x, y - radius, x + 1, y + radius, GRID)
        line = letters.height(self._size)
        letters.write(self._still, "+ arousal", x, y - radius - line, self._size, DIM, side="middle", outline=0)
        right = cell.x + cell.width - self._pad
        letters.write(self._still, "+ valence", min(right, x + radius - self._pad), y + 2, self._size, DIM, side="right", outline=0)

    def _point(self, image: Picture, cell: Cell, values: Floats, trail: Floats) -> None:
        x, y, radius = self._circle(cell)
        places = [cell.curves.names.index(name) for name in AFFECT]
        face = cell.curves.face
        colour = of_series(0) if face is None else of_face(face)
        size = max(2.0, 4.5 * self._unit)
        for number, row in enumerate(trail[-_DOTS:]):
            valence, arousal = row[places]
            if np.isfinite(valence) and np.isfinite(arousal):
                age = (number + 1) / (min(len(trail), _DOTS) + 1)
                dot(image, x + radius * valence, y - radius * arousal, size * (0.3 + 0.4 * age), colour, 0.2 + 0.5 * age)
        bottom = cell.y + cell.height - letters.height(self._size) - self._pad // 2
        if not np.isfinite(values).all():
            letters.write(image, cell.curves.unseen, x, bottom, self._size, WHITE, side="middle", outline=0)
            return
        valence, arousal = (float(values[place]) for place in places)
        dot(image, x + radius * valence, y - radius * arousal, size * 1.35, (0, 0, 0))
        dot(image, x + radius * valence, y - radius * arousal, size, WHITE)
        dot(image, x + radius * valence, y - radius * arousal, size * 0.7, colour)
        letters.write(image, f"V {valence:+.2f}  A {arousal:+.2f}", x, bottom, self._size, WHITE, side="middle", outline=0)
