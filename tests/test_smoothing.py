"""Smoothing and interpolation against loops that spell out the definition."""

from __future__ import annotations

import math
import time as clock
from typing import get_args

import numpy as np
import pytest

from affectkit.smoothing import Kind, interpolate, smooth

KINDS = get_args(Kind)


def weight(kind: str, distance: float, half_width: float) -> float:
    share = distance / half_width
    if kind == "hamming":
        return 0.54 + 0.46 * math.cos(math.pi * share)
    return math.exp(-0.5 * (2.5 * share) ** 2) if kind == "gaussian" else 1.0


def naive(values: np.ndarray, time: np.ndarray, kind: str, half_width: float) -> np.ndarray:
    """The definition, row by row."""
    found = np.full(values.shape, np.nan)
    for i in range(len(values)):
        if np.isnan(values[i]).any():
            continue
        near = [
            j
            for j in range(len(values))
            if not np.isnan(values[j]).any() and abs(time[j] - time[i]) <= half_width * (1 + 1e-6)
        ]
        for k in range(values.shape[1]):
            if kind == "median":
                found[i, k] = sorted_middle([values[j, k] for j in near])
            else:
                shares = [weight(kind, abs(time[j] - time[i]), half_width) for j in near]
                found[i, k] = sum(w * values[j, k] for w, j in zip(shares, near, strict=True)) / sum(shares)
    return found


def sorted_middle(numbers: list[float]) -> float:
    ordered, half = sorted(numbers), len(numbers) // 2
    return ordered[half] if len(numbers) % 2 else (ordered[half - 1] + ordered[half]) / 2


def times(how: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    regular = np.arange(rows) / 30 + 0.7
    return {
        "regular": regular,
        "gaps": np.delete(np.arange(rows + 25) / 30, slice(20, 45)),
        "jitter": regular + rng.uniform(-0.01, 0.01, rows),
        "random": np.sort(rng.uniform(0, rows / 30, rows)),
        "unsorted": rng.permutation(regular),
        "repeated": np.repeat(np.arange(rows // 2 + 1) / 10, 2)[:rows],
        "far": np.where(np.arange(rows) < rows // 2, regular, regular + 1e6),
    }[how]


@pytest.mark.parametrize("how", ["regular", "gaps", "jitter", "random", "unsorted", "repeated", "far"])
@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_is_its_definition(kind: Kind, how: str) -> None:
    rng = np.random.default_rng(1)
    for rows in (1, 2, 61):
        if how == "gaps" and rows < 61:
            continue
        time = times(how, rows, rng)
        values = rng.normal(size=(rows, 3))
        values[rng.random(rows) < 0.15] = np.nan
        if rows > 30:
            values[25, 1] = np.nan  # one score is missing: the row is
        for half_width in (0.01, 1 / 30, 0.1, 0.25, 1.0, 50.0):
            found = smooth(values, time, kind, half_width)
            assert np.allclose(found, naive(values, time, kind, half_width), rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_stays_and_zero_changes_nothing(kind: Kind) -> None:
    rng = np.random.default_rng(2)
    time = np.arange(40) / 25
    assert np.allclose(smooth(np.full((40, 2), 0.3), time, kind, 0.4), 0.3, rtol=1e-14)
    values = rng.normal(size=(40, 2))
    values[3] = np.nan
    assert np.array_equal(smooth(values, time, kind, 0), values, equal_nan=True)
    assert np.isnan(smooth(np.full((5, 2), np.nan), np.arange(5), kind, 1)).all()
    assert smooth(np.zeros((0, 2)), np.zeros(0), kind, 1).shape == (0, 2)


def test_a_window_of_many_rows_is_the_hamming_of_numpy() -> None:
    """Inside a clip, 2 n + 1 rows within the half-width are weighed as np.hamming(2 n + 1)."""
    values = np.random.default_rng(3).normal(size=(200, 1))
    window = np.hamming(31)
    expected = np.convolve(values[:, 0], window / window.sum(), mode="valid")
    assert np.allclose(smooth(values, np.arange(200) / 30, "hamming", 0.5)[15:-15, 0], expected, atol=1e-12)


def test_noise_goes_and_the_signal_stays() -> None:
    rng = np.random.default_rng(4)
    time = np.arange(3000) / 30
    signal = np.sin(time / 2)[:, None]
    noisy = signal + rng.normal(0, 0.5, signal.shape)
    for kind in KINDS:
        assert np.square(smooth(noisy, time, kind, 0.5) - signal).mean() < np.square(noisy - signal).mean() / 5


@pytest.mark.parametrize("kind", KINDS)
def test_long_clips_take_moments(kind: Kind) -> None:
    values = np.random.default_rng(5).normal(size=(30 * 1200, 2))
    began = clock.perf_counter()
    smooth(values, np.arange(len(values)) / 30, kind, 1)
    assert clock.perf_counter() - began < 3


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[T,K\]"):
        smooth([1.0, 2.0], [0, 1], "box", 1)
    with pytest.raises(ValueError, match="half-width"):
        smooth([[1.0]], [0], "box", -1)
    with pytest.raises(ValueError, match="finite"):
        interpolate([[1.0]], [np.inf], [0])


def test_interpolation_is_linear_between_rows_with_a_score_and_held_at_the_ends() -> None:
    rng = np.random.default_rng(6)
    time = np.sort(rng.uniform(0, 10, 30))
    values = rng.normal(size=(30, 2))
    values[[4, 5, 29]] = np.nan
    kept = [n for n in range(30) if n not in (4, 5, 29)]
    at = np.concatenate([rng.uniform(-2, 12, 50), time[:3]])
    found = interpolate(values, time, at)
    for moment, row in zip(at, found, strict=True):
        before = [n for n in kept if time[n] <= moment]
        after = [n for n in kept if time[n] > moment]
        if not before or not after:
            expected = values[after[0] if after else before[-1]]
        else:
            a, b = before[-1], after[0]
            share = (moment - time[a]) / (time[b] - time[a])
            expected = (1 - share) * values[a] + share * values[b]
        assert np.allclose(row, expected, atol=1e-12)
    shuffled = rng.permutation(30)
    assert np.array_equal(interpolate(values[shuffled], time[shuffled], at), found)
    assert np.isnan(interpolate(values * np.nan, time, at)).all()


def test_a_gap_that_is_too_wide_is_not_bridged() -> None:
    time = np.array([0.0, 1.0, 5.0])
    values = np.array([[1.0], [2.0], [6.0]])
    at = np.array([-0.5, -0.6, 0.5, 1.5, 1.6, 3.0, 4.5, 5.5, 5.6])
    found = interpolate(values, time, at, max_gap=0.5).ravel()
    near = np.array([min(abs(moment - time)) <= 0.5 for moment in at])
    assert np.array_equal(np.isfinite(found), near)
    assert np.allclose(found[near], interpolate(values, time, at).ravel()[near])
    assert np.array_equal(np.isfinite(interpolate([[1.0]], [2.0], [1.0, 2.4], max_gap=0.5)).ravel(), [False, True])
