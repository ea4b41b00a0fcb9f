"""Labels that are not what they are taken for: units of times, scales of values, constants; told by every stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stage_calls import compare, evaluate, fuse, import_features, train

from affectkit import tasks
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.stages.compare import CompareConfig
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.fuse import FuseConfig
from affectkit.stages.import_features import ImportConfig
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, features
from affectkit.tables.label_doubts import constant_targets, doubts, likely_scale
from affectkit.types import ClipLabels, Floats

RUNTIME = Runtime(workers=1, progress=False)
VA = tasks.get("va")
ENDS = {f"c{k}": 8.0 + k for k in range(5)}
STEP = 0.1
Moved = Callable[[Floats, float], Floats]


def labels(moved: Moved, ends: Mapping[str, float] = ENDS) -> dict[str, ClipLabels]:
    """Ten rows a second over whole clips, times through `moved(seconds, end)`."""
    found = {}
    for clip, end in ends.items():
        start = np.arange(round(end / STEP)) * STEP
        values = np.stack([np.sin(start), np.cos(start)], axis=1)
        found[clip] = ClipLabels(moved(start, end), moved(start + STEP, end), values)
    return found


UNITS: dict[str, tuple[Moved, str]] = {
    "ms": (lambda t, end: t * 1000, "labels reach to 12000.0 where the clips end at 12.0: milliseconds?"),
    "us": (lambda t, end: t * 1e6, "microseconds?"),
    "samples": (lambda t, end: t * 16000, "samples at 16 kHz?"),
    "cd": (lambda t, end: t * 44100, "samples at 44.1 kHz?"),
    "dat": (lambda t, end: t * 48000, "samples at 48 kHz?"),
    "frames": (lambda t, end: np.round(t / STEP), "frame numbers, 10 a second?"),
    "percent": (lambda t, end: t / end * 100, "percent of the clip?"),
    "shares": (lambda t, end: t / end, "shares of the clip, 0 to 1?"),
    "minutes": (lambda t, end: t / 60, "minutes?"),
    "hours": (lambda t, end: t / 3600, "hours?"),
    "clock": (lambda t, end: t + 36000, "shifted by 36000.0 s?"),
    "offset": (
        lambda t, end: t + 2,
        "begin at 2.0: labels reach to 14.0 where the clips end at 12.0: shifted by 2.0 s?",
    ),
}


@pytest.mark.parametrize("unit", UNITS)
def test_times_in_another_unit(unit: str) -> None:
    moved, said = UNITS[unit]
    (line,) = doubts(VA, labels(moved), ENDS)
    assert said in line and "in seconds from the start of a clip" in line


@pytest.mark.parametrize(
    "moved",
    [
        lambda t, end: t,
        lambda t, end: t * 1.02,  # a few rows more than frames
        lambda t, end: t * 0.4,  # labels of the first part only
        lambda t, end: t + 0.2,
    ],
)
def test_times_that_are_right(moved: Moved) -> None:
    assert doubts(VA, labels(moved), ENDS) == []


def test_labels_of_whole_clips_and_of_other_clips_say_nothing_of_times() -> None:
    whole = ClipLabels(np.zeros(1), np.full(1, np.inf), np.array([[0.1, 0.2]]))
    assert doubts(VA, {"c0": whole}, ENDS) == []
    assert doubts(VA, labels(lambda t, end: t * 1000), {"other": 1.0}) == []
    assert doubts(tasks.get("eri"), {"c0": ClipLabels(np.zeros(1), np.full(1, np.inf), np.full((1, 7), 0.5))}, {}) == []


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1, 9, "on a scale 1..9? (then x -> (x - 5) / 4)"),
        (1, 4.5, "on a scale 1..5? (then x -> (x - 3) / 2)"),
        (1, 7, "on a scale 1..7?"),
        (0, 100, "on a scale 0..100? (then x -> (x - 50) / 50)"),
        (-1000, 1000, "on a scale -1000..1000? (then x -> x / 1000)"),
        (-1e5, 3, "on no usual scale"),
    ],
)
def test_values_on_another_scale(low: float, high: float, said: str) -> None:
    values = np.linspace(low, high, 200)[:, None].repeat(2, axis=1)
    one = ClipLabels(np.arange(200.0), np.arange(1.0, 201), values)
    (line,) = doubts(VA, {"a": one}, {"a": 200.0})
    assert "lie outside -1 to 1" in line and f"run from {low:g} to {high:g}" in line and said in line


def test_values_a_little_outside_are_told_where_they_are_learnt_from() -> None:
    values = np.linspace(-2, 2, 200)[:, None].repeat(2, axis=1)
    one = {"a": ClipLabels(np.arange(200.0), np.arange(1.0, 201), values)}
    assert "on a scale -2..2? (then x -> x / 2)" in doubts(VA, one, {"a": 200.0})[0]
    assert doubts(VA, one, {"a": 200.0}, far=True) == []
    one["a"].values[0] = 4.5
    assert "run from" in doubts(VA, one, {"a": 200.0}, far=True)[0]


def test_values_in_one_half_of_the_range_and_of_tasks_without_one() -> None:
    values = np.linspace(0, 1, 200)[:, None].repeat(2, axis=1)
    one = {"a": ClipLabels(np.arange(200.0), np.arange(1.0, 201), values)}
    (line,) = doubts(VA, one, {"a": 200.0})
    assert "on a scale 0..1?" in line
    own = VA.model_copy(update={"name": "ratings"})
    assert doubts(own, {"a": ClipLabels(np.zeros(1), np.ones(1), np.full((1, 2), 4.5))}, {"a": 1.0}) == []
    reaction = ClipLabels(np.zeros(1), np.full(1, np.inf), np.full((1, 7), -0.5))
    assert "lie outside 0 to 1" in doubts(tasks.get("eri"), {"a": reaction}, {})[0]


def test_classes_that_seem_numbered_from_one() -> None:
    expr = tasks.get("expr")
    start = np.arange(70.0)
    numbered = ClipLabels(start, start + 1, (1 + np.arange(70) % 7)[:, None].astype(float))
    assert "numbered from 1?" in doubts(expr, {"a": numbered}, {"a": 70.0})[0]
    few = ClipLabels(start, start + 1, (1 + np.arange(70) % 3)[:, None].astype(float))
    assert doubts(expr, {"a": few}, {"a": 70.0}) == []


def test_constant_targets_and_scales() -> None:
    assert constant_targets(VA, np.array([[0.5, 1.0], [0.5, 2.0], [np.nan, 0.0]])) == ("valence",)
    assert constant_targets(VA, np.full((1, 2), 0.5)) == ()
    assert likely_scale(0, 1, -1, 1) == "on a scale 0..1? (then x -> (x - 0.5) / 0.5)"


def curves(clip: int, shift: float = 0.0) -> Floats:
    at = np.arange(100) * STEP
    return np.stack([np.sin(at * (0.5 + clip / 10) + clip + shift), np.cos(at + clip + shift)], axis=1) * 0.9


SPLITS = ["train"] * 3 + ["val"] * 3 + ["test"] * 2


def write(path: Path, *, scale: float = 1, shift: float = 0.0, constant: str = "", value: float = 1.0) -> Path:
    """Rows of 100 ms of eight clips of ten seconds, times in units of 1/scale seconds; a split may be constant."""
    lines = ["clip,start,end,split,valence,arousal"]
    for clip, split in enumerate(SPLITS):
        for row, (valence, arousal) in enumerate(curves(clip, shift) * value):
            cells = (0.5, -0.5) if split == constant else (valence, arousal)
            times = f"{row * STEP * scale:.3f},{(row + 1) * STEP * scale:.3f}"
            lines.append(f"c{clip},{times},{split},{cells[0]:.4f},{cells[1]:.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def made(tmp_path: Path, cache: Cache) -> Artifact:
    (tmp_path / "f").mkdir()
    for clip in range(len(SPLITS)):
        rows = (f"{row * STEP:.1f},{(row + 1) * STEP:.1f},{a:.4f},{b:.4f}" for row, (a, b) in enumerate(curves(clip)))
        (tmp_path / f"f/c{clip}.csv").write_text("start,end,a,b\n" + "\n".join(rows) + "\n")
    return Artifact(import_features(cache, tmp_path / "f", ImportConfig(name="f"), RUNTIME).path)


def cautions(stage: str, cache: Cache, made: Artifact, table: Path, **fields: Any) -> list[str]:
    """What a stage says of a table of labels."""
    one, other = (write(table.with_name(f"p{k}.csv"), shift=0.1 * k) for k in (1, 2))
    if stage == "train-head":
        config = TrainConfig(task="va", head="kernel-elm", option=["functionals=none"])
        report = train(cache, [features(made)], table, config, RUNTIME, device="cpu").report
    elif stage == "fuse":
        report = fuse(cache, [one, other], table, FuseConfig(task="va", method="nnls")).report
    elif stage == "compare":
        report = compare(cache, [one, other], table, CompareConfig(task="va", draws=10, **fields)).report
    else:
        report = evaluate(cache, one, table, EvaluateConfig(task="va", draws=0, **fields)).report
    found: list[str] = report["cautions"]
    return [line for line in found if "clips" not in line or "labels" in line]


STAGES = ["train-head", "fuse", "compare", "evaluate"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_tells_another_unit_and_another_scale(
    tmp_path: Path, cache: Cache, made: Artifact, stage: str
) -> None:
    assert cautions(stage, cache, made, write(tmp_path / "right.csv")) == []
    (line,) = cautions(stage, cache, made, write(tmp_path / "ms.csv", scale=100))
    assert "label rows lie beyond the end of their clips" in line and "frame numbers" in line
    (line,) = cautions(stage, cache, made, write(tmp_path / "scale.csv", value=1000))
    assert "on a scale -1000..1000?" in line


def test_where_no_row_has_a_label_the_likely_cause_is_told(tmp_path: Path, cache: Cache, made: Artifact) -> None:
    table = write(tmp_path / "clock.csv")
    lines = table.read_text().splitlines()
    moved = [line.split(",") for line in lines[1:]]
    late = [",".join([c, str(float(s) + 1000), str(float(e) + 1000), *rest]) for c, s, e, *rest in moved]
    table.write_text("\n".join([lines[0], *late]) + "\n")
    with pytest.raises(UsageError, match=r"no row .* has a label.*shifted by 1000\.0 s"):
        cautions("train-head", cache, made, table)
    with pytest.raises(UsageError, match=r"no row .* has a label.*shifted by 1000\.0 s"):
        cautions("evaluate", cache, made, table, rows="predictions")


def test_a_split_of_placeholders_is_not_scored_unasked(tmp_path: Path, cache: Cache, made: Artifact) -> None:
    table = write(tmp_path / "labels.csv", constant="test")
    one = write(tmp_path / "p.csv", shift=0.1)
    report = evaluate(cache, one, table, EvaluateConfig(task="va", draws=0)).report
    assert report["split"] == "val" and report["scores"]["ccc"] > 0.5
    assert any("split test are constant" in line and "val is scored" in line for line in report["cautions"])
    asked = evaluate(cache, one, table, EvaluateConfig(task="va", draws=0, split="test")).report
    assert asked["scores"]["ccc"] == 0 and asked["split"] == "test"
    assert (
        "labels of split test are constant (valence, arousal): CCC and Pearson are 0 whatever is predicted"
        in (asked["cautions"])
    )
    compared = compare(cache, [one, table], table, CompareConfig(task="va", draws=10)).report
    assert compared["split"] == "val"
    fused = fuse(cache, [one, table], table, FuseConfig(task="va", method="nnls")).report
    assert "folds" in fused["held_out"]["how"] and any("split test are constant" in line for line in fused["cautions"])
    assert any("split val are constant" in line for line in cautions(
        "train-head", cache, made, write(tmp_path / "val.csv", constant="val")
    ))  # fmt: skip


def test_constant_predictions_are_told(tmp_path: Path, cache: Cache) -> None:
    table, flat = write(tmp_path / "labels.csv"), write(tmp_path / "flat.csv", constant="test")
    report = evaluate(cache, flat, table, EvaluateConfig(task="va", draws=0)).report
    assert report["cautions"] == ["predictions are constant (valence, arousal): CCC and Pearson are 0"]
    good = write(tmp_path / "good.csv", shift=0.1)
    both = compare(cache, [good, flat], table, CompareConfig(task="va", draws=10)).report
    assert any("predictions of set 2 are constant" in line for line in both["cautions"])
    against = evaluate(cache, good, table, EvaluateConfig(task="va", draws=10), against=flat).report
    assert any("set 2" in line for line in against["against"]["cautions"])


def test_command_line(tmp_path: Path, affectkit: Command) -> None:
    write(tmp_path / "labels.csv", scale=1000)
    write(tmp_path / "p.csv")
    done = affectkit("evaluate", "p.csv", "--labels", "labels.csv", "--task", "va", "--draws", 0)
    assert done.returncode == 0 and "note: " in done.stderr and "milliseconds?" in done.stderr
