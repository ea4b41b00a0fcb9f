"""embed on waveforms: rows with their real times, whatever else was in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage_calls import embed

from affectkit.backbones.log_mel import LogMel, LogMelOptions
from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.speech.windows import Windowing, touches
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.map_stage import Outcome
from affectkit.store import Artifact, Cache, feature_columns, features, open_features, waveforms_schema

RATE = 16_000
RUNTIME = Runtime(workers=1, progress=False)
SECONDS = {"a": 9.0, "b": 1.5, "c": 4.0, "d": 7.3, "e": 0.0}


def sound(clip: str, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(sum(map(ord, clip)))
    return (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def waveforms(
    cache: Cache, seconds: Mapping[str, float] = SECONDS, speech: Mapping[str, list[tuple[float, float]]] | None = None,
    offset: float = 0.0, rate: int = RATE,
) -> Artifact:  # fmt: skip
    """An audio artifact of noise; speech everywhere unless said."""
    inputs: dict[str, Any] = {"stage": "audio", "config": {"sampling_rate": rate}, "test": [offset, str(speech)]}
    artifact = cache.create("audio", "waveform", inputs, waveforms_schema())
    part = artifact.new_part()
    for clip, length in seconds.items():
        whole = [(offset, offset + length)] if length else []
        stretches = np.array((speech or {}).get(clip, whole)).reshape(-1, 2)
        part.append({"start": stretches[:, 0], "end": stretches[:, 1], "valid": np.ones(len(stretches))})
        part.append({"samples": sound(clip, length)})
        part.end(clip, "0" * 64, {"sampling_rate": rate, "offset": offset, "origin": 0.0})
    part.commit()
    artifact.seal()
    return artifact


def run(cache: Cache, audio: Artifact, batch_size: int = 4, **config: Any) -> tuple[Outcome, Artifact]:
    clips = config.pop("clips", None)
    chosen = EmbedConfig(**{"backbone": "log-mel"} | config)
    numerics = Numerics(device="cpu", batch_size=batch_size)
    done = embed(cache, audio, chosen, numerics, RUNTIME, clips=clips)
    return done, Artifact(done.path)


def values(artifact: Artifact) -> dict[str, bytes]:
    return {clip: artifact.column(clip, "values").tobytes() for clip in artifact.clips}


def test_windows_follow_the_rule_of_sun(cache: Cache) -> None:
    _, found = run(cache, waveforms(cache, offset=0.25))
    # 4 s every 2 s; one that holds less than 2 s is left out, unless it is the only one.
    expected = {"a": [(0, 4), (2, 6), (4, 8), (6, 9)], "b": [(0, 1.5)], "c": [(0, 4), (2, 4)],
                "d": [(0, 4), (2, 6), (4, 7.3)], "e": []}  # fmt: skip
    for clip, windows in expected.items():
        sequence = found.sequence(clip)
        times = np.array(windows).reshape(-1, 2) + 0.25
        assert np.allclose(np.stack([sequence.start, sequence.end], axis=1), times)
        assert sequence.valid.all()  # 1.5 s are less than the least window, but all that there is


@pytest.mark.parametrize("padding", ["zero", "none"])
def test_a_row_is_what_the_backbone_says_of_its_window(cache: Cache, padding: str) -> None:
    _, found = run(cache, waveforms(cache), padding=padding)
    backbone = LogMel(LogMelOptions(), LogMel.weights(LogMelOptions(), "auto"), Numerics(device="cpu"))
    for clip in ("a", "d"):
        samples, sequence = sound(clip, SECONDS[clip]), found.sequence(clip)
        for row in range(len(sequence)):
            window = samples[row * 2 * RATE : row * 2 * RATE + 4 * RATE]
            if padding == "zero":
                window = np.pad(window, (0, 4 * RATE - len(window)))
            assert np.array_equal(sequence.values[row], backbone(window[None])["values"][0, 0])


@pytest.mark.parametrize("padding", ["zero", "none"])
def test_rows_do_not_depend_on_the_neighbours(tmp_path: Path, cache: Cache, padding: str) -> None:
    audio = waveforms(cache)

    def found(name: str, *orders: list[str] | None, batch_size: int = 4) -> dict[str, bytes]:
        for clips in orders:
            _, artifact = run(Cache(tmp_path / name), audio, batch_size, clips=clips, padding=padding)
        return values(artifact)

    together = found("together", None)
    assert found("backwards", ["e", "d", "c", "b", "a"]) == together
    assert found("resumed", ["c"], ["e", "a"], None) == together
    assert found("larger", None, batch_size=64) == together
    assert found("alone", ["d"]) == {"d": together["d"]}


def test_windows_without_speech_are_not_valid(cache: Cache) -> None:
    audio = waveforms(cache, {"a": 12.0, "c": 4.0}, {"a": [(0.5, 1.0), (9.0, 9.5)], "c": []})
    _, found = run(cache, audio, hop=4.0)
    sequence = found.sequence("a")
    assert sequence.valid.tolist() == [True, False, True]
    assert not sequence.values[1].any()
    assert found.sequence("c").valid.tolist() == [False]


def test_frames_of_overlapping_windows_are_stitched(cache: Cache) -> None:
    audio = waveforms(cache, {"a": 9.0, "c": 4.0}, {"a": [(0.0, 3.0), (5.0, 9.0)]})
    _, found = run(cache, audio, option=["pool=none"])
    whole = LogMel(LogMelOptions(pool="none"), LogMel.weights(LogMelOptions(), "auto"), Numerics())
    for clip in ("a", "c"):
        sequence, samples = found.sequence(clip), sound(clip, SECONDS[clip])
        expected = whole(samples[None])["values"][0]
        assert (np.diff(sequence.start) > 0).all()
        row = np.round(sequence.start * 100).astype(int)
        assert np.allclose(sequence.start, row / 100) and np.allclose(sequence.end - sequence.start, 0.025)
        assert len(row) >= len(expected) - 2 * len(sequence) // 200  # at most two frames are lost where windows meet
        assert np.array_equal(sequence.values[sequence.valid], expected[row[sequence.valid]])
    silent = found.sequence("a")
    speech = np.array([[0.0, 3.0], [5.0, 9.0]])
    assert np.array_equal(silent.valid, touches(silent.start, silent.end, speech))
    assert not silent.valid.all()


@pytest.mark.parametrize("padding", ["zero", "none"])
def test_the_only_window_of_a_short_clip_is_kept(cache: Cache, padding: str) -> None:
    audio = waveforms(cache, {"a": 1.9, "b": 0.5, "c": 1.9})
    done, found = run(cache, audio, padding=padding)
    how = "padded with zeros to 4 s" if padding == "zero" else "as short as it is"
    line = f"3 of 3 clips are shorter than the least window of 2 s: the only window is kept, {how} (a, b, c)"
    assert done.notices == (line,)
    assert run(cache, audio, padding=padding)[0].notices == (line,)  # also when all is cached
    backbone = LogMel(LogMelOptions(), LogMel.weights(LogMelOptions(), "auto"), Numerics(device="cpu"))
    for clip, seconds in {"a": 1.9, "b": 0.5}.items():
        samples = sound(clip, seconds)
        heard = np.pad(samples, (0, 4 * RATE - len(samples))) if padding == "zero" else samples
        sequence = found.sequence(clip)
        assert sequence.valid.tolist() == [True] and sequence.end.tolist() == [seconds]
        assert np.array_equal(sequence.values[0], backbone(heard[None])["values"][0, 0])


def test_a_least_window_of_the_whole_clip_loses_none(cache: Cache) -> None:
    done, found = run(cache, waveforms(cache, dict.fromkeys("abcd", 3.0)), window=12.0)
    assert all(found.sequence(clip).valid.all() for clip in found.clips)
    assert "4 of 4 clips are shorter than the least window of 6 s" in done.notices[0]


def test_zeros_of_a_short_window_from_an_earlier_release_are_not_served(cache: Cache) -> None:
    _, found = run(cache, waveforms(cache, {"long": 4.0}))
    audio = waveforms(cache, {"long": 4.0, "short": 1.5})
    part = found.new_part()
    part.append({"start": np.zeros(1), "end": np.full(1, 1.5), "valid": np.zeros(1), "values": np.zeros((1, 80))})
    part.end("short", audio.digest("short"))  # as it was stored when such windows were left out
    part.commit()
    found.seal()
    assert not Artifact(found.folder).sequence("short").valid.any()
    done, again = run(cache, audio)
    assert (done.computed, done.cached) == (1, 1)
    assert again.sequence("short").valid.all() and again.sequence("short").values.any()


def test_sound_in_no_window_is_told(cache: Cache) -> None:
    done, _ = run(cache, waveforms(cache, {"a": 5.5, "b": 8.0}), hop=4.0)
    assert done.notices == (
        "1 clips (a) end with up to 1.5 s of sound in no window, being shorter than the least window of 2 s",
    )


def test_a_clip_as_one_window(tmp_path: Path, cache: Cache) -> None:
    audio = waveforms(cache)
    done, found = run(cache, audio, window="clip")
    backbone = LogMel(LogMelOptions(), LogMel.weights(LogMelOptions(), "auto"), Numerics(device="cpu"))
    for clip, seconds in SECONDS.items():
        sequence = found.sequence(clip)
        assert len(sequence) == (seconds > 0) and sequence.valid.all()
        if seconds:
            assert sequence.end.tolist() == [seconds]
            assert np.array_equal(sequence.values[0], backbone(sound(clip, seconds)[None])["values"][0, 0])
    _, alone = run(Cache(tmp_path / "alone"), audio, window="clip", clips=["d"])
    assert values(alone)["d"] == values(found)["d"]
    assert done.path != run(cache, audio)[0].path


def test_a_clip_that_is_too_long_for_one_window_fails_alone(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affectkit.stages.embed.LONGEST", 8.0)
    done, found = run(cache, waveforms(cache), window="clip")
    assert [(failure.clip, failure.cause) for failure in done.failed] == [
        ("a", "9 s of sound are more than a window may hold (8 s): give --window SECONDS")
    ]
    assert found.clips == ["b", "c", "d", "e"]


@pytest.mark.parametrize("samples", [1, 399, 400])
def test_sound_shorter_than_a_frame_has_no_row(cache: Cache, samples: int) -> None:
    audio = waveforms(cache, {"a": samples / RATE, "b": 4.0})
    for window in ("clip", 4.0):
        _, found = run(cache, audio, window=window)
        assert len(found.sequence("a")) == (samples == 400) and found.sequence("a").valid.all()
        assert len(found.sequence("b")) > 0


def test_times_of_a_cut_waveform() -> None:
    windowing = Windowing(1.0, 0.5, 0.3, padded=False)
    assert [(w.start, w.stop) for w in windowing.cut(22, 10)] == [(0, 10), (5, 15), (10, 20), (15, 22)]
    assert windowing.cut(0, 10) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backbone": "mean-pixel"}, r"embeds face crops; .* holds sound.*give what extract faces printed"),
        ({"option": ["pool=max"]}, "pool"),
        ({"weights": "x.safetensors"}, "log-mel has no weights"),
    ],
)
def test_what_cannot_be_is_refused(cache: Cache, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(cache, waveforms(cache), **config)
    with pytest.raises(ValueError, match="hop 8 is longer than the window of 4 s"):
        EmbedConfig(backbone="log-mel", hop=8)
    with pytest.raises(ValueError, match="a window lasts more than 0 and up to 600 seconds, or clip"):
        EmbedConfig(backbone="log-mel", window=0)
    with pytest.raises(ValueError, match="window clip is one window of the clip's own length: it has no min_window"):
        EmbedConfig(backbone="log-mel", window="clip", min_window=1)


def test_another_sampling_rate_is_refused(cache: Cache) -> None:
    with pytest.raises(UsageError, match="holds sound at 8000 Hz; this backbone hears 16000 Hz"):
        run(cache, waveforms(cache, rate=8000))


def test_columns_of_features_by_name(cache: Cache, tmp_path: Path) -> None:
    _, found = run(cache, waveforms(cache))
    assert feature_columns(found.schema) == ["values"]
    assert open_features(f"{found.path}:values").identity == open_features(str(found.path)).identity
    with pytest.raises(UsageError, match=r"has no features 'layer_07' \(it has values\)"):
        open_features(f"{found.path}:layer_07")
    with pytest.raises(UsageError, match=r"holds sound.*needed are features"):
        features(waveforms(cache))


def test_what_rows_do_not_hold_is_counted_also_when_cached(cache: Cache) -> None:
    seconds = {"a": 12.0, "b": 4.0, "c": 4.0, "d": 0.01}
    audio = waveforms(cache, seconds, {"a": [(0.5, 1.0)], "b": []})
    lines = (
        "1 of 4 clips is shorter than the least window of 2 s: the only window is kept, as short as it is (d)",
        "7 of 10 rows, in 2 of 4 clips, are without speech: zeros with valid = 0",
        "1 of 4 clips is without speech in any row (b)",
        "1 of 4 clips is without any row: nothing in them, or less than one row needs (d)",
    )
    for _ in range(2):
        done, _ = run(cache, audio)
        assert done.notices == lines
        assert (done.counts["rows"], done.counts["valid"]) == (10, 3)
        assert (done.counts["clips_without_valid_rows"], done.counts["clips_without_rows"]) == (["b"], ["d"])


def test_constant_features_and_partial_clips_are_counted(cache: Cache) -> None:
    audio = waveforms(cache, {"a": 8.0, "b": 8.0})
    _, found = run(cache, audio, clips=["a"])
    part = found.new_part()
    start = np.arange(3.0)
    part.append({"start": start, "end": start + 1, "valid": np.ones(3), "values": np.ones((3, 80))})
    part.end("b", audio.digest("b"), status="partial")
    part.commit()
    done, _ = run(cache, audio)
    assert done.computed == 0
    assert done.notices == (
        "1 of 2 clips is constant: the same features in every valid row (b)",
        "1 of 2 clips is partial: their media could be read in part only (b)",
    )
