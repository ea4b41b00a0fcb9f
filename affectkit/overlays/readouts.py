"""The panel beside a picture: bars of scores, or the circumplex with the way that a face went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from affectkit.overlays import letters
from affectkit.overlays.colours import BLACK, DIM, GRID, GROUND, PANEL, TEXT, WHITE, of_face, of_series
from affectkit.overlays.curves import AFFECT, ScoreCurves
from affectkit.overlays.shapes import Picture, dot, fill, lines
from affectkit.overlays.strip import title_of
from affectkit.types import Floats

TRAIL = 3.0
"""Seconds of the circumplex's trail."""
_MOST_CELLS = 4
_DOTS = 24
_LEAST = 9  # size of letters, where a unit is a pixel


@dataclass(frozen=True)
class Cell:
    """A part of the panel: which curves it reads out (several faces of one model in a circumplex), its corner and size
    (pixels)."""

    curves: tuple[int, ...]
    x: int
    y: int
    width: int
    height: int


class ReadoutPanel:
    """Read-outs of some models and faces in a panel of a given size. `left_out`: how many curves have no room."""

    def __init__(
        self, curves: Sequence[ScoreCurves], style: Literal["bars", "circumplex"], width: int, height: int, unit: float
    ) -> None:
        self._style, self._unit, self._curves = style, unit, list(curves)
        self._size = max(10, round(12 * unit))
        self._least = max(_LEAST, round(_LEAST * unit))
        self._pad = max(2, round(6 * unit))
        self.width, self.height = width, height
        self._cells = self._laid_out()
        self.left_out = len(curves) - sum(len(cell.curves) for cell in self._cells)
        self._still = np.empty((height, width, 3), np.uint8)
        self._still[...] = GROUND
        for cell in self._cells:
            self._draw_still(cell)

    def _laid_out(self) -> list[Cell]:
        """The cells that have room for all of their bars, one at least."""
        groups: list[tuple[int, ...]] = [(number,) for number in range(len(self._curves))]
        if self._style == "circumplex":
            models = dict.fromkeys(each.model for each in self._curves)
            groups = [tuple(n for n, each in enumerate(self._curves) if each.model == model) for model in models]
        columns = 2 if self.width > self.height * 0.8 and len(groups) > 1 else 1
        title = letters.height(self._size) + 2 * self._pad
        bars = max((len(each.names) for each in self._curves), default=1)
        needed = title + (bars * letters.height(self._least) if self._style == "bars" else 90 * round(self._unit))
        rows = max(1, self.height // needed)
        groups = groups[: min(columns * rows, _MOST_CELLS)]
        rows = -(-len(groups) // columns) if groups else 1
        wide, high = self.width // columns, self.height // rows
        return [
            Cell(group, number % columns * wide, number // columns * high, wide, high)
            for number, group in enumerate(groups)
        ]

    def draw(self, image: Picture, scores: Sequence[Floats], trails: Sequence[Floats]) -> None:
        """Draw into a picture [height,width,3]: scores [K] of each curve, NaN where there is none, and for the
        circumplex the scores [P,K] of the last `TRAIL` seconds, the oldest first."""
        image[...] = self._still
        for cell in self._cells:
            if self._style == "bars":
                self._bars(image, cell, self._curves[cell.curves[0]], scores[cell.curves[0]])
            else:
                self._points(image, cell, scores, trails)

    def _top(self, cell: Cell) -> int:
        """Where a cell's content begins, below its title."""
        return cell.y + self._pad + letters.height(self._size)

    def _draw_still(self, cell: Cell) -> None:
        curves = self._curves[cell.curves[0]]
        room = cell.width - 2 * self._pad
        y = cell.y + self._pad // 2
        if self._style == "circumplex":
            letters.write(
                self._still,
                letters.fitted(curves.model, self._size, room),
                cell.x + self._pad,
                y,
                self._size,
                outline=0,
            )
            self._draw_circle(cell)
            return
        rows = self._rows(cell, curves)
        if left_out := len(curves.names) - len(rows):
            text, right = f"{left_out} more", cell.x + cell.width - self._pad
            letters.write(self._still, text, right, y, self._size, DIM, side="right", outline=0)
            room -= letters.width(text, self._size) + self._pad
        title = letters.fitted(title_of(curves), self._size, room)
        colour = TEXT if curves.face is None else of_face(curves.face)
        letters.write(self._still, title, cell.x + self._pad, y, self._size, colour, outline=0)
        for number, (y, high, size) in enumerate(rows):
            left, right, _ = self._columns(cell, curves, size)
            name = letters.fitted(curves.names[number], size, left - cell.x - 2 * self._pad)
            top = y + (high - letters.height(size)) // 2
            letters.write(self._still, name, cell.x + self._pad, top, size, TEXT, outline=0)
            fill(self._still, left, y + high * 0.2, right, y + high * 0.85, PANEL)
            zero = _place(curves, 0.0, left, right)
            fill(self._still, zero, y + high * 0.1, zero + 1, y + high * 0.95, GRID)

    def _rows(self, cell: Cell, curves: ScoreCurves) -> list[tuple[int, int, int]]:
        """(top, height, letters' size) of each bar that has room."""
        top = self._top(cell) + self._pad // 2
        room = max(1, cell.y + cell.height - self._pad // 2 - top)
        count = min(len(curves.names), max(1, room // letters.height(self._least)))
        high = min(room // count, round(26 * self._unit))
        size = next((each for each in range(self._size, self._least, -1) if letters.height(each) <= high), self._least)
        return [(top + number * high, high, size) for number in range(count)]

    def _columns(self, cell: Cell, curves: ScoreCurves, size: int) -> tuple[int, int, int]:
        """Where bars begin and end, and where the number beside them ends."""
        names = max((letters.width(name, size) for name in curves.names), default=0)
        number = letters.width("-0.00", size) + self._pad
        left = cell.x + self._pad + min(names, round(cell.width * 0.42)) + self._pad
        right = cell.x + cell.width - self._pad
        return left, max(left + 4, right - number), right

    def _bars(self, image: Picture, cell: Cell, curves: ScoreCurves, values: Floats) -> None:
        if not np.isfinite(values).all():
            self._say_unseen(image, cell, curves)
            return
        rows = self._rows(cell, curves)
        best = int(np.argmax(values))
        for number, (y, tall, size) in enumerate(rows):
            left, right, end = self._columns(cell, curves, size)
            value = float(values[number])
            zero, x = _place(curves, 0.0, left, right), _place(curves, value, left, right)
            fill(image, min(zero, x), y + tall * 0.2, max(zero, x) + 1, y + tall * 0.85, of_series(number))
            text = f"{value:.2f}" if curves.range[0] >= 0 else f"{value:+.2f}"
            top, colour = y + (tall - letters.height(size)) // 2, WHITE if number == best else DIM
            letters.write(image, text, end, top, size, colour, side="right", outline=0)

    def _say_unseen(self, image: Picture, cell: Cell, curves: ScoreCurves) -> None:
        """In the middle of the bars, which are empty."""
        rows, text = self._rows(cell, curves), curves.unseen
        left, right, _ = self._columns(cell, curves, rows[0][2])
        y = (rows[0][0] + rows[-1][0] + rows[-1][1] - letters.height(self._size)) // 2
        x, half = (left + right) / 2, letters.width(text, self._size) / 2 + self._pad
        fill(image, x - half, y - self._pad / 2, x + half, y + letters.height(self._size) + self._pad / 2, GROUND)
        letters.write(image, text, x, y, self._size, WHITE, side="middle")

    def _is_beside(self, cell: Cell) -> bool:
        """Whether numbers stand beside the circle, not below it."""
        return cell.width > 1.2 * cell.height

    def _said(self, cell: Cell) -> list[int]:
        """The curves of a cell whose numbers have room."""
        room = cell.height - (self._top(cell) - cell.y) if self._is_beside(cell) else cell.height // 2
        return list(cell.curves[: max(1, (room - 2 * self._pad) // letters.height(self._size))])

    def _circle(self, cell: Cell) -> tuple[float, float, float]:
        """Middle and radius of the circumplex."""
        line = letters.height(self._size)
        top = self._top(cell) + line
        below = 0 if self._is_beside(cell) else len(self._said(cell)) * line + self._pad
        room = cell.y + cell.height - top - below - self._pad
        wide = cell.width * (0.55 if self._is_beside(cell) else 1)
        radius = max(8.0, min(wide / 2 - 2 * self._pad, room / 2))
        return cell.x + wide / 2, top + max(room / 2, radius), radius

    def _number_place(self, cell: Cell, row: int, rows: int) -> tuple[float, float, int]:
        """Middle, top and greatest width of one of the lines of numbers."""
        line = letters.height(self._size)
        if self._is_beside(cell):
            middle = (self._top(cell) + line + cell.y + cell.height - self._pad) / 2
            return cell.x + cell.width * 0.77, middle + (row - rows / 2) * line, round(cell.width * 0.44)
        bottom = cell.y + cell.height - self._pad // 2
        return cell.x + cell.width / 2, bottom - (rows - row) * line, cell.width - 2 * self._pad

    def _draw_circle(self, cell: Cell) -> None:
        x, y, radius = self._circle(cell)
        angles = np.linspace(0, 2 * np.pi, 121)
        thick = max(1.0, 1.2 * self._unit)
        lines(self._still, [np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])], GRID, thick)
        fill(self._still, x - radius, y, x + radius, y + 1, GRID)
        fill(self._still, x, y - radius, x + 1, y + radius, GRID)
        line = letters.height(self._size)
        letters.write(self._still, "arousal", x, y - radius - line, self._size, DIM, side="middle", outline=0)
        if radius > 1.3 * letters.width("valence", self._size):
            letters.write(
                self._still, "valence", x + radius - self._pad, y + 2, self._size, DIM, side="right", outline=0
            )

    def _points(self, image: Picture, cell: Cell, scores: Sequence[Floats], trails: Sequence[Floats]) -> None:
        x, y, radius = self._circle(cell)
        said = self._said(cell)
        size = max(2.0, 4.5 * self._unit)
        for number in cell.curves:
            self._trail(image, (x, y, radius), size, self._curves[number], trails[number])
        for number in cell.curves:
            curves, values = self._curves[number], scores[number]
            colour = of_series(0) if curves.face is None else of_face(curves.face)
            face = "" if curves.face is None else f"#{curves.face}  "
            long = short = curves.unseen
            if np.isfinite(values).all():
                valence, arousal = (float(values[curves.names.index(name)]) for name in AFFECT)
                for part, shade in ((1.35, BLACK), (1.0, WHITE), (0.7, colour)):
                    dot(image, x + radius * valence, y - radius * arousal, size * part, shade)
                long, short = (
                    f"{v}{valence:+.2f}  {a}{arousal:+.2f}" for v, a in (("valence ", "arousal "), ("V ", "A "))
                )
            if number in said:
                middle, top, most = self._number_place(cell, said.index(number), len(said))
                text = long if letters.width(face + long, self._size) <= most else short
                letters.write(image, face + text, middle, top, self._size, colour, side="middle", outline=0)

    def _trail(
        self, image: Picture, circle: tuple[float, float, float], size: float, curves: ScoreCurves, trail: Floats
    ) -> None:
        x, y, radius = circle
        colour = of_series(0) if curves.face is None else of_face(curves.face)
        columns = [curves.names.index(name) for name in AFFECT]
        for number, (valence, arousal) in enumerate(trail[-_DOTS:][:, columns].tolist()):
            if np.isfinite(valence) and np.isfinite(arousal):
                age = (number + 1) / (min(len(trail), _DOTS) + 1)
                dot(
                    image, x + radius * valence, y - radius * arousal, size * (0.3 + 0.4 * age), colour, 0.2 + 0.5 * age
                )


def _place(curves: ScoreCurves, value: float, left: int, right: int) -> int:
    """Where a value lies along a bar."""
    low, high = curves.range
    return left + round((right - left) * min(max((value - low) / (high - low), 0.0), 1.0))
