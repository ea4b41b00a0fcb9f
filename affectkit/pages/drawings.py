"""Small drawings as SVG that need no script: curves of a clip in a line, reliability, the spread of clips.

Coordinates are written into attributes, colours come from the style sheet by class, so that a page allows no style of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from affectkit.types import Floats

SPARK_WIDTH, SPARK_HEIGHT = 120, 28
"""Units of a small curve's drawing."""
PLOT = 240
"""Units of a square drawing's plotting area."""


def least_and_most(values: Floats, buckets: int) -> Floats:
    """[B,2] the least and the most of so many stretches of equal length; NaN for those without a number."""
    values = np.asarray(values, float)
    count = min(buckets, len(values))
    if count == 0:
        return np.zeros((0, 2))
    edges = np.linspace(0, len(values), count + 1).astype(int)[:-1]
    return np.stack([np.fmin.reduceat(values, edges), np.fmax.reduceat(values, edges)], axis=1)


def spark(values: Floats, low: float, high: float) -> list[str]:
    """Paths of a small curve, one for each stretch without a gap: from the least to the most of every stretch of rows,
    so that no peak is lost."""
    pairs = least_and_most(values, SPARK_WIDTH // 2)
    paths = []
    for run in _runs(np.isfinite(pairs).all(axis=1)):
        step = SPARK_WIDTH / max(len(pairs), 1)
        points = []
        for place in range(run.start, run.stop):
            x = (place + 0.5) * step
            ends = [_y(each, low, high) for each in pairs[place]]
            points += [f"{x:.1f} {end:.1f}" for end in (ends if place % 2 else ends[::-1])]
        if len(points) == 2:
            points = [f"{max(run.start * step, 1):.1f} {points[0].split()[1]}",
                      f"{run.stop * step:.1f} {points[-1].split()[1]}"]  # fmt: skip
        paths.append("M" + "L".join(points))
    return paths


def reliability(curve: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Of each bin with rows: where its dot lies in a square of `PLOT`, its radius, and its figures.

    `curve` has, bin by bin, the rows, their mean probability, and the share of them in which it came true.
    """
    rows, probability, share = (np.asarray(curve[name], float) for name in ("rows", "probability", "share"))
    total = max(float(np.nansum(rows)), 1.0)
    return [
        {"x": PLOT * p, "y": PLOT * (1 - q), "r": 2.5 + 8 * float(np.sqrt(n / total)), "rows": n, "probability": p,
         "share": q}
        for n, p, q in zip(rows.tolist(), probability.tolist(), share.tolist(), strict=True)
        if n > 0 and np.isfinite([p, q]).all()
    ]  # fmt: skip


def strip(values: Mapping[str, float], low: float, high: float, width: int, rows: int = 5) -> list[dict[str, Any]]:
    """Dots of values along a line of so many units, on `rows` levels so that equal ones do not cover each other."""
    finite = sorted((value, name) for name, value in values.items() if np.isfinite(value))
    scale = width / max(high - low, 1e-9)
    return [
        {"x": (value - low) * scale, "level": place % rows, "name": name, "value": value}
        for place, (value, name) in enumerate(finite)
    ]


def shade(value: float, most: float) -> int:
    """Which of ten shades, 0 to 9, a cell has."""
    return 0 if most <= 0 or not np.isfinite(value) else min(9, int(10 * value / most))


def _runs(flags: Any) -> Iterator[slice]:
    """Stretches of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    for first, last in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True):
        yield slice(first, last)


def _y(value: float, low: float, high: float) -> float:
    share = (value - low) / max(high - low, 1e-9)
    return float(SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * min(max(share, 0), 1))
