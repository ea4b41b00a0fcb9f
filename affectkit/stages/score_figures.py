"""Pictures of scores without labels: one face's curves over a clip, and all clips beside each other.

However long a clip is, a picture has as many columns. A band reaches from the least to the most of what falls into one,
so that no short rise is lost; a line is the mean of longer stretches. Imports matplotlib: import inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from affectkit.drawing.curves import binned_rows, spans_of, steps, time_axis
from affectkit.drawing.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LEAST,
    LIGHT,
    PAGE,
    SHADE,
    SMALL,
    VERMILLION,
    figure_of,
    shortened,
    styled,
    write,
)
from affectkit.tables.episodes import Episode, extents
from affectkit.types import Bools, Floats

COLUMNS = 900
"""Stretches of time that a picture tells apart, of which a long clip shows the least and the most."""
MEANS = 150
"""Stretches of a long clip whose mean is a line: a finer one would fill its panel where scores change fast."""
ROWS_A_PAGE = 40
"""Faces beside each other on one page of the overview."""
_STRIP = 500
_WIDTH, _LEFT, _RIGHT = PAGE, 1.3, 0.82  # inches
_DPI = 180  # for the screen, and half as many bytes as for print: there may be a thousand of them
_BETWEEN = 0.14  # inches between panels


@dataclass(frozen=True, repr=False)
class Curve:
    """One score of a face: values [T], what it may be (low to high), its mean, and the episodes above the threshold.

    is_probability: drawn lower, and filled from 0.
    """

    name: str
    values: Floats
    low: float
    high: float
    mean: float
    episodes: Sequence[Episode]
    is_probability: bool


@dataclass(frozen=True, repr=False)
class Timeline:
    """What is drawn of one face: rows [T] with the time that each stands for, whether a face was seen, and curves by
    model; speech [T] where it is known; under the picture, a note."""

    title: str
    start: Floats
    end: Floats
    seen: Bools
    curves: Sequence[tuple[str, Sequence[Curve]]]
    threshold: float
    note: str
    speech: Floats | None = None
    unseen: str = "no face found"


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Write the curves of one face as PNG."""
    with styled():
        _save(_timeline(timeline), path)


def _timeline(timeline: Timeline) -> Figure:
    times = extents(timeline.start, timeline.end)
    panels = [curve for _, curves in timeline.curves for curve in curves]
    heads = 0.24 * (len(timeline.curves) if len(timeline.curves) > 1 else 0)
    note = fill(timeline.note, 138)
    top, bottom = 0.4, 0.56 + 0.125 * (1 + note.count("\n"))
    strip = 0.0 if timeline.speech is None else 0.24
    height = top + heads + sum(_tall(curve) + _BETWEEN for curve in panels) + strip + bottom
    figure = figure_of(_WIDTH, height)
    figure.text(0.1 / _WIDTH, 1 - 0.22 / height, shortened(timeline.title, 88), fontsize=9, va="center")
    spans = spans_of(times, ~timeline.seen)
    binned = len(times) > 2 * COLUMNS
    at = height - top
    axes: Axes | None = None
    for model, curves in timeline.curves:
        if heads:
            at -= 0.24
            figure.text(0.1 / _WIDTH, (at + 0.09) / height, model, fontsize=8, fontweight="bold", va="center")
        for curve in curves:
            at -= _tall(curve) + _BETWEEN
            axes = figure.add_axes(_box(at, _tall(curve), height), sharex=axes)
            _panel(axes, curve, times, spans, timeline.threshold, binned)
    if timeline.speech is not None:
        at -= strip
        axes = figure.add_axes(_box(at, 0.1, height), sharex=axes)
        _speech(axes, spans_of(times, timeline.speech == 1))
    assert axes is not None, "a table has columns"
    low, high = (float(times[0, 0]), float(times[-1, 1])) if len(times) else (0.0, 1.0)
    axes.set_xlim(low, high)
    time_axis(axes, low, high)
    axes.tick_params(labelbottom=True, bottom=True)
    lines = ""
    if binned:
        lines = f"; band: least and most in {(high - low) / COLUMNS:.2g} s, line: mean of {(high - low) / MEANS:.2g} s"
    shade = f"; grey: {timeline.unseen}" if spans else ""
    bars = f"; orange bars: {timeline.threshold:g} or more" if any(curve.episodes for curve in panels) else ""
    figure.text(
        _LEFT / _WIDTH, (bottom - 0.37) / height, f"time (m:ss){lines}{shade}{bars}", fontsize=SMALL, va="center"
    )
    figure.text(0.1 / _WIDTH, 0.07 / height, note, fontsize=LEAST, color="#555555", va="bottom", linespacing=1.25)
    return figure


def _panel(
    axes: Axes, curve: Curve, times: Floats, spans: Sequence[tuple[float, float]], threshold: float, binned: bool
) -> None:
    for begin, end in spans:
        axes.axvspan(begin, end, color=SHADE, linewidth=0, zorder=0)
    base = 0.0 if curve.low <= 0 <= curve.high else curve.low
    if binned:
        edges, _, least, most = binned_rows(times, curve.values, COLUMNS)
        axes.fill_between(edges, np.append(least, least[-1]), np.append(most, most[-1]), step="post", color=BLUE,
                          alpha=0.3, linewidth=0)  # fmt: skip
        edges, mean, _, _ = binned_rows(times, curve.values, MEANS)
        axes.plot(*steps(np.stack([edges[:-1], edges[1:]], axis=1), mean), color=BLUE, linewidth=1.0)
    else:
        x, y = steps(times, curve.values)
        axes.fill_between(x, base, y, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot(x, y, color=BLUE, linewidth=1.0)
    if curve.low < 0 < curve.high:
        axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    if curve.low <= threshold <= curve.high:
        axes.axhline(threshold, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    span = curve.high - curve.low
    for episode in curve.episodes:
        axes.plot(
            [episode.start, episode.end], [curve.high + 0.055 / _tall(curve) * span] * 2, color=VERMILLION,
            linewidth=2.2, solid_capstyle="butt", clip_on=False, zorder=4,
        )  # fmt: skip
    axes.set_ylim(curve.low, curve.high + 0.01 * span)
    ticks = [curve.low, curve.high] if curve.is_probability else [curve.low, (curve.low + curve.high) / 2, curve.high]
    axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks], fontsize=LEAST)
    axes.tick_params(axis="both", length=2, pad=2, labelbottom=False, bottom=False)
    label = shortened(curve.name.replace("_", " "), 17)
    _name(axes, label)
    told = "no score" if np.isnan(curve.mean) else f"mean {curve.mean:.2f}"
    axes.text(1.012, 0.5, told, transform=axes.transAxes, fontsize=SMALL, va="center", color="#333333")


def _tall(curve: Curve) -> float:
    """The height of a panel (inches)."""
    return 0.5 if curve.is_probability else 0.95


def _speech(axes: Axes, spans: Sequence[tuple[float, float]]) -> None:
    for begin, end in spans:
        axes.axvspan(begin, end, color=GREEN, linewidth=0)
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    _name(axes, "speech")


@dataclass(frozen=True, repr=False)
class OverviewRow:
    """One face in the overview: its name, the lead score in `COLUMNS` stretches of its clip, the clip's length (s), in
    which of the stretches no face was seen, and the means that stand beside it; few: how many rows they are of, where
    these are too few to say much."""

    name: str
    strip: Floats
    unseen: Bools
    seconds: float
    means: Floats
    few: int | None = None


def strip_of(start: Floats, end: Floats, values: Floats, seen: Bools) -> tuple[Floats, Bools, float]:
    """A score in stretches of equal length, as means, NaN where there is none; whether no face was seen in the whole of
    a stretch; and the length of all (s)."""
    times = extents(start, end)
    if not len(times):
        return np.full(1, np.nan), np.ones(1, bool), 0.0
    count = min(_STRIP, len(times))
    _, mean, _, _ = binned_rows(times, values, count)
    _, _, _, any_seen = binned_rows(times, seen.astype(float), count)
    return mean, ~(any_seen > 0), float(times[-1, 1] - times[0, 0])


def draw_overview(
    rows: Sequence[OverviewRow], lead: str, bounds: tuple[float, float], columns: Sequence[str], title: str, note: str,
    path: Path, unseen: str = "no face found",
) -> None:  # fmt: skip
    """Write one page: every face's lead score over time, and the means of `columns`, as PNG."""
    with styled():
        _save(_overview(rows, lead, bounds, columns, title, note, unseen), path)


def _overview(
    rows: Sequence[OverviewRow], lead: str, bounds: tuple[float, float], columns: Sequence[str], title: str, note: str,
    unseen: str,
) -> Figure:  # fmt: skip
    few = [f" ({row.few} row{'' if row.few == 1 else 's'})" if row.few is not None else "" for row in rows]
    names = [f"{shortened(row.name, 28)}{text}" for row, text in zip(rows, few, strict=True)]
    left = 0.2 + 0.073 * max(map(len, names))
    cell = 0.42
    right = 0.1 + cell * len(columns)
    strip = max(PAGE - left - right - 0.42, 2.0)
    width = left + strip + right + 0.42
    text = fill(note, int(width * 19.5))
    top, bottom = 1.0, 1.02 + 0.125 * (1 + text.count("\n"))
    tall = 0.26 * len(rows)
    height = top + tall + bottom
    figure = figure_of(width, height)
    figure.text(0.1 / width, 1 - 0.2 / height, title, fontsize=9, va="center")
    axes = figure.add_axes((left / width, bottom / height, strip / width, tall / height))
    longest = max((row.seconds for row in rows), default=1.0) or 1.0
    colours = matplotlib.colormaps["RdBu" if bounds[0] < 0 else "Blues"]
    norm = Normalize(*bounds)
    for place, row in enumerate(rows):
        line = place + 0.12, place + 0.88
        extent = (0.0, max(row.seconds, 1e-9), line[1], line[0])
        image: dict[str, Any] = {"extent": extent, "aspect": "auto", "interpolation": "nearest"}
        axes.imshow(np.where(row.unseen & np.isnan(row.strip), 1.0, np.nan)[None], cmap=_GREY, vmin=0, vmax=1, **image)
        axes.imshow(row.strip[None], cmap=colours, norm=norm, **image)
        axes.plot(
            [0, row.seconds, row.seconds, 0, 0], [line[0], line[0], line[1], line[1], line[0]], color=LIGHT, lw=0.5
        )
    axes.set_xlim(0, longest)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left"]].set_visible(False)
    axes.set_title(lead.replace("_", " "), fontsize=9, loc="left", pad=4)
    time_axis(axes, 0.0, longest, 6)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.set_xlabel(f"time (m:ss); grey: {unseen}", fontsize=8)
    bar = figure.add_axes((left / width, (bottom - 0.66) / height, 1.6 / width, 0.09 / height))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=colours, aspect="auto", extent=(*bounds, 0.0, 1.0))
    bar.set_yticks([])
    ticks = [bounds[0], (bounds[0] + bounds[1]) / 2, bounds[1]]
    bar.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], fontsize=SMALL)
    bar.tick_params(length=2, pad=1)
    _means(figure, rows, columns, (left + strip + 0.1, bottom, cell * len(columns), tall), (width, height))
    figure.text(0.1 / width, 0.07 / height, text, fontsize=LEAST, color="#555555", va="bottom", linespacing=1.25)
    return figure


def _means(
    figure: Figure, rows: Sequence[OverviewRow], columns: Sequence[str], box: tuple[float, float, float, float],
    size: tuple[float, float],
) -> None:  # fmt: skip
    """Means as numbers on a shade: of classes of their share of 1, of other values of their distance from 0; those of
    few rows are grey, on none."""
    if not columns:
        return
    values = np.array([row.means for row in rows])
    axes = figure.add_axes((box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]))
    shade = np.abs(np.nan_to_num(values)).clip(0, 1)
    shade[[row.few is not None for row in rows]] = 0
    axes.imshow(shade, vmin=0, vmax=1.25, cmap="Blues", aspect="auto", extent=(0, len(columns), len(rows), 0))
    for (line, place), value in np.ndenumerate(values):
        colour = "white" if shade[line, place] > 0.7 else BLACK if rows[line].few is None else GREY
        text = "" if np.isnan(value) else f"{value:.2f}"
        axes.text(place + 0.5, line + 0.5, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_yticks([])
    axes.xaxis.tick_top()
    labels = [shortened(name.replace("_", " "), 16) for name in columns]
    axes.set_xticks(
        np.arange(len(columns)) + 0.5, labels, fontsize=SMALL, rotation=40, ha="left", rotation_mode="anchor"
    )
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("means", fontsize=8)


_GREY = ListedColormap([SHADE])


def _box(at: float, tall: float, height: float) -> tuple[float, float, float, float]:
    return _LEFT / _WIDTH, at / height, (_WIDTH - _LEFT - _RIGHT) / _WIDTH, tall / height


def _name(axes: Axes, name: str) -> None:
    """Write what a panel shows to the left of it."""
    axes.annotate(
        name, (0, 0.5), xycoords="axes fraction", xytext=(-24, 0), textcoords="offset points", fontsize=8, ha="right",
        va="center",
    )  # fmt: skip


def _save(figure: Figure, path: Path) -> None:
    figure.set_layout_engine("none")
    write(figure, path, "png", _DPI)
