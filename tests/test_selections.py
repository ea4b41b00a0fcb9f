"""Clips of one name in several folders, data that moved, grew or was recorded again: each command sees its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_factory import make_clip
from stage_calls import embed, extract_faces, functionals, predict, train
from stage_factory import clips_in, column_bytes, crop_folder, portrait
from store_tables import SCHEMAS, artifact, as_before, assert_same, record, write

from affectkit.config import Numerics, Runtime
from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.functionals import FunctionalsConfig
from affectkit.stages.replay import replay
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, Failure, Features, open_artifact, open_features
from affectkit.store.export import export
from affectkit.store.features import names_features
from affectkit.store.selection import Selection
from affectkit.store.table import StoredTable
from affectkit.store.upkeep import verify
from affectkit.tables.crop_times import CropTimes

RUNTIME = Runtime(workers=1, progress=False)
CPU = Numerics(device="cpu", batch_size=4)
SCHEMA = SCHEMAS["features"]
CENTERFACE = FacesConfig(detector="centerface", fps="native", size=32, option=["max_size=64"])


def folder_of(root: Path, clips: dict[str, int], rows: int = 3) -> Path:
    """Folders of crops, noise of a seed each."""
    for clip, seed in clips.items():
        rng = np.random.default_rng(seed)
        crop_folder(root / clip, [rng.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(rows)])
    return root


def crops_of(cache: Cache, *sources: Path) -> Artifact:
    config = FacesConfig(fps="native", size=16, format="png")
    return extract_faces(cache, clips_in(*sources), config, RUNTIME, times=CropTimes(source_fps=10)).artifact


def embedded(cache: Cache, crops: Artifact, **options: Any) -> Artifact:
    return embed(cache, crops, EmbedConfig(backbone="mean-pixel"), CPU, RUNTIME, **options).artifact


def contents(artifact: Artifact, name: str = "values") -> dict[str, bytes]:
    again = open_artifact(artifact.path)
    return {clip: column_bytes(again, clip, name) for clip in again.clips}


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with a clip u1 each, of different content."""
    train = folder_of(tmp_path / "train", {"u1": 1, "u2": 2, "u3": 3, "u4": 4})
    return train, folder_of(tmp_path / "dev", {"u1": 9})


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = ["clip,split,valence,arousal", "u1,train,.1,.2", "u2,train,-.3,.4", "u3,val,.5,-.2", "u4,val,.1,.1"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "labels.csv"


# Commands over two folders


def test_a_command_sees_the_clips_that_it_was_given(cache: Cache, both: tuple[Path, Path], labels: Path) -> None:
    crops = crops_of(cache, both[0])
    features = embedded(cache, crops)
    before = contents(crops, "image"), contents(features)
    config = TrainConfig(task="va", head="mlp", option=["epochs=1"])
    head = train(cache, [Features(features)], labels, config, RUNTIME, device="cpu")
    others = crops_of(cache, both[1])
    dev = embedded(cache, others)
    assert (others.folder, dev.folder) == (crops.folder, features.folder)
    assert others.clips == dev.clips == ["u1"]
    assert contents(dev)["u1"] != contents(features)["u1"]
    assert (contents(crops, "image"), contents(features)) == before
    assert embedded(cache, crops_of(cache, both[0])).path == features.path
    again = train(cache, [open_features(str(features.path))], labels, config, RUNTIME, device="cpu")
    assert (again.cached, again.artifact.path) == (True, head.artifact.path)
    summed = functionals(cache, dev, FunctionalsConfig(window="clip"), RUNTIME)
    assert (summed.computed, summed.artifact.clips) == (1, ["u1"])
    assert functionals(cache, features, FunctionalsConfig(window="clip"), RUNTIME).computed == 4


def test_the_folder_of_two_contents_is_refused_and_both_are_named(cache: Cache, both: tuple[Path, Path]) -> None:
    one, two = (crops_of(cache, folder) for folder in both)
    for use in (lambda a: a.clips, lambda a: a.read("u2"), lambda a: len(a), lambda a: "u1" in a):
        with pytest.raises(UsageError, match="two contents of clip 'u1'") as told:
            use(open_artifact(one.folder))
        for part in (*both, one.path, two.path):
            assert str(part) in str(told.value)
    assert list(verify(open_artifact(one.folder))) == []
    with pytest.raises(UsageError, match="two contents"):
        embedded(cache, open_artifact(one.folder))
    assert names_features(str(one.path)) and names_features(str(one.folder))


def test_data_that_moved_is_there_and_what_was_added_is_computed_alone(cache: Cache, tmp_path: Path) -> None:
    first = crops_of(cache, folder_of(tmp_path / "here", {"a": 1, "b": 2}))
    (tmp_path / "here").rename(tmp_path / "there")
    config = FacesConfig(fps="native", size=16, format="png")
    moved = extract_faces(cache, clips_in(tmp_path / "there"), config, RUNTIME, times=CropTimes(source_fps=10))
    assert (moved.computed, moved.cached, moved.folder) == (0, 2, first.folder)
    assert contents(moved.artifact, "image") == contents(first, "image")
    folder_of(tmp_path / "there", {"c": 3})
    grown = extract_faces(cache, clips_in(tmp_path / "there"), config, RUNTIME, times=CropTimes(source_fps=10))
    assert (grown.computed, grown.cached, grown.artifact.clips) == (1, 2, ["a", "b", "c"])
    assert open_artifact(first.path).clips == ["a", "b"]
    assert open_artifact(first.folder).clips == ["a", "b", "c"]


def test_a_clip_recorded_again_leaves_what_was_printed_before(cache: Cache, tmp_path: Path) -> None:
    old = crops_of(cache, folder_of(tmp_path / "clips", {"a": 1, "b": 2}))
    kept = contents(old, "image")
    shutil.rmtree(tmp_path / "clips" / "a")
    new = crops_of(cache, folder_of(tmp_path / "clips", {"a": 7}))
    assert (new.folder, new.clips) == (old.folder, ["a", "b"])
    assert contents(new, "image")["a"] != kept["a"]
    assert contents(old, "image") == kept
    assert open_artifact(old.path).compact() == 0  # both selections are kept
    assert contents(old, "image") == kept
    old.path.unlink()
    assert open_artifact(new.path).compact() == 1
    assert open_artifact(new.folder).clips == ["a", "b"]
    assert contents(open_artifact(new.folder), "image") == contents(new, "image")


def test_what_was_said_of_a_clip_stays_with_its_folder(cache: Cache, both: tuple[Path, Path], tmp_path: Path) -> None:
    manifests = []
    for folder, split, subject in ((both[0], "train", "anna"), (both[1], "test", "ben")):
        manifest = folder.parent / f"{split}.csv"
        manifest.write_text(f"path,clip,split,subject\n{folder.name}/u1,u1,{split},{subject}\n")
        manifests.append(crops_of(cache, manifest))
    tables = [embedded(cache, one).clip_table()["u1"] for one in manifests]
    assert [(table["split"], table["subject"]) for table in tables] == [("train", "anna"), ("test", "ben")]


def test_a_failure_is_that_of_its_own_clip(cache: Cache, tmp_path: Path) -> None:
    for folder, pictures in (("good", [portrait()] * 3), ("bad", None)):
        (tmp_path / folder).mkdir()
        if pictures:
            make_clip(tmp_path / folder / "u1.mp4", pictures)
        else:
            (tmp_path / folder / "u1.mp4").write_bytes(b"no video")
    make_clip(tmp_path / "bad" / "u2.mp4", [portrait()] * 2)
    good, bad, good_again, bad_again = (
        extract_faces(cache, clips_in(tmp_path / name), CENTERFACE, RUNTIME, device="cpu")
        for name in ("good", "bad", "good", "bad")
    )
    assert good.failed == good_again.failed == ()
    assert [one.clip for one in bad.failed] == [one.clip for one in bad_again.failed] == ["u1"]
    assert (good_again.computed, bad_again.computed) == (0, 0)
    assert (good.artifact.clips, bad.artifact.clips) == (["u1"], ["u2"])
    assert (open_artifact(good.path).failures(), list(open_artifact(bad.path).failures())) == ({}, ["u1"])


def test_all_faces_of_a_clip_are_selected_with_it(cache: Cache, tmp_path: Path) -> None:
    config = CENTERFACE.model_copy(update={"face": "all", "option": ["max_size=192"]})
    for folder, shift in (("one", 0), ("two", 9)):
        (tmp_path / folder).mkdir()
        picture = np.clip(portrait().astype(int) + shift, 0, 255).astype(np.uint8)
        make_clip(tmp_path / folder / "u.mp4", [np.concatenate([picture, picture[:, ::-1]], axis=1)] * 2)
    one, two = (
        extract_faces(cache, clips_in(tmp_path / name), config, RUNTIME, device="cpu").artifact
        for name in ("one", "two")
    )
    assert one.clips == two.clips == ["u#0", "u#1"]
    assert contents(one, "image") != contents(two, "image")
    features = embedded(cache, one)
    assert features.clips == ["u#0", "u#1"]
    assert "u" in features.clip_table()
    with pytest.raises(UsageError, match="two contents of clip 'u#"):
        _ = open_artifact(one.folder).clips


@pytest.mark.parametrize("channels_last", [False, True])
def test_new_media_touch_no_clip_that_was_trained_on(
    cache: Cache, tmp_path: Path, labels: Path, channels_last: bool
) -> None:
    """The head's recipe is there with other numerics too: new clips go to a table of their own, or where they fit."""
    (tmp_path / "train").mkdir()
    (tmp_path / "dev").mkdir()
    for number in range(1, 5):
        make_clip(tmp_path / "train" / f"u{number}.mp4", [np.roll(portrait(), number, axis=1)] * 3)
    make_clip(tmp_path / "dev" / "u1.mp4", [portrait()[:, ::-1]] * 4)
    faces = extract_faces(cache, clips_in(tmp_path / "train"), CENTERFACE, RUNTIME, device="cpu").artifact
    config, numerics = EmbedConfig(backbone="mean-pixel"), CPU.model_copy(update={"channels_last": channels_last})
    features = embed(cache, faces, config, numerics, RUNTIME).artifact
    kept = contents(features)
    trained = TrainConfig(task="va", head="mlp", option=["epochs=1"])
    head = train(cache, [Features(features)], labels, trained, RUNTIME, device="cpu").artifact
    scores = predict(cache, head, [Features(features)], RUNTIME, device="cpu").artifact
    new = replay(cache, head, clips_in(tmp_path / "dev" / "u1.mp4"), RUNTIME, device="cpu")
    assert (new.clips, new.failed, [told for told in new.notices if "made with" in told]) == (["u1"], [], [])
    done = predict(cache, head, new.features, RUNTIME, device="cpu", clips=new.clips)
    assert (done.computed, done.artifact.clips, len(done.artifact.read("u1")["scores"])) == (1, ["u1"], 4)
    assert (contents(features), open_artifact(scores.path).clips) == (kept, ["u1", "u2", "u3", "u4"])
    other = tmp_path / "elsewhere"
    shutil.copytree(cache.root, other)
    shutil.rmtree(other / "embed")
    flipped = numerics.model_copy(update={"channels_last": not channels_last})
    elsewhere = Cache(other)
    moved = open_artifact(other / faces.path.relative_to(cache.root))
    embed(elsewhere, moved, config, flipped, RUNTIME)
    again = replay(elsewhere, head, clips_in(tmp_path / "dev" / "u1.mp4"), RUNTIME, device="cpu")
    found = predict(elsewhere, head, again.features, RUNTIME, device="cpu", clips=again.clips)
    assert np.allclose(found.artifact.read("u1")["scores"], done.artifact.read("u1")["scores"], atol=1e-5)
    assert any(f"was made with channels_last {not channels_last}" in told for told in again.notices)
    assert again.features[0].artifact.folder.name.partition("+")[0] == features.folder.name
    assert "+" in again.features[0].artifact.folder.name


def test_rows_of_other_numerics_are_taken_or_kept_apart(cache: Cache, tmp_path: Path) -> None:
    crops = crops_of(cache, folder_of(tmp_path / "clips", {"a": 1, "b": 2}))
    config = EmbedConfig(backbone="mean-pixel")
    some = embed(cache, crops, config, CPU, RUNTIME, clips=["a"])
    eight = Numerics(device="cpu", batch_size=8)
    taken = embed(cache, crops, config, eight, RUNTIME, clips=["a"])
    assert (taken.path, taken.computed) == (some.path, 0)
    assert any("made with batch_size 4, not batch_size 8" in told for told in taken.notices)
    apart = embed(cache, crops, config, eight, RUNTIME)
    assert (apart.computed, apart.artifact.stage.numerics["batch_size"]) == (2, 8)
    assert apart.folder != some.folder and apart.folder.parent == some.folder.parent
    assert any("lacks 1 of 2 clips" in told and str(apart.folder) in told for told in apart.notices)
    again = embed(cache, crops, config, eight, RUNTIME)
    assert (again.path, again.computed) == (apart.path, 0)
    assert embed(cache, crops, config, CPU, RUNTIME).artifact.folder == apart.folder  # all of it is there
    assert contents(apart.artifact)["a"] == contents(some.artifact)["a"]
    embed(cache, crops, config, CPU, RUNTIME, out=tmp_path / "mine", clips=["a"])
    with pytest.raises(UsageError, match=r"made with batch_size 4, not batch_size 8: repeat those choices"):
        embed(cache, crops, config, eight, RUNTIME, out=tmp_path / "mine")


def test_export_and_commands_take_a_selection(cache: Cache, both: tuple[Path, Path], tmp_path: Path) -> None:
    features = [embedded(cache, crops_of(cache, folder)) for folder in both]
    texts = [export(one, "csv", tmp_path / f"{number}.csv").read_text() for number, one in enumerate(features)]
    assert {line.split(",")[0] for line in texts[0].splitlines()[1:]} == {"u1", "u2", "u3", "u4"}
    assert {line.split(",")[0] for line in texts[1].splitlines()[1:]} == {"u1"}
    assert open_features(f"{features[1].path}:values").clips == ["u1"]


# Damage


def test_swapped_ids_are_found(tmp_path: Path) -> None:
    import h5py

    for name in ("clip", "source_sha256", "status"):
        table = artifact(tmp_path / name, SCHEMA)
        write(table, {"aa": record(SCHEMA, 3, 1), "bb": record(SCHEMA, 3, 2)})
        table.seal()
        assert list(verify(table)) == []
        with h5py.File(table.folder / "data.h5", "r+") as file:
            values = file[name][()]
            file[name][:] = values[::-1] if name != "status" else [b"no"] * 2
        found = dict(verify(open_artifact(table.path)))
        assert found.keys() == {"aa", "bb"}
        assert all("do not match its digest" in problem for problem in found.values())


def test_a_damaged_clip_fails_alone_and_says_what_to_do(cache: Cache, tmp_path: Path, labels: Path) -> None:
    crops = crops_of(cache, folder_of(tmp_path / "clips", {"u1": 1, "u2": 2, "u3": 3, "u4": 4}))
    file = crops.folder / "data.h5"
    sound = file.read_bytes()

    def damage(table: Artifact, clip: str, column: str) -> None:
        rows = open_artifact(table.folder).clip_rows(clip)
        values = rows.column(column)
        first = values[0] if isinstance(values, list) else values
        path = rows.segment.path
        at = path.read_bytes().index(np.ascontiguousarray(first).tobytes())
        spoilt = bytearray(path.read_bytes())
        spoilt[at + 5] ^= 0x10
        path.write_bytes(spoilt)

    damage(crops, "u2", "image")
    broken = embed(cache, open_artifact(crops.path), EmbedConfig(backbone="mean-pixel"), CPU, RUNTIME)
    assert broken.artifact.clips == ["u1", "u3", "u4"]
    (failure,) = broken.failed
    assert failure.clip == "u2" and "do not match their digest" in failure.cause and f"remove {file}" in failure.cause
    file.write_bytes(sound)
    mended = embed(cache, open_artifact(crops.path), EmbedConfig(backbone="mean-pixel"), CPU, RUNTIME)
    assert (mended.computed, mended.failed) == (1, ())
    features = mended.artifact
    config = TrainConfig(task="va", head="mlp", option=["epochs=1"])
    head = train(cache, [Features(features)], labels, config, RUNTIME, device="cpu").artifact
    damage(features, "u3", "values")
    spoilt = open_artifact(features.path)
    summed = functionals(cache, spoilt, FunctionalsConfig(), RUNTIME)
    scored = predict(cache, head, [Features(spoilt)], RUNTIME, device="cpu")
    for done in (summed, scored):
        assert [one.clip for one in done.failed] == ["u3"]
        assert done.artifact.clips == ["u1", "u2", "u4"]
    with pytest.raises(AffectkitError, match="clip 'u3' do not match"):
        train(cache, [Features(spoilt)], labels, config.model_copy(update={"seed": 5}), RUNTIME, device="cpu")


# Artifacts of before, and cache that cannot be written


def test_an_artifact_of_before_is_read_and_gone_on_with(tmp_path: Path) -> None:
    table = artifact(tmp_path, SCHEMA)
    first, second = ({clip: record(SCHEMA, 4, seed + ord(clip)) for clip in "ab"} for seed in (0, 500))
    for records, source in ((first, "old"), ({"b": second["b"]}, "new")):
        write(table, records, source=source)
        table.seal()
    as_before(table, {"a": {"split": "train"}, "b": {"split": "val"}})
    old = open_artifact(table.path)
    digests = {clip: old.digest(clip) for clip in "ab"}
    assert old.clip_table()["b"] == {"split": "val"}
    assert list(verify(old)) == []
    assert_same(SCHEMA, old.read("b"), second["b"])
    chosen = old.select({"c": "newc"}, {"c": {"split": "test"}})
    write(old, {"c": record(SCHEMA, 2)}, source="new")
    old.seal()
    assert open_artifact(table.path).clips == ["a", "b", "c"]
    assert open_artifact(table.path).clip_table() == {
        "a": {"split": "train"}, "b": {"split": "val"}, "c": {"split": "test"},
    }  # fmt: skip
    assert open_artifact(table.path).compact() == 1  # b as it was before
    again = open_artifact(table.path)
    assert again.clips == ["a", "b", "c"]
    assert {clip: again.digest(clip) for clip in "ab"} == digests
    assert_same(SCHEMA, again.read("a"), first["a"])
    assert_same(SCHEMA, again.read("b"), second["b"])
    assert list(verify(again)) == []
    assert open_artifact(chosen.path).clips == ["c"]


def test_a_row_of_before_that_was_replaced_is_still_what_a_command_may_be_given(tmp_path: Path) -> None:
    table = artifact(tmp_path, SCHEMA)
    for seed, source in ((1, "old"), (2, "new")):
        write(table, {"a": record(SCHEMA, 3, seed)}, source=source)
        table.seal()
    as_before(table)
    again = open_artifact(table.path)
    assert again.finished() == {("a", "olda"), ("a", "newa")}
    assert_same(SCHEMA, again.read("a"), record(SCHEMA, 3, 2))
    assert_same(SCHEMA, open_artifact(again.select({"a": "olda"}, {}).path).read("a"), record(SCHEMA, 3, 1))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = artifact(tmp_path, SCHEMA)
    write(table, {clip: record(SCHEMA, 3, ord(clip)) for clip in "ab"})
    table.seal()
    told = {clip: {"split": "train"} for clip in "ab"}
    there = table.select({"a": "sa"}, {"a": told["a"]})
    whole = open_artifact(table.path)
    monkeypatch.setattr(
        StoredTable, "keep", lambda *_: (_ for _ in ()).throw(AffectkitError(f"{table.path} cannot be written"))
    )
    assert whole.select({"a": "sa"}, {"a": told["a"]}).path == there.path
    with pytest.raises(AffectkitError, match="cannot be written; a selection of 1 clips must be written there"):
        whole.select({"b": "sb"}, {"b": told["b"]})
    with pytest.raises(AffectkitError, match="cannot be written"):
        whole.select({"a": "sa", "b": "sb"}, told)  # the folder was not told of b's split
    assert whole.select({"a": "sa", "b": "sb"}, {"a": told["a"]}).path == table.folder


def test_a_selection_whose_clips_are_gone_says_so(tmp_path: Path) -> None:
    table = artifact(tmp_path, SCHEMA)
    write(table, {clip: record(SCHEMA, 3) for clip in "ab"})
    table.seal([Failure("f", "sf", "no")])
    chosen = table.select({"a": "sa", "b": "sb", "f": "sf"}, {})
    assert open_artifact(chosen.path).clips == ["a", "b"]
    (table.folder / "data.h5").unlink()
    with pytest.raises(UsageError, match=r"names 3 clips, of which 2 are not there .*repeat the command"):
        _ = open_artifact(chosen.path).clips


def test_the_same_clips_at_another_place_are_the_same_selection(tmp_path: Path) -> None:
    table = artifact(tmp_path, SCHEMA)
    write(table, {"a": record(SCHEMA, 3)})
    table.seal()
    here, moved, resplit = (
        table.select({"a": "sa"}, {"a": {"path": path, "split": split}}).path
        for path, split in (("/x/a.mp4", "train"), ("/y/a.mp4", "train"), ("/x/a.mp4", "val"))
    )
    assert here == moved != resplit
    assert open_artifact(moved).clips == ["a"]


@pytest.mark.parametrize("forged", ["edited", "renamed", "text", "twice", "pairs", "another", "link", "gone"])
def test_forged_selections_are_refused(tmp_path: Path, forged: str) -> None:
    table = artifact(tmp_path, SCHEMA)
    write(table, {"a": record(SCHEMA, 3)})
    table.seal()
    path = table.select({"a": "sa"}, {}).path
    content = json.loads(path.read_text())
    if forged == "edited":
        path.write_text(path.read_text().replace('"sa"', '"sb"'))
    elif forged == "renamed":
        path = path.rename(path.with_name("0123456789ab.json"))
    elif forged == "gone":
        path.unlink()
    elif forged == "link":
        path.parent.rename(tmp_path / "outside")
        path.parent.symlink_to(tmp_path / "outside")
    elif forged == "another":
        other = Selection("0" * 64, {"a": "sa"}, {})
        path = other.path(table.folder)
        path.write_text(other.text)
    else:
        changes = {"twice": {"rows": [["a", "sa"], ["a", "sb"]]}, "pairs": {"rows": [["a"]]}}
        path.write_text("[1, 2" if forged == "text" else json.dumps(content | changes[forged]))
    with pytest.raises(UsageError if forged == "gone" else HostileFile) as told:
        open_artifact(path)
    assert "\n" not in str(told.value)
