"""Names of media: found whatever their letter case and Unicode form, shown escaped where no id may be so, and what is
left out or refused is said."""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
import wave
from pathlib import Path

import pytest
from conftest import Command

from affectkit.errors import Notice, UsageError
from affectkit.media import MEDIA_SUFFIXES, VIDEO_SUFFIXES
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.ids import clip_id
from affectkit.tables.media_names import file_named, id_of
from affectkit.tables.sources import clips_of
from affectkit.types import Clip


def _wav(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path


NFD = unicodedata.normalize("NFD", "Zoë/día")
NAMES = ["A.MP4", f"{NFD}.mp4", f"{NFD}2.MoV", "x/y.z.MKV", " b.mp4", "upper/CASE.WebM"]


@pytest.mark.parametrize("name", NAMES)
def test_a_video_is_found_by_the_id_that_extract_gives_it(name: str, tmp_path: Path) -> None:
    (path := tmp_path / "videos" / name).parent.mkdir(parents=True)
    path.touch()
    (clip,) = clips_of([str(tmp_path / "videos")])
    assert CropTimes(tmp_path / "videos").video_of(Clip(clip.id, tmp_path)) == path


def test_of_several_the_first_by_suffix(tmp_path: Path) -> None:
    for name in ("a.MOV", "a.mp4", "a.txt", "A.avi"):
        (tmp_path / name).touch()
    assert file_named(tmp_path, "a", VIDEO_SUFFIXES) == tmp_path / "a.MOV"
    assert file_named(tmp_path, "b", VIDEO_SUFFIXES) is None
    assert file_named(tmp_path, "no/b", VIDEO_SUFFIXES) is None


ODD = {
    "a\nb": "a%0Ab", "a\x1b[31mb": "a%1B[31mb", "back\\slash": "back%5Cslash", "\udcff\udce9": "%FF%E9",
    "line\u2028end": "line%E2%80%A8end", "tab\t/deep": "tab%09/deep",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_names_that_no_id_may_have_are_escaped(name: str) -> None:
    assert id_of(name) == ODD[name]
    assert clip_id(ODD[name]) == ODD[name]


def test_long_paths_have_short_ids_of_their_own() -> None:
    long = [f"{'a' * 200}/{'b' * 200}{end}" for end in "xy"]
    ids = {id_of(name) for name in long}
    assert len(ids) == 2
    assert all(len(one.encode()) <= 255 and one.startswith("a" * 200) for one in ids)


def test_odd_names_stop_nobody(tmp_path: Path, affectkit: Command) -> None:
    media = tmp_path / "media"
    for name in ("good", "a\nb", "\udcff", "x\x07"):
        _wav(media / f"{name}.wav")
    os.utime(media / "good.wav", (10_400_000_000, 10_400_000_000))  # the year 2299
    os.utime(media / "a\nb.wav", (-1_000_000_000, -1_000_000_000))  # the year 1938
    run = affectkit("extract", "audio", str(media), "--json", "--cache", str(tmp_path / "cache"))
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert (said["computed"], said["failed"]) == (4, {})
    again = affectkit("extract", "audio", str(media), "--json", "--cache", str(tmp_path / "cache"))
    assert json.loads(again.stdout)["cached"] == 4


def test_a_path_that_is_too_long_fails_its_clip(tmp_path: Path, affectkit: Command) -> None:
    _wav(tmp_path / "good.wav")
    (table := tmp_path / "m.csv").write_text(f"clip,path\ngood,good.wav\nlong,{'x' * 300}.wav\n")
    for stage in (("audio",), ("faces", "--detector", "centerface")):
        run = affectkit("extract", *stage, str(table), "--json", "--cache", str(tmp_path / "cache"))
        assert run.returncode == 3, run.stderr
        assert "long" in json.loads(run.stdout)["failed"]


def test_media_outside_a_manifests_folder_when_asked(tmp_path: Path, affectkit: Command) -> None:
    _wav(tmp_path / "elsewhere" / "a.wav")
    (folder := tmp_path / "m").mkdir()
    for place in ("../elsewhere/a.wav", str(tmp_path / "elsewhere" / "a.wav")):
        (table := folder / "m.csv").write_text(f"clip,path\na,{place}\n")
        with pytest.raises(UsageError, match=r"m\.csv:2: .*--allow-outside"):
            clips_of([str(table)], MEDIA_SUFFIXES)
        (clip,) = clips_of([str(table)], MEDIA_SUFFIXES, allow_outside=True)
        assert clip.path.samefile(tmp_path / "elsewhere" / "a.wav")
    arguments = ("extract", "audio", str(table), "--cache", str(tmp_path / "cache"))
    assert affectkit(*arguments).returncode == 2
    assert affectkit(*arguments, "--allow-outside").returncode == 0


def test_pictures_beside_videos_are_counted(tmp_path: Path) -> None:
    for name in ("a.mp4", "poster.jpg", "b/c.mp4", "b/x.PNG", "crops/00001.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.warns(Notice, match=r"2 pictures \(poster\.jpg, x\.PNG\) beside media are left out"):
        assert [clip.id for clip in clips_of([str(tmp_path)])] == ["a", "b/c", "crops"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips_of([str(tmp_path / "crops")])


NOWHERE = [
    ("extract", "faces", "nowhere"), ("extract", "audio", "nowhere/"), ("embed", "nowhere", "--backbone", "log-mel"),
    ("functionals", "nowhere"), ("import", "nowhere", "--name", "x"), ("cache", "show", "nowhere"),
    ("export", "nowhere"), ("predict", "nowhere", "nowhere"),
    ("train-head", "nowhere", "--labels", "l.csv", "--task", "va"),
    ("finetune", "nowhere", "--labels", "l.csv", "--task", "va", "--network", "static"),
    ("dataset", "check", "affwild2", "--root", "nowhere"), ("evaluate", "nowhere", "--labels", "l.csv", "--task", "va"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", NOWHERE, ids=" ".join)
def test_what_does_not_exist_is_said_not_to_exist(
    arguments: tuple[str, ...], affectkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = affectkit(*arguments)
    assert run.returncode == 2, run.stderr
    assert "nowhere" in run.stderr
    assert any(words in run.stderr.lower() for words in ("no such file", "does not exist")), run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
