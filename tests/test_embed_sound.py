"""embed on waveforms: rows with their real times, whatever else was in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectkit.backbones.log_mel import LogMel, LogMelOptions
from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.speech.windows import Windowing, touches
from affectkit.stages._map import Outcome
from affectkit.stages.embed import EmbedConfig, embed
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
        assert sequence.valid.tolist() == [clip != "b"] * len(windows)  # 1.5 s are too little


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


def test_times_of_a_cut_waveform() -> None:
    windowing = Windowing(1.0, 0.5, 0.3, padded=False)
    assert [(w.start, w.stop) for w in windowing.cut(22, 10)] == [(0, 10), (5, 15), (10, 20), (15, 22)]
    assert windowing.cut(0, 10) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backbone": "mean-pixel"}, "embeds face crops: give what extract faces printed"),
        ({"option": ["pool=max"]}, "pool"),
        ({"weights": "x.safetensors"}, "log-mel has no weights"),
    ],
)
def test_what_cannot_be_is_refused(cache: Cache, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(cache, waveforms(cache), **config)
    with pytest.raises(ValueError, match="hop 8 is longer than the window of 4 s"):
        EmbedConfig(backbone="log-mel", hop=8)


def test_another_sampling_rate_is_refused(cache: Cache) -> None:
    with pytest.raises(UsageError, match="holds sound at 8000 Hz; this backbone hears 16000 Hz"):
        run(cache, waveforms(cache, rate=8000))


def test_columns_of_features_by_name(cache: Cache, tmp_path: Path) -> None:
    _, found = run(cache, waveforms(cache))
    assert feature_columns(found.schema) == ["values"]
    assert open_features(f"{found.path}:values").identity == open_features(str(found.path)).identity
    with pytest.raises(UsageError, match=r"has no features 'layer_07' \(it has values\)"):
        open_features(f"{found.path}:layer_07")
    with pytest.raises(UsageError, match="it holds no features"):
        features(waveforms(cache))
