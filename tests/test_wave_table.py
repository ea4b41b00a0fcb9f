"""Cached waveforms as one table, and what is done to them in training."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from network_inputs import make_crops, make_sound, pictures
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.learning.wave_table import WaveTable, augment
from affectkit.store import Artifact, Cache

LENGTHS = {"a": 2500, "b": 0, "c": 700, "d/e": 4000}


def noise(length: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.2 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


WAVES = {clip: noise(length, number) for number, (clip, length) in enumerate(LENGTHS.items())}


@pytest.fixture
def audio(cache: Cache) -> Artifact:
    return make_sound(cache, WAVES, offset=0.25, speech={"d/e": [(0.5, 1), (2, 3.5)], "c": []})


def test_clips_lie_one_after_another(audio: Artifact) -> None:
    clips = ["d/e", "a", "b", "c"]
    table = WaveTable(audio, clips)
    assert table.clips == tuple(clips) and table.sampling_rate == 1000 and len(table) == 7200
    assert table.offsets.tolist() == [0, 4000, 6500, 6500, 7200]
    np.testing.assert_array_equal(table.begin, [0.25] * 4)
    assert [stretches.tolist() for stretches in table.stretches] == [
        [[0.5, 1.0], [2.0, 3.5]], [[0.25, 2.75]], [[0.25, 0.25]], [],
    ]  # fmt: skip
    assert repr(table) == "WaveTable(7 s of 4 clips)"
    assert len(WaveTable(audio, [])) == 0


def test_windows_are_filled_with_zeros_where_their_clip_ends(audio: Artifact) -> None:
    table = WaveTable(audio, audio.clips)  # a, b (empty), c, d/e
    heard = table.load(np.array([0, 2000, 2500, 3199, -1]), 1000).numpy()
    assert heard.dtype == np.float32 and heard.shape == (5, 1000)
    zeros = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(heard[0], WAVES["a"][:1000])
    np.testing.assert_array_equal(heard[1], np.append(WAVES["a"][2000:], zeros[:500]))
    np.testing.assert_array_equal(heard[2], np.append(WAVES["c"], zeros[:300]))
    np.testing.assert_array_equal(heard[3], np.append(WAVES["c"][699:], zeros[:999]))
    np.testing.assert_array_equal(heard[4], zeros)
    assert table.load(np.zeros(0, int), 10).shape == (0, 10)


def test_a_window_that_begins_nowhere_is_refused(audio: Artifact) -> None:
    with pytest.raises(ValueError, match="begins at 6000 of 5700 samples"):
        WaveTable(audio, ["a", "a", "c"]).load(np.array([6000]), 10)


def test_other_artifacts_are_refused(cache: Cache) -> None:
    crops = make_crops(cache, {"a": pictures(1, 16)}, 16)
    with pytest.raises(UsageError, match="needed is sound: give what extract audio printed"):
        WaveTable(crops, ["a"])


def kinds(count: int) -> dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]]:
    """Waveforms before and after, by what was done to them."""
    rng = np.random.default_rng(7)
    found: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    for seed in range(count):
        before = noise(4000, seed)
        after = before.copy()
        augment(after, rng)
        ratio = after / before
        kind = "inverted" if (after == -before).all() else "gain" if np.ptp(ratio) < 1e-5 else "noise"
        found.setdefault(kind, []).append((before, after))
    return found


def test_one_of_three_equally_often_and_within_their_ranges() -> None:
    count = 900
    found = kinds(count)
    assert set(found) == {"inverted", "gain", "noise"}
    assert all(abs(len(pairs) - count / 3) < 4.5 * np.sqrt(count * 2 / 9) for pairs in found.values())
    decibels = np.array([20 * np.log10(np.std(after) / np.std(before)) for before, after in found["gain"]])
    assert -20.001 <= decibels.min() < -19 and -2 < decibels.max() <= -0.999
    assert abs(decibels.mean() + 10.5) < 1.5
    shares = np.array([np.std(after.astype(float) - before) / np.std(before) for before, after in found["noise"]])
    assert 0.00009 <= shares.min() < 0.0005 and 0.0045 < shares.max() <= 0.0052
    before, after = max(found["noise"], key=lambda pair: np.std(pair[1] - pair[0]))
    added = after.astype(float) - before
    assert abs(np.corrcoef(added[1:], added[:-1])[0, 1]) < 0.06  # white
    assert abs(np.corrcoef(added, before)[0, 1]) < 0.06


def test_silence_stays_silent() -> None:
    for length in (1, 100):
        wave = np.zeros(length, np.float32)
        for seed in range(10):
            augment(wave, np.random.default_rng(seed))
        assert (wave == 0).all()


def test_augmented_with_the_probability_given_and_never_the_padding(audio: Artifact) -> None:
    table = WaveTable(audio, audio.clips)
    first = np.full(3000, 2500)  # clip c, 700 samples
    plain = table.load(first[:1], 800).numpy()[0]
    heard = table.load(first, 800, np.random.default_rng(0), 0.3).numpy()
    assert (heard[:, 700:] == 0).all()
    changed = (heard != plain).any(axis=1)
    assert abs(changed.mean() - 0.3) < 4.5 * np.sqrt(0.21 / 3000)
    for off in (table.load(first[:50], 800, np.random.default_rng(0), 0.0), table.load(first[:50], 800, None, 1.0)):
        assert (off.numpy() == plain).all()
    assert (table.load(first[:50], 800, np.random.default_rng(0), 1.0).numpy() != plain).any(axis=1).all()


def test_the_generator_alone_decides(audio: Artifact) -> None:
    table = WaveTable(audio, audio.clips)
    first = np.arange(0, 7000, 500)

    def made(seed: int) -> bytes:
        return table.load(first, 900, np.random.default_rng(seed), 0.5).numpy().tobytes()

    alone = [made(seed) for seed in range(12)]
    assert len(set(alone)) == 12
    np.random.seed(3)  # noqa: NPY002
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(made, range(12))) == alone


def test_the_cache_is_never_changed_nor_read_whole(tmp_path: Path) -> None:
    waves = {f"clip{number}": noise(400_000, number) for number in range(6)}  # 9.6 MB
    audio = make_sound(Cache(tmp_path), waves)
    total = sum(wave.nbytes for wave in waves.values())
    tracemalloc.start()
    try:
        table = WaveTable(audio, audio.clips)
        for first in range(0, len(table), 100_000):
            table.load(np.array([first]), 1000, np.random.default_rng(first), 1.0)
        assert tracemalloc.get_traced_memory()[1] < total / 8
    finally:
        tracemalloc.stop()
    for clip, wave in waves.items():
        np.testing.assert_array_equal(audio.column(clip, "samples"), wave)
