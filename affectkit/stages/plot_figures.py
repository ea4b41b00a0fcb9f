"""Figures of predictions and labels. Imports matplotlib: import inside functions only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from affectkit import metrics
from affectkit.drawing.curves import binned_rows, steps, time_axis
from affectkit.drawing.style import (
    BLACK,
    BLUE,
    BODY,
    COLUMN,
    GREY,
    LEAST,
    LIGHT,
    PAGE,
    SERIES,
    SHADE,
    SMALL,
    TALLEST,
    VERMILLION,
    figure_of,
    plain,
    shortened,
)
from affectkit.stages.figures import confusion, reliability
from affectkit.stages.plot_data import (
    LABELS,
    PlotData,
    PlotTrack,
    Spaghetti,
    circumplex_columns,
    circumplex_rows,
    merged,
    sampled,
    spaghetti_of,
)
from affectkit.stages.scoring import calibration_curves
from affectkit.types import Bools, Floats

Drawing = tuple[str, Callable[[], Figure]]
"""The name of a file without suffix, and what draws it."""

STRETCHES = 300
"""Stretches of time that a small panel tells apart; longer clips are a band from least to most, and a mean."""
MEANS = 100
CELLS, FEW_CELLS, FEW_ROWS = 40, 20, 2000
"""Cells a side of a density, and fewer where there are fewer rows."""
_SIGNED = ["−1", "−0.5", "0", "0.5", "1"]
_CROSS: dict[str, Any] = {
    "marker": "P", "linestyle": "none", "color": VERMILLION, "markersize": 5, "markeredgecolor": "white",
    "markeredgewidth": 0.5,
}  # fmt: skip
_BEYOND = 0.25
"""How far values may be beyond a task's scale to be on it still."""
_ON_WHITE: dict[str, Any] = {"facecolor": "white", "linewidth": 0, "pad": 1}
_THREAD = "#A8A8A8"
_LETTER = 0.052  # inches, of SMALL letters
_HEAD, _FOOT = 0.32, 0.36  # inches
_TITLE, _TICKS = 0.16, 0.2  # inches above and below a panel


def timelines(data: PlotData) -> Iterator[Drawing]:
    """Small panels, one a clip: of a regression a figure a target, else one a prediction set; page by page."""
    if data.task.kind == "regression":
        for column, target in enumerate(data.task.targets):
            ends = _range_of(data, column)
            pages = _pages(data, 0.62, 0.4)
            for number, clips in enumerate(pages, start=1):
                name = f"timeline-{_slug(target)}{_page(number, pages)}"
                yield name, _LinePage(data, clips, column, ends)
        return
    sources: Sequence[str | None] = [each.name for each in data.sets] or [None]
    for place, source in enumerate(sources):
        names = _slugs([source or "" for source in sources])
        end = f"-{names[place]}" if len(sources) > 1 else ""
        pages = _pages(data, _tall(data), _left(data))
        for number, clips in enumerate(pages, start=1):
            yield f"timeline{end}{_page(number, pages)}", _ClassPage(data, clips, source)


def circumplex(data: PlotData) -> Iterator[Drawing]:
    """Densities over valence and arousal, of the labels and of every set side by side."""
    yield "circumplex", lambda: densities(data)


def subjects(data: PlotData) -> Iterator[Drawing]:
    """Lines of subjects with their mean, a panel a target; labels and sets side by side where they are few."""
    is_small = data.task.outputs <= 4 and len(data.sources) <= 3
    groups = [data.sources] if is_small or data.task.level == "clip" else [[source] for source in data.sources]
    names = _slugs(data.sources)
    for place, group in enumerate(groups):
        end = f"-{names[place]}" if len(groups) > 1 else ""
        yield f"subjects{end}", lambda group=group: spaghetti(data, group)  # type: ignore[misc]


def reliabilities(data: PlotData) -> Iterator[Drawing]:
    """A reliability diagram a set, with the rows of each probability."""
    scored = data.scored
    assert scored is not None
    names = _slugs([each.name for each in data.sets])
    for place, each in enumerate(data.sets):
        title, end = ("", "") if len(data.sets) == 1 else (shortened(each.name, 50), f"-{names[place]}")
        curves = calibration_curves(data.task, scored.truth, scored.scores[place])
        yield f"reliability{end}", lambda curves=curves, title=title: reliability(curves, title)  # type: ignore[misc]


def confusions(data: PlotData) -> Iterator[Drawing]:
    """A table a set: rows by their true and their predicted class."""
    scored = data.scored
    assert scored is not None
    names = _slugs([each.name for each in data.sets])
    for place, each in enumerate(data.sets):
        title, end = ("", "") if len(data.sets) == 1 else (shortened(each.name, 50), f"-{names[place]}")
        cells = metrics.confusion(scored.truth[:, 0], scored.scores[place].argmax(axis=1), data.task.outputs)
        yield f"confusion{end}", lambda cells=cells, title=title: confusion(data.task.targets, cells, title)  # type: ignore[misc]


DRAWN: dict[str, Callable[[PlotData], Iterator[Drawing]]] = {
    "timeline": timelines, "circumplex": circumplex, "subjects": subjects, "reliability": reliabilities,
    "confusion": confusions,
}  # fmt: skip
"""What draws each kind."""


class _Page:
    """Small panels of some clips, laid out by hand: the same panel is the same size on every page."""

    def __init__(self, data: PlotData, clips: Sequence[str], tall: float, left: float) -> None:
        self._data, self._clips, self._tall, self._left = data, clips, tall, left

    def __call__(self) -> Figure:
        """The page. A figure of one clip is as wide as that of many."""
        columns = _columns(len(self._data.clips))
        lines = -(-len(self._clips) // columns)
        between = 0.22
        wide = (PAGE - self._left - 0.12 - between * (columns - 1)) / columns
        step = _TITLE + self._tall + _TICKS
        height = _HEAD + lines * step + _FOOT - _TICKS + 0.04
        figure = figure_of(PAGE, height)
        figure.set_layout_engine("none")
        has_gaps = False
        for place, clip in enumerate(self._clips):
            line, column = divmod(place, columns)
            bottom = height - _HEAD - line * step - _TITLE - self._tall
            x = self._left + column * (wide + between)
            axes = figure.add_axes((x / PAGE, bottom / height, wide / PAGE, self._tall / height))
            axes.set_title(shortened(clip, max(8, int(wide / _LETTER))), fontsize=SMALL, loc="left", pad=2)
            low, high = self._data.span(clip)
            axes.set_xlim(low, high)
            time_axis(axes, low, high, 4 if columns > 1 else 9)
            axes.tick_params(axis="both", length=2, pad=1.5, labelsize=LEAST)
            _inward(axes, low, high)
            gaps = self._data.unscored(clip)
            has_gaps |= bool(gaps)
            for begin, end in gaps:
                axes.axvspan(begin, end, color=SHADE, linewidth=0, zorder=0)
            self._panel(axes, clip, is_first=column == 0)
        figure.text(0.08 / PAGE, 1 - 0.15 / height, self._heading(), fontsize=BODY, va="center")
        self._legend(figure, has_gaps)
        foot = f"time in the clip (m:ss){self._about()}"
        figure.text(self._left / PAGE, 0.09 / height, foot, fontsize=SMALL, va="center")
        return figure

    def _panel(self, axes: Axes, clip: str, is_first: bool) -> None:
        raise NotImplementedError

    def _handles(self) -> list[Any]:
        raise NotImplementedError

    def _heading(self) -> str:
        raise NotImplementedError

    def _about(self) -> str:
        return ""

    def _counted(self) -> str:
        """Which of the clips are on this page, where there are several pages."""
        first, total = list(self._data.clips).index(self._clips[0]) + 1, len(self._data.clips)
        if total == len(self._clips):
            return f"{total} clips" if total > 1 else "1 clip"
        return f"clips {first} to {first + len(self._clips) - 1} of {total}"

    def _legend(self, figure: Figure, has_gaps: bool) -> None:
        handles = self._handles()
        if has_gaps:
            what = "no score" if self._data.sets else "no label"
            handles.append(Patch(color=SHADE, label=what))
        figure.legend(
            handles=handles, loc="upper right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), handlelength=1.4,
            columnspacing=1.2, handletextpad=0.5, borderaxespad=0.25,
        )  # fmt: skip


class _LinePage(_Page):
    """One target of a regression: predictions in colours, labels over them in black."""

    def __init__(self, data: PlotData, clips: Sequence[str], column: int, ends: _Range) -> None:
        super().__init__(data, clips, 0.62 if len(data.clips) > 1 else 1.6, 0.4)
        self._column, self._ends = column, ends

    def _panel(self, axes: Axes, clip: str, is_first: bool) -> None:
        for place, each in enumerate(self._data.sets):
            if track := self._data.tracks(each.name).get(clip):
                _draw_line(axes, track, self._column, SERIES[place], 1.2)
        if self._data.labels is not None and (track := self._data.tracks(LABELS).get(clip)):
            _draw_line(axes, track, self._column, BLACK, 0.7)
        low, high, ticks = self._ends
        room = 0.03 * (high - low)
        axes.set_ylim(low - room, high + room)
        axes.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        if low < 0 < high:
            axes.axhline(0, color=LIGHT, linewidth=0.5, zorder=0.5)
        if not is_first:
            axes.tick_params(labelleft=False)

    def _handles(self) -> list[Any]:
        lines = [(LABELS, BLACK, 1.0)] if self._data.labels is not None else []
        most = 60 // max(len(self._data.sets), 1)
        lines += [(shortened(each.name, most), SERIES[place], 1.6) for place, each in enumerate(self._data.sets)]
        return [Line2D([], [], color=colour, linewidth=width, label=name) for name, colour, width in lines]

    def _heading(self) -> str:
        return f"{shortened(plain(self._data.task.targets[self._column]), 30)}, {self._counted()}"

    def _about(self) -> str:
        is_long = any(
            len(track.times) > 2 * STRETCHES
            for source in self._data.sources for clip in self._clips
            if (track := self._data.tracks(source).get(clip))
        )  # fmt: skip
        return f"; long clips: mean of {MEANS} stretches, band from least to most" if is_long else ""


class _ClassPage(_Page):
    """Classes or labels as lines: shaded by their probability, and marked where they are true."""

    def __init__(self, data: PlotData, clips: Sequence[str], source: str | None) -> None:
        super().__init__(data, clips, _tall(data), _left(data))
        self._source = source

    def _panel(self, axes: Axes, clip: str, is_first: bool) -> None:
        task, (low, high) = self._data.task, self._data.span(clip)
        if self._source is not None and (track := self._data.tracks(self._source).get(clip)):
            usual = float(np.median(np.diff(track.times, axis=1))) if len(track.times) else high - low
            count = int(np.clip(round((high - low) / max(usual, 1e-6)), 1, STRETCHES))
            axes.imshow(
                sampled(track, low, high, count), vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="nearest",
                extent=(low, high, task.outputs - 0.5, -0.5), zorder=1,
            )  # fmt: skip
        if self._data.labels is not None and (track := self._data.tracks(LABELS).get(clip)):
            width = float(np.clip(self._tall / task.outputs * 72 * 0.3, 1.2, 3))
            for place in range(task.outputs):
                runs = merged(track.times[track.values[:, place] >= metrics.THRESHOLD])
                if len(runs):
                    axes.hlines([place] * len(runs), *runs.T, color=VERMILLION, linewidth=width, zorder=3)
        axes.set_xlim(low, high)
        axes.set_ylim(task.outputs - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        names = [shortened(plain(target), 24) for target in task.targets] if is_first else [""] * task.outputs
        axes.set_yticks(range(task.outputs), names, fontsize=LEAST if task.outputs <= 16 else 5)

    def _handles(self) -> list[Any]:
        handles: list[Any] = []
        if self._source is not None:
            handles += [Patch(color=_blue(shade), label=f"probability {shade:g}") for shade in (0.5, 1.0)]
        if self._data.labels is not None:
            handles.append(Line2D([], [], color=VERMILLION, linewidth=2.5, label=LABELS))
        return handles

    def _heading(self) -> str:
        task = shortened(plain(self._data.task.name), 24)
        source = "" if self._source is None else f" by {shortened(self._source, 40)}"
        return f"{task}{source}, {self._counted()}"


def _inward(axes: Axes, low: float, high: float) -> None:
    """Keep the last time of a panel off the first of the next."""
    for tick, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        if tick > high - 0.06 * (high - low):
            text.set_horizontalalignment("right")


def _blue(shade: float) -> Any:
    import matplotlib

    return matplotlib.colormaps["Blues"](shade)


def _draw_line(axes: Axes, track: PlotTrack, column: int, colour: str, width: float) -> None:
    """A line that is level for as long as each row stands; a long one as its mean in stretches, and a band."""
    values = track.values[:, column]
    if len(values) > 2 * STRETCHES:
        edges, _, least, most = binned_rows(track.times, values, STRETCHES)
        axes.fill_between(
            edges, np.append(least, least[-1]), np.append(most, most[-1]), step="post", color=colour, linewidth=0,
            alpha=0.12 if colour == BLACK else 0.25, zorder=2,
        )  # fmt: skip
        edges, values, _, _ = binned_rows(track.times, values, MEANS)
        times = np.stack([edges[:-1], edges[1:]], axis=1)
    else:
        times = track.times
    axes.plot(*steps(times, values), color=colour, linewidth=width, solid_joinstyle="round", zorder=2.5)


class _Range(NamedTuple):
    """What the axis of a target reaches over, and its ticks."""

    low: float
    high: float
    ticks: Sequence[float]


def _range_of(data: PlotData, column: int) -> _Range:
    """-1 to 1, or 0 to 1, and whatever is a little beyond; of other scales, all values and 0."""
    parts = [track.values[:, column] for source in data.sources for track in data.tracks(source).values()]
    values = np.concatenate([np.zeros(0), *parts])
    values = values[np.isfinite(values)]
    if not len(values):
        return _Range(-1, 1, (-1, 0, 1))
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if max(-low, high) <= 1 + _BEYOND:
        first = 0.0 if low == 0 else -1.0
        return _Range(min(low, first), max(high, 1.0), (first, (first + 1) / 2, 1.0))
    ticks = map(float, MaxNLocator(3).tick_values(low, high))
    return _Range(low, high, [tick for tick in ticks if low <= tick <= high])


def _columns(count: int) -> int:
    return min(3, count)


def _tall(data: PlotData) -> float:
    """The height of a panel of classes (inches)."""
    return max(0.62, (0.1 if data.task.outputs <= 16 else 0.085) * data.task.outputs)


def _left(data: PlotData) -> float:
    longest = max(len(target) for target in data.task.targets)
    return 0.16 + 0.052 * min(longest, 24)


def _pages(data: PlotData, tall: float, left: float) -> list[list[str]]:
    """The clips of each page of print."""
    lines = max(1, int((TALLEST - _HEAD - _FOOT) / (_TITLE + tall + _TICKS)))
    clips, size = iter(data.clips), lines * _columns(len(data.clips))
    return list(iter(lambda: list(islice(clips, size)), []))


def _page(number: int, pages: Sequence[Any]) -> str:
    return f"-{number:0{max(2, len(str(len(pages))))}d}" if len(pages) > 1 else ""


def _slug(name: str) -> str:
    """A name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:60] or "x"


def _slugs(names: Sequence[str]) -> list[str]:
    """Parts of files' names, none of them twice."""
    slugs: list[str] = []
    for name in map(_slug, names):
        taken = {slug.casefold() for slug in slugs}
        slugs.append(next(each for each in _numbered(name) if each.casefold() not in taken))
    return slugs


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def densities(data: PlotData) -> Figure:
    """Share of rows in each cell of valence and arousal, on one scale for all panels."""
    rows, columns = circumplex_rows(data), circumplex_columns(data.task)
    assert columns is not None
    count = len(rows)
    across = min(count, 3)
    lines = -(-count // across)
    width = COLUMN if across == 1 else PAGE
    side = (width - 1.15) / across
    figure = figure_of(width, lines * (side + 0.24) + 0.3)
    most = max(map(len, rows.values()))
    size = CELLS if most >= FEW_ROWS else FEW_CELLS
    cells = {name: _density(values, size) for name, values in rows.items()}
    filled = np.concatenate([each[each > 0] for each in cells.values()] or [np.zeros(0)])
    low, high = (float(filled.min()), float(filled.max())) if len(filled) else (0.1, 1.0)
    ends = low, high if high > low else 2 * low
    norm = LogNorm(*ends)
    grid = figure.subplots(lines, across, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    image = None
    turn = np.linspace(0, 2 * np.pi, 361)
    for axes, (name, values) in zip(grid.flat, rows.items(), strict=False):
        share = np.where(cells[name] > 0, cells[name], np.nan)
        image = axes.imshow(
            share.T,
            norm=norm,
            cmap=_seen_blues(),
            extent=(-1, 1, -1, 1),
            origin="lower",
            interpolation="nearest",
            zorder=1,
        )
        axes.axhline(0, color=LIGHT, linewidth=0.5, zorder=0.5)
        axes.axvline(0, color=LIGHT, linewidth=0.5, zorder=0.5)
        axes.plot(np.cos(turn), np.sin(turn), color=GREY, linewidth=0.8, zorder=2, clip_on=False)
        outside = int((np.abs(values) > 1).any(axis=1).sum())
        if len(values):
            mean = values.mean(axis=0)
            axes.plot([mean[0]], [mean[1]], **_CROSS, zorder=3)
        else:
            axes.text(0, 0, "no score", ha="center", va="center", fontsize=SMALL, bbox=_ON_WHITE)
        beyond = f", {outside:,} beyond ±1" if outside else ""
        axes.set_title(
            f"{shortened(name, 12 + int(side * 10) - len(beyond))}: {len(values):,} rows{beyond}", fontsize=SMALL
        )
        axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
        axes.set_xticks([-1, -0.5, 0, 0.5, 1], _SIGNED)
        axes.set_yticks([-1, -0.5, 0, 0.5, 1], _SIGNED)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(data.task.targets[columns[0]])
    for axes in grid[:, 0]:
        axes.set_ylabel(data.task.targets[columns[1]])
    grid[0, 0].legend(handles=[Line2D([], [], **_CROSS, label="mean")], loc="lower left", fontsize=LEAST,
                      bbox_to_anchor=(0.0, 0.005), handletextpad=0.1, borderpad=0)  # fmt: skip
    if len(filled) and image is not None:
        bar = figure.colorbar(
            image, ax=grid, shrink=0.75, pad=0.02, label=f"share of rows (%) in a cell of {2 / size:g}"
        )
        bar.outline.set_linewidth(0.4)
        bar.set_ticks(_round_values(*ends))
        bar.ax.yaxis.set_major_formatter(lambda share, _: f"{share:g}")
        bar.ax.minorticks_off()
    return figure


def _seen_blues() -> Any:
    """Blues whose lightest is told from white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.22, 1, 256)))


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two numbers; of many, the powers alone.

    >>> _round_values(0.015, 0.3)
    [0.02, 0.05, 0.1, 0.2]
    """
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    values = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    inside = [value for value in values if low * 0.999 <= value <= high * 1.001]
    return inside if len(inside) <= 8 else [value for value in inside if f"{value:e}".startswith("1")]


def _density(values: Floats, size: int) -> Floats:
    """[size,size] share of the rows [N,2] in each cell, in percent."""
    edges = np.linspace(-1, 1, size + 1)
    counts, _, _ = np.histogram2d(values[:, 0], values[:, 1], bins=(edges, edges))
    return np.asarray(100 * counts / max(len(values), 1))


def spaghetti(data: PlotData, sources: Sequence[str]) -> Figure:
    """A grey line a subject, and in colour the mean of all with its interval, where there are two or more."""
    tables = {source: spaghetti_of(data, source) for source in sources}
    is_time, count = data.task.level == "time", data.task.outputs
    if is_time:
        panels = [(source, column) for column in range(count) for source in sources]
        across = len(sources) if len(sources) > 1 else min(4, count)
        width, tall, foot = COLUMN if across == 1 else PAGE, 1.35 if across > 1 else 1.7, 0.35
    else:
        panels = [(source, -1) for source in sources]
        across = min(3, len(panels)) if count <= 4 else 1
        width, tall = PAGE if across > 1 or count > 10 else COLUMN, 1.35
        foot = 0.15 + 0.04 * min(max(map(len, data.task.targets)), 24)
    lines = -(-len(panels) // across)
    figure = figure_of(width, lines * tall + foot + 0.3)
    grid = figure.subplots(lines, across, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for place, (axes, (source, column)) in enumerate(zip(grid.flat, panels, strict=False)):
        counts = _draw_spaghetti(axes, data, tables[source], column)
        target = "" if column < 0 else plain(data.task.targets[column])
        name = source if column < 0 else target if len(sources) == 1 else f"{target}, {source}"
        counted = f" ({_range(counts)})"
        axes.set_title(shortened(name, int(width / across / _LETTER) - len(counted) - 2) + counted, fontsize=SMALL)
        axes.tick_params(labelbottom=place + across >= len(panels))
    values = np.concatenate([np.zeros(0), *(table.lines.ravel() for table in tables.values())])
    if np.isfinite(values).any():  # an interval of two subjects may reach far beyond all that there is
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        room = 0.06 * max(high - low, 1e-3)
        grid[0, 0].set_ylim(low - room, high + room)
    what = "subject" if data.by_subject else "clip"
    handles = [
        Line2D([], [], color=_THREAD, linewidth=0.8, label=f"one {what}"),
        Line2D([], [], color=BLUE, linewidth=1.6, label=f"mean, {100 * data.level:g} % interval"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    if is_time:
        figure.supxlabel("time in the clip (m:ss)", fontsize=BODY)
    figure.supylabel(_quantity(data, sources), fontsize=BODY)
    return figure


def _quantity(data: PlotData, sources: Sequence[str]) -> str:
    """What the lines of spaghetti are."""
    if data.task.kind == "regression":
        return "label" if list(sources) == [LABELS] else "value"
    share = "share of time" if data.task.level == "time" else "share of clips"
    if LABELS not in sources:
        return "probability"
    return share if len(sources) == 1 else "probability (labels: share)"


def _range(counts: Floats) -> str:
    some = counts[counts > 0]
    if not len(some):
        return "no score"
    return f"n = {some.max():.0f}" if some.min() == some.max() else f"n = {some.min():.0f} to {some.max():.0f}"


def _draw_spaghetti(axes: Axes, data: PlotData, table: Spaghetti, column: int) -> Floats:
    """Draw the lines of a panel; returns how many there are at each place."""
    width, alpha = (0.7, 0.9) if len(table.names) <= 30 else (0.4, 0.6)
    if table.edges is None:
        x: Floats = np.arange(data.task.outputs, dtype=np.float64)
        lines, mean, low, high, counts = table.lines, table.mean, table.low, table.high, table.counts
        names = [shortened(plain(target), 24) for target in data.task.targets]
        axes.set_xticks(x, names, rotation=40, ha="right", rotation_mode="anchor")
    else:
        x = (table.edges[:-1] + table.edges[1:]) / 2
        lines, mean, low, high, counts = (
            part[..., column] for part in (table.lines, table.mean, table.low, table.high, table.counts)
        )
        time_axis(axes, float(table.edges[0]), float(table.edges[-1]), 5)
        axes.set_xlim(float(table.edges[0]), float(table.edges[-1]))
    for line in lines:
        axes.plot(x, line, color=_THREAD, linewidth=width, alpha=alpha, zorder=1)
        lone = _alone(line)
        if lone.any():
            axes.plot(x[lone], line[lone], ".", color=_THREAD, markersize=2, alpha=alpha, zorder=1)
    axes.fill_between(x, low, high, color=BLUE, alpha=0.25, linewidth=0, zorder=2)
    mean = np.where(counts > 1, mean, np.nan)  # that of one is its own line
    axes.plot(x, mean, color=BLUE, linewidth=1.6, zorder=3, marker="o" if len(x) == 1 else None, markersize=3)
    return counts


def _alone(line: Floats) -> Bools:
    """Which values have none beside them, so that no line would show them."""
    here = np.concatenate([[False], np.isfinite(line), [False]])
    return np.asarray(here[1:-1] & ~here[:-2] & ~here[2:])
