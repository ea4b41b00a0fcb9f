"""Functionals: each one against numpy and polyfit, window by window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affectkit.summaries import FUNCTIONALS, SETS, Functional, Summary, functionals, summaries, windows

Rows = NDArray[np.float64]
TICK = 1e-6


def polynomial(time: Rows, rows: Rows, degree: int) -> Rows:
    """Coefficients [degree+1,D], highest first; those that the rows do not determine are 0."""
    found = np.zeros((degree + 1, rows.shape[1]))
    known = min(degree, len(np.unique(np.round(time / TICK))) - 1)
    found[degree - known :] = np.polyfit(time, rows, known)
    return found


def spread(rows: Rows) -> Rows:
    return np.asarray((rows - rows[0]).std(axis=0))


REFERENCE: dict[str, Callable[[Rows, Rows], Any]] = {
    "mean": lambda t, x: x.mean(axis=0),
    "std": lambda t, x: spread(x),
    "min": lambda t, x: x.min(axis=0),
    "max": lambda t, x: x.max(axis=0),
    "range": lambda t, x: np.ptp(x, axis=0),
    "rms": lambda t, x: np.sqrt((x.astype(np.longdouble) ** 2).mean(axis=0)).astype(float),
    "first": lambda t, x: x[0],
    "last": lambda t, x: x[-1],
    "slope": lambda t, x: polynomial(t - t.mean(), x - x.mean(axis=0), 1)[0],
    "offset": lambda t, x: x.mean(axis=0) - t.mean() * polynomial(t - t.mean(), x - x.mean(axis=0), 1)[0],
    "curvature": lambda t, x: polynomial(t - t.mean(), x - x.mean(axis=0), 2)[0],
    "delta-mean": lambda t, x: np.abs(np.diff(x, axis=0)).mean(axis=0) if len(x) > 1 else np.zeros(x.shape[1]),
}


def expected(values: Rows, start: Rows, end: Rows, valid: NDArray[Any], at: float, window: float) -> Rows | None:
    """All functionals [F,D] of the window that begins at `at`, one dimension at a time; None without a row."""
    middle = (start + end) / 2
    inside = (middle >= at - TICK) & (middle < at + window - TICK) & valid.astype(bool)
    if not np.isfinite(values[inside]).any():
        return None
    result = np.zeros((len(FUNCTIONALS), values.shape[1]))
    for dimension, column in enumerate(values.T):
        kept = inside & np.isfinite(column)
        if kept.any():
            rows, time = column[kept].astype(np.float64)[:, None], middle[kept] - at
            result[:, dimension] = [float(REFERENCE[name](time, rows)[0]) for name in FUNCTIONALS]
    return result


def check(values: Rows, start: Rows, end: Rows, valid: NDArray[Any], window: float, hop: float) -> Summary:
    """Every functional of every window is within 1e-6 of the column's deviation."""
    made = functionals(values, start, end, valid, FUNCTIONALS, window, hop)
    found = made.values.reshape(len(made.start), len(FUNCTIONALS), -1)
    used = np.where(np.isfinite(values) & valid.astype(bool)[:, None], values, np.nan)
    deviation = np.array([np.nanstd(column) if np.isfinite(column).any() else 0 for column in used.T])
    largest = np.array([np.abs(column[np.isfinite(column)]).max(initial=0) for column in used.T])
    tolerance = 1e-6 * np.where(deviation > 1e-9 * largest, deviation, 1)
    for at, row, held in zip(made.start, found, made.valid, strict=True):
        right = expected(values, start, end, valid, float(at), window)
        assert held == (right is not None)
        assert (np.abs(row - (0 if right is None else right)) <= tolerance).all(), (at, row, right)
    return made


def regular(count: int, period: float = 0.2, begin: float = 0.0) -> tuple[Rows, Rows]:
    start = begin + period * np.arange(count)
    return start, start + period


def irregular(count: int, seed: int, begin: float = 0.0) -> tuple[Rows, Rows]:
    start = begin + np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.5, count))
    return start, start + 0.1


def noise(count: int, dim: int = 4, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).standard_normal((count, dim))


@pytest.mark.parametrize(("window", "hop"), [(4, 2), (4, 0.2), (1, 1), (0.2, 0.2), (0.5, 3), (50, 7), (1000, 500)])
@pytest.mark.parametrize("times", ["regular", "irregular"])
def test_every_functional_against_numpy(times: str, window: float, hop: float) -> None:
    start, end = regular(300) if times == "regular" else irregular(300, seed=3)
    check(noise(300), start, end, np.ones(300), window, hop)


def test_invalid_rows_never_count() -> None:
    rng = np.random.default_rng(1)
    valid = rng.random(400) > 0.4
    valid[100:180] = False  # several windows without a row
    values = noise(400)
    values[~valid] = 1e9
    start, end = irregular(400, seed=4)
    made = check(values, start, end, valid, 3, 1)
    assert 0 < made.valid.sum() < len(made.valid)
    assert not made.values[~made.valid].any()


def test_missing_entries_never_count() -> None:
    rng = np.random.default_rng(2)
    values = noise(300, 6)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 3] = values[:, 2]  # two dimensions that are there in the same rows
    values[50:120, 1] = np.inf
    values[:, 4] = np.nan
    values[200:240] = np.nan
    start, end = regular(300)
    made = check(values, start, end, rng.random(300) > 0.1, 2, 0.5)
    found = made.values.reshape(len(made.start), len(FUNCTIONALS), 6)
    assert not made.valid.all() and not found[:, :, 4].any()


@pytest.mark.parametrize("begin", [0.0, 1e6])
def test_offsets_drifts_spikes_and_late_times_cost_no_accuracy(begin: float) -> None:
    count = 1000
    values = noise(count, 6, seed=5)
    values[:, 0] += 1e6
    values[:, 1] = np.cumsum(values[:, 1]) + 1e6
    values[count // 2, 2] = 1e8
    values[:, 3] = np.repeat(values[: count // 50, 3], 50)  # stays as it is for 10 s
    values[:, 4] = 0.1
    values[:, 5] *= 1e-6
    start, end = regular(count, begin=begin)
    made = check(values, start, end, np.ones(count), 4, 1.2)
    found = made.values.reshape(len(made.start), len(FUNCTIONALS), 6)
    still = {"std", "range", "slope", "curvature", "delta-mean"}
    assert not found[:, [FUNCTIONALS.index(name) for name in FUNCTIONALS if name in still], 4].any()


def test_a_long_clip_is_as_accurate() -> None:
    count = 100_000
    values = noise(count, 3, seed=6)
    values[:, 1] += 1e6
    values[:, 2] = np.cumsum(values[:, 2])
    start, end = regular(count)
    made = functionals(values, start, end, np.ones(count), FUNCTIONALS, 4, 0.2)
    found = made.values.reshape(-1, len(FUNCTIONALS), 3)
    tolerance = 1e-6 * values.std(axis=0)
    for at in range(0, len(found), 997):
        right = expected(values[at : at + 30], start[at : at + 30], end[at : at + 30], np.ones(30), made.start[at], 4)
        assert (np.abs(found[at] - right) <= tolerance).all()
    whole = functionals(values, start, end, np.ones(count), FUNCTIONALS, "clip")
    right = expected(values, start, end, np.ones(count), 0, 1e9)
    assert (np.abs(whole.values.reshape(-1, 3) - right) <= tolerance).all()


def test_one_row_and_two_rows_in_a_window() -> None:
    start, end = np.array([0.0, 1.0, 1.5]), np.array([0.2, 1.2, 1.7])
    values = np.array([[3.0], [5.0], [9.0]])
    made = functionals(values, start, end, np.ones(3), FUNCTIONALS, 1, 1)
    one, two = (dict(zip(FUNCTIONALS, row, strict=True)) for row in made.values)
    assert one == dict.fromkeys(FUNCTIONALS, 0.0) | dict.fromkeys(
        ("mean", "min", "max", "rms", "first", "last", "offset"), 3.0
    )
    assert two["slope"] == pytest.approx(8) and two["offset"] == pytest.approx(5 - 0.8)
    assert (two["curvature"], two["std"], two["delta-mean"]) == (0, pytest.approx(2), pytest.approx(4))


def test_rows_at_the_same_time_determine_no_curve() -> None:
    start, end = np.array([0.0, 0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.1, 0.1, 1.1, 1.1])
    values = np.array([[1.0], [2.0], [6.0], [4.0], [8.0]])
    made = functionals(values, start, end, np.ones(5), ["slope", "offset", "curvature"], 0.5, 0.5)
    assert made.values[[0, 2]].tolist() == [[0, 3, 0], [0, 6, 0]]
    both = functionals(values, start, end, np.ones(5), ["slope", "curvature"], "clip")
    assert both.values.ravel() == pytest.approx([3, 0])


def test_known_curves() -> None:
    start, end = irregular(60, seed=7, begin=5.0)
    time = (start + end) / 2 - start[0]
    values = np.stack([2 - 3 * time, 1 + 0.5 * time - 0.25 * time**2], axis=1)
    made = functionals(values, start, end, np.ones(60), ["slope", "offset", "curvature"], 100)
    assert made.values.reshape(3, 2)[:, 0] == pytest.approx([-3, 2, 0])
    assert made.values.reshape(3, 2)[2, 1] == pytest.approx(-0.25)


def test_the_first_name_comes_first_with_all_its_dimensions() -> None:
    start, end = regular(10)
    values = noise(10, 3)
    made = functionals(values, start, end, np.ones(10), ["max", "mean"], "clip")
    assert np.allclose(made.values, [[*values.max(axis=0), *values.mean(axis=0)]])
    twice = functionals(values, start, end, np.ones(10), ["mean"], "clip").values
    assert np.array_equal(made.values[:, 3:], twice)


@pytest.mark.parametrize(
    ("count", "window", "hop", "begins", "finish"),
    [
        (50, 4, 2, [0, 2, 4, 6], 10),
        (51, 4, 2, [0, 2, 4, 6, 8], 10.2),  # the last window holds 2.2 s
        (10, 4, 2, [0], 2),
        (50, 4, 4, [0, 4, 8], 10),
        (50, 1, 4, [0, 4, 8], 9),
        (48, 1, 4, [0, 4, 8], 9),
        (40, 1, 4, [0, 4], 5),  # the rows end between two windows
    ],
)
def test_where_windows_lie(count: int, window: float, hop: float, begins: list[float], finish: float) -> None:
    start, end = regular(count)
    cut = windows(start, end, window, hop)
    assert cut.start == pytest.approx(begins)
    assert cut.end[-1] == pytest.approx(finish) and (cut.end > cut.start).all()
    middle = (start + end) / 2
    for at, first, last in zip(cut.start, cut.first, cut.last, strict=True):
        inside = np.flatnonzero((middle >= at - TICK) & (middle < at + window - TICK))
        assert (first, last) == (inside[0], inside[-1] + 1)


def test_consecutive_windows_share_no_row() -> None:
    for hop in (0.1, 0.3, 0.7, 1.1):  # edges that fall on middles of rows
        start, end = regular(500, period=0.2)
        cut = windows(start, end, hop, hop)
        assert (cut.first[1:] == cut.last[:-1]).all() and (cut.first[0], cut.last[-1]) == (0, 500)


def test_half_a_window_is_the_default_hop() -> None:
    start, end = regular(100)
    assert np.array_equal(windows(start, end, 4).start, windows(start, end, 4, 2).start)


def test_rows_in_any_order_of_time() -> None:
    start, end = irregular(100, seed=8)
    values, valid = noise(100), np.arange(100) % 5 > 0
    order = np.random.default_rng(9).permutation(100)
    straight = functionals(values, start, end, valid, FUNCTIONALS, 3, 1)
    mixed = functionals(values[order], start[order], end[order], valid[order], FUNCTIONALS, 3, 1)
    for one, other in zip(straight, mixed, strict=True):
        assert np.array_equal(one, other)


def test_nothing_in_nothing_out() -> None:
    none = np.zeros(0)
    made = functionals(np.zeros((0, 5)), none, none, none, SETS["fun"], 4)
    assert made.values.shape == (0, 25) and len(made.start) == len(made.end) == len(made.valid) == 0
    assert list(summaries(np.zeros((0, 5)), none, none, none, SETS["fun"], 4)) == []
    start, end = regular(30)
    blank = functionals(noise(30), start, end, np.zeros(30), SETS["all"], 2)
    assert len(blank.start) == 5 and not blank.valid.any() and not blank.values.any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_other_types_of_values(dtype: type[np.number[Any]]) -> None:
    start, end = regular(100)
    values = (10 * noise(100)).astype(dtype)
    made = functionals(values, start, end, np.ones(100), FUNCTIONALS, 3, 1)
    wide = functionals(values.astype(np.float64), start, end, np.ones(100), FUNCTIONALS, 3, 1)
    assert made.values.dtype == np.float64
    assert np.array_equal(made.values, wide.values)
    narrow = functionals(values, start, end, np.ones(100), FUNCTIONALS, 3, 1, np.float32)
    assert np.array_equal(narrow.values, wide.values.astype(np.float32))


def test_pieces_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = irregular(3000, seed=10)
    values, valid = noise(3000, 20).astype(np.float32), np.arange(3000) % 7 > 0
    whole = functionals(values, start, end, valid, SETS["all"], 5, 0.05)
    monkeypatch.setattr("affectkit.summaries.summary._PIECE", 100_000)
    pieces = list(summaries(values, start, end, valid, SETS["all"], 5, 0.05))
    assert len(pieces) > 3
    for joined, one in zip(zip(*pieces, strict=True), whole, strict=True):
        assert np.concatenate(joined).tobytes() == one.tobytes()


def test_the_names_of_the_sets() -> None:
    assert {name for names in SETS.values() for name in names} == set(FUNCTIONALS) == set(REFERENCE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["median"]}, "no functional is called median"),
        ({"window": 0}, "longer than 0 s"),
        ({"hop": -1}, "longer than 0 s"),
        ({"hop": 1e-9}, "more than 10,000,000 hops"),
        ({"start": np.array([0, np.nan, 1])}, "not finite"),
        ({"start": np.array([5.0, 6.0, 7.0])}, "ends before it starts"),
        ({"valid": np.ones(2)}, "not \\[\\[3, 2\\], \\[3\\], \\[3\\], \\[2\\]\\]"),
        ({"values": np.ones(3)}, "values, start, end and valid are"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    names: list[Functional] = ["mean"]
    given: dict[str, Any] = {"values": np.ones((3, 2)), "start": np.arange(3.0), "end": np.arange(3.0) + 1}
    given |= {"valid": np.ones(3), "names": names, "window": 2.0, "hop": 1.0}
    with pytest.raises(ValueError, match=message):
        functionals(**given | change)
