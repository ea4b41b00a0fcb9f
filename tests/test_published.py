"""Published models: predict by their name, without labels; their scores as those of tasks, and as features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip, make_sound
from recipe_factory import write_recipe, write_set

import affectkit as ak
from affectkit import tasks
from affectkit.emotions import emotion, fit_to, valence_index
from affectkit.errors import UsageError
from affectkit.store import open_artifact
from affectkit.tables.predictions import load
from affectkit.tasks import Task

SEES = '''
from typing import Any, ClassVar
import numpy as np
from affectkit.config import Config
from affectkit.plugins import ModelCard
from affectkit.tasks import Task, BUILT_IN
from affectkit.weights import WeightsFile

NAMES = ("happy", "sad", "contempt", "angry")
CLASSES = Task(name="moods", kind="multiclass", level="time", targets=NAMES, metric="uar")


class BrightOptions(Config):
    steep: float = 1.0


class Bright:
    """Scores of how bright the upper and the lower half of a crop are."""

    version: ClassVar[int] = 1
    kind: ClassVar[str] = "KIND"
    padding: ClassVar[str] = "zero"
    Options: ClassVar[type[Config]] = BrightOptions
    sampling_rate = 16000
    images = False
    outputs = OUTPUTS
    names: dict = {}
    dim = 2

    @classmethod
    def weights(cls, options, choice):
        if choice not in ("auto", "random"):
            from affectkit.errors import UsageError
            raise UsageError(f"bright has no weights (given {choice})")
        return WeightsFile("bright", None, "none", "MIT", "no weights")

    @classmethod
    def card(cls, options, weights):
        return ModelCard("bright", "How bright halves are", (CLASSES, BUILT_IN["va"]), None, {"code": "MIT"}, "nothing")

    def __init__(self, options, weights, numerics):
        self.options = options

    def frames(self, samples):
        return np.zeros(1), np.array([samples / 16000])

    def halves(self, batch):
        values = np.asarray(batch, np.float64)
        if values.ndim == 4:
            half = values.shape[2] // 2
            return np.stack([values[:, :, :half].mean((1, 2, 3)), values[:, :, half:].mean((1, 2, 3))], 1) / 127.5 - 1
        return np.stack([values.std(1), np.abs(values).max(1)], 1)

    def __call__(self, batch):
        found = self.halves(batch).astype(np.float32)
        return found if KIND_IS_IMAGE else {"values": found[:, None]}

    def scores(self, batch):
        halves = self.halves(batch)
        raw = np.stack([halves[:, 0], -halves[:, 0], 0 * halves[:, 0], halves[:, 1]], 1) * self.options.steep
        odds = np.exp(raw)
        return np.concatenate([odds / odds.sum(1, keepdims=True), halves], 1).astype(np.float32)


PLUGIN = Bright
'''
POINTS = "[affectkit.models]\nbright = bright\n"
Install = Callable[[str, str], Path]


def code(kind: str) -> str:
    """The module of the model, for one that sees (image) or hears (audio)."""
    outputs = "None" if kind == "image" else '{"values": 2}'
    text = SEES.replace("KIND_IS_IMAGE", str(kind == "image")).replace("KIND", kind).replace("OUTPUTS", outputs)
    return text.replace("    outputs = None\n", "")


@pytest.fixture
def crops(package: Install, tmp_path: Path) -> ak.FeatureTable:
    """Crops of a few clips, and the model that scores them."""
    package(code("image"), POINTS)
    write_set(tmp_path, {"train": 2, "val": 1})
    return ak.extract_faces(
        tmp_path / "cropped_aligned", size=32, source_fps=10, cache=tmp_path / "cache", progress=False
    )


def test_scores_are_the_models_own_at_the_rows_of_the_crops(crops: ak.FeatureTable, tmp_path: Path) -> None:
    scores = ak.predict("bright", crops, cache=tmp_path / "cache", progress=False)
    table = scores.frame()
    columns = ["happy", "sad", "contempt", "angry", "valence", "arousal"]
    features = ak.embed(crops, backbone="bright", output="scores", cache=tmp_path / "cache", progress=False)
    own = features.frame()
    assert list(own.columns[-6:]) == columns
    assert np.allclose(table[columns], own[columns], atol=1e-6)
    assert np.allclose(table[columns[:4]].sum(axis=1), 1)
    assert (table[["clip", "start", "end"]].to_numpy() == own[["clip", "start", "end"]].to_numpy()).all()
    embedding = ak.embed(crops, backbone="bright", cache=tmp_path / "cache", progress=False)
    halves = np.concatenate([embedding[clip].values for clip in embedding.clips])
    assert np.allclose(halves, table[["valence", "arousal"]], atol=1e-6)


def test_a_model_with_several_tasks_serves_each(crops: ak.FeatureTable, tmp_path: Path) -> None:
    scores = ak.predict("bright", crops, cache=tmp_path / "cache", progress=False)
    both = load(Path(scores.path), tasks.get("va"))
    alone = load(Path(ak.predict("bright", crops, task="va", cache=tmp_path / "cache", progress=False).path),
                 tasks.get("va"))  # fmt: skip
    assert np.array_equal(both.scores, alone.scores)
    labels = tmp_path / "labels.csv"
    report = ak.evaluate(scores, labels=labels, task="va", split="val", cache=tmp_path / "cache")
    assert 0.5 < report.scores["ccc"] <= 1  # halves that show valence and arousal
    some = Task(name="some", kind="multiclass", level="time", targets=("happy", "sad"), metric="uar")
    with pytest.raises(UsageError, match="add up to"):
        load(Path(scores.path), some)
    with pytest.raises(UsageError, match="predict again with --task expr"):
        load(Path(scores.path), tasks.get("expr"))


def test_scores_of_a_task_that_names_classes_otherwise(
    crops: ak.FeatureTable, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    whole = ak.predict("bright", crops, cache=tmp_path / "cache", progress=False).frame()
    scores = ak.predict("bright", crops, task="expr", cache=tmp_path / "cache", progress=False)
    table, said = scores.frame(), " / ".join(str(warning.message) for warning in recwarn)
    assert "expr has no contempt, which bright scores: left out; what is left is scaled to a sum of 1" in said
    assert "bright has no Neutral, Disgust, Fear, Surprise, Other, which expr asks for: scores of 0" in said
    rest = 1 - whole["contempt"]
    for target, column in (("Happiness", "happy"), ("Sadness", "sad"), ("Anger", "angry")):
        assert np.allclose(table[target], whole[column] / rest, atol=1e-6)
    assert not table[["Neutral", "Disgust", "Fear", "Surprise", "Other"]].to_numpy().any()
    of_clip = ak.predict("bright", crops, task="dfew", cache=tmp_path / "cache", progress=False).frame()
    assert len(of_clip) == len(scores.clips)
    first = table[table["clip"] == of_clip["clip"][0]]
    assert np.isclose(of_clip["Happy"][0], first["Happiness"].mean(), atol=1e-6)
    with pytest.raises(UsageError, match="bright scores happy, sad, contempt, angry, valence, arousal: that is not"):
        ak.predict("bright", crops, task="au", cache=tmp_path / "cache", progress=False)


def test_rows_without_a_face_have_no_score(crops: ak.FeatureTable, tmp_path: Path) -> None:
    gap = next(iter(sorted((tmp_path / "cropped_aligned").iterdir())))
    for picture in sorted(gap.iterdir())[3:6]:
        picture.unlink()
    again = ak.extract_faces(tmp_path / "cropped_aligned", size=32, source_fps=10, cache=tmp_path / "cache",
                             progress=False)  # fmt: skip
    table = ak.predict("bright", again, cache=tmp_path / "cache", progress=False).frame()
    rows = table[table["clip"] == gap.name]
    assert rows["happy"].isna().to_numpy()[3:6].all() and rows["happy"].notna().sum() == len(rows) - 3
    smoothed = ak.predict("bright", again, smooth="box", half_width=0.25, cache=tmp_path / "cache",
                          progress=False).frame()  # fmt: skip
    classes = smoothed[["happy", "sad", "contempt", "angry"]].dropna()
    assert np.allclose(classes.sum(axis=1), 1, atol=1e-6)
    assert smoothed["happy"].std() < table["happy"].std()


def test_a_clip_that_failed_has_no_scores_of_other_clips(
    package: Install, tmp_path: Path, affectkit: Command, crops: ak.FeatureTable
) -> None:
    from stage_factory import portrait

    from affectkit.store import Artifact

    make_clip(tmp_path / "good.mp4", [portrait()] * 3)
    (tmp_path / "bad.mp4").write_text("no video")
    faces = ("extract", "faces", "--detector", "centerface", "--size", 32)
    assert affectkit(*faces, "good.mp4", "--as", "good").returncode == 0
    assert affectkit(*faces, "bad.mp4", "--as", "bad").returncode == 3
    for line in (["predict", "bright", "{}"], ["embed", "{}", "--backbone", "bright"]):
        good, bad = (affectkit(*(word.format(name) for word in line)) for name in ("good", "bad"))
        assert list(Artifact(tmp_path / good.stdout.strip()).clips) == ["good"], good.stderr
        assert list(Artifact(tmp_path / bad.stdout.strip()).clips) == []
        assert bad.returncode == 0 and "no clip to work on" in bad.stderr


def test_options_and_the_task_enter_the_identity(crops: ak.FeatureTable, tmp_path: Path) -> None:
    run = {"cache": tmp_path / "cache", "progress": False}
    paths = [
        ak.predict("bright", crops, **more, **run).path
        for more in ({}, {"option": {"steep": 2}}, {"task": "va"}, {"task": "expr"}, {"rate": 3.0},
                     {"smooth": "box", "half_width": 0.5}, {"reach": 2.0})
    ]  # fmt: skip
    assert len(set(paths)) == len(paths)
    again = ak.predict("bright", crops, **run)
    assert again.path == paths[0] and again.cached
    card = open_artifact(Path(again.path)).stage.provenance["card"]
    assert card["name"] == "bright" and card["outputs"][1]["targets"] == ["valence", "arousal"]


def test_sound_is_scored_window_by_window(package: Install, tmp_path: Path, affectkit: Command) -> None:
    package(code("audio"), POINTS)
    make_sound(tmp_path / "tone.wav", 0.1 * np.sin(2 * np.pi * 440 * np.arange(48000) / 16000, dtype=np.float32), 16000)
    run = affectkit("predict", "bright", "tone.wav", "--window", 1, "--hop", 0.5, "--json")
    assert run.returncode == 0, run.stderr
    table = ak.open(json.loads(run.stdout)["artifact"]).frame()
    assert table["start"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5] and table["end"].max() == 3
    assert table["valence"][:5].notna().all() and table["valence"][:5].std() < 0.01


def test_what_does_not_fit_is_refused_in_a_line(crops: ak.FeatureTable, tmp_path: Path, affectkit: Command) -> None:
    for words, message in (
        ((crops.path, "--weights", "x"), "bright has no weights"),
        ((crops.path, crops.path), "bright reads crops, one artifact, or media (given 2 artifacts)"),
        ((crops.path, "--weights-of", "x=y"), "--weights-of is for what was trained"),
        ((crops.path, "--window", 2), "--window is for speech"),
        ((crops.path, "-o", "steeper=1"), "steep"),
    ):
        run = affectkit("predict", "bright", *words)
        assert (run.returncode, run.stderr.count("\n")) == (2, 1) and message in run.stderr, run.stderr
    run = affectkit("predict", "brigth", crops.path)
    assert run.returncode == 2 and "did you mean 'bright'" in run.stderr, run.stderr
    features = ak.embed(crops, backbone="mean-pixel", cache=tmp_path / "cache", progress=False)
    run = affectkit("predict", "bright", features.path)
    assert run.returncode == 2 and "reads crops" in run.stderr, run.stderr


def test_a_heads_own_task_may_be_said_and_no_other(crops: ak.FeatureTable, tmp_path: Path) -> None:
    run = {"cache": tmp_path / "cache", "progress": False}
    features = ak.embed(crops, backbone="mean-pixel", **run)
    head = ak.train_head(features, labels=tmp_path / "labels.csv", task="va", head="mlp", option={"epochs": 1}, **run)
    assert ak.predict(head, features, task="va", **run).path == ak.predict(head, features, **run).path
    with pytest.raises(UsageError, match="--task is for published models"):
        ak.predict(head, features, task="expr", **run)


RECIPE = """
title = "Scores without labels"
[data.main]
media = "cropped_aligned/"
[steps.faces]
stage = "extract-faces"
data = "main"
source_fps = 10
size = 32
[steps.scores]
stage = "predict"
model = "MODEL"
from = "faces"
option.steep = 2
"""


def test_a_recipe_names_a_model(crops: ak.FeatureTable, tmp_path: Path, affectkit: Command) -> None:
    write_recipe(tmp_path / "r.toml", RECIPE.replace("MODEL", "bright"))
    run = affectkit("run", "r.toml", "--json")
    assert run.returncode == 0, run.stderr
    steep = ak.predict("bright", crops, option={"steep": 2}, cache=tmp_path / ".affectkit", progress=False)
    assert str(steep.path.name) in run.stdout
    write_recipe(tmp_path / "r.toml", RECIPE.replace("MODEL", "brihgt"))
    run = affectkit("run", "r.toml")
    assert run.returncode == 2 and "did you mean 'bright'" in run.stderr, run.stderr
    write_recipe(tmp_path / "r.toml", RECIPE.replace("MODEL", "bright").replace("steep", "stepe"))
    run = affectkit("run", "r.toml")
    assert run.returncode == 2 and "steep" in run.stderr, run.stderr


def test_emotions_are_matched_by_what_they_mean() -> None:
    assert [emotion(name) for name in ("angry", "Anger", "HAPPY", "Sad", "neutral")] == [
        "anger", "anger", "happiness", "sadness", "neutral",
    ]  # fmt: skip
    ends = Task(name="x", kind="multiclass", level="time", targets=("Sad", "Happy"), metric="uar")
    fit = fit_to("m", [ends], tasks.get("expr"))
    scores = fit.scores(np.array([[0.25, 0.75], [np.nan, np.nan], [0.0, 0.0]]))
    assert scores[0].tolist() == [0, 0, 0, 0, 0.75, 0.25, 0, 0]
    assert np.isnan(scores[1:]).all()
    with pytest.raises(UsageError, match="that is not task va"):
        fit_to("m", [ends], tasks.get("va"))


def test_the_valence_index_is_happiness_minus_the_strongest_unpleasant_class() -> None:
    columns = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    crying, laughing = [0.1, 0.0, 0.2, 0.05, 0.6, 0.0, 0.05], [0.0, 0.0, 0.0, 0.9, 0.05, 0.05, 0.0]
    index = valence_index(np.array([crying, laughing]), columns)
    assert index is not None and index.round(9).tolist() == [-0.55, 0.85]
    assert valence_index(np.zeros((1, 2)), ["valence", "arousal"]) is None
