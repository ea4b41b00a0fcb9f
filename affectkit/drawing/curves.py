"""Curves over time: axes in minutes, long ones in stretches, and lines that stand as long as their rows do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from affectkit.drawing.style import SMALL
from affectkit.types import Bools, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
"""Distances between ticks of a time axis (s)."""


def binned_rows(times: Floats, values: Floats, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Edges [count+1] of stretches of equal length, and the mean, the least and the most [count] of the rows whose
    middle is in them; NaN where none has a value.

    >>> times = np.array([[0.0, 1], [1, 2], [2, 3], [3, 4]])
    >>> [part.tolist() for part in binned_rows(times, np.array([1.0, 3, np.nan, 7]), 2)]
    [[0.0, 2.0, 4.0], [2.0, 7.0], [1.0, 7.0], [3.0, 7.0]]
    """
    edges = np.linspace(times[0, 0], times[-1, 1], count + 1)
    kept = np.flatnonzero(np.isfinite(values))
    middle = times[kept].mean(axis=1)
    place = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, count - 1)
    rows = np.bincount(place, minlength=count).astype(float)
    total = np.bincount(place, weights=values[kept], minlength=count)
    least, most = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(least, place, values[kept])
    np.maximum.at(most, place, values[kept])
    empty = rows == 0
    with np.errstate(invalid="ignore"):
        mean = total / np.where(empty, np.nan, rows)
    least[empty], most[empty] = np.nan, np.nan
    return edges, mean, least, most


def time_axis(axes: Axes, low: float, high: float, most: int = 9) -> None:
    """Ticks at round times, as m:ss, and h:mm:ss from an hour on; about `most` of them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    step = next((each for each in TICKS if (high - low) / each <= most), 86400)
    ticks = np.arange(np.ceil(low / step - 1e-9) * step, high + 1e-9, step)
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value, step < 1)))
    axes.tick_params(axis="x", labelsize=SMALL)


def clock(seconds: float, tenths: bool = False) -> str:
    """A time as m:ss, or h:mm:ss.

    >>> clock(75), clock(3675), clock(0.5, True), clock(59.6)
    ('1:15', '1:01:15', '0:00.5', '1:00')
    """
    whole = round(seconds, 1) if tenths else round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(int(minutes), 60)
    end = f"{rest:04.1f}" if tenths else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{end}" if hours else f"{minutes}:{end}"


def steps(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """A line that is level for as long as each row stands for, and broken where rows are missing."""
    x, y = times.reshape(-1), np.repeat(values, 2)
    breaks = 2 * np.flatnonzero(times[1:, 0] > times[:-1, 1] + 1e-6) + 2
    return np.insert(x, breaks, x[np.minimum(breaks, len(x) - 1)]), np.insert(y, breaks, np.nan)


def spans_of(times: Floats, flags: Bools) -> list[tuple[float, float]]:
    """The stretches of time of consecutive rows that are flagged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(float(times[a, 0]), float(times[b - 1, 1])) for a, b in edges.reshape(-1, 2)]
