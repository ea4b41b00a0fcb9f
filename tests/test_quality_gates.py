"""Quality gates: rows of a face too small, too far turned or too blurred are read as rows without a face."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from media_factory import make_clip
from stage_factory import portrait

from affectkit.stages.quality_gates import Limits, QualityGates, through
from affectkit.store import open_artifact, open_features

MESH = '''
import numpy as np
from affectkit.config import Config
from affectkit.weights import WeightsFile


class Mesh:
    """What face-mesh measures, in a stand-in: yaw is the blue channel's mean, sharpness the red one's over 100."""

    version, kind, Options, dim, reads = 1, "image", Config, 4, ("boxes",)
    names = {"values": ["face_flag", "yaw", "face_size", "sharpness"]}

    @classmethod
    def weights(cls, options, choice):
        return WeightsFile("mesh", None, "none", "none", "none")

    def __init__(self, options, weights, numerics):
        pass

    def __call__(self, batch, boxes):
        red, _, blue = batch.mean(axis=(2, 3)).T
        flags = np.ones(len(batch))
        return np.column_stack([flags, blue, boxes[:, 2] - boxes[:, 0], red / 100]).astype(np.float32)
'''
NAMES = {"a": "train", "b": "train", "c": "val", "d": "test"}
FRAMES = 12


@dataclass(frozen=True)
class Made:
    """What the tests read: the command, and what it has printed."""

    affectkit: Command
    mesh: str
    features: str

    def __call__(self, *arguments: object) -> str:
        ran = self.affectkit(*arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def train(self, *more: object) -> str:
        return self(
            "train-head", self.features, "--labels", "va.csv", "--task", "va", "--head", "mlp", "-o", "epochs=2",
            "-o", "hidden=4", "--device", "cpu", *more,
        )  # fmt: skip

    @property
    def limit(self) -> float:
        """A yaw that about half of the rows are within."""
        return float(np.median(np.concatenate([self.yaw(name) for name in NAMES])))

    def yaw(self, clip: str) -> np.ndarray:
        return open_features(f"{self.mesh}:yaw").sequence(clip).values[:, 0]


def film(path: Path, number: int) -> None:
    """A face that turns bluer and less blue again."""
    pictures = []
    for frame in range(FRAMES):
        picture = portrait().astype(float)
        picture[..., 2] *= 0.7 + 0.5 * np.sin(frame / 2 + number)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    make_clip(path, pictures)


@pytest.fixture
def made(affectkit: Command, tmp_path: Path) -> Made:
    (tmp_path / "clips").mkdir()
    (tmp_path / "mesh.py").write_text(MESH)
    rows = ["clip,start,end,split,valence,arousal"]
    for number, (name, split) in enumerate(NAMES.items()):
        film(tmp_path / "clips" / f"{name}.mp4", number)
        rows += [
            f"{name},{n / 30},{(n + 1) / 30},{split},{np.sin(n + number):.3f},{np.cos(n):.3f}" for n in range(FRAMES)
        ]
    (tmp_path / "va.csv").write_text("\n".join(rows) + "\n")
    made = Made(affectkit, "", "")
    faces = made("extract", "faces", "clips", "--detector", "centerface", "--fps", "native", "--size", 32)
    mesh = made("embed", faces, "--backbone", "mesh.py:Mesh")
    return Made(affectkit, mesh, made("embed", faces, "--backbone", "mean-pixel"))


def test_rows_that_fail_are_invalid_and_counted(made: Made) -> None:
    features, measured, most = open_features(made.features), open_features(made.mesh), made.limit
    gates = QualityGates(measured, Limits(max_yaw=most))
    closed = through(features, gates)
    for name in NAMES:
        rows, expected = closed.sequence(name), made.yaw(name) <= most
        np.testing.assert_array_equal(rows.valid, expected & features.sequence(name).valid)
        assert not rows.values[~rows.valid].any()
        np.testing.assert_array_equal(rows.values[rows.valid], features.sequence(name).values[rows.valid])
    failing = sum(int((made.yaw(name) > most).sum()) for name in NAMES)
    assert closed.left_out(NAMES) == (
        f"{failing} of {4 * FRAMES} rows left out by quality: {failing} with yaw above {most:g}"
    )
    both = through(features, QualityGates(measured, Limits(max_yaw=most, min_face_size=1e4)))
    assert both.left_out(["a"]).startswith(
        f"{FRAMES} of {FRAMES} rows left out by quality: {FRAMES} with faces smaller"
    )
    assert through(features, QualityGates(measured, Limits(max_yaw=180))).left_out(NAMES) == ""


def test_train_and_predict_go_through_the_same_gates(made: Made) -> None:
    gates = ("--face-quality", made.mesh, "--max-yaw", made.limit)
    ran = made.affectkit(
        "train-head", made.features, "--labels", "va.csv", "--task", "va", "--head", "mlp", "-o", "epochs=2",
        "-o", "hidden=4", "--device", "cpu", *gates,
    )  # fmt: skip
    assert ran.returncode == 0 and "rows left out by quality" in ran.stderr, ran.stderr
    head, plain = ran.stdout.strip(), made.train()
    assert made.train(*gates) == head != plain
    assert made.train("--face-quality", made.mesh, "--max-yaw", 179) not in (head, plain)
    predicted = made.affectkit("predict", head, made.features, "--reach", 0)
    assert predicted.returncode == 0 and "rows left out by quality" in predicted.stderr
    scores = open_artifact(predicted.stdout.strip())
    for name in NAMES:
        np.testing.assert_array_equal(scores.column(name, "valid").astype(bool), made.yaw(name) <= made.limit)
    assert made("predict", head, made.features, "--face-quality", made.mesh, "--reach", 0) == predicted.stdout.strip()
    assert made("predict", head, "clips", "--reach", 0) == predicted.stdout.strip()


def test_new_media_are_measured_too(made: Made, tmp_path: Path) -> None:
    head = made.train("--face-quality", made.mesh, "--max-yaw", made.limit)
    film(tmp_path / "new.mp4", 2)
    ran = made.affectkit("predict", head, "new.mp4", "--reach", 0)
    assert ran.returncode == 0 and "rows left out by quality" in ran.stderr, ran.stderr
    valid = open_artifact(ran.stdout.strip()).column("new", "valid").astype(bool)
    assert valid.any() and not valid.all()


def test_a_bundle_brings_the_gates(made: Made, package: Callable[[str, str], Path], tmp_path: Path) -> None:
    package(MESH + "\n\nPLUGIN = Mesh\n", "[affectkit.backbones]\nmesh = bright\n")
    faces = made("extract", "faces", "clips", "--detector", "centerface", "--fps", "native", "--size", 32)
    head = made.train("--face-quality", made("embed", faces, "--backbone", "mesh"), "--max-yaw", made.limit)
    made("export", head, "--to", "bundle", "--out", "gated.affect")
    film(tmp_path / "new.mp4", 2)
    for more in ((), ("--cache", "elsewhere")):
        ran = made.affectkit("predict", "gated.affect", "new.mp4", "--reach", 0, *more)
        assert ran.returncode == 0 and "rows left out by quality" in ran.stderr, ran.stderr
        scores = open_artifact(tmp_path / ran.stdout.strip()).read("new")["scores"]
        own = open_artifact(made("predict", head, "new.mp4", "--reach", 0)).read("new")["scores"]
        np.testing.assert_array_equal(scores, own)
    assert np.isnan(own).any() and np.isfinite(own).any()


def test_functionals_summarise_what_the_gates_let_through(made: Made) -> None:
    gates = ("--face-quality", made.mesh, "--max-yaw", made.limit)
    options = ("--window", "clip", "--functional", "mean")
    summary = open_features(made("functionals", made.features, *options, *gates))
    assert summary.identity != open_features(made("functionals", made.features, *options)).identity
    rows = open_features(made.features).sequence("a")
    kept = rows.valid & (made.yaw("a") <= made.limit)
    np.testing.assert_allclose(summary.sequence("a").values[0], rows.values[kept].mean(axis=0), atol=1e-5)
    head = made(
        "train-head", str(summary.path), "--labels", "va.csv", "--task", "va", "--head", "mlp", "-o", "epochs=1",
        "--device", "cpu",
    )  # fmt: skip
    assert made("predict", head, "clips") == made("predict", head, str(summary.path))


def test_folds_and_trials_go_through_the_gates(made: Made) -> None:
    gates = ("--face-quality", made.mesh, "--max-yaw", made.limit)
    folder = made.affectkit.folder
    pd.read_csv(folder / "va.csv").drop(columns="split").to_csv(folder / "plain.csv", index=False)
    ran = made.affectkit(
        "train-head", made.features, "--labels", "plain.csv", "--task", "va", "--head", "mlp", "-o", "epochs=1",
        "-o", "hidden=4", "--folds", 3, "--device", "cpu", *gates,
    )  # fmt: skip
    assert ran.returncode == 0 and "rows left out by quality" in ran.stderr, ran.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda made: ("--max-yaw", 30), "--max-yaw needs --face-quality FEATURES"),
        (lambda made: ("--face-quality", made.mesh), "give one of them"),
        (lambda made: ("--face-quality", made.features, "--max-yaw", 30), "has no component yaw"),
        (lambda made: ("--face-quality", made.mesh, "--max-yaw", -1), "greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_is_refused(made: Made, options: Callable[[Made], tuple[object, ...]], words: str) -> None:
    ran = made.affectkit("train-head", made.features, "--labels", "va.csv", "--task", "va", *options(made))
    assert ran.returncode == 2 and words in ran.stderr, ran.stderr


def test_clips_that_were_not_measured_are_named(made: Made) -> None:
    (faces,) = open_artifact(made.mesh).stage.upstream
    some = made("embed", faces, "--backbone", "mesh.py:Mesh", "--clips", "[ab]")
    ran = made.affectkit(
        "train-head", made.features, "--labels", "va.csv", "--task", "va", "--face-quality", some, "--max-yaw", 90
    )
    assert ran.returncode == 2 and "not in --face-quality" in ran.stderr and "c" in ran.stderr
    head = made.train()
    ran = made.affectkit("predict", head, made.features, "--face-quality", made.mesh)
    assert ran.returncode == 2 and "has no quality gates" in ran.stderr


def test_forged_gates_are_refused(made: Made) -> None:
    head = Path(made.train("--face-quality", made.mesh, "--max-yaw", made.limit))
    record = head / "stage.json"
    stage = json.loads(record.read_text())
    stage["provenance"]["quality_gates"]["limits"] = {"max_yaw": 180.0}
    record.write_text(json.dumps(stage))
    ran = made.affectkit("predict", head, made.features)
    assert ran.returncode == 2 and "another recipe" in ran.stderr, ran.stderr
    stage["provenance"]["quality_gates"]["limits"] = {"max_yaw": "far"}
    record.write_text(json.dumps(stage))
    ran = made.affectkit("predict", head, made.features)
    assert ran.returncode == 2 and "max_yaw" in ran.stderr, ran.stderr


RECIPE = """
[data.main]
media = "clips/"
labels = "va.csv"

[steps.faces]
stage = "extract-faces"
data = "main"
detector = "centerface"
fps = "native"
size = 32

[steps.mesh]
stage = "embed"
from = "faces"
backbone = "mesh.py:Mesh"

[steps.features]
stage = "embed"
from = "faces"
backbone = "mean-pixel"

[steps.head]
stage = "train-head"
from = "features"
labels = "main"
task = "va"
head = "mlp"
option = { epochs = 2, hidden = 4 }
face_quality = "mesh"
max_yaw = %s

[steps.scores]
stage = "predict"
from = ["head", "features"]
"""


def test_a_recipe_gates_by_a_step(made: Made) -> None:
    folder = made.affectkit.folder
    (folder / "gated.toml").write_text(RECIPE % made.limit)
    ran = made.affectkit("run", "gated.toml", "--device", "cpu")
    assert ran.returncode == 0 and "rows left out by quality" in ran.stdout + ran.stderr, ran.stderr
    wrong = made.affectkit("run", "gated.toml", "--dry-run", "--set", "head.face_quality=faces")
    assert wrong.returncode == 2 and "features needed; faces makes crops" in wrong.stderr, wrong.stderr
