"""Pictures of scores: what falls into a stretch of them, and texts that might be taken for something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affectkit.drawing.curves import binned_rows, clock
from affectkit.stages.score_figures import Curve, OverviewRow, Timeline, draw_overview, draw_timeline, strip_of
from affectkit.tables.episodes import episodes, extents


@pytest.mark.parametrize("seed", range(5))
def test_a_stretch_shows_the_mean_the_least_and_the_most_of_its_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, columns = 500, 37
    start = np.cumsum(random.random(count) + 0.1)
    values = random.normal(size=count)
    values[random.random(count) < 0.3] = np.nan
    values[100:200] = np.nan
    times = extents(start, start + 0.01)
    edges, mean, least, most = binned_rows(times, values, columns)
    middle = times.mean(axis=1)
    for column in range(columns):
        inside = values[(middle >= edges[column]) & (middle < edges[column + 1])]
        inside = inside[np.isfinite(inside)]
        wanted = [inside.mean(), inside.min(), inside.max()] if len(inside) else [np.nan] * 3
        assert np.allclose([mean[column], least[column], most[column]], wanted, equal_nan=True)
    assert np.nanmin(least) == np.nanmin(values) and np.nanmax(most) == np.nanmax(values)


def timeline(count: int, title: str = "a") -> Timeline:
    """Two curves at 5 rows a second, with a face in all but a tenth."""
    start = np.arange(count) / 5
    seen = np.arange(count) % 10 != 3
    values = np.where(seen, (1 + np.sin(start)) / 2, np.nan)
    curves = [
        Curve("happy", values, 0, 1, 0.5, episodes(start, start, values, 0.5, 0.5), True),
        Curve("valence_index", np.full(count, np.nan), -1, 1, np.nan, (), False),
    ]
    return Timeline(title, start, start + 0.04, seen, [("m", curves)], 0.5, "a note", speech=seen.astype(float))


@pytest.mark.parametrize("count", [0, 1, 2, 9000])
def test_a_picture_of_any_length_has_one_size(count: int, tmp_path: Path) -> None:
    draw_timeline(timeline(count), tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.width == 1260 and 200 < picture.height < 600
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 10


def test_the_same_scores_give_the_same_bytes_and_any_title_is_text(tmp_path: Path) -> None:
    for name, title in (("a", "$x^{"), ("b", "$x^{"), ("c", "ß\n\x01" * 300), ("d", "")):
        draw_timeline(timeline(20, title), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_overview_of_a_face_without_scores(tmp_path: Path) -> None:
    times = np.arange(10) / 5
    empty = strip_of(times, times, np.full(10, np.nan), np.zeros(10, bool))
    assert empty[1].all() and np.isnan(empty[0]).all()
    nothing = strip_of(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    rows = [OverviewRow(name, *strip, np.array([np.nan])) for name, strip in (("a", empty), ("$b", nothing))]
    draw_overview(rows, "valence", (-1, 1), ["valence"], "2 clips", "note", tmp_path / "o.png")
    draw_overview(rows, "x", (0, 7), [], "2 clips", "note", tmp_path / "p.png")
    assert (tmp_path / "o.png").stat().st_size > 1000


def test_times_are_told_as_on_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59, 60, 3599, 3600, 7325)] == [
        "0:00", "0:59", "1:00", "59:59", "1:00:00", "2:02:05",
    ]  # fmt: skip
