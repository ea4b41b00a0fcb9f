"""compare: common rows, intervals, and which differences are beyond noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stage_calls import compare, evaluate

from affectkit import bootstrap, metrics, tasks
from affectkit.errors import UsageError
from affectkit.stages.compare import CompareConfig
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.store import Cache

VA = tasks.get("va")
CLIPS = [f"clip{number}" for number in range(12)]
Curves = dict[str, np.ndarray]


def table(path: Path, curves: Curves, step: float = 0.1) -> Path:
    lines = ["clip,start,end,split,valence,arousal"]
    for clip, rows in curves.items():
        for number, values in enumerate(rows):
            cells = ",".join("" if np.isnan(value) else repr(float(value)) for value in values)
            lines.append(f"{clip},{number * step:.6f},{(number + 1) * step:.6f},test,{cells}")
    path.write_text("\n".join(lines) + "\n")
    return path


def noisy(truth: Curves, noise: float, seed: int) -> Curves:
    random = np.random.default_rng(seed)
    return {clip: rows + random.normal(0, noise, rows.shape) for clip, rows in truth.items()}


@pytest.fixture
def truth() -> Curves:
    random = np.random.default_rng(0)
    return {clip: random.uniform(-1, 1, (40, 2)).cumsum(axis=0) / 3 for clip in CLIPS}


@pytest.fixture
def labels(tmp_path: Path, truth: Curves) -> Path:
    return table(tmp_path / "labels.csv", truth)


@pytest.fixture
def systems(tmp_path: Path, truth: Curves) -> list[Path]:
    """A good one, one as good, and a bad one."""
    made = {"good": (0.4, 1), "alike": (0.4, 2), "bad": (0.9, 3)}
    return [table(tmp_path / f"{name}.csv", noisy(truth, *noise)) for name, noise in made.items()]


def compared(cache: Cache, sets: list[Path], labels: Path, **fields: Any) -> dict[str, Any]:
    return compare(cache, sets, labels, CompareConfig(**{"task": "va", "draws": 200} | fields)).report


def test_what_is_better_what_is_alike(cache: Cache, systems: list[Path], labels: Path) -> None:
    report = compared(cache, systems, labels)
    assert [Path(one["path"]).stem for one in report["systems"]] == ["good", "alike", "bad"]
    assert "differences" not in report["systems"][0]
    alike, bad = (one["differences"]["ccc"] for one in report["systems"][1:])
    assert not alike["beyond_noise"]
    assert alike["low"] < 0 < alike["high"]
    assert bad["beyond_noise"]
    assert bad["high"] < 0
    assert report["systems"][2]["differences"]["mae"]["low"] > 0


def test_numbers_are_those_of_evaluate_and_of_the_paired_bootstrap(
    cache: Cache, systems: list[Path], labels: Path, truth: Curves
) -> None:
    report = compared(cache, systems, labels, seed=4, level=0.9)
    config = EvaluateConfig(task="va", draws=200, seed=4, level=0.9)
    curves = [noisy(truth, *noise) for noise in ((0.4, 1), (0.4, 2), (0.9, 3))]
    x, *ys = (np.concatenate(list(one.values())) for one in (truth, *curves))
    clip = np.repeat(CLIPS, 40)
    expected = [bootstrap.paired(VA, x, y, ys[0], clip, draws=200, seed=4, level=0.9) for y in ys[1:]]
    for path, system in zip(systems, report["systems"], strict=True):
        alone = evaluate(cache, path, labels, config).report
        assert system["scores"] == {name: alone["scores"][name] for name in system["scores"]}
        assert system["intervals"] == alone["intervals"]
    for name in ("ccc", "mae/arousal"):
        adjusted = bootstrap.holm(one[name].p for one in expected)
        for system, one, p in zip(report["systems"][1:], expected, adjusted, strict=True):
            gap = one[name]._asdict() | {"p_adjusted": p, "beyond_noise": p < 0.1}
            assert system["differences"][name] == pytest.approx(gap)


def test_only_rows_that_all_have_are_scored(
    cache: Cache, systems: list[Path], labels: Path, truth: Curves, tmp_path: Path
) -> None:
    partly = noisy(truth, 0.5, 7)
    del partly["clip3"]
    partly["clip5"][:6] = np.nan
    fourth = table(tmp_path / "partly.csv", partly)
    report = compared(cache, [*systems[:1], fourth], labels)
    assert (report["rows"], report["clips"]) == (434, 11)
    assert (report["rows_without_score"], report["clips_without_prediction"]) == (6, ["clip3"])
    keep = {clip: slice(6 * (clip == "clip5"), None) for clip in partly}
    x, y = (np.concatenate([of[clip][rows] for clip, rows in keep.items()]) for of in (truth, noisy(truth, 0.4, 1)))
    assert report["systems"][0]["scores"]["ccc"] == pytest.approx(metrics.main(VA, x, y))


def test_systems_of_other_rates_meet_at_the_labels(
    cache: Cache, systems: list[Path], labels: Path, truth: Curves, tmp_path: Path
) -> None:
    slow = {clip: rows[::4] for clip, rows in truth.items()}
    fourth = table(tmp_path / "slow.csv", slow, step=0.4)
    report = compared(cache, [systems[0], fourth], labels)
    assert (report["rows"], report["rows_of"], report["rows_interpolated"]) == (480, "labels", 480)
    turned = compared(cache, [fourth, systems[0]], labels)
    assert turned["systems"][1]["scores"] == report["systems"][0]["scores"]
    own = compared(cache, [fourth, systems[0]], labels, rows="predictions")
    assert (own["rows"], own["rows_of"]) == (120, "predictions")


def test_the_reference_may_be_the_best(cache: Cache, systems: list[Path], labels: Path, tmp_path: Path) -> None:
    turned = systems[::-1]
    assert compared(cache, turned, labels)["reference"] == {"place": 0, "path": str(turned[0]), "chosen": "first"}
    report = compared(cache, turned, labels, reference="best")
    best = int(np.argmax([one["scores"]["ccc"] for one in report["systems"]]))
    assert report["reference"]["place"] == best > 0
    assert "differences" not in report["systems"][best]
    assert report["systems"][0]["differences"]["ccc"]["beyond_noise"]
    assert "chosen by its score" in report["cautions"][0]
    file = tmp_path / "error.toml"
    file.write_text('name="e"\nkind="regression"\nlevel="time"\ntargets=["valence","arousal"]\nmetric="mae"\n')
    by_error = compared(cache, turned, labels, reference="best", task=str(file))
    assert by_error["reference"]["place"] == int(np.argmin([one["scores"]["mae"] for one in by_error["systems"]]))


def test_many_systems_of_noise_are_not_told_apart(cache: Cache, labels: Path, truth: Curves, tmp_path: Path) -> None:
    alike = [table(tmp_path / f"{seed}.csv", noisy(truth, 0.5, seed)) for seed in range(10, 20)]
    report = compared(cache, alike, labels, draws=500)
    gaps = [one["differences"]["ccc"] for one in report["systems"][1:]]
    assert all(gap["p_adjusted"] >= gap["p"] for gap in gaps)
    assert not any(gap["beyond_noise"] for gap in gaps)


def test_what_compare_refuses_and_what_it_keeps(
    cache: Cache, systems: list[Path], labels: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="two or more prediction sets; 1 given"):
        compared(cache, systems[:1], labels)
    (tmp_path / "other.csv").write_text("clip,valence,arousal\nx,0.1,0.1\n")
    with pytest.raises(UsageError, match="no clip in common"):
        compared(cache, [systems[0], tmp_path / "other.csv"], labels)
    assert not list(cache.root.glob("compare/*"))
    config = CompareConfig(task="va", draws=50)
    first = compare(cache, systems, labels, config)
    assert compare(cache, systems, labels, config).artifact.path == first.artifact.path
    assert compare(cache, systems, labels, config).report == first.report
    assert compare(cache, systems[::-1], labels, config).artifact.path != first.artifact.path
    other = compare(cache, systems, labels, CompareConfig(task="va", draws=50, reference="best"))
    assert other.artifact.path != first.artifact.path


def test_the_command_says_it_plainly(affectkit: Command, systems: list[Path], labels: Path) -> None:
    line = ["compare", *systems, "--labels", labels, "--task", "va", "--draws", "200"]
    plain = affectkit(*line)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.count("\n") == 1
    assert "B and A cannot be told apart by ccc" in plain.stderr
    assert "C is worse than A by ccc, beyond noise" in plain.stderr
    turned = affectkit("compare", *systems[::-1], "--labels", labels, "--task", "va", "--draws", "200")
    assert "C is better than A by ccc, beyond noise" in turned.stderr
    told = json.loads(affectkit(*line, "--json").stdout)
    assert told["systems"][2]["differences"]["ccc"]["beyond_noise"] is True
    assert told["artifact"] == plain.stdout.strip()
