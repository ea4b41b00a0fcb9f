"""Speech segments and noise: against librosa, silero-vad's own loop, plain loops, and speech that was synthesized."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import wave
from importlib.metadata import version as installed
from itertools import pairwise

import librosa
import numpy as np
import pytest

from affectkit.errors import ClipError, UsageError
from affectkit.speech import denoise, mouth_segments, segments, version
from affectkit.types import Openings

RATE = 16000
ESPEAK = shutil.which("espeak-ng") or shutil.which("espeak")


def tone(seconds: float, level: float = 0.5, rate: int = RATE, hertz: float = 440) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def silence(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.zeros(round(seconds * rate), np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def overlap(found: np.ndarray, start: float, end: float) -> float:
    """The share of start .. end that is inside the segments."""
    return float(
        np.sum(np.clip(np.minimum(found[:, 1], end) - np.maximum(found[:, 0], start), 0, None)) / (end - start)
    )


def check_form(found: np.ndarray, duration: float) -> None:
    assert found.dtype == np.float64 and found.ndim == 2 and found.shape[1] == 2
    assert (found[:, 0] < found[:, 1]).all() and (found[1:, 0] >= found[:-1, 1]).all()
    assert not len(found) or (found[0, 0] >= 0 and found[-1, 1] <= duration)


# --- energy


@pytest.mark.parametrize("top_db", [10.0, 30.0, 60.0])
def test_energy_is_librosas_rule_in_seconds(top_db: float) -> None:
    waveform = np.concatenate([silence(1), tone(1), noise(1, 1e-3), tone(0.7, 0.05), silence(0.8)])
    found = segments(waveform, RATE, "energy", top_db=top_db)
    expected = librosa.effects.split(waveform, top_db=top_db, frame_length=2048, hop_length=512) / RATE
    np.testing.assert_array_equal(found, expected)
    check_form(found, 4.5)


def test_energy_finds_the_loud_parts() -> None:
    waveform = np.concatenate([silence(1), tone(1), silence(1), tone(0.5), silence(1)])
    found = segments(waveform, RATE, "energy")
    np.testing.assert_allclose(found, [[1, 2], [3, 3.5]], atol=2048 / RATE)


def test_energy_threshold_is_relative_to_the_loudest_frame() -> None:
    waveform = np.concatenate([tone(1, 0.5), silence(1), tone(1, 0.5 * 10 ** (-40 / 20))])  # 40 dB apart
    assert len(segments(waveform, RATE, "energy", top_db=30)) == 1
    assert len(segments(waveform, RATE, "energy", top_db=50)) == 2


@pytest.mark.parametrize("method", ["energy", "silero"])
@pytest.mark.parametrize("waveform", [silence(0), silence(0.001), silence(3), tone(3, 1e-7)])
def test_digital_silence_is_not_speech(method, waveform: np.ndarray) -> None:
    if method == "silero":
        pytest.importorskip("silero_vad")
    found = segments(waveform, RATE, method)
    assert found.shape == (0, 2) and found.dtype == np.float64


def test_a_waveform_of_one_sample() -> None:
    np.testing.assert_array_equal(segments(np.ones(1, np.float32), RATE, "energy"), [[0, 1 / RATE]])


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("sielro", {}, "unknown speech detector 'sielro': did you mean 'silero'"),
        ("energy", {"top_db": 0.0}, "top_db is 0"),
        ("energy", {"top_db": float("nan")}, "top_db is nan"),
        ("silero", {"threshold": 1.0}, "threshold of speech is 1"),
    ],
)
def test_wrong_options_are_told(method, options: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        segments(tone(1), RATE, method, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_fail_the_clip(bad: float) -> None:
    waveform = tone(1)
    waveform[100] = bad
    for listen in (lambda: segments(waveform, RATE, "energy"), lambda: denoise(waveform, RATE)):
        with pytest.raises(ClipError, match="not finite"):
            listen()


# --- silero


def babble(seconds: float = 20.0) -> np.ndarray:
    """Voiced-sounding harmonics that come and go: enough for the network to be undecided here and there."""
    rng = np.random.default_rng(3)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t) + 10 * np.sin(2 * np.pi * 3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = 1 + 0.8 * np.sin(2 * np.pi * np.outer(rng.uniform(1, 4, 25), t))
    voice = sum(formants[k] * np.sin((k + 1) * phase) / (k + 1) for k in range(25))
    gate = (np.sin(2 * np.pi * 4 * t) > -0.5) * (np.sin(2 * np.pi * 0.3 * t) > 0)
    return (0.1 * voice * gate + 1e-3 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8])
def test_silero_is_the_packages_own_streaming_loop(threshold: float) -> None:
    silero_vad = pytest.importorskip("silero_vad")
    import torch

    waveform = np.concatenate([silence(1), spoken() if ESPEAK else babble(), silence(1)])
    model = silero_vad.load_silero_vad(onnx=True)
    expected = silero_vad.get_speech_timestamps(torch.from_numpy(waveform), model, threshold=threshold)
    found = segments(waveform, RATE, "silero", threshold=threshold)
    assert len(expected) > 0
    np.testing.assert_array_equal(found, [[one["start"] / RATE, one["end"] / RATE] for one in expected])
    check_form(found, len(waveform) / RATE)


def test_silero_hears_no_speech_in_noise_and_tones() -> None:
    pytest.importorskip("silero_vad")
    for waveform in (noise(4, 0.05), tone(4)):
        assert len(segments(waveform, RATE, "energy")) == 1
        assert len(segments(waveform, RATE, "silero")) == 0


def test_silero_repeats_whatever_came_before() -> None:
    pytest.importorskip("silero_vad")
    waveform = babble()
    first = segments(waveform, RATE, "silero", threshold=0.1)
    segments(noise(3, 0.3), RATE, "silero")
    segments(waveform[: RATE * 7], RATE, "silero", threshold=0.1)
    assert len(first) > 0
    np.testing.assert_array_equal(segments(waveform, RATE, "silero", threshold=0.1), first)


def test_silero_leaves_torchs_threads_alone_and_torchaudio_unloaded() -> None:
    pytest.importorskip("silero_vad")
    code = """
import sys
import numpy as np
import torch
torch.set_num_threads(3)
sys.modules["torchaudio"] = None  # importing it would fail
from affectkit.speech import segments
segments(np.full(40000, 0.1, np.float32), 22050, "silero")
assert torch.get_num_threads() == 3, torch.get_num_threads()
assert sys.modules["torchaudio"] is None
assert "silero_vad" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_room_and_its_versions_load_nothing_heavy() -> None:
    code = """
import sys
from affectkit import speech
speech.version("energy"), speech.version("mouth")
heavy = {"torch", "librosa", "scipy", "soxr", "silero_vad", "noisereduce", "onnxruntime", "numba"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- synthesized speech


def spoken(rate: int = RATE) -> np.ndarray:
    """Ten seconds or so of synthesized speech, without silence around it."""
    text = (
        "The weather was lovely this morning, and we walked along the river until noon. "
        "Then it began to rain, nobody had brought an umbrella, and so we ran all the way home."
    )
    said = subprocess.run([str(ESPEAK), "-v", "en", "--stdout", text], capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        samples = np.frombuffer(said[44:][: len(said[44:]) // 2 * 2], np.int16).astype(np.float32) / 2**15
        samples = librosa.resample(samples, orig_sr=file.getframerate(), target_sr=rate, res_type="soxr_hq")
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + 1]


needs_espeak = pytest.mark.skipif(ESPEAK is None, reason="espeak-ng is not installed")


@needs_espeak
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("method", ["energy", "silero"])
def test_speech_between_silences(method, rate: int) -> None:
    if method == "silero":
        pytest.importorskip("silero_vad")
    speech = spoken(rate)
    waveform = np.concatenate([silence(2, rate), speech, silence(2, rate)])
    waveform += (1e-4 * np.random.default_rng(0).standard_normal(len(waveform))).astype(np.float32)
    found = segments(waveform, rate, method, top_db=40)
    check_form(found, len(waveform) / rate)
    end = 2 + len(speech) / rate
    assert overlap(found, 2, end) >= 0.8
    assert overlap(found, 0, 2) <= 0.1 and overlap(found, end, end + 2) <= 0.1


@needs_espeak
def test_denoising_speech_in_noise() -> None:
    pytest.importorskip("noisereduce")
    clean = np.concatenate([silence(1), spoken(), silence(1)])
    hiss = noise(len(clean) / RATE, 1.0)[: len(clean)]
    hiss *= np.sqrt(np.mean(clean**2) / np.mean(hiss**2)) * 10 ** (-5 / 20)  # 5 dB
    assert scale_invariant_snr(clean, denoise(clean + hiss, RATE)) > scale_invariant_snr(clean, clean + hiss) + 1.5


# --- mouth


def speech_by_loop(rows: list[tuple[float, float, float]], duration: float) -> list[list[float]]:
    """The rule said plainly: rolling mean, open or closed, then the timeline piece by piece."""
    rows = [(max(a, 0.0), min(b, duration), o) for a, b, o in rows if min(b, duration) > max(a, 0.0)]
    known = [(a, b, o) for a, b, o in rows if not np.isnan(o)]
    if not known:
        return []
    mean = sum((b - a) * o for a, b, o in known) / sum(b - a for a, b, _ in known)
    opened = []
    for a, b, _ in rows:
        near = [(d - c, o) for c, d, o in known if abs((c + d) / 2 - (a + b) / 2) <= 0.25 + 1e-6]
        if near and sum(w * o for w, o in near) / sum(w for w, _ in near) > mean:
            opened.append((a, b))
    if not opened:
        return []
    cuts = sorted({0.0, duration, *(time for pair in opened for time in pair)})
    pieces = [(a, b, any(c <= a and b <= d for c, d in opened)) for a, b in pairwise(cuts)]
    runs: list[list] = []
    for a, b, is_open in pieces:
        if runs and runs[-1][2] == is_open:
            runs[-1][1] = b
        else:
            runs.append([a, b, is_open])
    speech: list[list[float]] = []
    for a, b, is_open in runs:
        if is_open or b - a < 0.5 - 1e-3:
            if speech and speech[-1][1] == a:
                speech[-1][1] = b
            else:
                speech.append([a, b])
    return speech


@pytest.mark.parametrize("seed", range(40))
def test_mouth_gating_is_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    duration = round(float(rng.uniform(2, 20)), 2)
    steps = rng.integers(2, 12 if seed % 2 else 60, 300)  # hundredths of a second: regular enough, and not at all
    edges = (np.cumsum(steps) / 100).round(2)
    edges = edges[edges < duration + 1]
    talking = np.sin(edges[:-1] * rng.uniform(0.5, 3)) > rng.uniform(-0.5, 0.5)
    opening = np.abs(rng.normal(0.1 + 0.5 * talking, 0.2))
    opening[rng.random(len(opening)) < 0.2] = np.nan
    kept = np.flatnonzero(rng.random(len(opening)) < 0.85)
    rng.shuffle(kept)
    openings = Openings(edges[:-1][kept], edges[1:][kept], opening[kept])
    found = mouth_segments(openings, duration)
    rows = list(zip(openings.start.tolist(), openings.end.tolist(), openings.opening.tolist(), strict=True))
    np.testing.assert_array_equal(found, np.array(speech_by_loop(rows, duration)).reshape(-1, 2))
    check_form(found, duration)


def mouth(opening: list[float], fps: float = 10.0) -> Openings:
    start = np.arange(len(opening)) / fps
    return Openings(start, start + 1 / fps, np.array(opening, float))


def test_a_short_closure_is_speech_and_a_long_one_is_not() -> None:
    def with_pause(rows: int) -> np.ndarray:
        return mouth_segments(mouth([0.0] * 30 + [1.0] * 20 + [0.0] * rows + [1.0] * 20), 7 + rows / 10)

    np.testing.assert_allclose(with_pause(3), [[3, 7.3]])
    np.testing.assert_allclose(with_pause(10), [[3, 5], [6, 8]])


def test_closed_for_exactly_half_a_second_with_rounded_times() -> None:
    rows = np.array([0, 1, 1.5, 3]) + 1 / 3  # one row each: open, closed, open
    openings = Openings(rows[:-1].round(3), rows[1:].round(3), np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(mouth_segments(openings, 3.3333), [[0, 1.333], [1.833, 3.3333]])


def test_unknown_openings_are_bridged_only_when_short() -> None:
    nan = float("nan")
    assert mouth_segments(mouth([0] * 20 + [1] * 10 + [nan] * 3 + [1] * 10), 4.3)[-1].tolist()[1] == 4.3
    lost = mouth_segments(mouth([0] * 20 + [1] * 10 + [nan] * 20 + [1] * 10), 6.0)
    assert len(lost) == 2 and overlap(lost, 3.3, 4.7) == 0


def test_time_without_rows_is_not_speech() -> None:
    openings = Openings(np.array([3.0, 2.0]), np.array([4.0, 3.0]), np.array([0.0, 1.0]))
    assert mouth_segments(openings, 10.0).tolist() == [[2, 3]]
    assert mouth_segments(openings, 1.5).shape == (0, 2)


def test_rows_may_lie_within_others() -> None:
    openings = Openings(np.array([0.0, 1, 5]), np.array([5, 1.2, 10]), np.array([1.0, 1, 0]))
    assert mouth_segments(openings, 10.0).tolist() == [[0, 5]]


@pytest.mark.parametrize("opening", [[], [0.0] * 30, [0.3] * 30, [float("nan")] * 30])
def test_a_mouth_that_never_moves_never_speaks(opening: list[float]) -> None:
    assert mouth_segments(mouth(opening, 30), 1.0).shape == (0, 2)


def test_openings_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"opening is \[3\], not \[2\]"):
        Openings(np.zeros(3), np.ones(3), np.zeros(2))
    assert repr(mouth([1, float("nan")])) == "Openings(2 rows, 1 known)"


# --- noise


def scale_invariant_snr(clean: np.ndarray, given: np.ndarray) -> float:
    clean, given = clean.astype(float), given.astype(float)
    target = (clean @ given) / (clean @ clean) * clean
    return float(10 * np.log10((target**2).sum() / ((given - target) ** 2).sum()))


def beeps() -> np.ndarray:
    """Half a second of tone every two seconds: a tone that stays is taken for background."""
    return np.tile(np.concatenate([silence(1), tone(0.5, 0.3), silence(0.5)]), 5)


def test_denoising_tones_in_noise() -> None:
    pytest.importorskip("noisereduce")
    clean = beeps()
    noisy = clean + noise(10, 0.1)
    gated = denoise(noisy, RATE)
    assert gated.dtype == np.float32 and gated.shape == noisy.shape
    assert scale_invariant_snr(clean, gated) > scale_invariant_snr(clean, noisy) + 2
    np.testing.assert_array_equal(denoise(noisy, RATE), gated)


@pytest.mark.parametrize("rate", [3000, 8000, 16000, 48000])
@pytest.mark.parametrize("length", [0, 1, 50, 1023, 5000])
def test_denoising_keeps_the_length_of_short_clips(rate: int, length: int) -> None:
    pytest.importorskip("noisereduce")
    gated = denoise(noise(1, 0.1)[:length], rate)
    assert gated.shape == (length,) and np.isfinite(gated).all()


def test_denoising_long_stretches_of_silence() -> None:
    """Longer than the pieces that noisereduce works in: zeros divided by their mean would be NaN."""
    pytest.importorskip("noisereduce")
    waveform = np.concatenate([tone(1), silence(90), beeps()[: 2 * RATE]])
    with np.errstate(all="raise", under="ignore"):
        gated = denoise(waveform, RATE)
    assert gated.shape == waveform.shape and np.isfinite(gated).all()
    assert not gated[RATE : 91 * RATE].any() and gated[92 * RATE :].any()
    assert not denoise(silence(2), RATE).any()


# --- versions


@pytest.mark.parametrize(
    ("method", "package"), [("energy", "librosa"), ("silero", "silero-vad"), ("spectral-gate", "noisereduce")]
)
def test_versions_name_the_package(method: str, package: str) -> None:
    pytest.importorskip(package.replace("-", "_"))
    assert version(method) == f"{package}-{installed(package)}"


def test_an_unknown_method_has_no_version() -> None:
    with pytest.raises(UsageError, match="accepted: energy, mouth, silero, spectral-gate"):
        version("silent")


def test_missing_packages_are_told() -> None:
    code = """
import sys
from importlib import metadata
import numpy as np
sys.modules["silero_vad"] = sys.modules["noisereduce"] = None
def lacking(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = lacking
from affectkit.speech import denoise, segments, version
voice = np.zeros(100, np.float32)
for do in (lambda: segments(voice, 16000, "silero"), lambda: denoise(voice, 16000),
           lambda: version("silero"), lambda: version("spectral-gate")):
    try:
        do()
    except Exception as error:
        print(type(error).__name__, error)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120).stdout
    vad = "MissingExtra --vad silero needs the package silero-vad: pip install 'affectkit[vad]'"
    gate = "MissingExtra --denoise spectral-gate needs the package noisereduce: pip install 'affectkit[denoise]'"
    assert told.splitlines() == [vad, gate, vad, gate]
