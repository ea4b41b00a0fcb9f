"""Files that are broken, hostile, missing or forbidden, and a disk that is full: one clear line each, the right exit
code, and everybody else's result unharmed."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from media_factory import cut_off, make_audio, make_clip
from stage_calls import embed, extract_faces, train
from stage_factory import clips_in, crop_folder, datasets, face_clips, portrait

from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, Features
from affectkit.store.atomic import TEMPORARY
from affectkit.tables.crop_times import CropTimes

FACES = ["extract", "faces", "--detector", "centerface", "--size", "32", "--device", "cpu", "--fps", "native"]
Run = subprocess.CompletedProcess[str]


def told(done: Run) -> list[str]:
    """The lines on stderr, without notes and without the progress of what took long."""
    working = re.compile(r"note: |(extract faces|take crops|embed \S+): .*(clips|frames|crops|\.\.\.)")
    return [line for line in done.stderr.strip().splitlines() if not working.match(line)]


def refused(done: Run, *words: str) -> None:
    """Exit code 2 and one line on stderr that holds the words; nothing on stdout."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    lines = told(done)
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("affectkit")
    for word in words:
        assert word in lines[0]


def causes(done: Run) -> dict[str, str]:
    """What failed by the JSON report, after checking that stderr says the same in one line each, and a summary."""
    report = json.loads(done.stdout)
    assert "Traceback" not in done.stderr
    assert done.returncode == (3 if report["failed"] else 0), done.stderr
    *said, summary = told(done)
    assert f"{report['computed']} clips computed" in summary and f"{len(report['failed'])} failed" in summary
    assert said[: len(report["failed"])] == [f"failed: {clip}: {cause}" for clip, cause in report["failed"].items()]
    assert len(said) == len(report["failed"]) + (len(report["failed"]) > 0)
    listed = Path(report["folder"]) / "failures.jsonl"
    lines = listed.read_text().splitlines() if listed.exists() else []
    assert {line["clip"]: line["cause"] for line in map(json.loads, lines)} == report["failed"]
    found: dict[str, str] = report["failed"]
    return found


# Media


def bad_media(folder: Path) -> dict[str, str]:
    """Writes files that are no whole videos; by clip, what must be said of them."""
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("Dear video player,\nplease do not play me.\n" * 50)
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 64)
    whole = make_clip(folder.parent / "whole.mp4", [portrait()] * 20)
    cut_off(whole, folder / "truncated.mp4", 0.7)
    make_audio(folder / "audio.mp4")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{}\n#EXT-X-ENDLIST\n"
    (folder / "playlist.mp4").write_text(playlist.format(whole.resolve()))
    (folder / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{whole.resolve()}'\n")
    (folder / "dangling.mp4").symlink_to(folder / "nowhere")
    (folder / "missing.mp4").write_bytes(b"")
    return {
        "empty": "empty file", "text": "not a media file that FFmpeg can read: text", "noise": "not a media file",
        "truncated": "without its index (moov)", "audio": "no video", "playlist": "an HLS playlist",
        "concat": "an ffconcat list", "dangling": "no such file", "missing": "empty file",
    }  # fmt: skip


def test_bad_media_fail_by_themselves(affectkit: Command, tmp_path: Path) -> None:
    face_clips(tmp_path / "good", ["a", "z"], frames=3)
    alone = affectkit(*FACES, "good", "--out", "alone", "--json")
    assert causes(alone) == {}
    shutil.copytree(tmp_path / "good", tmp_path / "clips")
    expected = bad_media(tmp_path / "clips")
    done = affectkit(*FACES, "clips", "--json")
    found = causes(done)
    assert found.keys() == expected.keys()
    for clip, words in expected.items():
        assert words in found[clip], found[clip]
        assert str(tmp_path) not in found[clip]
    made = Path(json.loads(done.stdout)["folder"])
    assert datasets(tmp_path / made / "data.h5") == datasets(tmp_path / "alone" / "data.h5")

    again = affectkit(*FACES, "clips", "--json")
    report = json.loads(again.stdout)
    assert (again.returncode, report["computed"], report["cached"], report["seconds"]) == (3, 0, 2, 0)
    assert report["failed"] == found
    before = (tmp_path / made / "failures.jsonl").read_text()
    retried = affectkit(*FACES, "clips", "--json", "--retry-failed")
    assert json.loads(retried.stdout)["failed"] == found
    assert (tmp_path / made / "failures.jsonl").read_text().count("\n") == before.count("\n") == len(expected)

    shutil.copy(tmp_path / "good" / "a.mp4", tmp_path / "clips" / "empty.mp4")
    mended = affectkit(*FACES, "clips", "--json")
    report = json.loads(mended.stdout)
    assert (report["computed"], set(report["failed"])) == (1, expected.keys() - {"empty"})


def test_a_playlist_reads_no_other_file(affectkit: Command, tmp_path: Path) -> None:
    secret = make_clip(tmp_path / "secret.mp4", [portrait()] * 3)
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n")
    done = affectkit(*FACES, "list.m3u8", "--json")
    assert "playlist" in causes(done)["list"]
    assert json.loads(done.stdout)["rows"] == 0


def test_more_than_twenty_failures_are_counted(affectkit: Command, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(23):
        (tmp_path / "clips" / f"e{number:02d}.mp4").touch()
    done = affectkit(*FACES, "clips")
    assert done.returncode == 3
    lines = told(done)
    assert len(lines) == 22
    assert lines[-2].startswith("23 clips failed, the first 20 are listed")
    assert lines[-1] == "0 clips computed, 0 cached, 23 failed"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.mp4", ["no such file or directory: 'nowhere.mp4'"]),
        ("empty", ["empty holds no media files", ".mp4", "no folders of crops"]),
        ("", ["no such file or directory"]),
        ("-", ["no clips given"]),
        ("outside.csv", ["outside.csv", "leads outside the manifest's directory"]),
        ("dots.csv", ["dots.csv", "'../a' has the part '..'"]),
        ("absolute.csv", ["absolute.csv", "leads outside"]),
        ("twice.csv", ["twice.csv", "clip 'a' is on line"]),
        ("columns.csv", ["columns.csv", "no column path"]),
        ("times.csv", ["times.csv"]),
        ("binary.csv", ["binary.csv"]),
        ("rule.csv", ["unknown face rule 'largst': did you mean 'largest'?"]),
    ],
)
def test_sources_that_cannot_be_clips(affectkit: Command, tmp_path: Path, source: str, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    face_clips(tmp_path, ["a"], frames=1)
    manifests = {
        "outside": "clip,path\na,../a.mp4\n", "dots": "clip,path\n../a,a.mp4\n",
        "absolute": "clip,path\na,/etc/passwd\n",
        "twice": "clip,path,start,end\na,a.mp4,0,1\na,a.mp4,1,2\n", "columns": "clip\na\n",
        "times": "clip,path,start,end\na,a.mp4,2,1\n", "rule": "clip,path,face\na,a.mp4,largst\n",
    }  # fmt: skip
    for name, text in manifests.items():
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    refused(affectkit(*FACES, source, input=""), *words)
    assert not (tmp_path / "cache").exists()


def test_one_name_for_two_files_is_refused(affectkit: Command, tmp_path: Path) -> None:
    face_clips(tmp_path, ["one/a", "two/a"], frames=1)
    make_clip(tmp_path / "one" / "a.mkv", [portrait()])
    refused(affectkit(*FACES, "one/a.mp4", "two/a.mp4"), "clip 'a' has two contents", "one/a.mp4", "two/a.mp4")
    refused(affectkit(*FACES, "one"), "clip 'a' has two contents", "a.mkv", "a.mp4")


def test_a_file_of_a_manifest_that_is_missing_fails_alone(affectkit: Command, tmp_path: Path) -> None:
    face_clips(tmp_path, ["a"], frames=2)
    (tmp_path / "clips.csv").write_text("clip,path\na,a.mp4\nb,b.mp4\n")
    done = affectkit(*FACES, "clips.csv", "--json")
    assert causes(done) == {"b": "no such file"}
    assert json.loads(done.stdout)["computed"] == 1


def test_bad_crops_fail_by_themselves(affectkit: Command, tmp_path: Path) -> None:
    picture = portrait()[:32, :32]
    for name in ("good", "text", "cut", "mixed", "zero", "bomb"):
        crop_folder(tmp_path / "crops" / name, [picture, picture])
    crops = tmp_path / "crops"
    (crops / "text" / "00002.png").write_text("no picture")
    cut_off(crops / "good" / "00002.png", crops / "cut" / "00002.png", 0.5)
    (crops / "mixed" / "holiday.png").write_bytes((crops / "good" / "00001.png").read_bytes())
    (crops / "zero" / "00001.png").rename(crops / "zero" / "00000.png")
    bomb = bytearray((crops / "good" / "00001.png").read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (crops / "bomb" / "00001.png").write_bytes(bomb)
    done = affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32", "--json")
    found = causes(done)
    expected = {
        "text": "00002.png: not a picture that can be read (accepted: JPEG, PNG",
        "cut": "00002.png: not a picture that can be read: image file is truncated",
        "bomb": "00001.png: not a picture that can be read: Image size (3600000000",
        "mixed": "mixes frame numbers", "zero": "numbered from 1",
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for clip, words in expected.items():
        assert words in found[clip], found[clip]
    assert Artifact(tmp_path / json.loads(done.stdout)["artifact"]).clips == ["good"]


# Permissions


def without_override() -> None:
    """In a child of root: file permissions count, as they do for everybody else."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)


@pytest.fixture
def forbid(tmp_path: Path) -> Callable[[Path], None]:
    (tmp_path / "probe").mkdir(mode=0)
    probe = subprocess.run(["ls", tmp_path / "probe"], preexec_fn=without_override, capture_output=True, check=False)
    (tmp_path / "probe").chmod(0o700)
    if not probe.returncode:
        pytest.skip("permissions cannot be taken from this user")
    return lambda path: path.chmod(0o000)


def test_a_file_that_may_not_be_read_fails_alone_until_it_may(
    child: Command, tmp_path: Path, forbid: Callable[[Path], None]
) -> None:
    face_clips(tmp_path / "clips", ["a", "b"], frames=2)
    forbid(tmp_path / "clips" / "b.mp4")
    done = child(*FACES, "clips", "--json", preexec_fn=without_override)
    assert causes(done) == {"b": "cannot be read: Permission denied"}
    (tmp_path / "clips" / "b.mp4").chmod(0o600)
    mended = child(*FACES, "clips", "--json", preexec_fn=without_override)
    assert (json.loads(mended.stdout)["computed"], causes(mended)) == (1, {})


def test_folders_and_tables_that_may_not_be_used(
    child: Command, tmp_path: Path, forbid: Callable[[Path], None]
) -> None:
    face_clips(tmp_path / "clips", ["a"], frames=2)
    (tmp_path / "closed").mkdir()
    forbid(tmp_path / "closed")
    for name in ("labels.csv", "task.toml"):
        (tmp_path / name).write_text("clip,valence,arousal\na,0,0\n")

    def line(*arguments: str) -> Run:
        return child(*arguments, preexec_fn=without_override)

    refused(line(*FACES, "closed"), "closed", "Permission denied")
    refused(line(*FACES, "clips", "--cache", "closed/cache"), "closed/cache", "Permission denied")
    refused(line(*FACES, "clips", "--out", "closed/faces"), "closed/faces", "Permission denied")
    refused(line("embed", "closed/faces", "--backbone", "mean-pixel"), "closed/faces")
    refused(line("cache", "list", "--cache", "closed/cache"), "closed/cache", "Permission denied")
    refused(line("cache", "gc", "--cache", "closed/cache"), "closed/cache", "Permission denied")
    forbid(tmp_path / "task.toml")
    refused(line("evaluate", "labels.csv", "--labels", "labels.csv", "--task", "task.toml"), "task.toml", "Permission")
    forbid(tmp_path / "labels.csv")
    refused(line("evaluate", "clips/a.mp4", "--labels", "labels.csv", "--task", "va"), "labels.csv")


# A full disk


def limit(nbytes: int) -> Callable[[], None]:
    """No file of the child may become larger: writing answers as a full disk does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))


def visible(folder: Path) -> list[str]:
    """What can be seen besides selections, which only name clips and may be there before their rows are."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "selections")
    return sorted(path.name for path in files if not path.name.startswith("."))


@pytest.mark.parametrize("nbytes", [1_000, 6_000, 20_000])
def test_a_full_disk_while_extracting_faces(child: Command, tmp_path: Path, nbytes: int) -> None:
    face_clips(tmp_path / "clips", ["a", "b"], frames=8)
    line = [*FACES, "clips", "--format", "png", "--size", "64"]
    refused(child(*line, preexec_fn=limit(nbytes)), "room")
    assert not list(tmp_path.glob(f"cache/**/{TEMPORARY}*"))
    assert set(visible(tmp_path / "cache")) <= {"stage.json", "digests.sqlite"}
    whole = child(*line, "--json")
    assert (causes(whole), json.loads(whole.stdout)["computed"]) == ({}, 2)


def test_a_full_disk_keeps_what_is_finished(child: Command, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a"], frames=1)
    line = [*FACES, "clips", "--format", "png", "--size", "64"]
    assert child(*line).returncode == 0
    face_clips(tmp_path / "clips", ["b"], frames=30)
    refused(child(*line, preexec_fn=limit(60_000)), "room", "finished clips are kept")
    done = child(*line, "--json")
    assert (json.loads(done.stdout)["computed"], json.loads(done.stdout)["cached"]) == (1, 1)


@pytest.fixture
def features(affectkit: Command, tmp_path: Path) -> str:
    """Features of three clips without a detector, and labels of them in va.csv."""
    for place, clip in enumerate("abc"):
        crop_folder(tmp_path / "crops" / clip, [portrait()[8 * place :, :][:32, :32]] * 6)
    rows = [f"{clip},{split},{row / 5},{(row + 1) / 5},{row / 9},{-row / 9}\n"
            for clip, split in (("a", "train"), ("b", "val"), ("c", "test")) for row in range(6)]  # fmt: skip
    (tmp_path / "va.csv").write_text("clip,split,start,end,valence,arousal\n" + "".join(rows))
    faces = affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32").stdout.strip()
    return affectkit("embed", faces, "--backbone", "mean-pixel", "--device", "cpu").stdout.strip()


def test_a_full_disk_later_on(child: Command, tmp_path: Path, features: str) -> None:
    faces = str(next((tmp_path / "cache").glob("faces/*")))
    again = ["embed", faces, "--backbone", "mean-pixel", "--device", "cpu", "--cache", "second"]
    refused(child(*again, preexec_fn=limit(9_000)), "room")
    assert visible(tmp_path / "second") == ["stage.json"]
    evaluate = ["evaluate", "va.csv", "--labels", "va.csv", "--task", "va"]
    refused(child(*evaluate, preexec_fn=limit(200)), "room")
    assert not list((tmp_path / "cache").glob("evaluate/*"))
    assert child(*evaluate).returncode == 0
    refused(child("export", features, "--out", "features.csv", preexec_fn=limit(2_000)), "room")
    assert not (tmp_path / "features.csv").exists()


@pytest.mark.slow
def test_a_full_disk_while_training_and_predicting(child: Command, tmp_path: Path, features: str) -> None:
    head = ["train-head", features, "--labels", "va.csv", "--task", "va", "--device", "cpu"]
    head += [part for option in ("epochs=1", "width=8", "heads=1", "layers=1") for part in ("-o", option)]
    refused(child(*head, preexec_fn=limit(3_000)), "room")
    assert not list((tmp_path / "cache").glob("train-head/*/stage.json"))
    made = child(*head).stdout.strip()
    predict = ["predict", made, features, "--device", "cpu"]
    refused(child(*predict, preexec_fn=limit(9_000)), "room")
    assert child(*predict).returncode == 0


def test_out_that_is_no_place_for_a_result(affectkit: Command, tmp_path: Path, features: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other").touch()
    os.mkfifo(tmp_path / "pipe")
    embed = ["embed", next(iter((tmp_path / "cache").glob("faces/*"))), "--backbone", "mean-pixel", "--device", "cpu"]
    for out, words in (("file", "Not a directory"), ("file/x", "Not a directory"), ("full", "other things in it"),
                       ("pipe", "Not a directory"), ("x" * 300, "File name too long")):  # fmt: skip
        refused(affectkit(*embed, "--out", out), words)
    for out in ("pipe", "full", "."):
        refused(affectkit("export", features, "--out", out), "not a regular file")
    refused(affectkit("export", features, "--out", "file/x.csv"), "cannot be written")
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "pipe").is_fifo()  # as /dev/stdout must stay what it is
    (tmp_path / "link").symlink_to("pipe")
    refused(affectkit("export", features, "--out", "link"), "not a regular file")
    assert affectkit("export", features, "--out", "file").returncode == 0  # an older file may be replaced


# Tables


@pytest.fixture(scope="module")
def two_features(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Features of two clips."""
    folder = tmp_path_factory.mktemp("features")
    for left, clip in enumerate("ab"):
        crop_folder(folder / "crops" / clip, [portrait()[:32, left : left + 32]] * 2)
    runtime, cache, config = Runtime(progress=False), Cache(folder / "cache"), FacesConfig(size=32)
    faces = extract_faces(cache, clips_in(folder / "crops"), config, runtime, times=CropTimes(source_fps=5))
    embedding = EmbedConfig(backbone="mean-pixel")
    return Artifact(embed(cache, Artifact(faces.path), embedding, Numerics(device="cpu"), runtime).path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clip,split,valence,arousal\na,train,nan,\nb,val,,0.1\n", ["no labelled row"]),
        ("clip,split,valence,arousal\na,train,high,0\n", ["labels.csv:2", "valence is 'high', not a number"]),
        ("clip,split,valence,arousal\na,train,1e999,0\n", ["labels.csv:2"]),
        ("clip,split,valence,arousal\n../../a,train,0,0\n", ["'../../a' has the part '..'"]),
        ("clip,split,valence,arousal\na,holdout,0,0\n", ["unknown split 'holdout'"]),
        ("clip,split,valence,arousal\nx,train,0,0\n", ["none of the 1 labelled clips has features", "'a'", "'x'"]),
        ("", ["labels.csv"]),
    ],
)
def test_labels_that_cannot_be_learnt_from(two_features: Artifact, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "labels.csv").write_text(text)
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UsageError) as error:
        train(
            cache,
            [Features(two_features)],
            tmp_path / "labels.csv",
            TrainConfig(task="va"),
            Runtime(progress=False),
            device="cpu",
        )
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert not list(cache.root.glob("train-head/*"))


def test_other_peoples_files_are_no_artifacts(affectkit: Command, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(affectkit("embed", "folder", "--backbone", "mean-pixel"), "folder is not an artifact")
    (tmp_path / "folder" / "stage.json").write_text("{}")
    refused(affectkit("embed", "folder", "--backbone", "mean-pixel"), "stage.json is not a stage file")
    (tmp_path / "folder" / "stage.json").write_bytes(b"\xff" * 10)
    refused(affectkit("cache", "show", "folder"), "stage.json is not UTF-8")
    face_clips(tmp_path / "clips", ["a"], frames=1)
    faces = tmp_path / affectkit(*FACES, "clips").stdout.strip()
    data = Artifact(faces).folder / "data.h5"
    data.write_bytes(data.read_bytes()[:900])
    done = affectkit("embed", str(faces), "--backbone", "mean-pixel", "--device", "cpu")
    refused(done, "data.h5 is not")
