"""Which frames are sampled: against a brute-force search, and one frame at a time against all at once."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from affectkit.config import validate
from affectkit.errors import UsageError
from affectkit.media.sampling import Picker, Sampling


def nearest(times: np.ndarray, instants: np.ndarray) -> list[int]:
    """The definition, as slowly as possible: of two frames as near, the earlier."""
    picked = set()
    for instant in instants:
        distances = [round(abs(float(time) - float(instant)), 6) for time in times]
        picked.add(distances.index(min(distances)))
    return sorted(picked)


def variable_times(seed: int, count: int) -> np.ndarray:
    """Sorted times in ms, some frames long, some equal."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.choice([0, 7, 33, 33, 34, 190, 811], count)) / 1000


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fps", [0.37, 1, 5, 7.5, 29.97, 120])
def test_fps_picks_the_frames_nearest_to_multiples_of_the_period(seed: int, fps: float) -> None:
    times = np.unique(variable_times(seed, 60))
    times -= times[0]
    duration = float(times[-1]) + 0.033
    instants = np.arange(int(np.ceil(duration * fps - 1e-6 * fps))) / fps
    assert Sampling(fps=fps).pick(times, duration).tolist() == nearest(times, instants)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [1, 2, 7, 32])
def test_frames_picks_the_frames_nearest_to_the_middles_of_equal_parts(seed: int, frames: int) -> None:
    times = np.unique(variable_times(seed, 60))
    times -= times[0]
    duration = float(times[-1]) + 0.033
    instants = (np.arange(frames) + 0.5) * duration / frames
    expected = nearest(times, instants) if len(times) > frames else list(range(len(times)))
    assert Sampling(frames=frames).pick(times, duration).tolist() == expected


@pytest.mark.parametrize("sampling", [Sampling(fps=5), Sampling(fps="native"), Sampling(frames=9), Sampling(fps=300)])
@pytest.mark.parametrize("seed", range(4))
def test_judging_frames_one_at_a_time_is_the_same(sampling: Sampling, seed: int) -> None:
    times = variable_times(seed, 80)
    times -= times[0]
    duration = float(times[-1]) + 0.04
    picker = Picker(sampling.instants(duration, len(times)))
    online = [
        n for n, (time, after) in enumerate(zip(times, [*times[1:], None], strict=True)) if picker.wants(time, after)
    ]
    assert online == sampling.pick(times, duration).tolist()


def test_constant_rates_give_every_nth_frame() -> None:
    times = np.arange(90) / 30
    assert Sampling(fps=5).pick(times, 3.0).tolist() == list(range(0, 90, 6))
    assert Sampling(frames=30).pick(times, 3.0).tolist() == list(range(1, 90, 3))


def test_eri_takes_32_distinct_frames_and_all_of_a_short_clip() -> None:
    sampling = Sampling(frames=32)
    for count in (33, 40, 64, 100, 1000):
        assert len(set(sampling.pick(np.arange(count) / 25, count / 25))) == 32
    for count in (1, 5, 31, 32):
        assert sampling.pick(np.arange(count) / 25, count / 25).tolist() == list(range(count))


def test_a_rate_above_the_clips_own_gives_each_frame_once() -> None:
    assert Sampling(fps=1000).pick(np.arange(50) / 30, 50 / 30).tolist() == list(range(50))


def test_one_frame_is_always_picked() -> None:
    for sampling in (Sampling(fps=1), Sampling(fps="native"), Sampling(frames=32)):
        assert sampling.pick(np.zeros(1), 0.04).tolist() == [0]


def test_rounded_timestamps_do_not_shift_the_choice() -> None:
    exact = np.arange(300) / 30
    rounded = np.round(exact, 3)  # matroska keeps milliseconds
    for fps in (1, 2, 5, 10, 15):
        sampling = Sampling(fps=fps)
        assert sampling.pick(rounded, 10.0).tolist() == sampling.pick(exact, 10.0).tolist()


def test_an_absurd_duration_costs_nothing() -> None:
    assert Sampling(fps=1000).pick(np.array([0.0, 1.0, 1e12]), 2e12).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "values", [{}, {"fps": 5, "frames": 32}, {"fps": 0}, {"fps": -1}, {"fps": "fast"}, {"frames": 0}, {"fps": 1e9}]
)
def test_wrong_rules_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Sampling(**values)
    with pytest.raises(UsageError):
        validate(Sampling, values, "sampling")
