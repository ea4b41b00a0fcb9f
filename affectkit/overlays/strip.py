"""The strip of curves below a picture, with a cursor at the moment that is shown.

A clip no longer than `SPAN` is shown whole; of a longer one a window of that length goes along. Curves are drawn once,
a window's width at a time, and copied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from affectkit.overlays import letters
from affectkit.overlays.colours import BLACK, DIM, GAP, GRID, GROUND, PANEL, TEXT, WHITE, of_face, of_series
from affectkit.overlays.curves import ScoreCurves, gaps
from affectkit.overlays.shapes import Picture, fill
from affectkit.types import Bools

SPAN = 20.0
"""Seconds that are seen at once, at most."""
MOST_LANES = 4
MOST_CURVES = 8
"""Curves of a lane; of more, those that are highest on average."""
_FINE = 2
_TILES = 4
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # s between two marks


@dataclass(frozen=True)
class Lane:
    """Where one model's curves lie in the strip: rows top to bottom (pixels), and the columns that are drawn."""

    curves: ScoreCurves
    columns: tuple[int, ...]
    legend: tuple[tuple[tuple[int, int], str, int], ...]
    top: int
    bottom: int


class CurveStrip:
    """Curves of some models over a clip's time, `width` pixels wide.

    unit: pixels of what is one pixel in a picture 360 pixels high; height: of the whole strip.
    """

    def __init__(self, curves: Sequence[ScoreCurves], duration: float, width: int, unit: float) -> None:
        self._duration, self._width, self._unit = max(duration, 1e-3), width, unit
        self._size = max(10, round(12 * unit))
        self._pad = max(2, round(6 * unit))
        self._gutter = letters.width("-1.0", self._size) + 2 * self._pad
        self._plot = max(8, width - self._gutter - self._pad)
        self._span = min(self._duration, SPAN)
        self._clock = letters.width(clock(self._duration), self._size) + 2 * self._pad
        self._lanes: list[Lane] = []
        y = self._pad
        lane_height = round({1: 64, 2: 52}.get(len(curves), 40) * unit)
        for each in curves[:MOST_LANES]:
            named = any(lane.curves.model == each.model and lane.curves.names == each.names for lane in self._lanes)
            lane = self._lane(each, y, lane_height, with_names=not named)
            self._lanes.append(lane)
            y = lane.bottom + self._pad
        self._axis = y
        self.height = y + letters.height(self._size) + self._pad // 2 if self._lanes else 0
        self._tiles: OrderedDict[int, Picture] = OrderedDict()
        self._still = self._drawn_still() if self._lanes else np.zeros((0, width, 3), np.uint8)

    def _lane(self, curves: ScoreCurves, y: int, lane_height: int, *, with_names: bool) -> Lane:
        count = len(curves.names)
        columns = tuple(range(count))
        if count > MOST_CURVES:
            with np.errstate(all="ignore"):
                means = (
                    np.nan_to_num(np.nanmean(curves.scores, axis=0), nan=-np.inf)
                    if len(curves.scores)
                    else np.zeros(count)
                )
            columns = tuple(sorted(np.argsort(-means, kind="stable")[:MOST_CURVES].tolist()))
        title = title_of(curves, len(columns))
        line, right = letters.height(self._size), self._width - self._pad
        x, legend = self._gutter, []
        shown = letters.fitted(title, self._size, right - x)
        legend.append(((x, y), shown, -1))
        x += letters.width(shown, self._size) + 2 * self._pad
        for place, column in enumerate(columns if with_names else ()):
            name = letters.fitted(curves.names[column], self._size, right - self._gutter)
            wide = letters.width(name, self._size)
            if x + wide > right and x > self._gutter:
                x, y = self._gutter, y + line
            legend.append(((x, y), name, place))
            x += wide + 2 * self._pad
        top = y + line + max(1, self._pad // 3)
        return Lane(curves, columns, tuple(legend), top, top + lane_height)

    def draw(self, image: Picture, time: float) -> None:
        """Draw the strip into a picture [height,width,3] for the moment `time` (s)."""
        image[...] = self._still
        start = min(max(0.0, time - self._span / 2), self._duration - self._span)
        per_second = self._plot / self._span
        offset = round(start * per_second)
        number, into = divmod(offset, self._plot)
        x, left = self._gutter, self._plot
        while left > 0:
            tile = self._tile(number)
            count = min(left, self._plot - into)
            image[:, x : x + count] = tile[:, into : into + count]
            x, left, number, into = x + count, left - count, number + 1, 0
        self._draw_cursor(image, time, start, per_second)

    @cached_property
    def _tick_step(self) -> float:
        """Seconds between two marks, so many that their texts do not touch, the first one moved in from the edge."""
        per_second = self._plot / self._span
        wide = letters.width(_short(max(self._duration, 60.0), 1), self._size) + 2 * self._pad
        return next((each for each in _STEPS if each * per_second >= 1.5 * wide), _STEPS[-1])

    def _draw_cursor(self, image: Picture, time: float, start: float, per_second: float) -> None:
        thick = max(1, round(1.5 * self._unit))
        x = self._gutter + min(max(0, round((time - start) * per_second)), self._plot - 1)
        for lane in self._lanes:
            fill(image, x - thick // 2 - 1, lane.top, x + thick - thick // 2 + 1, lane.bottom, BLACK)
            fill(image, x - thick // 2, lane.top, x + thick - thick // 2, lane.bottom, WHITE)
        said, right = clock(time), self._width - self._pad
        fill(image, right - self._clock, self._axis, self._width, self.height, GROUND)
        letters.write(image, said, right, self._axis, self._size, WHITE, side="right", outline=0)

    def _drawn_still(self) -> Picture:
        """What does not move: names, the axes' ends."""
        image = np.empty((self.height, self._width, 3), np.uint8)
        image[...] = GROUND
        for lane in self._lanes:
            for (x, y), text, place in lane.legend:
                face = lane.curves.face
                colour = of_series(place) if place >= 0 else TEXT if face is None else of_face(face)
                letters.write(image, text, x, y, self._size, colour, outline=0)
            low, high = lane.curves.range
            half = letters.height(self._size) // 2
            ends = [(high, lane.top - half // 2), (low, lane.bottom - half - half // 2)]
            if low < 0 < high and lane.bottom - lane.top > 5 * half:
                ends.append((0.0, (lane.top + lane.bottom) // 2 - half if low == -high else -99))
            for value, y in ends:
                if y >= 0:
                    text = f"{value:+.0f}" if low < 0 and value else f"{value:.3g}"
                    letters.write(
                        image, text, self._gutter - self._pad // 2 - 1, y, self._size, DIM, side="right", outline=0
                    )
        return image

    def _tile(self, number: int) -> Picture:
        """The window of curves with this number, [height,plot,3]."""
        if number in self._tiles:
            self._tiles.move_to_end(number)
            return self._tiles[number]
        tile = self._drawn(number)
        self._tiles[number] = tile
        if len(self._tiles) > _TILES:
            self._tiles.popitem(last=False)
        return tile

    def _drawn(self, number: int) -> Picture:
        per_second = self._plot / self._span
        start = number * self._span
        image = np.asarray(self._still)[:, :1].repeat(self._plot, axis=1).copy()
        image[...] = GROUND
        for lane in self._lanes:  # names lie above the plot and do not move
            above = lane.legend[0][0][1]
            image[above : lane.top] = self._still[above : lane.top, self._gutter : self._gutter + self._plot]
            image[lane.top : lane.bottom] = PANEL
        is_whole = self._duration <= self._span
        reached = -self._pad
        for second, text in ticks(start, start + self._span, self._tick_step):
            x = round((second - start) * per_second)
            for lane in self._lanes:
                fill(image, x, lane.top, x + 1, lane.bottom, GRID)
            half = letters.width(text, self._size) // 2
            if x >= half or (is_whole and not number):
                x = max(x, half)
                if x - half >= reached + self._pad and (not is_whole or x + half < self._plot - self._clock):
                    letters.write(image, text, x, self._axis, self._size, DIM, side="middle", outline=0)
                    reached = x + half
        margin = 2 / per_second
        moments = np.arange(start - margin, start + self._span + margin, 0.5 / per_second)
        moments = moments[(moments >= 0) & (moments <= self._duration)]
        for lane in self._lanes:
            self._draw_lane(image, lane, moments, start, per_second)
        return image

    def _draw_lane(self, image: Picture, lane: Lane, moments: np.ndarray, start: float, per_second: float) -> None:
        if not len(moments):
            return
        values = lane.curves.at(moments)
        low, high = lane.curves.range
        scored: Bools = np.asarray(np.isfinite(values).all(axis=1))
        unseen: list[tuple[str, float, float]] = []
        for begin, end in gaps(scored, moments):
            left, right = (begin - start) * per_second, (end - start) * per_second + 1
            fill(image, left, lane.top, right, lane.bottom, GAP)
            text, middle = lane.curves.unseen, (max(left, 0) + min(right, self._plot)) / 2
            if min(right, self._plot) - max(left, 0) > letters.width(text, self._size) + 2 * self._pad:
                unseen.append((text, middle, (lane.top + lane.bottom - letters.height(self._size)) / 2))
        height, thick = lane.bottom - lane.top, max(1.0, 1.6 * self._unit)
        if low < 0 < high:
            zero = lane.bottom - height * (0 - low) / (high - low)
            fill(image, 0, zero, self._plot, zero + 1, GRID)
        layer = Pillow.fromarray(image[lane.top : lane.bottom]).resize(
            (self._plot * _FINE, height * _FINE), Pillow.Resampling.NEAREST
        )
        pen = ImageDraw.Draw(layer)
        x = (moments - start) * per_second * _FINE
        inner = height - 2 * thick
        for place, column in enumerate(lane.columns):
            y = (thick + inner * (1 - (values[:, column] - low) / (high - low))) * _FINE
            for part in np.split(np.arange(len(x)), np.flatnonzero(np.diff(scored)) + 1):
                if scored[part[0]] and len(part) > 1:
                    pen.line(
                        np.column_stack([x[part], y[part]]).ravel().tolist(),
                        of_series(place),
                        round(thick * _FINE),
                        joint="curve",
                    )
        image[lane.top : lane.bottom] = np.asarray(layer.resize((self._plot, height), Pillow.Resampling.BOX))
        for text, middle, top in unseen:
            letters.write(image, text, middle, top, self._size, DIM, side="middle", outline=0)


def title_of(curves: ScoreCurves, shown: int | None = None) -> str:
    """A model's name with its face, and how many of its scores are shown."""
    face = "" if curves.face is None else f" #{curves.face}"
    some = f" ({shown} of {len(curves.names)})" if shown is not None and shown < len(curves.names) else ""
    return f"{curves.model}{face}{some}"


def clock(seconds: float) -> str:
    """A time as it is read: minutes and seconds to a hundredth.

    >>> clock(61.239), clock(3600)
    ('1:01.23', '1:00:00.00')
    """
    whole = int(seconds * 100 + 1e-6)
    minutes, hundredths = divmod(whole, 6000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{hundredths // 100:02d}.{hundredths % 100:02d}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def ticks(start: float, end: float, step: float) -> list[tuple[float, str]]:
    """The multiples of a step from `start` to before `end`, and how they are written.

    >>> ticks(0.1, 1.5, 0.5)
    [(0.5, '0:00.5'), (1.0, '0:01.0')]
    """
    first = int(np.ceil(start / step - 1e-9))
    moments = [number * step for number in range(first, int(np.ceil(end / step - 1e-9)))]
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    return [(moment, _short(moment, digits)) for moment in moments]


def _short(seconds: float, digits: int) -> str:
    minutes, rest = divmod(round(seconds, digits), 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:0{3 + digits if digits else 2}.{digits}f}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
