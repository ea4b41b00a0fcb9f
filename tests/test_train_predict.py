"""train-head and predict: from cached features (or media) and labels to scores, on signals planted in the crops."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from media_factory import make_clip
from stage_calls import embed, evaluate, extract_faces, predict, train
from stage_factory import clips_in, crop_folder, no_face, portrait

from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.stages import faces as faces_stage
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.replay import replay
from affectkit.stages.stage import Result
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.trained import load_heads, stored_task
from affectkit.store import Artifact, Cache, Features
from affectkit.tables.crop_times import CropTimes

RUNTIME = Runtime(workers=1, progress=False)
FPS, ROWS = 5, 20
SPLITS = {f"c{n:02d}": "train" if n < 6 else "val" if n < 8 else "test" for n in range(10)}
SMALL = {
    "transformer": ["width=16", "heads=2", "layers=1", "epochs=8", "learning_rate=0.01"],
    "lstm": ["hidden=16", "epochs=15", "learning_rate=0.01"],
}


class Planted(NamedTuple):
    """Clips whose red and green follow valence and arousal: features, and curves [T,2] by clip."""

    features: Artifact
    curves: dict[str, np.ndarray]
    folder: Path


def features_of(cache: Cache, folder: Path, size: int = 16) -> Artifact:
    config = FacesConfig(fps="native", size=size, format="png")
    faces = extract_faces(cache, clips_in(folder), config, RUNTIME, times=CropTimes(source_fps=FPS))
    done = embed(cache, Artifact(faces.path), EmbedConfig(backbone="mean-pixel"), Numerics(device="cpu"), RUNTIME)
    return Artifact(done.path)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(0)
    curves = {}
    for clip in SPLITS:
        phase, rate = random.uniform(0, 6.28, 2), random.uniform(1, 3, 2)
        curves[clip] = 0.8 * np.sin(np.arange(ROWS)[:, None] / FPS * rate + phase)
        pictures = random.integers(0, 30, (ROWS, 16, 16, 3))
        pictures[..., :2] += (80 * curves[clip]).astype(int)[:, None, None]
        crop_folder(folder / "crops" / clip, list((pictures + 90).astype(np.uint8)))
    return Planted(features_of(Cache(folder / "cache"), folder / "crops"), curves, folder)


def write_labels(path: Path, planted: Planted, splits: dict[str, str] | None = SPLITS, **columns: str) -> Path:
    """A va table, a row a feature row; `columns` adds one value a clip."""
    lines = ["clip,start,end,valence,arousal" + (",split" if splits else "") + "".join(f",{name}" for name in columns)]
    for clip, curve in planted.curves.items():
        for row, (valence, arousal) in enumerate(curve):
            line = f"{clip},{row / FPS},{(row + 1) / FPS},{valence:.4f},{arousal:.4f}"
            line += f",{splits.get(clip, '')}" if splits else ""
            lines.append(line + "".join("," + value.format(clip=clip) for value in columns.values()))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def labels(tmp_path: Path, planted: Planted) -> Path:
    return write_labels(tmp_path / "va.csv", planted)


def fit(cache: Cache, features: Artifact, labels: Path, **fields: Any) -> Result:
    splits = fields.pop("splits", None)
    config = {"task": "va", "head": "transformer", "option": SMALL[fields.get("head", "transformer")]} | fields
    return train(cache, [Features(features)], labels, TrainConfig(**config), RUNTIME, device="cpu", splits=splits)


def run(
    cache: Cache, head: Artifact, features: Artifact, clips: Sequence[str] | None = None
) -> tuple[Outcome, Artifact]:
    done = predict(cache, head, [Features(features)], RUNTIME, device="cpu", clips=clips)
    return done, Artifact(done.path)


def scores(artifact: Artifact) -> dict[str, bytes]:
    return {clip: np.ascontiguousarray(artifact.column(clip, "scores")).tobytes() for clip in artifact.clips}


@pytest.mark.parametrize("head", ["transformer", "lstm"])
def test_a_planted_signal_is_found(cache: Cache, planted: Planted, labels: Path, head: str) -> None:
    trained = fit(cache, planted.features, labels, head=head)
    assert trained.report["clips"] == {"train": 6, "val": 2, "left_out": []}
    _, predicted = run(cache, trained.artifact, planted.features)
    report = evaluate(cache, predicted.path, labels, EvaluateConfig(task="va")).report
    assert report["split"] == "test"
    assert report["scores"]["ccc"] > 0.6
    assert min(report["scores"]["ccc/valence"], report["scores"]["ccc/arousal"]) > 0.5


def test_predictions_have_the_rows_of_the_features(cache: Cache, planted: Planted, labels: Path) -> None:
    trained = fit(cache, planted.features, labels)
    done, predicted = run(cache, trained.artifact, planted.features)
    assert (done.computed, predicted.clips) == (10, sorted(SPLITS))
    assert predicted.schema.names["scores"] == ["valence", "arousal"]
    for clip in predicted.clips:
        for name in ("start", "end"):
            assert np.array_equal(predicted.column(clip, name), planted.features.column(clip, name))
        assert predicted.column(clip, "split") == SPLITS[clip]
        assert np.array_equal(predicted.column(clip, "valid"), np.ones(ROWS))
    some, _ = run(Cache(cache.root / "2"), trained.artifact, planted.features, clips=["c03", "c09"])
    assert (some.computed, Artifact(some.path).clips) == (2, ["c03", "c09"])
    assert scores(Artifact(some.path)) == {clip: scores(predicted)[clip] for clip in ("c03", "c09")}
    again, _ = run(cache, trained.artifact, planted.features)
    assert (again.computed, again.cached) == (0, 10)


# Splits


def test_the_splits_file_wins_over_the_labels_and_they_over_the_manifest(
    cache: Cache, planted: Planted, tmp_path: Path
) -> None:
    named = {clip: {"path": "x", "split": "train" if n < 3 else "val"} for n, clip in enumerate(SPLITS)}
    manifest = [f"{clip},{clip},{entry['split']}" for clip, entry in named.items()]
    crops = planted.folder / "crops"
    (crops / "clips.csv").write_text("clip,path,split\n" + "\n".join(manifest) + "\n")
    config = FacesConfig(fps="native", size=16, format="png")
    faces = extract_faces(cache, clips_in(crops / "clips.csv"), config, RUNTIME, times=CropTimes(source_fps=FPS))
    done = embed(cache, Artifact(faces.path), EmbedConfig(backbone="mean-pixel"), Numerics(device="cpu"), RUNTIME)
    features = Artifact(done.path)

    plain = write_labels(tmp_path / "plain.csv", planted, splits=None)
    by_manifest = fit(cache, features, plain)
    assert by_manifest.report["splits"] == {clip: entry["split"] for clip, entry in named.items()}

    by_labels = fit(cache, features, write_labels(tmp_path / "va.csv", planted))
    assert by_labels.report["splits"] == SPLITS

    (tmp_path / "splits.csv").write_text("clip,split\nc00,val\nc09,train\nc08,train\n")
    by_file = fit(cache, features, tmp_path / "va.csv", splits=tmp_path / "splits.csv")
    assert by_file.report["splits"] == {"c00": "val", "c08": "train", "c09": "train"}
    assert len({one.artifact.path for one in (by_manifest, by_labels, by_file)}) == 3
    _, predicted = run(cache, by_file.artifact, features)
    assert predicted.column("c00", "split") == "val"
    assert predicted.column("c01", "split") == "train"  # of the manifest: the file says nothing of it


def test_without_any_split_training_is_refused(cache: Cache, planted: Planted, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "va.csv", planted, splits=None)
    with pytest.raises(UsageError, match="--val-fraction"):
        fit(cache, planted.features, labels)
    assert not list(cache.root.glob("train-head/*"))


def test_a_fraction_is_drawn_for_validation_by_clip_or_subject(cache: Cache, planted: Planted, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "va.csv", planted, splits=None)
    first = fit(cache, planted.features, labels, val_fraction=0.3)
    drawn = {clip for clip, split in first.report["splits"].items() if split == "val"}
    assert len(drawn) == 3
    assert fit(cache, planted.features, labels, val_fraction=0.3).cached
    other = fit(cache, planted.features, labels, val_fraction=0.3, seed=1)
    assert {clip for clip, split in other.report["splits"].items() if split == "val"} != drawn
    subjects = write_labels(tmp_path / "subjects.csv", planted, splits=None, subject="{clip[1]}{clip[2]}")
    text = subjects.read_text()
    for pair in range(5):  # c00 and c01 show one person, and so on
        text = text.replace(f",0{2 * pair + 1}\n", f",0{2 * pair}\n")
    subjects.write_text(text)
    by = fit(cache, planted.features, subjects, val_fraction=0.4, split_by="subject").report["splits"]
    assert sum(split == "val" for split in by.values()) == 4
    assert all(by[f"c0{2 * pair}"] == by[f"c0{2 * pair + 1}"] for pair in range(5))


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_is_one_that_every_library_takes(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        TrainConfig(task="va", seed=seed)


def test_a_split_without_labelled_clips_is_refused(cache: Cache, planted: Planted, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "va.csv", planted, splits=dict.fromkeys(SPLITS, "train"))
    with pytest.raises(UsageError, match="split 'val'"):
        fit(cache, planted.features, labels)


# What makes a new head, and what does not


def test_a_head_is_made_again_only_for_other_data_or_another_config(
    cache: Cache, planted: Planted, labels: Path, tmp_path: Path
) -> None:
    first = fit(cache, planted.features, labels)
    again = fit(cache, planted.features, labels)
    assert (first.cached, again.cached, again.artifact.path) == (False, True, first.artifact.path)
    assert again.report == json.loads(json.dumps(first.report))
    lines = labels.read_text().splitlines()
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert fit(cache, planted.features, shuffled).cached

    def with_cell(clip: str, name: str) -> Path:
        changed = list(lines)
        place = next(n for n, line in enumerate(changed) if line.startswith(f"{clip},0.0,"))
        cells = changed[place].split(",")
        cells[3] = "0.5"
        changed[place] = ",".join(cells)
        path = tmp_path / name
        path.write_text("\n".join(changed) + "\n")
        return path

    assert fit(cache, planted.features, with_cell("c09", "test.csv")).cached  # a test label: nothing was fitted on it
    assert not fit(cache, planted.features, with_cell("c00", "train.csv")).cached
    assert not fit(cache, planted.features, with_cell("c07", "val.csv")).cached
    fewer = write_labels(tmp_path / "fewer.csv", planted, {clip: s for clip, s in SPLITS.items() if clip != "c09"})
    moved = fit(cache, planted.features, fewer)
    assert not moved.cached  # the table that the head stores is another one
    assert "c09" not in moved.report["splits"]
    assert not fit(cache, planted.features, labels, option=[*SMALL["transformer"], "dropout=0.2"]).cached


def test_the_same_seed_gives_the_same_head(cache: Cache, planted: Planted, labels: Path) -> None:
    first = fit(cache, planted.features, labels)
    second = fit(Cache(cache.root / "2"), planted.features, labels)
    one, two = (scores(run(cache, head.artifact, planted.features)[1]) for head in (first, second))
    assert one == two
    third = fit(cache, planted.features, labels, seed=5)
    assert scores(run(cache, third.artifact, planted.features)[1]) != one


def test_predictions_are_averaged_over_seeds(cache: Cache, planted: Planted, labels: Path) -> None:
    singles = [fit(cache, planted.features, labels, seed=seed) for seed in (3, 4)]
    both = fit(cache, planted.features, labels, seed=3, seeds=2)
    score = both.report["val_score"]
    assert set(map(int, score["seeds"])) == {3, 4}
    each = [one.report["val_score"]["mean"] for one in singles]
    assert (score["mean"], score["deviation"]) == (pytest.approx(np.mean(each)), pytest.approx(np.std(each)))
    a, b, mean = (run(cache, one.artifact, planted.features)[1] for one in (*singles, both))
    for clip in mean.clips:
        expected = (a.column(clip, "scores") + b.column(clip, "scores")) / 2
        assert np.allclose(mean.column(clip, "scores"), expected, atol=1e-6)
    assert len(load_heads(both.artifact, stored_task(both.report))) == 2
    history = (both.artifact.path / "seed_3" / "history.jsonl").read_text().splitlines()
    assert max(json.loads(line)["score"] for line in history) == pytest.approx(each[0])


def test_a_head_refuses_features_of_another_recipe(cache: Cache, planted: Planted, labels: Path) -> None:
    head = fit(cache, planted.features, labels).artifact
    other = features_of(cache, planted.folder / "crops", size=24)
    with pytest.raises(UsageError, match=r"another recipe.*why-miss"):
        run(cache, head, other)
    with pytest.raises(UsageError, match="takes 1 feature artifacts; 2 given"):
        predict(cache, head, [Features(planted.features)] * 2, RUNTIME)
    with pytest.raises(UsageError, match="needed is a trained head"):
        run(cache, planted.features, planted.features)


# Labels that are missing or invalid


def test_labels_and_features_that_do_not_meet_are_left_out_and_said(
    cache: Cache, planted: Planted, labels: Path
) -> None:
    lines = [line for line in labels.read_text().splitlines() if not line.startswith("c05,")]
    labels.write_text("\n".join([*lines, "stranger,0,1,0.1,0.1,train"]) + "\n")
    trained = fit(cache, planted.features, labels)
    assert trained.report["clips"]["train"] == 5
    left = " ".join(trained.report["clips"]["left_out"])
    assert "labels but no features: 1 (stranger)" in left
    assert "features but no labels: 1 (c05)" in left


def test_labels_of_none_of_the_clips_are_refused(cache: Cache, planted: Planted, labels: Path) -> None:
    labels.write_text(labels.read_text().replace("\nc0", "\nclips/c0"))
    with pytest.raises(UsageError, match="features have ids such as 'c00', labels 'clips/c00'"):
        fit(cache, planted.features, labels)


def test_invalid_labels_are_not_learnt_from(cache: Cache, planted: Planted, labels: Path, tmp_path: Path) -> None:
    lines = labels.read_text().splitlines()
    wrong, cut = [lines[0]], [lines[0]]
    for line in lines[1:]:
        clip, start, end, *_, split = line.split(",")
        if split == "train" and float(start) < 1:
            marker = {"c00": ",0.1", "c01": "nan,nan"}.get(clip, "-5,-5")  # one target missing drops the row
            wrong.append(f"{clip},{start},{end},{marker},{split}")
        else:
            wrong.append(line)
            cut.append(line)
    (tmp_path / "wrong.csv").write_text("\n".join(wrong) + "\n")
    (tmp_path / "cut.csv").write_text("\n".join(cut) + "\n")
    with_markers = fit(cache, planted.features, tmp_path / "wrong.csv")
    without = fit(cache, planted.features, tmp_path / "cut.csv")
    assert with_markers.artifact.path == without.artifact.path
    assert with_markers.artifact.path != fit(cache, planted.features, labels).artifact.path


# Other tasks


def test_a_clip_level_task(cache: Cache, planted: Planted, tmp_path: Path) -> None:
    names = ["Adoration", "Amusement", "Anxiety", "Disgust", "Empathic-Pain", "Fear", "Surprise"]
    lines = ["clip,split," + ",".join(names)]
    for clip, curve in planted.curves.items():
        mean = (curve.mean(axis=0) + 1) / 2
        lines.append(f"{clip},{SPLITS[clip]}," + ",".join(f"{mean[k % 2]:.4f}" for k in range(7)))
    (tmp_path / "eri.csv").write_text("\n".join(lines) + "\n")
    trained = fit(cache, planted.features, tmp_path / "eri.csv", task="eri")
    assert trained.report["val_score"]["metric"] == "pearson"
    _, predicted = run(cache, trained.artifact, planted.features)
    assert [len(predicted.column(clip, "start")) for clip in predicted.clips] == [1] * 10
    assert float(predicted.column("c00", "end")[0]) == pytest.approx(ROWS / FPS)
    report = evaluate(cache, predicted.path, tmp_path / "eri.csv", EvaluateConfig(task="eri")).report
    assert (report["rows"], report["clips"]) == (2, 2)


def test_a_task_of_your_own(cache: Cache, planted: Planted, tmp_path: Path) -> None:
    (tmp_path / "mood.toml").write_text(
        'name = "mood"\nkind = "multiclass"\nlevel = "time"\ntargets = ["low", "high"]\nmetric = "uar"\n'
    )
    lines = ["clip,start,end,split,label"]
    for clip, curve in planted.curves.items():
        for row, (valence, _) in enumerate(curve):
            lines.append(f"{clip},{row / FPS},{(row + 1) / FPS},{SPLITS[clip]},{'high' if valence > 0 else 'low'}")
    (tmp_path / "mood.csv").write_text("\n".join(lines) + "\n")
    task = str(tmp_path / "mood.toml")
    trained = fit(cache, planted.features, tmp_path / "mood.csv", task=task, seeds=2)
    assert trained.report["val_score"]["mean"] > 0.7
    _, predicted = run(cache, trained.artifact, planted.features)
    probabilities = predicted.column("c09", "scores")
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.min() >= 0
    report = evaluate(cache, predicted.path, tmp_path / "mood.csv", EvaluateConfig(task=task)).report
    assert report["scores"]["uar"] > 0.7
    with pytest.raises(UsageError, match="--task that its head was trained for"):
        evaluate(cache, predicted.path, write_labels(tmp_path / "va.csv", planted), EvaluateConfig(task="va"))


# From media


@pytest.fixture
def media(cache: Cache, tmp_path: Path) -> tuple[Path, Path]:
    """Clips of a face whose brightness follows valence and arousal, and their labels."""
    lines = ["clip,start,end,split,valence,arousal"]
    for number, split in enumerate(["train", "train", "val", "test"]):
        curve = np.sin(np.arange(12) / 2 + number)
        pictures = [np.clip(portrait() + 30 * value, 0, 255).astype(np.uint8) for value in curve]
        path = tmp_path / "clips" / f"m{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        make_clip(path, pictures)
        lines += [f"m{number},{n / 30},{(n + 1) / 30},{split},{v:.3f},{-v:.3f}" for n, v in enumerate(curve)]
    (tmp_path / "media.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "clips", tmp_path / "media.csv"


def head_on_media(cache: Cache, folder: Path, labels: Path, **fields: Any) -> tuple[Artifact, Artifact]:
    config = FacesConfig(**{"detector": "centerface", "fps": 10, "size": 32, "margin": "0.1"} | fields)
    faces = extract_faces(cache, clips_in(folder), config, RUNTIME, device="cpu")
    numerics = Numerics(device="cpu", batch_size=4)
    done = embed(cache, Artifact(faces.path), EmbedConfig(backbone="mean-pixel", dtype="float16"), numerics, RUNTIME)
    features = Artifact(done.path)
    return fit(cache, features, labels, option=["width=8", "heads=1", "layers=1", "epochs=2"]).artifact, features


def test_media_go_through_the_recipe_of_the_head(cache: Cache, media: tuple[Path, Path], tmp_path: Path) -> None:
    head, features = head_on_media(cache, *media)
    _, expected = run(cache, head, features)
    warm = replay(cache, head, clips_in(media[0]), RUNTIME, device="cpu")
    assert (warm.features[0].path, warm.clips, warm.failed) == (features.path, features.clips, [])
    elsewhere = Cache(tmp_path / "elsewhere")
    cold = replay(elsewhere, head, clips_in(media[0]), RUNTIME, device="cpu")
    assert cold.features[0].path.name == features.path.name
    done = predict(elsewhere, head, cold.features, RUNTIME, device="cpu", clips=cold.clips)
    assert scores(Artifact(done.path)) == scores(expected)


def test_new_media_are_predicted_and_bad_ones_are_not(cache: Cache, media: tuple[Path, Path], tmp_path: Path) -> None:
    head, _ = head_on_media(cache, *media)
    (tmp_path / "new").mkdir()
    make_clip(tmp_path / "new" / "unseen.mp4", [portrait()] * 6)
    make_clip(tmp_path / "new" / "nobody.mp4", [no_face()] * 6)
    make_clip(tmp_path / "new" / "later.mp4", [portrait()] * 6)
    made = replay(cache, head, clips_in(tmp_path / "new"), RUNTIME, device="cpu")
    assert (made.clips, made.failed) == (["later", "nobody", "unseen"], [])
    _, predicted = run(cache, head, made.features[0].artifact, made.clips)
    assert np.isfinite(predicted.column("unseen", "scores")).all()
    assert np.isnan(predicted.column("nobody", "scores")).all()
    assert not predicted.column("nobody", "valid").any()
    assert predicted.column("unseen", "split") == ""
    (tmp_path / "new" / "later.mp4").write_bytes(b"no video any more")
    broken = replay(cache, head, clips_in(tmp_path / "new"), RUNTIME, device="cpu")
    assert broken.clips == ["nobody", "unseen"]  # not what the cache holds of the file as it was
    assert [failure.clip for failure in broken.failed] == ["later"]


def test_every_face_of_new_media_is_predicted(cache: Cache, media: tuple[Path, Path], tmp_path: Path) -> None:
    folder, labels = media
    labels.write_text(re.sub(r"^(m\d)", r"\1#0", labels.read_text(), flags=re.MULTILINE))
    head, _ = head_on_media(cache, folder, labels, face="all")
    make_clip(tmp_path / "pair.mp4", [np.concatenate([portrait(), portrait()], axis=1)] * 8)
    made = replay(cache, head, clips_in(tmp_path / "pair.mp4"), RUNTIME, device="cpu")
    assert made.clips == ["pair#0", "pair#1"]
    _, predicted = run(cache, head, made.features[0].artifact, made.clips)
    assert predicted.clips == ["pair#0", "pair#1"]


def test_a_recipe_that_cannot_be_kept_is_refused_before_work(
    cache: Cache, media: tuple[Path, Path], planted: Planted, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _ = head_on_media(cache, *media)
    monkeypatch.setattr(faces_stage, "decoder_version", lambda: "pyav-0.0.1")
    monkeypatch.setattr(faces_stage, "_Extractor", None)
    with pytest.raises(UsageError, match=r"does not reproduce the head's faces recipe .*decoder.*pyav-0.0.1"):
        replay(cache, head, clips_in(media[0]), RUNTIME, device="cpu")
    on_crops = fit(cache, planted.features, labels).artifact
    with pytest.raises(UsageError, match="folders of crops"):
        replay(cache, on_crops, clips_in(media[0]), RUNTIME, device="cpu")
