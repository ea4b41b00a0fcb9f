"""Names beside hashed paths: what `--as` gives, `latest`, beginnings, and what a name may not do."""

from __future__ import annotations

import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Command
from fuzz_cases import blanked, flipped, moved, torn
from stage_factory import crop_folder, portrait

from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.store import Cache, features_schema, names
from affectkit.store.selection import folder_of

FACES = ["--source-fps", "5", "--size", "32"]
CPU = ["--device", "cpu"]


def artifact(cache: Cache, stage: str, name: str) -> Path:
    """An artifact's folder, empty."""
    return cache.create(stage, name, {"stage": stage, "name": name}, features_schema(2)).path


def run(command: Command, *line: object, code: int = 0) -> str:
    done = command(*line)
    assert done.returncode == code, done.stderr
    return done.stdout.strip()


# What a text denotes


def test_a_path_beats_a_name_and_a_name_a_beginning(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = artifact(cache, "embed", "resnet50"), artifact(cache, "embed", "vgg16")
    assert names.keep(cache, one, "embed", "vgg16") is None
    assert names.resolve(cache, "vgg16") == str(one)
    assert names.resolve(cache, str(other)) == str(other)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg16").mkdir()
    assert names.resolve(cache, "vgg16") == "vgg16"


@pytest.mark.parametrize("begins", ["embed/vgg", "vgg16", "{folder}", "{digits}", "{few}"])
def test_unique_beginnings(cache: Cache, begins: str) -> None:
    artifact(cache, "embed", "resnet50")
    wanted = artifact(cache, "embed", "vgg16")
    digits = wanted.name.rpartition("-")[2]
    text = begins.format(folder=wanted.name, digits=digits, few=digits[:5])
    assert names.resolve(cache, text) == str(wanted)


def test_an_ambiguous_beginning_lists_the_candidates_of_the_kind_that_is_needed(cache: Cache) -> None:
    made = [artifact(cache, stage, name) for stage, name in (("embed", "resnet18"), ("embed", "resnet50"))]
    with pytest.raises(UsageError) as error:
        names.resolve(cache, "resnet")
    assert all(f"embed/{path.name}" in str(error.value) for path in made) and "give more of it" in str(error.value)
    head = artifact(cache, "train-head", "resnet-like")
    assert names.resolve(cache, "resnet", ["train-head"]) == str(head)
    with pytest.raises(UsageError, match="is not an artifact"):
        names.resolve(cache, "res")  # too little of it
    forest = artifact(cache, "fuse", "random-forest")
    assert names.resolve(cache, "random-f", ["embed"]) == str(forest), "of another kind, which is said by who opens it"
    assert names.resolve_column(cache, "random", ["finetune"], strict=False) == "random"
    assert names.resolve_column(cache, "random-f", ["finetune"], strict=False) == "random-f"


def test_what_denotes_nothing_is_said_with_what_is_near(cache: Cache) -> None:
    names.keep(cache, artifact(cache, "faces", "centerface"), "faces", "train-faces")
    for text, words in (("trian-faces", "did you mean train-faces?"), ("nothing-like-it", "it does not exist")):
        with pytest.raises(UsageError, match="is not an artifact") as error:
            names.resolve(cache, text)
        assert words in str(error.value)


def test_latest_is_what_was_printed_last_of_the_kind_that_is_needed(cache: Cache) -> None:
    with pytest.raises(UsageError, match="holds no features yet"):
        names.resolve(cache, "latest", ["embed"])
    one, other = artifact(cache, "embed", "resnet50"), artifact(cache, "embed", "vgg16")
    for age, path in enumerate((other, one)):
        os.utime(path / "stage.json", (1000 - age, 1000 - age))
    assert names.resolve(cache, "latest", ["embed"]) == str(other)
    names.keep(cache, one, "embed")  # printed again, all of it cached
    assert names.resolve(cache, "latest", ["embed"]) == str(one)
    assert names.resolve_column(cache, "latest:layer_07", ["embed"]) == f"{one}:layer_07"
    faces, sound = artifact(cache, "faces", "centerface"), artifact(cache, "audio", "16k")
    with pytest.raises(UsageError, match=r"latest may be .* say which one") as error:
        names.resolve(cache, "latest", ["faces", "audio"])
    assert str(faces) in str(error.value) and str(sound) in str(error.value)


def test_a_name_whose_artifact_is_gone(cache: Cache) -> None:
    path = artifact(cache, "embed", "resnet50")
    names.keep(cache, path, "embed", "mine")
    shutil.rmtree(path)
    with pytest.raises(UsageError, match=r"mine names .* not there any more"):
        names.resolve(cache, "mine")
    assert names.drop(cache, [path]) == ["mine"]
    with pytest.raises(UsageError, match="is not an artifact"):
        names.resolve(cache, "mine")


def test_a_cache_that_moved_keeps_its_names(cache: Cache, tmp_path: Path) -> None:
    path, outside = artifact(cache, "embed", "resnet50"), tmp_path / "elsewhere"
    cache.create("embed", "by hand", {"stage": "embed"}, features_schema(2), out=outside)
    names.keep(cache, path, "embed", "mine")
    names.keep(cache, outside, "embed", "by-hand")
    cache.root.rename(tmp_path / "moved")
    moved = Cache(tmp_path / "moved")
    assert names.resolve(moved, "mine") == str(tmp_path / "moved" / "embed" / path.name)
    assert names.resolve(moved, "by-hand") == str(outside)


# The file of names


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a b", "é", "x" * 101, "latest", "auto", "a:b", "a\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        names.check(name)


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"format": 2, "names": {}, "latest": {}}', '{"format": 1, "names": {"a": "../x"}, "latest": {}}',
     '{"format": 1, "names": {"a": 1}, "latest": {}}', '{"format": 1, "names": {"../a": "x"}, "latest": {}}',
     '{"format": 1, "names": {}, "latest": {"embed": "x"}}'],
)  # fmt: skip
def test_a_forged_file_of_names_is_one_line(cache: Cache, content: str) -> None:
    path = artifact(cache, "embed", "resnet50")
    (cache.root / names.FILE).write_text(content)
    with pytest.raises(HostileFile, match=r"names\.json"):
        names.resolve(cache, "mine")
    assert names.resolve(cache, str(path)) == str(path)


def test_a_damaged_file_of_names_is_read_or_refused(cache: Cache) -> None:
    path = artifact(cache, "embed", "resnet50")
    for name in ("one", "other"):
        names.keep(cache, path, "embed", name)
    file = cache.root / names.FILE
    whole = file.read_bytes()
    for seed in range(300):
        rng = random.Random(seed)
        file.write_bytes(rng.choice([flipped, torn, blanked, moved])(rng, whole))
        with suppress(AffectkitError):
            list(names.suggestions(cache, "o"))
            names.drop(cache, [path / "elsewhere"])
            names.resolve(cache, "one")


def test_names_that_lead_into_a_loop_of_links(cache: Cache) -> None:
    path = artifact(cache, "embed", "resnet50")
    names.keep(cache, path, "embed", "mine")
    shutil.rmtree(path)
    path.symlink_to(path)
    assert names.names_of(names.paths(cache), path) == ["mine"]
    with pytest.raises(UsageError, match="not there any more"):
        names.resolve(cache, "mine")


def test_commands_at_once_lose_no_name(cache: Cache) -> None:
    path = artifact(cache, "embed", "resnet50")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: names.keep(cache, path, "embed", f"n{number}"), range(40)))
    assert len(names.paths(cache)) == 40


def test_a_file_of_names_that_is_a_link_is_not_followed(cache: Cache, tmp_path: Path) -> None:
    cache.root.mkdir()
    (tmp_path / "x.json").write_text("{}")
    (cache.root / names.FILE).symlink_to(tmp_path / "x.json")
    with pytest.raises(HostileFile):
        names.read(cache)
    with pytest.raises(AffectkitError):
        names.keep(cache, tmp_path, "embed", "mine")
    assert (tmp_path / "x.json").read_text() == "{}"


def test_no_more_names_than_are_read_again(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    path = artifact(cache, "embed", "resnet50")
    monkeypatch.setattr(names, "MOST", 2)
    for name in ("a1", "a2", "a1"):
        names.keep(cache, path, "embed", name)
    with pytest.raises(AffectkitError, match="holds 2 names already"):
        names.keep(cache, path, "embed", "a3")


# Commands


def test_commands_take_names_and_give_them(affectkit: Command, tmp_path: Path) -> None:
    for clip in ("a", "b"):
        crop_folder(tmp_path / "crops" / clip, [portrait()])
        crop_folder(tmp_path / "more" / f"{clip}2", [portrait()])
    faces = run(affectkit, "extract", "faces", "crops", *FACES, "--as", "train-faces")
    run(affectkit, "extract", "faces", "more", *FACES)
    report = json.loads(run(affectkit, "embed", "train-faces", "--backbone", "mean-pixel", *CPU, "--json", "--as", "F"))
    assert (report["computed"], report["name"]) == (2, "F"), "the selection, not all of the folder"
    again = run(affectkit, "embed", faces, "--backbone", "mean-pixel", *CPU)
    assert again == report["artifact"]
    whole = run(affectkit, "functionals", report["artifact"], "--window", "clip")
    folder = folder_of(Path(report["artifact"]))
    assert run(affectkit, "functionals", "F:values", "--window", "clip") == whole
    for text in (f"embed/{folder.name[:12]}", folder.name.rpartition("-")[2]):
        assert json.loads(run(affectkit, "functionals", text, "--window", "clip", "--json"))["cached"] == 2
    assert run(affectkit, "extract", "faces", "crops", *FACES) == faces
    assert run(affectkit, "embed", "latest", "--backbone", "mean-pixel", *CPU) == again
    run(affectkit, "cache", "verify", "F")
    run(affectkit, "export", "F", "--out", "f.csv")
    assert run(affectkit, "cache", "compact", "train-faces") == faces
    done = affectkit("extract", "faces", "more", *FACES, "--as", "train-faces")
    assert done.stderr.count(f"note: train-faces was {tmp_path / 'cache'}/") == 1 and faces in done.stderr
    assert affectkit("extract", "faces", "more", *FACES, "--as", "train-faces").stderr.count("train-faces") == 0


def test_bad_names_stop_before_any_work(affectkit: Command, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "a", [portrait()])
    for name, words in (("crops", "is a path that exists"), ("a/b", "is no name"), ("latest", "means something else")):
        done = affectkit("extract", "faces", "crops", *FACES, "--as", name)
        assert (done.returncode, done.stdout, words in done.stderr) == (2, "", True), done.stderr
    assert not (tmp_path / "cache" / "faces").exists()
    done = affectkit("embed", "train-faces", "--backbone", "mean-pixel")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_cache_that_cannot_be_written_keeps_no_name(
    affectkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop_folder(tmp_path / "crops" / "a", [portrait()])
    faces = run(affectkit, "extract", "faces", "crops", *FACES)

    def refuse(*arguments: object) -> None:
        raise AffectkitError("the cache cannot be written (Read-only file system)")

    monkeypatch.setattr(names, "keep", refuse)
    assert run(affectkit, "extract", "faces", "crops", *FACES) == faces
    done = affectkit("extract", "faces", "crops", *FACES, "--as", "mine")
    assert (done.returncode, done.stdout.strip()) == (2, faces)
    assert "--as mine: the name is not kept, all else is done" in done.stderr


def test_removing_an_artifact_drops_its_names(affectkit: Command, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "a", [portrait()])
    run(affectkit, "extract", "faces", "crops", *FACES, "--as", "mine")
    assert "and its names: mine" in affectkit("cache", "gc", "--older-than", "0", "--dry-run").stderr
    assert names.paths(Cache(tmp_path / "cache")).keys() == {"mine"}
    assert "and its names: mine" in affectkit("cache", "gc", "--older-than", "0").stderr
    assert not names.paths(Cache(tmp_path / "cache"))
