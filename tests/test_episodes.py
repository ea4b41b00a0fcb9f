"""Episodes of scores and the time that rows stand for, against plain loops."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import numpy as np
import pytest

from affectkit.tables.episodes import Episode, episodes, extents
from affectkit.tables.score_tables import ScoreTable, cell, csv_text, summary_of
from affectkit.types import Floats

TIMES = np.arange(10) / 5


def plain(start: Floats, end: Floats, score: Floats, threshold: float, gap: float) -> list[tuple[float, float, float]]:
    """Episodes as the docstring says, row by row."""
    times, found = extents(start, end), []
    for (first, last), value in zip(times, score, strict=True):
        if np.isnan(value) or value < threshold:
            continue
        if found and (first - found[-1][1] < gap - 1e-6 or abs(first - found[-1][1]) <= 1e-6):
            found[-1] = [found[-1][0], last, max(found[-1][2], value)]
        else:
            found.append([first, last, value])
    return [tuple(each) for each in found]


@pytest.mark.parametrize("seed", range(40))
def test_episodes_are_those_of_a_plain_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 60))
    start = np.sort(random.choice(np.arange(200), count, replace=False)) / 5 if seed % 2 else np.arange(count) / 5
    score = random.random(count).round(1)
    score[random.random(count) < 0.2] = np.nan
    threshold, gap = float(random.choice([0, 0.5, 1.0])), float(random.choice([0, 0.2, 0.4, 3]))
    found = episodes(start, start + 0.04, score, threshold, gap)
    wanted = plain(start, start + 0.04, score, threshold, gap)
    assert len(found) == len(wanted)
    assert np.allclose([(e.start, e.end, e.peak) for e in found] or [[]], wanted or [[]])
    if len(start):
        whole = extents(start, start + 0.04)
        assert sum(e.seconds for e in found) <= whole[-1, 1] - whole[0, 0] + 1e-9
    assert all(before.end < after.start for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("score", "gap", "wanted"),
    [
        ([], 0.5, []),
        ([np.nan] * 3, 0.5, []),
        ([0.5], 0.0, [(0.0, 0.04, 0.5)]),
        ([0.5, 0.6], 0.0, [(0.0, 0.4, 0.6)]),
        ([0.49999, 0.6, 0.1], 0.0, [(0.2, 0.4, 0.6)]),
        ([0.6, 0.1, 0.7], 0.2, [(0.0, 0.2, 0.6), (0.4, 0.6, 0.7)]),  # a gap of exactly the least is none to bridge
        ([0.6, 0.1, 0.7], 0.21, [(0.0, 0.6, 0.7)]),
        ([0.6, np.nan, 0.7], 0.21, [(0.0, 0.6, 0.7)]),
        ([0.6, 0.1, 0.1], 9.0, [(0.0, 0.2, 0.6)]),
    ],
)
def test_episodes_at_the_edges(score: list[float], gap: float, wanted: list[tuple[float, float, float]]) -> None:
    start = TIMES[: len(score)]
    found = episodes(start, start + 0.04, np.array(score, float), 0.5, gap)
    assert [(e.start, e.end, e.peak) for e in found] == [pytest.approx(each) for each in wanted]


def test_rows_stand_for_the_time_up_to_the_next_but_across_no_hole() -> None:
    start = np.array([0.0, 0.2, 0.4, 3.0, 3.2])
    assert extents(start, start + 0.04).tolist() == [
        [0.0, 0.2], [0.2, 0.4], pytest.approx([0.4, 0.6]), [3.0, 3.2], pytest.approx([3.2, 3.4]),
    ]  # fmt: skip
    found = episodes(start, start + 0.04, np.ones(5), 0.5, 0.5)
    assert [(e.start, e.end) for e in found] == [pytest.approx((0.0, 0.6)), pytest.approx((3.0, 3.4))]
    assert len(episodes(start, start + 0.04, np.ones(5), 0.5, 2.5)) == 1
    assert extents(np.zeros(1), np.array([7.0])).tolist() == [[0, 7]]
    assert Episode(1, 3, 0.5).seconds == 2


def a_table(clip: str = "a", count: int = 7, **more: object) -> ScoreTable:
    random = np.random.default_rng(1)
    scores = random.random((count, 2))
    scores[2] = np.nan
    start = np.arange(count) / 3
    return ScoreTable(
        clip, "", start, start + 0.04, scores, ("happy", "sad"), np.isfinite(scores).all(1), random.random(count),
        **more,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("clip", ["banana", "nan", "a,nan,b", 'say "nan"', "Zoë/1", "1;2"])
def test_a_table_as_csv_reads_back(clip: str) -> None:
    table = a_table(clip, model="m,nan", speech=np.array([1, 0, np.nan, 1, 0, 0, 1.0]))
    rows = list(csv.DictReader(io.StringIO(",".join(map(cell, table.header)) + "\n" + table.csv())))
    assert {row["clip"] for row in rows} == {clip} and {row["model"] for row in rows} == {"m,nan"}
    for name in ("happy", "sad"):
        read = [float(row[name]) if row[name] else np.nan for row in rows]
        assert np.allclose(read, table.of(name), rtol=1e-5, equal_nan=True)
    assert [row["speech"] for row in rows] == ["1", "0", "", "1", "0", "0", "1"]
    assert [row["valid"] for row in rows] == ["1", "1", "0", "1", "1", "1", "1"]
    assert np.allclose([float(row["start"]) for row in rows], table.start, rtol=1e-9)


def test_a_summary_is_that_of_the_rows_with_a_score() -> None:
    table = a_table(classes=(("happy", "sad"),))
    seen = np.array([1, 1, 0, 0, 1, 1, 1], bool)
    summary = summary_of(table, seen, 0.5, 0.0)
    values = table.of("happy")[np.isfinite(table.of("happy"))]
    happy = summary.of("happy")
    assert (happy.mean, happy.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (happy.p10, happy.p90) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))
    assert (summary.face_share, summary.scored_share, summary.rows) == pytest.approx((5 / 7, 6 / 7, 7))
    assert summary.seconds == pytest.approx(7 / 3)
    wins = (table.of("happy") > table.of("sad"))[np.isfinite(table.of("happy"))]
    name, share = summary.dominant[0]
    assert (name, share) == ("happy" if wins.mean() >= 0.5 else "sad", pytest.approx(max(wins.mean(), 1 - wins.mean())))
    assert happy.episode_seconds == pytest.approx(sum(e.seconds for e in happy.episodes))


def test_a_face_without_any_score_has_a_summary() -> None:
    table = ScoreTable("a", "", TIMES, TIMES + 0.1, np.full((10, 1), np.nan), ("happy",), np.zeros(10, bool),
                       np.zeros(10), classes=(("happy",),))  # fmt: skip
    summary = summary_of(table, np.zeros(10, bool), 0.5, 0.5)
    assert summary.dominant == (("", pytest.approx(np.nan, nan_ok=True)),)
    assert np.isnan(summary.of("happy").mean) and not summary.of("happy").episodes
    assert (summary.face_share, summary.scored_share) == (0, 0)


def test_small_tables_keep_eight_digits() -> None:
    assert csv_text(("a", "b"), [[1234.5678, "x,y"], [np.nan, 3]]) == 'a,b\n1234.5678,"x,y"\n,3\n'
