"""Practice sets: what their readers find, what is planted, templates that are taken, folders that are ours."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import Command
from PIL import Image

from affectkit import plugins, tasks
from affectkit.config import Runtime, validate
from affectkit.errors import AffectkitError, UsageError
from affectkit.media import read_audio, scan
from affectkit.practice import sets, table
from affectkit.practice.feelings import LOW, feelings_of
from affectkit.practice.sets import SETS, PracticeSet, make_practice
from affectkit.practice.settings import PracticeConfig, dealt
from affectkit.stages.submit import FormatName, SubmitConfig, check, submit
from affectkit.tables.submissions import FORMATS, read_template

pytest.importorskip("skimage")

SMALL: dict[str, dict[str, Any]] = {
    "affwild2": {"count": 10, "seconds": 3.0, "fps": 6, "size": 96},
    "hume-reaction": {"count": 8, "seconds": 1.0, "fps": 4, "size": 96},
    "cexpr": {"count": 9, "seconds": 1.0, "fps": 4, "size": 96},
    "dfew": {"count": 35, "seconds": 0.5, "fps": 4, "size": 96},
    "table": {"count": 4, "seconds": 1.0, "fps": 8, "size": 96},
}
TEMPLATES: list[tuple[str, FormatName, str]] = [
    ("affwild2", "affwild2-va", "submission_templates/va.txt"),
    ("affwild2", "affwild2-expr", "submission_templates/expr.txt"),
    ("hume-reaction", "hume-reaction", "submission_template.csv"),
    ("cexpr", "cexpr", "submission_template.txt"),
]


def make(name: str, folder: Path, **settings: Any) -> PracticeSet:
    given = SMALL[name] | settings
    return make_practice(name, folder, PracticeConfig(**given), Runtime(workers=2, progress=False))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("practice")
    return {name: make(name, root / name).folder for name in SETS}


def reader(name: str, root: Path, **options: Any) -> Any:
    kind = plugins.get("datasets", name)
    return kind(kind.Options(**options), root)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- Aff-Wild2


def test_aff_wild2_is_read_with_its_quirks(made: dict[str, Path]) -> None:
    root = made["affwild2"]
    data = reader("affwild2", root)
    va, expr = tasks.get("va"), tasks.get("expr")
    splits = list(data.splits(va).values())
    assert {split: splits.count(split) for split in ("train", "val", "test")} == {"train": 7, "val": 2, "test": 2}
    frames = {clip.id: len(scan(clip.path)) for clip in data.clips()}
    assert set(frames.values()) == {18}
    rows = data.rows(va)
    assert sorted(len(raw.values) - 18 for raw in rows.values()) == [-2, *[0] * 7, 3]
    assert len(data.rows(va)) == len(data.rows(expr)) + 1
    assert data.labels(va).keys() == rows.keys()
    assert sum(np.isnan(raw.values).any() for raw in rows.values()) == 2
    assert all("-5,-5" in raw.path.read_text() for raw in rows.values() if np.isnan(raw.values).any())
    assert np.nanmax(np.abs(np.concatenate([raw.values for raw in rows.values()]))) <= 1
    marked = [raw for raw in data.rows(expr).values() if np.isnan(raw.values).any()]
    assert marked and all("\n-1\n" in raw.path.read_text() for raw in marked)


def test_two_persons_share_a_video(made: dict[str, Path]) -> None:
    data = reader("affwild2", made["affwild2"])
    left, right = (clip for clip in data.clips() if clip.face)
    assert (left.face, right.face) == ("left", "right") and left.path == right.path
    assert left.id.removesuffix("_left") == right.id.removesuffix("_right") == left.path.stem
    labels = data.labels(tasks.get("va"))
    assert not np.allclose(labels[left.id].values, labels[right.id].values)
    assert data.splits()[left.id] == data.splits()[right.id] == "train"
    with av.open(str(left.path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (192, 96) and len(container.streams.audio) == 1


def test_crops_are_official_ones(made: dict[str, Path]) -> None:
    root = made["affwild2"]
    crops = reader("affwild2", root, media="crops").clips()
    assert {clip.id for clip in crops} == {clip.id for clip in reader("affwild2", root).clips()}
    numbers = {clip.id: sorted(int(path.stem) for path in clip.path.iterdir()) for clip in crops}
    assert all(set(there) <= set(range(1, 19)) for there in numbers.values())
    missing = {clip: sorted(set(range(1, 19)) - set(there)) for clip, there in numbers.items()}
    assert [1] in missing.values() and [10, 11, 12] in missing.values() and [] in missing.values()
    with Image.open(next(crops[0].path.glob("*.jpg"))) as image:
        assert image.size == (112, 112) and image.format == "JPEG"


def test_crops_hold_the_face_upright(tmp_path: Path) -> None:
    """Eyes and mouth of a turned, moved, mirrored head are where those of a head at rest are."""
    from affectkit.practice.animated_face import View, render
    from affectkit.practice.crops import CENTRE, WIDTH, aligned, seen_at
    from affectkit.practice.face_features import Expression
    from affectkit.practice.looks import draw_look

    look = draw_look(np.random.default_rng(3))
    views = [View(), View(shift=(6, -4), roll=12, lean=1.05, camera_roll=-4, zoom=0.9, centre=(220, 118), mirror=True)]
    crops = [aligned(render(Expression(), view, 256, look), view, look) for view in views]
    straight, moved = (np.asarray(crop, float) for crop in crops)
    assert np.corrcoef(straight.ravel(), moved[:, ::-1].ravel())[0, 1] > 0.97
    eyes = seen_at(np.array([CENTRE]), View(), look, 192)
    assert np.abs(eyes - [95, 94]).max() < 8 and WIDTH < 192


def test_the_voice_is_there_and_loud_when_aroused(made: dict[str, Path]) -> None:
    data = reader("affwild2", made["affwild2"])
    labels = data.labels(tasks.get("va"))
    loudness, arousal = [], []
    for clip in data.clips():
        sound = read_audio(clip.path)
        samples = sound.samples
        assert np.sqrt(np.mean(samples**2)) > 0.01, clip.id
        if clip.id in labels and not clip.face:
            loudness.append(np.log(np.sqrt(np.mean(samples**2))))
            arousal.append(np.nanmean(labels[clip.id].values[:, 1]))
    assert np.corrcoef(loudness, arousal)[0, 1] > 0.3


# --- the other sets


def test_hume_reaction_is_read(made: dict[str, Path]) -> None:
    root, task = made["hume-reaction"], tasks.get("eri")
    data = reader("hume-reaction", root)
    splits = data.splits(task)
    assert sorted(splits.values()) == ["test", *["train"] * 5, "val", "val"]
    labels = data.labels(task)
    assert set(labels) == {clip for clip, split in splits.items() if split != "test"}
    values = np.concatenate([one.values for one in labels.values()])
    assert values.min() >= 0 and values.max() <= 1 and (values.max(axis=1) >= 0.35).all()
    assert all(line.startswith("[") for line in (root / "labels.csv").read_text().splitlines()[1:])
    assert {clip.id for clip in data.clips()} == set(splits)


def test_cexpr_has_no_labels_but_those_of_our_own(made: dict[str, Path]) -> None:
    root, task = made["cexpr"], tasks.get("compound")
    assert reader("cexpr", root).labels(task) == {}
    data = reader("cexpr", root, labels=root / "labels.csv")
    splits = data.splits(task)
    assert sorted(splits.values()) == ["test", *["train"] * 6, "val", "val"]
    assert set(data.labels(task)) == {clip for clip, split in splits.items() if split != "test"}
    assert "no labels" in (root / "README.txt").read_text()


def test_dfew_has_five_folds_with_every_class(made: dict[str, Path]) -> None:
    task, tested = tasks.get("dfew"), []
    for fold in range(1, 6):
        data = reader("dfew", made["dfew"], fold=fold)
        splits, labels = data.splits(task), data.labels(task)
        test = [clip for clip, split in splits.items() if split == "test"]
        assert sorted(labels[clip].values[0, 0] for clip in test) == [*range(7)]
        assert set(splits) == {clip.id for clip in data.clips()} == {f"{n:05d}" for n in range(1, 36)}
        tested += test
    assert sorted(tested) == sorted(splits)
    assert (made["dfew"] / "single_label/data/00001/00001_00001.jpg").is_file()
    assert (made["dfew"] / "label/single_testset_1.csv").read_text().splitlines()[1].split(",")[0] == "1"


def test_a_table_has_a_row_a_frame(made: dict[str, Path]) -> None:
    root = made["table"]
    data = reader("table", root)
    assert data.splits() == {"test-00": "test", "train-00": "train", "train-01": "train", "val-00": "val"}
    assert {clip.path for clip in data.clips()} == set((root / "clips").iterdir())
    lines = (root / "labels.csv").read_text().splitlines()
    assert lines[0] == "clip,start,end,split,valence,arousal" and lines[2].startswith("train-00,0.1250,0.2500,train,")
    labels = data.labels(tasks.get("va"))
    settings = SETS["table"].settings("table", PracticeConfig(**SMALL["table"]))
    np.testing.assert_allclose(labels["train-01"].values[:, 1], table.scene_of(settings, 1).arousal, atol=6e-5)
    np.testing.assert_allclose(labels["train-01"].start, np.arange(8) / 8)


def test_clips_decode_to_the_frames_that_were_drawn(made: dict[str, Path]) -> None:
    settings = SETS["table"].settings("table", PracticeConfig(**SMALL["table"]))
    drawn = np.stack(list(table.scene_of(settings, 0).frames(96)))
    with av.open(str(made["table"] / "clips" / "train-00.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.average_rate == 8
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    difference = np.abs(decoded.astype(int) - drawn)
    assert difference.mean() < 4
    assert np.abs(drawn[0].astype(int) - drawn[-1]).mean() > 2 * difference.mean()


def test_a_clip_of_a_table_is_the_same_whatever_else_is_written(made: dict[str, Path], tmp_path: Path) -> None:
    others = digests(make("table", tmp_path, count=3).folder / "clips")
    assert others.items() <= digests(made["table"] / "clips").items()


# --- templates


@pytest.mark.parametrize(("name", "form", "file"), TEMPLATES)
def test_a_submission_made_of_simple_predictions_is_accepted(
    name: str, form: FormatName, file: str, made: dict[str, Path], tmp_path: Path
) -> None:
    template = made[name] / file
    rows = read_template(template, FORMATS[form])
    splits = reader(name, made[name]).splits()
    if name != "cexpr":
        assert {clip for clip, split in splits.items() if split == "test"} == set(rows.clips)
    assert not check(template, template, form).good  # a form that nobody has filled in
    columns = FORMATS[form].columns
    predictions, row = tmp_path / "p.csv", ",".join("1" if place == 1 else "0" for place in range(len(columns)))
    lines = [f"{clip},0,inf,{row}" for clip in rows.clips]
    predictions.write_text("\n".join([f"clip,start,end,{','.join(columns)}", *lines]) + "\n")
    done = submit(predictions, template, tmp_path / "out.txt", SubmitConfig(format=form))
    assert check(done.path, template, form).good and done.report["rows"] == len(rows)
    if form == "affwild2-va":
        over = {clip: int((rows.codes == code).sum()) - 18 for code, clip in enumerate(rows.clips)}
        assert sorted(over.values()) == [0, 2]


# --- settings and folders


def test_the_same_settings_give_the_same_bytes(made: dict[str, Path], tmp_path: Path) -> None:
    for name in ("affwild2", "hume-reaction", "dfew"):
        again = make_practice(
            name, tmp_path / name, PracticeConfig(**SMALL[name]), Runtime(workers=1, progress=False)
        ).folder
        assert digests(again) == digests(made[name])


def test_another_seed_gives_another_set(made: dict[str, Path], tmp_path: Path) -> None:
    other = digests(make("cexpr", tmp_path, seed=1).folder)
    same = {name for name, digest in digests(made["cexpr"]).items() if other.get(name) == digest}
    assert same == {"README.txt"} | ({"submission_template.txt"} & same)


def test_a_second_call_writes_nothing(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "each", None)
    again = make("dfew", made["dfew"])
    assert again.cached and again.files == len(digests(made["dfew"])) - 1  # without practice.json


def test_other_settings_write_anew_and_leave_what_is_not_ours(tmp_path: Path) -> None:
    make("dfew", tmp_path, count=12)
    mine = tmp_path / "label" / "mine.txt"
    mine.write_text("mine")
    made = make("dfew", tmp_path, count=10, seconds=1.0)
    assert not made.cached and mine.read_text() == "mine"
    assert len(list((tmp_path / "single_label/data").iterdir())) == 10
    assert make("dfew", tmp_path, count=10, seconds=1.0).cached
    (tmp_path / "single_label/data/00003/00003_00001.jpg").unlink()
    assert not make("dfew", tmp_path, count=10, seconds=1.0).cached


def test_an_interrupted_set_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: Any) -> None:
        raise KeyboardInterrupt

    from affectkit.practice import dfew

    monkeypatch.setattr(dfew, "_write_folds", stops)
    with pytest.raises(KeyboardInterrupt):
        make("dfew", tmp_path, count=10)
    assert json.loads((tmp_path / "practice.json").read_text())["files"] is None
    (tmp_path / "single_label" / "left over").write_text("of the run that was interrupted")
    monkeypatch.undo()
    assert not make("dfew", tmp_path, count=10).cached
    assert not (tmp_path / "single_label" / "left over").exists()


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with pytest.raises(UsageError, match="is being written by another process: wait for it"):
            make("cexpr", tmp_path)
    finally:
        os.close(folder)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and holds no practice set"):
        make("cexpr", tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        make("cexpr", tmp_path / "mine.txt")
    with pytest.raises(AffectkitError, match=r"cannot be written .*: name another folder$"):
        make("cexpr", tmp_path / "mine.txt" / "set")
    with pytest.raises(AffectkitError, match=r"cannot be written \(No such file or directory\)"):
        make("cexpr", Path("/proc/set"))
    (tmp_path / "practice.json").write_text('{"settings": {"set": "dfew"}, "files": ["../x"]}')
    with pytest.raises(UsageError, match="holds the practice set dfew: name another folder"):
        make("cexpr", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "practice.json"]


def test_a_marker_removes_nothing_outside_the_set(tmp_path: Path) -> None:
    outside, folder = tmp_path / "precious.txt", tmp_path / "set"
    outside.write_text("mine")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    names = ["../precious.txt", "label/../../precious.txt", str(outside), "mine.txt"]
    (folder / "practice.json").write_text(json.dumps({"settings": {"set": "dfew"}, "files": names}))
    make("dfew", folder, count=10)
    assert outside.read_text() == (folder / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"clips": 0}, "clips"), ({"seconds": 0.1}, "seconds"), ({"seconds": float("nan")}, "seconds"),
        ({"size": 97}, "size"), ({"fps": 0}, "fps"), ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        validate(PracticeConfig, values, "option")


def test_too_few_clips_and_unknown_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="affwild2 needs 6 or more"):
        make("affwild2", tmp_path / "new", count=5)
    with pytest.raises(UsageError, match="did you mean 'cexpr'"):
        make_practice("cexp", tmp_path / "new", PracticeConfig(), Runtime())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", SETS)
def test_the_least_number_of_clips_is_enough(name: str, tmp_path: Path) -> None:
    least = {"affwild2": 6, "dfew": 10}.get(name, 3)
    assert make(name, tmp_path, count=least, seconds=0.5).clips == least


def test_classes_come_equally_often() -> None:
    order = list(islice(dealt(np.random.default_rng(4), 7), 70))
    assert [order.count(one) for one in range(7)] == [10] * 7
    assert all(one != other for one, other in pairwise(order))


@pytest.mark.parametrize("task", ["expr", "dfew", "compound", "eri"])
def test_feelings_differ_and_lie_within_their_ranges(task: str) -> None:
    feelings = feelings_of(task)
    assert feelings.shape == (tasks.get(task).outputs, 7)
    assert (feelings >= [*LOW, -1, -1]).all() and (feelings <= 1).all()
    apart = np.abs(feelings[:, None, :5] - feelings[None, :, :5]).max(axis=2)
    assert apart[~np.eye(len(feelings), dtype=bool)].min() > 0.25


def test_the_command(affectkit: Command, tmp_path: Path) -> None:
    line = ("practice", "cexpr", "set", "--count", 3, "--seconds", 0.5, "--fps", 4, "--size", 96)
    first = affectkit(*line)
    assert first.returncode == 0 and first.stdout == "set\n" and "no benchmark" in first.stderr
    again = json.loads(affectkit(*line, "--json").stdout)
    assert again["cached"] and again["name"] == "cexpr" and (tmp_path / again["folder"]).is_dir()
    refused = affectkit("practice", "cexpr", ".")
    assert refused.returncode == 2 and "name a new or empty folder" in refused.stderr
    assert affectkit("practice", "dfew", "new", "--count", "x").returncode == 2
