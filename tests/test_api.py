"""`import affectkit as ak`: what it loads, that its functions are the commands, and what they return."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import typer
from conftest import Command
from media_factory import make_audio, make_clip
from stage_factory import portrait

import affectkit as ak
from affectkit import plugins
from affectkit.api.arguments import name_of
from affectkit.backbones.mean_pixel import MeanPixel
from affectkit.cli._command import command_of
from affectkit.config import Config
from affectkit.recipes.steps import settings_of
from affectkit.stages import catalogue
from affectkit.stages import inputs as what
from affectkit.stages.resumable import KeptInterrupt
from affectkit.stages.stage import Stage
from affectkit.stages.train_head import TrainHead
from affectkit.store import Cache, features_schema, open_artifact, open_features
from affectkit.types import SPLITS, FaceTrack, FeatureSequence, Predictions
from affectkit.weights import WeightsFile

STAGES = catalogue.functions()
DATASET = {"dataset", "root", "dataset_option"}
CLIPS = [f"clip-{number}" for number in range(6)]


def test_importing_loads_next_to_nothing_and_is_quick() -> None:
    code = (
        "import time, sys; began = time.perf_counter(); import affectkit as ak; took = time.perf_counter() - began\n"
        "dir(ak); hasattr(ak, 'no_such_thing'); assert ak.__version__\n"
        "print(took, *sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.1
    assert not {"torch", "numpy", "pydantic", "pandas", "rich", "typer"} & set(runs[0].stdout.split())


def test_a_function_loads_no_torch_until_it_computes() -> None:
    code = "import affectkit as ak, sys; ak.train_head; ak.embed.__doc__; ak.open; ak.UsageError; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "timm", "transformers", "pandas", "librosa", "sklearn"} & set(run.stdout.split())


def test_what_there_is() -> None:
    assert {*STAGES, "open", "UsageError", "FeatureTable"} <= set(dir(ak))
    modules = {module.name for module in pkgutil.iter_modules(ak.__path__)}
    assert not modules & {*STAGES, "open", *sum(ak._CLASSES.values(), ())}  # importing such a module would hide it
    with pytest.raises(AttributeError, match="no attribute 'embd'"):
        ak.embd  # noqa: B018
    assert ak.embed is ak.embed and ak.embed.__name__ == "embed"


def flags_of(name: str) -> dict[str, Any]:
    """The options and positions of a stage's command, by their names as Python writes them, with defaults."""
    flags = {}
    for parameter in inspect.signature(command_of(STAGES[name])).parameters.values():
        about = get_args(parameter.annotation)[1]
        said = (
            about.default,
            *(about.param_decls or ()),
        )  # Typer takes the first flag for a default until it is called
        given = [flag for flag in said if isinstance(flag, str) and flag.startswith("--")]
        flag = given[0].split("/")[0][2:].replace("-", "_") if given else parameter.name
        flag = {"as": "as_name"}.get(flag, flag)  # a word of Python
        flags[parameter.name if isinstance(about, typer.models.ArgumentInfo) else flag] = parameter.default
    return flags


@pytest.mark.parametrize("name", STAGES)
def test_signatures_are_the_options_of_the_command_line(name: str) -> None:
    options = flags_of(name)
    assert options.pop("json") is False
    parameters = inspect.signature(getattr(ak, name)).parameters
    assert set(parameters) == set(options)
    for key, parameter in parameters.items():
        given, told = parameter.default, options[key]
        if given is parameter.empty or told is parameter.empty:
            assert given is told, key
        else:
            assert (given or None) == (told or None) or str(given) == told, key


@pytest.mark.parametrize("name", STAGES)
def test_signatures_are_the_keys_of_recipes(name: str) -> None:
    """But for what a recipe says elsewhere: `from` and `data` for positions, the device and the rest of the run."""
    stage: Stage = STAGES[name].load()
    keys = {{"data": "media"}.get(key, key) for key in settings_of(stage)}
    there = set(inspect.signature(getattr(ak, name)).parameters)
    elsewhere = {"cache", "device", "progress", "allow_outside", *stage.runtime, *DATASET}
    elsewhere |= {"out", "as_name"} if stage.makes != "file" else set()
    elsewhere |= {position.name for position in stage.positions}
    elsewhere |= {"model"} if any(position.or_model for position in stage.positions) else set()
    for each in stage.inputs:
        if isinstance(each, what.ClipsInput) or not each.in_recipes:
            elsewhere.add(name_of(each))
    assert there - elsewhere == keys - elsewhere


@pytest.mark.parametrize("name", STAGES)
def test_the_docstring_is_the_stages_with_examples_in_python(name: str) -> None:
    text = getattr(ak, name).__doc__
    assert text.startswith((STAGES[name].load().__doc__ or "").split("\n")[0])
    assert f"    ak.{name}(" in text and "`affectkit " not in text
    for line in text.splitlines():
        if line.startswith("    ak."):
            compile(line.strip(), "example", "eval")
    for parameter in inspect.signature(getattr(ak, name)).parameters:
        assert f"\n    {parameter}: " in text


class Made:
    """A small set of clips, their labels, and what a notebook makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        (folder / "clips").mkdir()
        for number, name in enumerate(CLIPS):
            self.film(folder / "clips" / f"{name}.mp4", number)
        (folder / "clips/broken.mp4").write_bytes(b"no video")
        self.film(folder / "new.mp4", 7)
        rows = [
            (name, step / 10, step / 10 + 0.1, SPLITS[number % 3], np.sin(step + number) / 2, step / 9)
            for number, name in enumerate(CLIPS) for step in range(10)
        ]  # fmt: skip
        self.labels = pd.DataFrame(rows, columns=["clip", "start", "end", "split", "valence", "arousal"])
        self.labels.to_csv(folder / "va.csv", index=False)
        with warnings.catch_warnings(record=True) as self.warned:
            warnings.simplefilter("always")
            self.faces = ak.extract_faces(
                folder / "clips", fps=10, size=48, detector="centerface", device="cpu", cache=self.cache
            )
        self.features = ak.embed(self.faces, backbone="mean-pixel", device="cpu", cache=self.cache)
        self.head = self.trained(labels=folder / "va.csv")
        self.scores = ak.predict(self.head, self.features, device="cpu", cache=self.cache)

    def film(self, path: Path, brighter: int) -> None:
        pictures = [np.clip(portrait().astype(int) + 9 * (n % 3) + 5 * brighter, 0, 255) for n in range(30)]
        make_clip(path, [picture.astype(np.uint8) for picture in pictures])

    def trained(self, **more: Any) -> Any:
        options = {"task": "va", "head": "mlp", "option": {"epochs": 2, "hidden": 4}, "device": "cpu"}
        return ak.train_head(self.features, cache=self.cache, **options | more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("notebook"))


def test_faces(made: Made) -> None:
    faces = made.faces
    assert isinstance(faces, ak.FaceTable)
    assert faces.clips == list(faces) == CLIPS and len(faces) == 6 and "clip-0" in faces
    assert isinstance(faces["clip-0"], FaceTrack) and faces.crop("clip-0", 0).shape == (48, 48, 3)
    frame = faces.frame()
    assert list(frame.columns[:4]) == ["clip", "start", "end", "valid"]
    assert {"x0", "y1", "score", "frame_index", "nose_x"} <= set(frame) and len(frame) == 60
    np.testing.assert_array_equal(frame.x0[:10], faces["clip-0"].boxes[:, 0])


def test_clips_that_failed_are_told_once_and_kept(made: Made) -> None:
    assert list(made.faces.failed) == ["broken"] and made.faces.exit_code == 3
    told = [str(warning.message) for warning in made.warned if issubclass(warning.category, ak.Notice)]
    assert [line for line in told if "failed" in line] == [
        f"1 clip failed (broken: {made.faces.failed['broken']}): .failed has all of them"
    ]
    assert all(warning.filename == __file__ for warning in made.warned)  # where the function was called
    assert made.faces.notices == ("a face in 60 of 60 frames",)
    with warnings.catch_warnings(record=True) as warned:  # again where nothing was computed, from the same line
        for _ in range(2):
            ak.extract_faces(
                made.folder / "clips", fps=10, size=48, detector="centerface", device="cpu", cache=made.cache
            )
    assert ["failed" in str(warning.message) for warning in warned] == [True, False] * 2
    assert made.features.failed == {} and made.features.exit_code == 0


def test_clips_that_are_cut_off_are_told(made: Made, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", 60).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.warns(ak.Notice, match=r"1 clip read as far as possible \(cut: .*\): \.partial has all of them"):
        faces = ak.extract_faces(tmp_path / "cut.mkv", detector="centerface", device="cpu", cache=made.cache)
    assert faces.partial == ["cut"] and faces.failed == {} and faces.exit_code == 0


def test_features(made: Made) -> None:
    features = made.features
    assert isinstance(features, ak.FeatureTable) and isinstance(features["clip-1"], FeatureSequence)
    assert features["clip-1"].values.shape == (10, 192) and features.layers == {"values": 192}
    frame = features.frame(["clip-1"])
    assert list(frame.columns) == ["clip", "start", "end", "valid", *features.names] and frame.valid.dtype == bool
    np.testing.assert_array_equal(frame[features.names].to_numpy(), features["clip-1"].values)
    with pytest.raises(ak.UsageError, match="has no features 'layer_07'"):
        features.of_layer("layer_07")
    with pytest.raises(ak.UsageError, match="holds no clip 'nobody'"):
        features["nobody"]


def test_what_an_artifact_says_of_itself(made: Made) -> None:
    info = made.features.info()
    assert info["what"] == "features, made by embed (mean-pixel)" and info["clips"] == 6 and info["rows"] == 60
    assert info["made from"] == [f"faces {made.faces.artifact.folder.name}"]
    assert info["weights"] == ["centerface: MIT", "mean-pixel: Apache-2.0"]
    assert "settings     backbone=mean-pixel, output=embedding, weights=auto, dtype=float32" in str(info)
    assert repr(made.features).startswith("<FeatureTable mean-pixel: clips 6, rows 60, failed 0, dimensions 192; ")
    assert str(made.features) == str(made.features.path) == made.features.__fspath__()


def test_inputs_are_objects_or_paths(made: Made) -> None:
    for given in (made.faces, made.faces.artifact, made.faces.path, str(made.faces)):
        assert ak.embed(given, backbone="mean-pixel", device="cpu", cache=made.cache).path == made.features.path
    column = open_features(f"{made.features}:values")
    for inputs in (
        f"{made.features}:values",
        [made.features.of_layer("values")],
        (column,),
        open_artifact(made.features),
    ):
        assert ak.predict(made.head, inputs, device="cpu", cache=made.cache).path == made.scores.path
    files = sorted((made.folder / "clips").glob("clip*"))
    some = ak.extract_faces(files[:2], fps=10, size=48, detector="centerface", device="cpu", cache=made.cache)
    assert some.clips == CLIPS[:2] and some.cached
    (made.folder / "some.txt").write_text("clip-2\n")
    for clips in (["clip-2"], "*2", pd.Series(["clip-2"]), made.folder / "some.txt"):
        assert ak.embed(made.faces, clips=clips, backbone="mean-pixel", cache=made.cache).clips == ["clip-2"]
    assert made.trained(labels=made.labels, seeds=np.int64(1), val_fraction=None).path == made.head.path


def test_tables_are_paths_or_frames_by_their_content(made: Made) -> None:
    assert made.trained(labels=made.labels).path == made.head.path
    assert made.trained(labels=made.labels.set_index("clip")).cached
    with pytest.raises(ak.UsageError, match="labels come from"):
        made.trained()
    with pytest.raises(ak.UsageError, match="unknown dataset 'nowhere'"):
        made.trained(labels=("nowhere", made.folder))
    splits = pd.DataFrame({"clip": CLIPS, "split": ["train", "val"] * 3})
    assert made.trained(labels=made.labels, splits=splits).path != made.head.path
    along = made.trained(labels=made.labels, aux=[(made.features, made.labels, "va")])
    assert along.path == made.trained(labels=made.labels, aux=[f"{made.features}:{made.folder / 'va.csv'}:va"]).path


def test_options_are_a_mapping_or_texts(made: Made) -> None:
    assert made.trained(labels=made.labels, option=["epochs=2", "hidden=4"]).path == made.head.path


def test_heads(made: Made) -> None:
    head = made.head
    assert isinstance(head, ak.TrainedModel) and head.task.name == "va"
    assert head.val_score == pytest.approx(head.report["val_score"]["mean"])
    scores = head.predict(made.folder / "new.mp4", device="cpu", cache=made.cache)
    assert scores.clips == ["new"] and list(scores.frame().columns) == [
        "clip", "start", "end", "split", "valence", "arousal", "valid", "observed",
    ]  # fmt: skip
    assert head.predict(made.features, device="cpu", cache=made.cache).path == made.scores.path
    folds = made.trained(labels=made.labels, folds=3)
    assert isinstance(folds, ak.PredictionTable) and "pooled" in folds.report


def test_predictions(made: Made) -> None:
    scores = made.scores
    assert isinstance(scores, ak.PredictionTable) and isinstance(scores["clip-0"], Predictions)
    frame = scores.frame()
    assert frame.groupby("split").size().to_dict() == {"test": 20, "train": 20, "val": 20}
    np.testing.assert_array_equal(frame[scores.targets][:10].to_numpy(), scores["clip-0"].scores)


def test_reports(made: Made) -> None:
    run: dict[str, Any] = {"labels": made.labels, "task": "va", "draws": 50, "cache": made.cache}
    report = ak.evaluate(made.scores, **run)
    assert isinstance(report, ak.ScoreReport) and report["scores"] == report.scores
    frame = report.frame().set_index("score")
    assert frame.value["ccc"] == report.scores["ccc"] and frame.low["ccc"] <= frame.high["ccc"]
    assert "<table" in report._repr_html_()
    assert ak.evaluate(made.scores.frame(), **run).scores == pytest.approx(report.scores, rel=1e-4)
    both = ak.compare([made.scores, str(made.scores)], **run)
    assert len(both.frame()) == 2 * len(report.frame()[report.frame().low.notna()])
    fused = ak.fuse([made.scores, made.scores], labels=made.labels, task="va", method="equal", cache=made.cache)
    assert fused.clips == CLIPS and fused.report["fitted_on"]["rows"] == 20


def test_open(made: Made) -> None:
    for one in (made.faces, made.features, made.head, made.scores):
        again = ak.open(str(one))
        assert type(again) is type(one) and again.path == one.path and repr(again) == repr(one)
    assert ak.open(f"{made.features}:values").layer == "values"
    assert ak.open(made.head).val_score == made.head.val_score
    assert ak.open(made.faces).failed == made.faces.failed
    with pytest.raises(ak.UsageError, match="is not an artifact"):
        ak.open("nowhere")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda made: ak.embed(made.faces, backbon="x"), "argument of embed 'backbon': did you mean 'backbone'?"),
        (lambda made: ak.embed(made.faces, dtype="float8"), "--dtype should be 'float32' or 'float16' (given 'float8'"),
        (lambda made: ak.embed("nowhere", backbone="mean-pixel"), "nowhere is not an artifact (it does not exist)"),
        (lambda made: ak.embed(made.faces, backbone="mean-pixel", option={"side": 2}), "option of mean-pixel 'side'"),
        (lambda made: ak.train_head(made.features), "train_head: missing a required argument: 'task' (a task"),
        (lambda made: ak.predict(made.features, made.head), "the head comes first"),
        (lambda made: ak.extract_faces(3), "a path is needed, or what an affectkit function returned (given 3)"),
        (lambda made: ak.extract_faces(), "media come from arguments, or from --dataset NAME --root DIR"),
        (lambda made: made.trained(labels=made.labels, folds=1), "--folds 1 is not in the range 2 to 1000"),
        (lambda made: made.trained(labels=made.labels, folds="3"), "--folds takes int (given '3')"),
        (lambda made: ak.evaluate(made.features, labels=made.labels, task="va"), "needed are predictions"),
        (lambda made: made.trained(labels=3), "a path is needed"),
        (lambda made: ak.embed(None, backbone="mean-pixel"), "artifact: nothing is given (what extract faces"),
        (lambda made: ak.predict(made.head, []), "inputs: nothing is given"),
        (lambda made: ak.embed(made.features, backbone="mean-pixel"), "holds features, made by embed; needed are face"),
        (lambda made: ak.embed(made.faces, made.faces), "embed: too many positional arguments"),
    ],
)  # fmt: skip
def test_mistakes_are_those_of_the_command_line(made: Made, call: Any, words: str) -> None:
    with pytest.raises(ak.UsageError) as error:
        call(made)
    assert words in str(error.value)


def test_windows_are_a_torch_data_set(made: Made) -> None:
    torch = pytest.importorskip("torch")
    windows = made.features.windows(labels=made.labels, task="va", window=0.5, hop=0.2, split="train")
    assert isinstance(windows, torch.utils.data.Dataset) and windows.clips == ["clip-0", "clip-3"]
    assert len(windows) == 2 * 4 and windows.steps == 5  # of 10 rows: from 0, 2, 4 and 5
    item = windows[3]
    np.testing.assert_array_equal(item["values"], made.features["clip-0"].values[5:])
    np.testing.assert_allclose(item["labels"][:, 1], np.arange(5, 10) / 9, rtol=1e-6)
    assert item["clip"] == "clip-0" and (item["start"], item["end"]) == pytest.approx((0.5, 0.9333), abs=1e-3)
    assert windows[-1]["clip"] == "clip-3"
    with pytest.raises(IndexError):
        windows[8]
    batch = next(iter(torch.utils.data.DataLoader(windows, batch_size=4)))
    assert batch["values"].shape == (4, 5, 192) and batch["labels"].shape == (4, 5, 2) and batch["valid"].all()
    longer = made.features.windows(labels=made.labels, task="va", window=2.0)[0]
    assert longer["values"].shape == (20, 192) and longer["valid"].sum() == 10
    assert longer["labels"][10:].isnan().all() and not longer["labels"][:10].isnan().any()
    whole = made.features.windows(labels=made.labels, task="va", window="clip")
    assert len(whole) == 6 and whole[0]["values"].shape == (10, 192)
    with pytest.raises(ak.UsageError, match="not longer than the window"):
        made.features.windows(labels=made.labels, task="va", window=1, hop=2)
    with pytest.raises(ak.UsageError, match="no labelled clip with features has split 'all'"):
        made.features.windows(labels=made.labels, task="va", split="all")


def test_windows_have_classes_as_numbers(made: Made) -> None:
    pytest.importorskip("torch")
    classes = pd.DataFrame({"clip": CLIPS, "label": ["negative", "positive", "", *["negative"] * 3]})
    windows = made.features.windows(labels=classes, task="valence-2", window="clip")
    assert [int(item["labels"]) for item in windows] == [0, 1, -100, 0, 0, 0]


def test_submit_writes_and_checks_a_file(made: Made, tmp_path: Path) -> None:
    template = tmp_path / "template.csv"
    template.write_text("wrong\n")
    with pytest.raises(ak.UsageError, match=r"template\.csv"):
        ak.submit(made.scores, template=template, format="affwild2-va", out=tmp_path / "va.txt", cache=made.cache)
    template.write_text("image_location,valence,arousal\n" + "".join(f"clip-0/{n:05d}.jpg,0,0\n" for n in range(1, 11)))
    written = ak.submit(
        made.scores, template=template, format="affwild2-va", out=tmp_path / "va.txt", videos=made.folder / "clips"
    )
    assert isinstance(written, ak.WrittenFile) and written.report["rows"] == 10 and written.exit_code == 0
    checked = ak.submit(check=written, template=template, format="affwild2-va")
    assert checked.report["good"] and checked.exit_code == 0
    (tmp_path / "va.txt").write_text("image_location,valence,arousal\n")
    wrong = ak.submit(check=tmp_path / "va.txt", template=template, format="affwild2-va")
    assert not wrong.report["good"] and wrong.exit_code == 3 and wrong.notices


def test_the_command_line_and_python_make_the_same(made: Made, affectkit: Command) -> None:
    line = ["embed", made.faces, "--backbone", "mean-pixel", "--device", "cpu", "--cache", made.cache]
    assert affectkit(*line).stdout.strip() == str(made.features)


class Brightness:
    """The mean of all pixels: a backbone of one's own."""

    version, kind, Options, dim = 1, "image", Config, 1

    @classmethod
    def weights(cls, options: Config, choice: str) -> WeightsFile:
        return WeightsFile("brightness", None, "none", "none", "none")

    def __init__(self, options: Any = None, weights: Any = None, numerics: Any = None, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, batch: Any) -> Any:
        return (self.scale * batch.mean(axis=(1, 2, 3)))[:, None].astype(np.float32)


class Quick(plugins.get("heads", "mlp")):  # type: ignore[misc]
    """A head of one's own."""


def test_a_backbone_is_passed_as_a_class(made: Made) -> None:
    features = ak.embed(made.faces, backbone=Brightness, device="cpu", cache=made.cache)
    assert features.artifact.stage.name == "Brightness" and features["clip-0"].values.shape == (10, 1)
    assert features.artifact.stage.provenance["config"]["backbone"] == f"{__file__}:Brightness"
    assert ak.embed(made.faces, backbone=Brightness, device="cpu", cache=made.cache).path == features.path
    assert ak.embed(made.faces, backbone=MeanPixel, device="cpu", cache=made.cache).path == made.features.path
    head = ak.train_head(
        features, labels=made.labels, task="va", head=Quick, option={"epochs": 1, "hidden": 2}, device="cpu",
        cache=made.cache,
    )  # fmt: skip
    assert head.artifact.stage.name == "Quick" and "code" in head.artifact.stage.inputs["head"]
    assert head.predict(made.folder / "new.mp4", device="cpu", cache=made.cache).clips == ["new"]


def test_a_backbone_is_passed_as_an_instance(made: Made) -> None:
    twice, thrice = (
        ak.embed(made.faces, backbone=Brightness(scale=scale), device="cpu", cache=made.cache) for scale in (2.0, 3.0)
    )
    assert twice.path != thrice.path
    np.testing.assert_allclose(thrice["clip-0"].values, 1.5 * twice["clip-0"].values, rtol=1e-6)
    again = ak.embed(made.faces, backbone=Brightness(scale=2.0), device="cpu", cache=made.cache)
    assert again.path == twice.path and again.cached


def test_what_is_passed_must_follow_the_protocol(made: Made) -> None:
    with pytest.raises(ak.AffectkitError, match="has no weights, __call__"):
        ak.embed(made.faces, backbone=Config, cache=made.cache)
    with pytest.raises(ak.UsageError, match="a head is passed as a class"):
        made.trained(labels=made.labels, head=Brightness())


def test_sound(tmp_path: Path) -> None:
    sound = ak.extract_audio(make_audio(tmp_path / "talk.m4a"), cache=tmp_path / "cache")
    assert isinstance(sound, ak.SoundTable) and sound.clips == ["talk"] and sound.sampling_rate == 16000
    assert len(sound["talk"]) == pytest.approx(16000, abs=2000) and len(sound.frame()) == 1


def test_one_of_several_layers_is_read(tmp_path: Path) -> None:
    shape = {"layer_03": 2, "layer_07": 4}
    artifact = Cache(tmp_path / "cache").create("embed", "net", {"columns": shape}, features_schema(shape))
    part, times = artifact.new_part(), np.arange(6.0)
    rows = {name: np.ones((5, dim), np.float32) for name, dim in shape.items()}
    part.append({"start": times[:-1], "end": times[1:], "valid": np.ones(5), **rows})
    part.end("a", "source")
    part.commit()
    artifact.seal()
    layers = ak.open(artifact.path)
    assert layers.layers == {"layer_03": 2, "layer_07": 4} and layers.frame().shape[1] == 4 + 6
    with pytest.raises(ak.UsageError, match=r"name one, as .*:layer_07"):
        layers[layers.clips[0]]
    last = layers.of_layer("layer_07")
    assert last[last.clips[0]].dim == 4 and last.frame().shape[1] == 4 + 4 and last.names[0] == "layer_07_0"
    run: dict[str, Any] = {"set": "sun-audio", "window": "clip", "cache": tmp_path / "cache"}
    assert ak.functionals(last, **run).path == ak.functionals(f"{layers}:layer_07", **run).path


def test_an_interrupt_says_what_is_kept(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        error = KeptInterrupt()
        error.lines = ("kept: 3 epochs",)
        raise error

    monkeypatch.setattr(TrainHead, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.trained(labels=made.labels)
    assert "kept: 3 epochs" in capsys.readouterr().err


def test_another_process_finds_a_backbone_that_is_in_a_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: Command
) -> None:
    source = inspect.getsource(Brightness).replace("Config", "config.Config").replace("Weights", "weights.Weights")
    (tmp_path / "mine.py").write_text(
        f"import numpy as np\nfrom affectkit import config, weights\nAny = object\n{source}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = import_module("mine")
    features = ak.embed(made.faces, backbone=mine.Brightness, device="cpu", cache=made.cache)
    options: dict[str, Any] = {"head": "mlp", "option": {"epochs": 1, "hidden": 2}, "device": "cpu"}
    trained = ak.train_head(features, labels=made.labels, task="va", cache=made.cache, **options)
    done = child("predict", trained, made.folder / "new.mp4", "--device", "cpu", "--cache", made.cache)
    assert done.returncode == 0, done.stderr
    assert ak.open(done.stdout.strip()).clips == ["new"]
