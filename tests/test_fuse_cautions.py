"""fuse: whatever is left out, assumed or chosen is one line in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stage_calls import fuse
from test_fuse import SPLITS, VA, curves, noisy, write

from affectkit import tasks
from affectkit.stages.fuse import FuseConfig
from affectkit.store import Cache

EXPR = tasks.get("expr")
Truth = dict[str, np.ndarray]


def report(cache: Cache, sets: list[Path], labels: Path, **fields: Any) -> dict[str, Any]:
    config = FuseConfig(**{"task": "va", "option": ["draws=20", "shrink=0"]} | fields)
    return fuse(cache, sets, labels, config).report


@pytest.fixture
def truth() -> Truth:
    return curves(6, 20)


@pytest.fixture
def labels(tmp_path: Path, truth: Truth) -> Path:
    return write(tmp_path / "labels.csv", truth, VA.targets)


def given(tmp_path: Path, truth: Truth, number: int, split: str | None = "val") -> Path:
    return write(tmp_path / f"{number}.csv", noisy(truth, number, 0.3), VA.targets, split=split)


def test_nothing_left_out_is_nothing_said(cache: Cache, tmp_path: Path, truth: Truth, labels: Path) -> None:
    assert report(cache, [given(tmp_path, truth, 1), given(tmp_path, truth, 2)], labels)["cautions"] == []


def test_clips_and_rows_without_a_score(cache: Cache, tmp_path: Path, truth: Truth, labels: Path) -> None:
    full = given(tmp_path, truth, 1)
    fewer = {clip: one for clip, one in noisy(truth, 2, 0.3).items() if clip != "v0"}
    fewer["v1"][:] = np.nan
    fewer["v2"][:5] = np.nan
    holes = write(tmp_path / "holes.csv", fewer, VA.targets)
    found = report(cache, [full, holes], labels)["cautions"]
    assert f"{holes} has no score for 2 clips (v0, v1): fused from the others" in found
    assert f"{holes} has no score in 5 of 120 rows of its clips: fused from the others" in found
    both = report(cache, [holes, write(tmp_path / "other.csv", fewer, VA.targets, split="val")], labels)["cautions"]
    assert any("have no score of any set, and none of the fusion" in line for line in both)


def test_a_set_given_twice_and_sets_that_are_the_same(cache: Cache, tmp_path: Path, truth: Truth, labels: Path) -> None:
    one = given(tmp_path, truth, 1)
    copy = tmp_path / "copy.csv"
    copy.write_text(one.read_text() + "\n")
    for other in (one, copy):
        found = report(cache, [one, other, given(tmp_path, truth, 2)], labels)["cautions"]
        assert found == [f"{one} and {other} give the same scores in all rows: one model, counted twice"]


def test_a_clip_in_another_split(cache: Cache, tmp_path: Path, truth: Truth, labels: Path) -> None:
    plain = given(tmp_path, truth, 1)
    trained = given(tmp_path, truth, 2)
    trained.write_text(trained.read_text().replace(",val,", ",train,"))
    found = report(cache, [plain, trained], labels)["cautions"]
    assert found == [
        f"{trained} has 6 clips (v0, v1, v2, ...) in split train, the fusion in val: "
        "its head may have been fitted on them"
    ]


def test_a_model_of_one_value_and_one_of_none(cache: Cache, tmp_path: Path, truth: Truth, labels: Path) -> None:
    flat = {clip: np.stack([np.full(20, 0.1), one[:, 1]], axis=1) for clip, one in truth.items()}
    constant = write(tmp_path / "constant.csv", flat, VA.targets)
    found = report(cache, [given(tmp_path, truth, 1), constant], labels)["cautions"]
    assert found == [f"{constant} gives one value of valence in all 120 validation rows"]
    silent = write(tmp_path / "silent.csv", {clip: one * np.nan for clip, one in truth.items()}, VA.targets)
    found = report(cache, [given(tmp_path, truth, 1), silent], labels)["cautions"]
    assert f"{silent} has no score in any labelled validation row: it is fused unseen, if at all" in found


def test_rows_without_labels_are_counted(cache: Cache, tmp_path: Path, truth: Truth) -> None:
    truth["v3"][4:9] = -5  # Aff-Wild2's mark
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    found = report(cache, [given(tmp_path, truth, 1), given(tmp_path, truth, 2)], labels)["cautions"]
    assert found == ["5 of 120 val rows are without a label: left out"]


def test_classes_and_gates(cache: Cache, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = {clip: rng.integers(0, 3, 20) for clip in SPLITS}
    labels = write(tmp_path / "labels.csv", kinds, ("label",))
    sets = []
    for number in (1, 2):
        scores = {clip: np.eye(8)[one] * rng.uniform(0.3, 3, (20, 1)) + 0.1 for clip, one in kinds.items()}
        shares = {clip: one / one.sum(axis=1, keepdims=True) for clip, one in scores.items()}
        sets.append(write(tmp_path / f"{number}.csv", shares, EXPR.targets))
    found = report(cache, sets, labels, task="expr", gate=1.5)["cautions"]
    missing = "5 classes (Fear, Happiness, Sadness, ...)"
    assert found[:2] == [
        f"no validation row is of {missing}: how they are fused is not judged",
        f"the fusion never gives {missing} in 240 validation rows",
    ]
    assert found[2].startswith("the gate of 1.5 nats leaves out rows: ") and found[2].endswith(f" of {sets[1]}")


def test_the_command_says_what_was_chosen_and_left_out(affectkit: Command, tmp_path: Path, truth: Truth) -> None:
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    one, noise = given(tmp_path, truth, 1), given(tmp_path, {clip: 0 * rows for clip, rows in truth.items()}, 2)
    line = ["fuse", str(one), str(noise), str(one), "--labels", str(labels), "--task", "va", "--method", "auto"]
    done = affectkit(*line, "--json")
    about = json.loads(done.stdout)
    assert about["fuser"]["chosen"] == "best-single"
    assert about["held_out"]["how"].startswith("5 folds of the validation clips")
    assert f"note: {one} and {one} give the same scores" in done.stderr and "chosen: best-single (" in done.stderr
