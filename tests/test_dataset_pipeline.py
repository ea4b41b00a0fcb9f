"""From Aff-Wild2's layout to its submission file, through the public commands only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from dataset_factory import va_text, write
from media_factory import make_clip
from stage_factory import portrait

FRAMES = 12
SETS = {"one": "Train_Set", "two": "Train_Set", "three": "Validation_Set"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three labelled videos of a face that grows brighter with valence, and an unlabelled test video."""
    root, face = tmp_path / "AffWild2", portrait().astype(float)
    for seed, name in enumerate([*SETS, "unseen"]):
        valence = np.random.default_rng(seed).uniform(-1, 1, FRAMES).cumsum() / 4
        pictures = [np.clip(face * (0.8 + 0.2 * np.tanh(v)), 0, 255).astype(np.uint8) for v in valence]
        path = root / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(path, pictures)
        if name in SETS:
            rows = [(round(float(np.tanh(v)), 3), 0.1) for v in valence]
            rows[2] = (-5, -5)
            write(root / "VA_Estimation_Challenge" / SETS[name] / f"{name}.txt", va_text(rows), crlf=seed == 1)
    return root


def test_from_layout_to_submission(affectkit: Command, root: Path, tmp_path: Path) -> None:
    data = ["--dataset", "affwild2", "--root", str(root)]
    cpu = ["--device", "cpu"]

    def run(*line: str) -> str:
        done = affectkit(*line)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    report = json.loads(run("dataset", "check", "affwild2", "--root", str(root), "--task", "va", "--json"))
    splits = report["tasks"]["va"]["splits"]
    assert {name: one["rows"] for name, one in splits.items()} == {"train": 2 * FRAMES, "val": FRAMES}
    assert splits["val"]["invalid_rows"] == 1 and not report["biased"]
    faces = run("extract", "faces", *data, "--detector", "centerface", "--size", "32", "--fps", "native", *cpu)
    features = run("embed", faces, "--backbone", "mean-pixel", *cpu)
    small = ["--head", "mlp", "-o", "epochs=30", "-o", "learning_rate=0.01", *cpu]
    head = run("train-head", features, *data, "--task", "va", *small)
    predictions = run("predict", head, features, *cpu)
    scored = json.loads(run("evaluate", predictions, *data, "--task", "va", "--json"))
    assert (scored["split"], scored["rows"], scored["rows_without_label"]) == ("val", FRAMES - 1, 1)
    assert scored["rows_interpolated"] == 0  # row i is frame i, and so is face i
    template = write(tmp_path / "template.txt", "image_location,valence,arousal\n" + "".join(
        f"unseen/{number:05d}.jpg,0,0\n" for number in range(1, FRAMES + 1)))  # fmt: skip
    out = tmp_path / "submission.txt"
    about = ["--format", "affwild2-va", "--template", str(template)]
    run("submit", predictions, *about, "--videos", str(root / "videos"), "--out", str(out))
    run("submit", "--check", str(out), *about)
    lines = out.read_text().splitlines()
    assert lines[0] == "image_location,valence,arousal" and len(lines) == FRAMES + 1
    table = tmp_path / "predictions.csv"
    run("export", predictions, "--to", "csv", "--clips", "unseen", "--out", str(table))
    expected = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=(4, 5))
    found = np.array([line.split(",")[1:] for line in lines[1:]], float)
    assert np.allclose(found, expected, atol=1e-6)
    assert [line.split(",")[0] for line in lines[1:3]] == ["unseen/00001.jpg", "unseen/00002.jpg"]


def test_a_manifest_of_a_data_set(affectkit: Command, root: Path) -> None:
    done = affectkit("dataset", "clips", "affwild2", "--root", str(root))
    (root / "clips.csv").write_text(done.stdout)
    assert done.stdout.splitlines()[0] == "clip,path,split,subject,face"
    again = affectkit("extract", "faces", str(root / "clips.csv"), "--detector", "centerface", "--size", "32", "--json")
    assert json.loads(again.stdout)["computed"] == 4


def test_half_a_data_set_is_refused(affectkit: Command, root: Path) -> None:
    for line in (["extract", "faces", "--dataset", "affwild2"], ["extract", "audio", "--root", str(root)]):
        done = affectkit(*line)
        assert done.returncode == 2 and "--dataset NAME and --root DIR: give both" in done.stderr
    done = affectkit("extract", "faces", str(root), "--dataset", "affwild2", "--root", str(root))
    assert done.returncode == 2 and "give one of them" in done.stderr
