"""Speech that is gated by a mouth in the picture: from features, through replay and in recipes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from stage_factory import portrait

from affectkit.errors import UsageError
from affectkit.stages.replay import media_suffixes
from affectkit.store import open_artifact, open_features

MOUTH = '''
import numpy as np
from affectkit.config import Config
from affectkit.weights import WeightsFile


class Mouth:
    """How bright the lower half of a crop is, which stands for a mouth here, and what the box measures."""

    version, kind, Options, dim, reads = 1, "image", Config, 2, ("boxes",)
    names = {"values": ["mouth_opening", "face_size"]}

    @classmethod
    def weights(cls, options, choice):
        return WeightsFile("mouth", None, "none", "none", "none")

    def __init__(self, options, weights, numerics):
        pass

    def __call__(self, batch, boxes):
        lower = batch[:, :, batch.shape[2] // 2 :].mean(axis=(1, 2, 3))
        return np.column_stack([lower, boxes[:, 2] - boxes[:, 0]]).astype(np.float32)
'''
FPS, SECONDS = 10, 4
NAMES = ("a", "b", "c")


def film(path: Path, opens: float, brighter: int = 0) -> None:
    """A face whose lower half is bright for two seconds from `opens` (s) on, and a tone."""
    pictures = []
    for number in range(30 * SECONDS):
        picture = np.clip(portrait().astype(int) + brighter, 0, 255)
        if opens <= number / 30 < opens + 2:
            picture[60:] = np.clip(picture[60:] + 60, 0, 255)
        pictures.append(picture.astype(np.uint8))
    make_clip(path, pictures, audio=True)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    (tmp_path / "mouth.py").write_text(MOUTH)
    for number, name in enumerate(NAMES):
        film(tmp_path / "clips" / f"{name}.mp4", opens=number, brighter=3 * number)
    rows = [
        f"{name},{step / 2},{step / 2 + 0.5},{split},{np.sin(step):.2f},{np.cos(step):.2f}"
        for name, split in zip(NAMES, ["train", "train", "val"], strict=True) for step in range(2 * SECONDS)
    ]  # fmt: skip
    (tmp_path / "va.csv").write_text("\n".join(["clip,start,end,split,valence,arousal", *rows]) + "\n")
    return tmp_path / "clips"


def made(affectkit: Command, *arguments: object) -> str:
    ran = affectkit(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def mesh_of(affectkit: Command, *clips: Path) -> str:
    faces = made(affectkit, "extract", "faces", *clips, "--detector", "centerface", "--fps", FPS, "--size", 64)
    return made(affectkit, "embed", faces, "--backbone", "mouth.py:Mouth")


def head_of(affectkit: Command, clips: Path) -> tuple[str, str]:
    mesh = mesh_of(affectkit, clips)
    sound = made(affectkit, "extract", "audio", clips, "--vad", "mouth", "--mouth", f"{mesh}:mouth_opening")
    heard = made(affectkit, "embed", sound, "--backbone", "log-mel", "--window", 0.5, "--hop", 0.5)
    options = ["-o", "epochs=2", "-o", "hidden=4", "--device", "cpu"]
    return made(affectkit, "train-head", heard, "--labels", "va.csv", "--task", "va", "--head", "mlp", *options), heard


def test_a_component_gates_as_a_table_of_it_does(affectkit: Command, clips: Path, tmp_path: Path) -> None:
    mesh = mesh_of(affectkit, clips)
    sound = open_artifact(
        made(affectkit, "extract", "audio", clips, "--vad", "mouth", "--mouth", f"{mesh}:mouth_opening")
    )
    rows = ["clip,start,end,opening"]
    for name in NAMES:
        opening = open_features(f"{mesh}:mouth_opening").sequence(name)
        rows += [
            f"{name},{a},{b},{v}"
            for a, b, (v,) in zip(opening.start, opening.end, opening.values.tolist(), strict=True)
        ]
    (tmp_path / "openings.csv").write_text("\n".join(rows) + "\n")
    table = open_artifact(made(affectkit, "extract", "audio", clips, "--vad", "mouth", "--mouth", "openings.csv"))
    assert sound.stage.fingerprint != table.stage.fingerprint
    for number, name in enumerate(NAMES):
        start, end = sound.column(name, "start"), sound.column(name, "end")
        np.testing.assert_allclose(start, table.column(name, "start"), atol=2e-3)
        np.testing.assert_allclose(end, table.column(name, "end"), atol=2e-3)
        assert len(start) == 1 and abs(start[0] - number) <= 0.3 and abs(end[0] - number - 2) <= 0.3
    assert [Path(path).name for path in sound.stage.upstream] == [open_artifact(mesh).folder.name]


def test_clips_that_the_features_lack_are_said(affectkit: Command, clips: Path, tmp_path: Path) -> None:
    mesh = mesh_of(affectkit, clips / "a.mp4", clips / "b.mp4")
    ran = affectkit("extract", "audio", clips, "--vad", "mouth", "--mouth", f"{mesh}:mouth_opening")
    assert ran.returncode == 3 and f"failed: c: not in the features {mesh}" in ran.stderr


def test_what_is_no_opening_is_refused(affectkit: Command, clips: Path) -> None:
    mesh = mesh_of(affectkit, clips / "a.mp4")
    for given, words in (
        (mesh, "has 2 components: name the one that grows as a mouth opens"),
        (f"{mesh}:mouth_openin", "did you mean mouth_opening?"),
        ("nowhere.csv", "nowhere.csv"),
    ):
        ran = affectkit("extract", "audio", clips, "--vad", "mouth", "--mouth", given)
        assert ran.returncode == 2 and words in ran.stderr, ran.stderr
    ran = affectkit("extract", "audio", clips, "--mouth", f"{mesh}:mouth_opening")
    assert ran.returncode == 2 and "of use only with --vad mouth" in ran.stderr


def test_a_head_on_gated_sound_predicts_new_media(affectkit: Command, clips: Path, tmp_path: Path) -> None:
    head, heard = head_of(affectkit, clips)
    assert made(affectkit, "predict", head, heard) == made(affectkit, "predict", head, clips)  # the same rows, cached
    film(tmp_path / "new.mp4", opens=1.5, brighter=20)
    scores = open_artifact(made(affectkit, "predict", head, "new.mp4", "--reach", 0))
    middle = (scores.column("new", "start") + scores.column("new", "end")) / 2
    valid = np.asarray(scores.column("new", "valid"), bool)
    assert valid.any() and (np.abs(middle[valid] - 2.5) <= 1.5).all() and not valid[middle < 1].any()
    assert ".wav" not in media_suffixes(open_artifact(head))  # sound without a picture says nothing of a mouth


def test_a_forged_recipe_is_refused(affectkit: Command, clips: Path) -> None:
    head, _ = head_of(affectkit, clips)
    record = Path(head) / "stage.json"
    stage = json.loads(record.read_text())
    recipe = stage["provenance"]["features"][0]
    recipe[:] = [step for step in recipe if step["stage"] != "embed" or "mouth" not in json.dumps(step["config"])]
    record.write_text(json.dumps(stage))
    ran = affectkit("predict", head, clips)
    assert ran.returncode == 2 and "which none before it makes" in ran.stderr, ran.stderr


RECIPE = """
[data.main]
media = "clips/"
labels = "va.csv"

[steps.faces]
stage = "extract-faces"
data = "main"
detector = "centerface"
fps = 10.0
size = 64

[steps.mesh]
stage = "embed"
from = "faces"
backbone = "mouth.py:Mouth"

[steps.voice]
stage = "extract-audio"
data = "main"
vad = "mouth"
mouth = "@mesh:mouth_opening"
"""


def test_a_recipe_links_sound_to_the_mouth(affectkit: Command, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "gated.toml").write_text(RECIPE)
    dry = affectkit("run", "gated.toml", "--dry-run")
    assert dry.returncode == 0 and "waits for mesh" in dry.stdout + dry.stderr, dry.stderr
    made(affectkit, "run", "gated.toml")
    mesh = mesh_of(affectkit, clips)
    sound = made(affectkit, "extract", "audio", clips, "--vad", "mouth", "--mouth", f"{mesh}:mouth_opening")
    assert open_artifact(sound).clips == list(NAMES)
    ran = affectkit("run", "gated.toml", "--set", "voice.mouth=openings.csv")
    assert ran.returncode == 2 and "openings.csv is not a file" in ran.stderr, ran.stderr
    ran = affectkit("run", "gated.toml", "--set", "voice.mouth=@faces")
    assert ran.returncode == 2 and "features needed; faces makes crops" in ran.stderr, ran.stderr
    ran = affectkit("run", "gated.toml", "--set", "voice.mouth=@mash:mouth_opening")
    assert ran.returncode == 2 and "mesh" in ran.stderr, ran.stderr


def test_a_component_is_open_features(affectkit: Command, clips: Path) -> None:
    mesh = mesh_of(affectkit, clips / "a.mp4")
    whole, one = open_features(mesh), open_features(f"{mesh}:mouth_opening")
    assert (whole.dim, one.dim, one.names) == (2, 1, ["mouth_opening"])
    assert one.identity == f"{whole.identity}:mouth_opening"
    np.testing.assert_array_equal(one.sequence("a").values, whole.sequence("a").values[:, :1])
    sizes = open_features(f"{mesh}:face_size").sequence("a").values[:, 0]
    faces = open_artifact(Path(whole.artifact.stage.upstream[0]))
    boxes = faces.column("a", "boxes")
    np.testing.assert_allclose(sizes, boxes[:, 2] - boxes[:, 0], rtol=1e-6)
    summary = made(affectkit, "functionals", f"{mesh}:mouth_opening", "--window", "clip", "--functional", "mean")
    assert open_features(summary).names == ["mean mouth_opening"]
    again = open_features(f"{summary}:mean mouth_opening").sequence("a").values
    np.testing.assert_allclose(again[0, 0], one.sequence("a").values.mean(), rtol=1e-5)
    with pytest.raises(UsageError, match="has no features 'mouth'"):
        open_features(f"{mesh}:mouth")


def test_an_optional_step_runs_where_another_names_it(affectkit: Command, clips: Path, tmp_path: Path) -> None:
    recipe = RECIPE.replace('stage = "embed"', 'optional = true\nstage = "embed"')
    (tmp_path / "gated.toml").write_text(recipe)
    assert "mesh" in affectkit("run", "gated.toml", "--dry-run").stdout
    (tmp_path / "plain.toml").write_text(recipe.replace('vad = "mouth"\nmouth = "@mesh:mouth_opening"', ""))
    plain = affectkit("run", "plain.toml", "--dry-run")
    assert plain.returncode == 0 and "voice" in plain.stdout and "mesh" not in plain.stdout, plain.stderr
    (tmp_path / "wrong.toml").write_text(recipe.replace("optional = true", 'optional = "yes"'))
    wrong = affectkit("run", "wrong.toml", "--dry-run")
    assert wrong.returncode == 2 and "optional is true" in wrong.stderr, wrong.stderr
