"""fuse: common rows of sets of any rate, scores that nothing was fitted on, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stage_calls import fuse

from affectkit import metrics, tasks
from affectkit.errors import UsageError
from affectkit.stages.fuse import FuseConfig
from affectkit.stages.fusion_cautions import cross_fitted
from affectkit.stages.gating import best_gate, entropy, gated
from affectkit.store import Artifact, Cache
from affectkit.tables import timeline as rows
from affectkit.tables.splits import folds_of
from affectkit.types import Predictions

VA, EXPR = tasks.get("va"), tasks.get("expr")
SPLITS = {f"v{n}": "val" for n in range(12)}
STEP = 0.2


def write(path: Path, curves: dict[str, np.ndarray], columns: tuple[str, ...], step: float = STEP,
          split: str | None = "val", subject: dict[str, str] | None = None) -> Path:  # fmt: skip
    """A CSV of labels or predictions; rows of `step` seconds, every second of `hop`."""
    head = ["clip", "start", "end", *(["split"] if split else []), *(["subject"] if subject else []), *columns]
    lines = [",".join(head)]
    for clip, values in curves.items():
        for row, cells in enumerate(values):
            texts = ["" if np.isnan(cell) else repr(float(cell)) for cell in np.atleast_1d(cells)]
            given = [clip, f"{row * step:.6f}", f"{(row + 1) * step:.6f}", *([split] if split else [])]
            lines.append(",".join([*given, *([subject[clip]] if subject else []), *texts]))
    path.write_text("\n".join(lines) + "\n")
    return path


def curves(clips: int = 12, length: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """Slow valence and arousal [T,2]."""
    rng = np.random.default_rng(seed)
    return {f"v{n}": np.tanh(rng.standard_normal((length, 2)).cumsum(axis=0) / 4) for n in range(clips)}


def noisy(truth: dict[str, np.ndarray], seed: int, level: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {clip: one + level * rng.standard_normal(one.shape) for clip, one in truth.items()}


def run(cache: Cache, sets: list[Path], labels: Path, **fields: Any) -> dict[str, Any]:
    config = FuseConfig(**{"task": "va", "option": ["draws=200"]} | fields)
    return fuse(cache, sets, labels, config).report


def test_rates_and_windows_meet_at_the_rows_of_the_labels() -> None:
    """Against a plain loop: 5 fps and 4 s windows every 2 s, read at 30 labels a second."""
    middle = (np.arange(300) + 0.5) / 30
    windows = np.arange(0, 8, 2.0)
    speech = Predictions(np.full(4, "a"), windows, windows + 4, np.stack([windows, windows**2], axis=1), VA.targets)
    at = Predictions(np.full(300, "a"), middle - 1 / 60, middle + 1 / 60, np.full((300, 2), np.nan), VA.targets)
    found = rows.scores_at(speech, at)
    for k in range(2):
        assert np.allclose(found[:, k], np.interp(middle, windows + 2, speech.scores[:, k]))


def test_a_time_in_rows_without_a_score_has_none() -> None:
    scores = np.array([[0.0], [np.nan], [4.0]])
    one = Predictions(np.full(3, "a"), np.arange(3.0), np.arange(3.0) + 1, scores, ("x",))
    at = Predictions(np.full(4, "a"), np.array([0.4, 0.9, 1.4, 2.6]), np.array([0.6, 1.0, 1.6, 2.8]),
                     np.full((4, 1), np.nan), ("x",))  # fmt: skip
    assert np.allclose(rows.scores_at(one, at).ravel(), [0.0, 0.9, np.nan, 4.0], equal_nan=True)
    overlapping = Predictions(np.full(3, "a"), np.arange(3.0), np.arange(3.0) + 2, scores, ("x",))
    assert np.isfinite(rows.scores_at(overlapping, at)).all()  # the neighbours' windows hold those times


def test_a_rate_of_its_own(cache: Cache, tmp_path: Path) -> None:
    truth = curves()
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    sets = [write(tmp_path / f"{n}.csv", noisy(truth, n, 0.1), VA.targets) for n in (1, 2)]
    done = fuse(cache, sets, labels, FuseConfig(task="va", option=["draws=20"], rate=25))
    start = done.artifact.column("v0", "start")
    assert len(start) == 8 * 25 and np.allclose(np.diff(start), 0.04)
    assert done.report["rows"] == {"of": "25 a second", "read": "linear between row middles"}


def test_folds_keep_groups_whole_and_even() -> None:
    groups = np.repeat([f"c{n}" for n in range(23)], np.arange(1, 24))
    fold = folds_of(groups, 5, seed=3)
    assert all(len(set(fold[groups == name])) == 1 for name in set(groups))
    sizes = np.bincount(fold)
    assert len(sizes) == 5 and sizes.max() <= 1.3 * sizes.min()
    assert (folds_of(groups, 5, seed=3) == fold).all()


def test_held_out_scores_are_of_fusers_that_did_not_see_the_rows() -> None:
    class Memory:
        """Knows the truth of the rows that it was fitted on, and nothing else."""

        def fit(self, scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, *, seed: int) -> None:
            self.known = {key.tobytes(): row for key, row in zip(np.moveaxis(scores, 0, 1), truth, strict=True)}

        def combine(self, scores: np.ndarray) -> np.ndarray:
            seen = [self.known.get(key.tobytes(), np.zeros(2)) for key in np.moveaxis(scores, 0, 1)]
            return np.array(seen)

    rng = np.random.default_rng(0)
    scores, truth, groups = rng.normal(size=(2, 60, 2)), rng.normal(size=(60, 2)), np.repeat(list("abcdef"), 10)
    found = cross_fitted({"memory": Memory}, scores, truth, groups, folds=3, seed=0)["memory"]
    assert not found.any()


def test_noise_that_is_constant_in_a_clip_is_not_mistaken_for_skill(cache: Cache, tmp_path: Path) -> None:
    """Rows of a clip share what a model adds to it: on the rows fitted on, and by rows drawn at random, a forest looks
    excellent. Held-out clips say what it is worth, and that is what is reported."""
    rng = np.random.default_rng(0)
    truth = {f"v{n}": np.tile(rng.uniform(-1, 1, 2), (40, 1)) + 0.01 * rng.standard_normal((40, 2)) for n in range(24)}
    marks = {clip: np.tile(rng.uniform(-1, 1, 2), (40, 1)) for clip in truth}  # says which clip it is, nothing else
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    sets = [write(tmp_path / f"{n}.csv", noisy(marks, n, 0.01), VA.targets) for n in (1, 2)]
    report = run(cache, sets, labels, method="random-forest", option=["trees=30"])
    assert report["in_sample"]["fused"] > 0.9
    by_random_rows = random_row_score(sets, labels)
    assert by_random_rows > 0.9
    assert report["held_out"]["scores"]["fused"] < 0.4
    assert report["held_out"]["how"] == "5 folds of the validation clips, grouped by clip"


def random_row_score(sets: list[Path], labels: Path) -> float:
    """What out-of-bag rows, drawn at random, would say of a forest."""
    from sklearn.ensemble import RandomForestRegressor

    read = [np.genfromtxt(path, delimiter=",", skip_header=1, usecols=(4, 5)) for path in (*sets, labels)]
    forest = RandomForestRegressor(30, oob_score=True, random_state=0).fit(np.concatenate(read[:2], axis=1), read[2])
    return metrics.main(VA, read[2], forest.oob_prediction_)


def test_a_fusion_that_gains_nothing_is_said_to(cache: Cache, tmp_path: Path) -> None:
    truth = curves()
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    good = write(tmp_path / "good.csv", noisy(truth, 1, 0.05), VA.targets)
    noise = write(tmp_path / "noise.csv", noisy({clip: one * 0 for clip, one in truth.items()}, 2, 0.5), VA.targets)
    against = run(cache, [good, noise], labels)["held_out"]["against_best_single"]
    assert not against["better"]
    assert against["low"] <= against["difference"] <= against["high"]
    twins = [write(tmp_path / f"twin{n}.csv", noisy(truth, 10 + n, 0.4), VA.targets) for n in range(3)]
    report = run(cache, twins, labels)
    assert report["held_out"]["against_best_single"]["better"]
    assert report["held_out"]["scores"]["fused"] > max(report["held_out"]["scores"][str(path)] for path in twins)


def test_test_clips_with_labels_are_what_is_reported(cache: Cache, tmp_path: Path) -> None:
    truth = curves()
    labels = write(tmp_path / "labels.csv", truth, VA.targets, split=None)
    lines = "".join(f"{clip},{'test' if n > 7 else 'val'}\n" for n, clip in enumerate(truth))
    (tmp_path / "splits.csv").write_text("clip,split\n" + lines)
    sets = [write(tmp_path / f"{n}.csv", noisy(truth, n, 0.2), VA.targets, split=None) for n in (1, 2)]
    config = FuseConfig(task="va", option=["draws=50"], beside=["nnls"])
    report = fuse(cache, sets, labels, config, splits=tmp_path / "splits.csv").report
    assert report["fitted_on"]["clips"] == 8
    assert (report["held_out"]["how"], report["held_out"]["clips"]) == ("test clips", 4)
    assert {"fused", "best single", "equal weights", "nnls"} <= set(report["held_out"]["scores"])


def test_subjects_are_kept_together(cache: Cache, tmp_path: Path) -> None:
    truth = curves()
    who = {clip: f"s{n % 2}" for n, clip in enumerate(truth)}
    labels = write(tmp_path / "labels.csv", truth, VA.targets, subject=who)
    sets = [write(tmp_path / f"{n}.csv", noisy(truth, n, 0.2), VA.targets) for n in (1, 2)]
    assert run(cache, sets, labels, by="subject")["held_out"]["how"].startswith("2 folds")
    bare = write(tmp_path / "bare.csv", truth, VA.targets)
    with pytest.raises(UsageError, match="--by subject: 12 clips have no subject"):
        run(cache, sets, bare, by="subject")


def test_entropy_gates_models_row_by_row() -> None:
    sure, unsure = np.array([0.98, 0.01, 0.01]), np.array([0.4, 0.3, 0.3])
    scores = np.stack([np.stack([sure, unsure]), np.stack([unsure, unsure[::-1]])])  # [2,2,3]
    assert entropy(sure) < 0.2 < 1.0 < entropy(unsure)
    found = gated(scores, 0.5)
    assert np.isfinite(found[0]).all() and np.isnan(found[1, 0]).all()
    assert np.isfinite(found[:, 1]).any()  # nobody is sure: the surest stays
    assert gated(scores, None) is scores


def test_the_gate_that_helps_is_found() -> None:
    """Two models whose sure rows are right and whose unsure rows mislead, beside one that is always mildly right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 8, 400)
    right, wrong = np.eye(8)[truth], np.eye(8)[(truth + 1) % 8]
    sure, unsure, mild = 0.93 * right + 0.07 / 8, 0.28 * wrong + 0.72 / 8, 0.3 * right + 0.7 / 8
    scores = np.stack([*(np.where((rng.random(400) < 0.5)[:, None], sure, unsure) for _ in range(2)), mild])
    nats = best_gate(EXPR, scores, truth[:, None].astype(float))
    assert nats is not None and entropy(mild).max() <= nats < entropy(unsure).min()
    assert metrics.main(EXPR, truth, np.nanmean(gated(scores, nats), axis=0)) == 1.0
    assert metrics.main(EXPR, truth, scores.mean(axis=0)) < 0.8


def test_a_gate_is_for_classes(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    with pytest.raises(UsageError, match=r"--gate 1\.8 is about probabilities of classes; task va is regression"):
        run(cache, [labels, labels], labels, gate=1.8)


def test_compound_scores_from_basic_emotions(cache: Cache, tmp_path: Path) -> None:
    """Zero-shot, from one set of expression probabilities over time: nothing is fitted but the labels score it."""
    compound = tasks.get("compound")
    rng = np.random.default_rng(0)
    pairs = {0: ("Fear", "Surprise"), 1: ("Happiness", "Surprise"), 5: ("Sadness", "Fear")}
    probabilities, labels = {}, ["clip,split,label"]
    for n in range(9):
        kind = list(pairs)[n % 3]
        one = np.full((10, 8), 0.02) + 0.01 * rng.random((10, 8))
        for name in pairs[kind]:
            one[:, EXPR.targets.index(name)] += 0.4
        probabilities[f"v{n}"] = one / one.sum(axis=1, keepdims=True)
        labels.append(f"v{n},val,{compound.targets[kind]}")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    given = write(tmp_path / "expr.csv", probabilities, EXPR.targets)
    config = FuseConfig(task="compound", method="compound-from-basic")
    done = fuse(cache, [given], tmp_path / "labels.csv", config)
    assert done.artifact.schema.names["scores"] == list(compound.targets)
    found = {clip: int(np.argmax(done.artifact.column(clip, "scores"))) for clip in done.artifact.clips}
    assert found == {f"v{n}": list(pairs)[n % 3] for n in range(9)}


def test_csv_in_csv_out_in_two_commands(affectkit: Command, tmp_path: Path) -> None:
    truth = curves()
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    sets = [str(write(tmp_path / f"{n}.csv", noisy(truth, n, 0.3), VA.targets)) for n in (1, 2, 3)]
    about = ["--labels", str(labels), "--task", "va"]
    made = affectkit("fuse", *sets, *about, "-o", "draws=100", "--json")
    report = json.loads(made.stdout)
    assert "beyond noise" in made.stderr and "held out" in made.stderr
    scored = json.loads(affectkit("evaluate", report["artifact"], *about, "--json").stdout)["scores"]["ccc"]
    assert scored > report["held_out"]["scores"][sets[0]]
    assert Artifact(Path(report["artifact"])).clips == sorted(truth)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("valence", "mood"), "valence"),
        (lambda text: text + text.splitlines()[1] + "\n", "line|twice|same|already|overlap"),
        (lambda text: text.replace("v0,0.000000,0.200000,val,", "v0,0.000000,0.200000,val,x"), "number"),
        (lambda text: text.replace("v", "w"), "no clip in common"),
    ],
)
def test_tables_that_cannot_be_fused_say_why(affectkit: Command, tmp_path: Path, change: Any, message: str) -> None:
    import re

    truth = curves(3)
    labels = write(tmp_path / "labels.csv", truth, VA.targets)
    good = write(tmp_path / "good.csv", noisy(truth, 1, 0.3), VA.targets)
    bad = tmp_path / "bad.csv"
    bad.write_text(change(good.read_text()).replace("wal", "val").replace("walence", "valence"))
    done = affectkit("fuse", str(good), str(bad), "--labels", str(labels), "--task", "va")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
