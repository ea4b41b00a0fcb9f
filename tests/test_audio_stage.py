"""extract audio: waveforms, rows of speech, caching, mouth openings, what fails and how it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from media_factory import beep, beep_time, cut_off, make_clip, make_flash_and_beep, make_sound
from stage_calls import extract_audio
from stage_factory import SHARED, column_bytes, crop_folder, no_face

from affectkit import speech
from affectkit.config import Runtime
from affectkit.errors import ClipError, MissingExtra, UsageError
from affectkit.media import MEDIA_SUFFIXES, Waveform, read_audio
from affectkit.stages import audio as stage
from affectkit.stages.audio import AudioConfig
from affectkit.stages.map_stage import Outcome
from affectkit.store import Artifact, Cache
from affectkit.tables.sources import clips_of

RUNTIME = Runtime(workers=2, progress=False)
NOISE = np.random.default_rng(3)


def extract(cache: Cache, *sources: Path, mouth: Path | None = None, **fields: Any) -> tuple[Outcome, Artifact]:
    clips = clips_of([str(source) for source in sources], MEDIA_SUFFIXES)
    done = extract_audio(cache, clips, AudioConfig(**fields), RUNTIME, mouth=mouth)
    return done, Artifact(done.path)


def rows(artifact: Artifact, clip: str) -> np.ndarray:
    """[K,2] start and end of a clip's rows."""
    return np.column_stack([artifact.column(clip, "start"), artifact.column(clip, "end")])


def sounds(folder: Path, *names: str) -> Path:
    """A second of different noise for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        make_sound(folder / name, NOISE.uniform(-0.5, 0.5, 16000).astype(np.float32), 16000)
    return folder


def openings(path: Path, **clips: list[tuple[float, float, float]]) -> Path:
    """A table of mouth openings: start, end, opening of each row."""
    lines = [f"{clip},{a},{b},{c}" for clip, rows in clips.items() for a, b, c in rows]
    path.write_text("\n".join(["clip,start,end,opening", *lines]) + "\n")
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded, sorted on demand."""
    names: list[str] = []

    def counted(path: Path, **options: Any) -> Waveform:
        names.append(path.stem)
        return read_audio(path, **options)

    monkeypatch.setattr(stage, "read_audio", counted)
    return names


def test_a_row_is_the_whole_waveform_where_nothing_looks_for_speech(cache: Cache, tmp_path: Path) -> None:
    path = make_flash_and_beep(tmp_path / "late.mp4", video_start=0.4, audio_start=1.0, at=1.6)
    done, artifact = extract(cache, path)
    waveform = read_audio(path)
    assert np.array_equal(artifact.column("late", "samples"), waveform.samples)
    assert artifact.column("late", "sampling_rate") == 16000
    assert artifact.column("late", "offset") == waveform.offset == pytest.approx(0.6, abs=0.03)
    assert artifact.column("late", "origin") == waveform.origin == 0.4
    assert rows(artifact, "late").tolist() == [[waveform.offset, waveform.end]]
    assert artifact.column("late", "valid").tolist() == [1]
    assert (artifact.stage.stage, artifact.stage.name, artifact.status("late")) == ("audio", "waveform", "ok")
    assert (done.computed, done.rows, done.unit) == (1, 2, "s of sound")


def test_another_sampling_rate_is_another_artifact(cache: Cache, tmp_path: Path) -> None:
    folder = sounds(tmp_path / "s", "a.wav")
    _, sixteen = extract(cache, folder)
    _, eight = extract(cache, folder, sampling_rate=8000)
    assert sixteen.path != eight.path
    assert (len(sixteen.column("a", "samples")), len(eight.column("a", "samples"))) == (16000, 8000)
    assert eight.column("a", "sampling_rate") == 8000


def test_energy_finds_the_beep_on_the_clips_clock(cache: Cache, tmp_path: Path) -> None:
    path = make_flash_and_beep(tmp_path / "a.mkv", seconds=4, at=2.2, audio_start=1.0, codec="pcm_s16le")
    _, artifact = extract(cache, path, vad="energy")
    ((start, end),) = rows(artifact, "a")
    assert start == pytest.approx(2.2, abs=0.1)
    assert end == pytest.approx(2.25, abs=0.1)
    heard = artifact.column("a", "offset") + beep_time(artifact.column("a", "samples"), 16000)
    assert start <= heard <= end


def test_silence_has_samples_and_no_row(cache: Cache, tmp_path: Path) -> None:
    make_sound(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    sounds(tmp_path, "b.wav")
    done, artifact = extract(cache, tmp_path / "a.wav", tmp_path / "b.wav", vad="energy")
    assert (done.computed, done.failed) == (2, ())
    assert rows(artifact, "a").shape == (0, 2)
    assert len(artifact.column("a", "samples")) == 16000
    assert len(rows(artifact, "b")) == 1


@pytest.mark.skipif(find_spec("silero_vad") is None, reason="silero-vad is not installed")
def test_silero_finds_no_speech_in_a_beep(cache: Cache, tmp_path: Path) -> None:
    make_sound(tmp_path / "a.wav", beep(2, 1, 16000), 16000)
    _, artifact = extract(cache, tmp_path / "a.wav", vad="silero")
    assert rows(artifact, "a").shape == (0, 2)
    assert artifact.stage.inputs["speech"] == {"silero": speech.version("silero")}


@pytest.mark.skipif(find_spec("noisereduce") is None, reason="noisereduce is not installed")
def test_denoised_samples_are_what_is_kept(cache: Cache, tmp_path: Path) -> None:
    folder = sounds(tmp_path / "s", "a.wav")
    _, plain = extract(cache, folder)
    _, gated = extract(cache, folder, denoise="spectral-gate")
    expected = speech.denoise(plain.column("a", "samples"), 16000)
    assert np.array_equal(gated.column("a", "samples"), expected)
    assert np.abs(expected).mean() < np.abs(plain.column("a", "samples")).mean()
    assert gated.stage.fingerprint != plain.stage.fingerprint


def test_only_fields_that_matter_are_part_of_the_recipe() -> None:
    assert AudioConfig(top_db=20).recipe() == AudioConfig(vad_threshold=0.3).recipe() == AudioConfig().recipe()
    assert AudioConfig(vad="energy", top_db=20).recipe() != AudioConfig(vad="energy").recipe()
    assert AudioConfig(vad="energy", vad_threshold=0.3).recipe() == AudioConfig(vad="energy").recipe()
    assert AudioConfig(vad="silero", vad_threshold=0.3).recipe() != AudioConfig(vad="silero").recipe()
    assert AudioConfig(vad="mouth").recipe() != AudioConfig().recipe()


def test_only_what_is_new_is_decoded(cache: Cache, tmp_path: Path, decoded: list[str]) -> None:
    folder = sounds(tmp_path / "s", "b.wav", "c.mka")
    first, artifact = extract(cache, folder)
    assert (first.computed, first.cached, sorted(decoded)) == (2, 0, ["b", "c"])
    before = {clip: column_bytes(artifact, clip, "samples") for clip in ("b", "c")}
    again, _ = extract(cache, folder)
    assert (again.path, again.computed, again.cached, again.rows) == (first.path, 0, 2, 0)
    sounds(folder, "a.wav")
    more, artifact = extract(cache, folder)
    assert (more.folder, more.computed, more.cached) == (first.folder, 1, 2)
    assert sorted(decoded) == ["a", "b", "c"]
    assert {clip: column_bytes(artifact, clip, "samples") for clip in ("b", "c")} == before


def test_results_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    folder = sounds(tmp_path / "s", *(f"{n}.wav" for n in range(6)))
    clips = clips_of([str(folder)], MEDIA_SUFFIXES)
    made = []
    for workers in (1, 8):
        runtime = Runtime(workers=workers, progress=False)
        done = extract_audio(Cache(tmp_path / str(workers)), clips, AudioConfig(vad="energy"), runtime)
        artifact = Artifact(done.path)
        made.append([artifact.digest(clip) for clip in artifact.clips])
    assert made[0] == made[1]


def test_few_clips_are_decoded_ahead(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads are asked for: a waveform can be large."""
    folder = sounds(tmp_path / "s", *(f"{n:02}.wav" for n in range(24)))
    lock, held, most = threading.Lock(), 0, 0

    def counted(path: Path, **options: Any) -> Waveform:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return read_audio(path, **options)

    def written(*arguments: Any, write: Callable[..., None] = stage._write) -> None:
        nonlocal held
        write(*arguments)
        with lock:
            held -= 1

    monkeypatch.setattr(stage, "read_audio", counted)
    monkeypatch.setattr(stage, "_write", written)
    extract_audio(cache, clips_of([str(folder)], MEDIA_SUFFIXES), AudioConfig(), Runtime(workers=16, progress=False))
    assert held == 0
    assert 1 < most <= stage._MOST_AHEAD + 2


def test_parts_of_one_file_by_a_manifest(cache: Cache, tmp_path: Path) -> None:
    make_sound(tmp_path / "long.wav", beep(4, 2.5, 16000), 16000)
    manifest = tmp_path / "parts.csv"
    manifest.write_text("clip,path,start,end\nfirst,long.wav,0,2\nsecond,long.wav,2,3\nlast,long.wav,3,\n")
    _, artifact = extract(cache, manifest)
    assert [len(artifact.column(clip, "samples")) for clip in ("first", "second", "last")] == [32000, 16000, 16000]
    assert artifact.column("second", "origin") == 2
    assert beep_time(artifact.column("second", "samples"), 16000) == pytest.approx(0.5, abs=1e-3)
    manifest.write_text("clip,path,start,end\nfirst,long.wav,0,2\nsecond,long.wav,2,3.5\nlast,long.wav,3,\n")
    changed, _ = extract(cache, manifest)
    assert (changed.computed, changed.cached) == (1, 2)


def test_a_damaged_file_is_partial_or_fails(cache: Cache, tmp_path: Path) -> None:
    make_sound(tmp_path / "whole.wav", NOISE.uniform(-0.5, 0.5, 32000).astype(np.float32), 16000)
    cut_off(tmp_path / "whole.wav", tmp_path / "half.wav", 0.5)
    done, artifact = extract(cache, tmp_path)
    assert (artifact.status("half"), artifact.status("whole"), done.partial) == ("partial", "ok", 1)
    ((clip, problem),) = done.damaged
    assert (clip, "cut off" in problem) == ("half", True)
    strict, _ = extract(cache, tmp_path, on_truncated="fail")
    (failure,) = strict.failed
    assert failure.clip == "half"
    assert "cut off" in failure.cause


def test_mouths_that_open_are_speech(cache: Cache, tmp_path: Path) -> None:
    folder = sounds(tmp_path / "s", "a.wav", "b.wav")
    wide = {"a": [(0.0, 0.6, 0.0), (0.6, 1.0, 9.0)], "b": [(0.0, 1.0, 1.0)]}
    table = openings(tmp_path / "mouth.csv", **wide)
    done, artifact = extract(cache, folder, mouth=table, vad="mouth")
    assert done.failed == ()
    ((start, end),) = rows(artifact, "a")
    assert start == pytest.approx(0.6, abs=0.3)
    assert end == 1.0
    assert rows(artifact, "b").shape == (0, 2)


def test_a_changed_row_of_the_table_recomputes_its_clip_alone(cache: Cache, tmp_path: Path, decoded: list[str]) -> None:
    folder = sounds(tmp_path / "s", "a.wav", "b.wav", "c.wav")
    still = {name: [(0.0, 0.5, 1.0), (0.5, 1.0, 2.0)] for name in ("a", "b")}
    first, _ = extract(cache, folder, mouth=openings(tmp_path / "mouth.csv", **still), vad="mouth")
    (failure,) = first.failed
    assert (failure.clip, failure.cause) == ("c", "not in the table of mouth openings (--mouth)")
    again, _ = extract(cache, folder, mouth=openings(tmp_path / "other name.csv", **still), vad="mouth")
    assert (again.path, again.computed, len(decoded)) == (first.path, 0, 3)
    still["a"][1] = (0.5, 1.0, 3.0)
    still["c"] = [(0.0, 1.0, 1.0)]
    changed, artifact = extract(cache, folder, mouth=openings(tmp_path / "mouth.csv", **still), vad="mouth")
    assert (changed.folder, changed.computed, changed.cached, changed.failed) == (first.folder, 2, 1, ())
    assert sorted(decoded[3:]) == ["a", "c"]
    assert artifact.clips == ["a", "b", "c"]


def test_the_table_and_its_use_go_together(cache: Cache, tmp_path: Path) -> None:
    folder = sounds(tmp_path / "s", "a.wav")
    with pytest.raises(UsageError, match="needs mouth openings: --mouth CSV"):
        extract(cache, folder, vad="mouth")
    table = openings(tmp_path / "mouth.csv", a=[(0.0, 1.0, 1.0)])
    with pytest.raises(UsageError, match="of use only with --vad mouth"):
        extract(cache, folder, mouth=table, vad="energy")
    assert not cache.root.exists()


def test_a_missing_package_is_told_once_before_anything_is_decoded(
    cache: Cache, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(method: str) -> str:
        raise MissingExtra("silero-vad", "vad", f"--vad {method}")

    monkeypatch.setattr(speech, "version", absent)
    with pytest.raises(MissingExtra, match="silero-vad"):
        extract(cache, sounds(tmp_path / "s", "a.wav"), vad="silero")
    assert decoded == []


def test_a_clip_that_cannot_be_cleaned_does_not_stop_the_others(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gate(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
        if len(samples) < 16000:
            raise ClipError("too short")
        return samples / 2

    monkeypatch.setattr(speech, "denoise", gate)
    folder = sounds(tmp_path / "s", "a.wav", "c.wav")
    make_sound(folder / "b.wav", np.ones(100, np.float32), 16000)
    done, artifact = extract(cache, folder, denoise="spectral-gate")
    assert artifact.clips == ["a", "c"]
    assert [(failure.clip, failure.cause) for failure in done.failed] == [("b", "too short")]


def test_folders_of_crops_have_no_sound(cache: Cache, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "anna", [no_face()])
    with pytest.raises(UsageError, match="folder of crops, which has no sound: name media files"):
        extract(cache, tmp_path / "crops")


def test_a_video_and_a_sound_of_one_name_are_told_apart(cache: Cache, tmp_path: Path) -> None:
    sounds(tmp_path / "s", "a.wav", "a.mka")
    with pytest.raises(UsageError, match=r"clip 'a' has two contents: .*a\.(wav|mka) and .*a\.(wav|mka)"):
        extract(cache, tmp_path / "s")


def test_the_command(affectkit: Command, tmp_path: Path) -> None:
    folder = sounds(tmp_path / "clips", "a.wav")
    make_clip(folder / "mute.mp4", 5)
    run = affectkit("extract", "audio", "clips", "--vad", "energy", "--top-db", 20, "--json")
    assert run.returncode == 3
    result = json.loads(run.stdout)
    assert result["failed"] == {"mute": "no audio stream (streams: video)"}
    assert "failed: mute: no audio stream (streams: video)" in run.stderr
    assert Artifact(tmp_path / result["artifact"]).clips == ["a"]
    wrong = affectkit("extract", "audio", "clips", "--vad", "mouth")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--mouth CSV" in wrong.stderr
    piped = affectkit("extract", "audio", "-", input=f"{folder / 'a.wav'}\n")
    assert piped.returncode == 0
    assert Artifact(Path(piped.stdout.strip())).clips == ["a"]


def test_the_real_clips_have_sound(cache: Cache) -> None:
    clips = [SHARED / "media" / f"{name}.mp4" for name in ("single_face", "no_face")]
    if not all(path.exists() for path in clips):
        pytest.skip("the real clips are not here")
    done, artifact = extract(cache, *clips)
    assert done.failed == ()
    for clip, seconds in (("single_face", 2.4), ("no_face", 4.0)):
        assert artifact.status(clip) == "ok"
        assert artifact.column(clip, "end")[-1] == pytest.approx(seconds, abs=0.1)
        assert 1e-3 < np.abs(artifact.column(clip, "samples")).max() <= 1


def test_silence_and_speech_are_counted_also_from_the_cache(cache: Cache, tmp_path: Path) -> None:
    folder = sounds(tmp_path / "clips", "a.wav")
    make_sound(folder / "muted.wav", np.zeros(16000, np.float32), 16000)
    for _ in range(2):
        done, _ = extract(cache, folder)
        assert done.notices == ("nothing is to be heard in 1 clip (muted): the sound is constant",)
    table = openings(tmp_path / "m.csv", a=[(0, 0.5, 0.0), (0.5, 1.0, 0.0)], muted=[(0, 0.5, 0.0), (0.5, 1.0, 0.0)])
    spoken, _ = extract(cache, folder, mouth=table, vad="mouth")
    assert spoken.notices[0] == "speech in 0.0 of 2.0 s of sound; 2 clips (a, muted) without speech"


def test_whatever_a_sound_provokes_fails_that_clip_only(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **options: Any) -> Waveform:
        if path.stem == "b":
            raise OverflowError("too large")
        return read_audio(path, **options)

    monkeypatch.setattr(stage, "read_audio", broken)
    done, artifact = extract(cache, sounds(tmp_path / "clips", "a.wav", "b.wav", "c.wav"))
    assert artifact.clips == ["a", "c"]
    assert [(failure.clip, failure.cause) for failure in done.failed] == [
        ("b", "cannot be read: OverflowError: too large")
    ]
