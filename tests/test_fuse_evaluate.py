"""fuse and evaluate: which rows are fitted on and scored, tables of anybody's, and what is said of what is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage_calls import evaluate, fuse

from affectkit import metrics, tasks
from affectkit.errors import UsageError
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.fuse import FuseConfig
from affectkit.store import Artifact, Cache
from affectkit.tables.predictions import read_predictions

VA = tasks.get("va")
SPLITS = {"a": "train", "b": "val", "c": "val", "d": "test", "e": "test"}
ROWS = 12
Truth = dict[str, np.ndarray]


@pytest.fixture
def truth() -> Truth:
    """Valence and arousal [12,2] of five clips."""
    random = np.random.default_rng(0)
    return {clip: random.uniform(-1, 1, (ROWS, 2)).cumsum(axis=0) / 4 for clip in SPLITS}


def table(path: Path, curves: Truth, splits: dict[str, str] | None = None, step: float = 0.5) -> Path:
    """A CSV of labels or predictions, rows of `step` seconds."""
    lines = ["clip,start,end," + ("split," if splits else "") + "valence,arousal"]
    for clip, curve in curves.items():
        for row, values in enumerate(curve):
            split = f"{splits.get(clip, '')}," if splits else ""
            cells = ",".join("" if math.isnan(value) else repr(float(value)) for value in values)
            lines.append(f"{clip},{row * step},{(row + 1) * step},{split}{cells}")
    path.write_text("\n".join(lines) + "\n")
    return path


def noisy(truth: Truth, seed: int, valence: float, arousal: float) -> Truth:
    random = np.random.default_rng(seed)
    return {clip: curve + random.normal(0, 1, curve.shape) * (valence, arousal) for clip, curve in truth.items()}


@pytest.fixture
def models(tmp_path: Path, truth: Truth) -> list[Path]:
    """Two prediction tables: the first knows valence, the second arousal."""
    first = table(tmp_path / "first.csv", noisy(truth, 1, 0.05, 2.0), SPLITS)
    return [first, table(tmp_path / "second.csv", noisy(truth, 2, 2.0, 0.05), SPLITS)]


@pytest.fixture
def labels(tmp_path: Path, truth: Truth) -> Path:
    return table(tmp_path / "labels.csv", truth)


def fused(cache: Cache, models: list[Path], labels: Path, **fields: Any) -> tuple[Artifact, dict[str, Any]]:
    splits = fields.pop("splits", None)
    config = FuseConfig(**{"task": "va", "option": ["draws=300"]} | fields)
    done = fuse(cache, models, labels, config, splits=splits)
    return done.artifact, done.report


def scored(cache: Cache, predictions: Path, labels: Path, **fields: Any) -> dict[str, Any]:
    splits = fields.pop("splits", None)
    return evaluate(cache, predictions, labels, EvaluateConfig(**{"task": "va"} | fields), splits=splits).report


def plain_ccc(x: np.ndarray, y: np.ndarray) -> float:
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


# fuse


def test_each_target_takes_the_model_that_knows_it(cache: Cache, models: list[Path], labels: Path) -> None:
    artifact, report = fused(cache, models, labels)
    weights = np.array(report["fuser"]["weights"])
    assert np.allclose(weights.sum(axis=0), 1)
    assert weights[0, 0] > 0.8
    assert weights[1, 1] > 0.8
    assert report["fitted_on"] == {"split": "val", "rows": 2 * ROWS, "clips": 2}
    result = scored(cache, artifact.path, labels)["scores"]["ccc"]
    assert result > max(scored(cache, path, labels)["scores"]["ccc"] for path in models) + 0.1
    expected = sum(
        weights[m, None] * read_predictions(path, VA).select(slice(0, ROWS)).scores for m, path in enumerate(models)
    )
    assert np.allclose(artifact.column("a", "scores"), expected, atol=1e-5)
    assert {clip: artifact.column(clip, "split") for clip in artifact.clips} == SPLITS


def test_only_validation_rows_are_fitted_on(cache: Cache, models: list[Path], truth: Truth, tmp_path: Path) -> None:
    labels = table(tmp_path / "labels.csv", truth)
    _, before = fused(cache, models, labels)
    for clip in ("a", "d", "e"):
        truth[clip] = -truth[clip][::-1]
    _, other_tests = fused(cache, models, table(tmp_path / "tests.csv", truth))
    assert other_tests["fuser"] == before["fuser"]
    truth["b"], truth["c"] = truth["b"][:, ::-1], truth["c"][:, ::-1]
    _, other_val = fused(cache, models, table(tmp_path / "val.csv", truth))
    assert other_val["fuser"] != before["fuser"]


def test_without_validation_rows_nothing_is_fused(
    cache: Cache, models: list[Path], truth: Truth, tmp_path: Path
) -> None:
    labels = table(tmp_path / "labels.csv", truth, dict.fromkeys(SPLITS, "test"))
    with pytest.raises(UsageError, match="validation rows only"):
        fused(cache, models, labels)
    (tmp_path / "splits.csv").write_text("clip,split\nd,val\n")
    _, report = fused(cache, models, labels, splits=tmp_path / "splits.csv")
    assert report["fitted_on"] == {"split": "val", "rows": ROWS, "clips": 1}


def test_the_same_line_is_cached_other_tables_are_not(
    cache: Cache, models: list[Path], labels: Path, tmp_path: Path
) -> None:
    config = FuseConfig(task="va", option=["draws=20"])
    first = fuse(cache, models, labels, config)
    again = fuse(cache, models, labels, config)
    assert (first.cached, again.cached, again.report) == (False, True, first.report)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(models[0].read_bytes())
    assert fuse(cache, [copy, models[1]], labels, config).cached
    assert not fuse(cache, models[::-1], labels, config).cached
    assert not fuse(cache, models, labels, FuseConfig(task="va", option=["draws=20"], seed=1)).cached
    labels.write_text(labels.read_text() + "z,0,1,0.1,0.1\n")
    assert not fuse(cache, models, labels, config).cached


def test_a_fusion_can_be_fused_again(cache: Cache, models: list[Path], labels: Path) -> None:
    artifact, _ = fused(cache, models, labels)
    again, report = fused(cache, [artifact.path, models[0]], labels)
    assert again.clips == sorted(SPLITS)
    assert set(report["in_sample"]) == {str(artifact.path), str(models[0]), "equal weights", "fused"}


def test_models_with_other_times_and_clips_meet(
    cache: Cache, models: list[Path], labels: Path, truth: Truth, tmp_path: Path
) -> None:
    """Clip by clip at the rows of the set that has most; a clip of one set alone is that set's."""
    fine = {clip: np.repeat(curve, 2, axis=0) for clip, curve in truth.items() if clip != "e"}
    fine["stranger"] = np.full((4, 2), 0.5)
    other = table(tmp_path / "fine.csv", fine, step=0.25)
    artifact, report = fused(cache, [models[0], other], labels, splits=None)
    assert artifact.clips == ["a", "b", "c", "d", "e", "stranger"]
    assert report["partly_missing"] == {str(models[0]): ["stranger"], str(other): ["e"]}
    assert [len(artifact.column(clip, "start")) for clip in ("a", "e")] == [2 * ROWS, ROWS]
    assert np.allclose(artifact.column("stranger", "scores"), 0.5)
    only = read_predictions(models[0], VA)
    assert np.allclose(artifact.column("e", "scores"), only.scores[only.clip == "e"], atol=1e-5)


def test_a_missing_score_gives_its_weight_to_the_others(
    cache: Cache, models: list[Path], labels: Path, truth: Truth, tmp_path: Path
) -> None:
    holes = noisy(truth, 3, 0.1, 0.1)
    holes["d"][:3] = np.nan
    holes["e"][:] = np.nan
    third = table(tmp_path / "third.csv", holes, SPLITS)
    artifact, _ = fused(cache, [models[0], third], labels)
    only = read_predictions(models[0], VA)
    assert np.allclose(artifact.column("d", "scores")[:3], only.scores[only.clip == "d"][:3], atol=1e-5)
    assert np.allclose(artifact.column("e", "scores"), only.scores[only.clip == "e"], atol=1e-5)
    assert artifact.column("d", "valid").all()


def test_random_forests_fuse_too(cache: Cache, models: list[Path], labels: Path) -> None:
    artifact, report = fused(cache, models, labels, method="random-forest", option=["trees=20"])
    assert np.isfinite(artifact.column("d", "scores")).all()
    assert report["in_sample"]["fused"] > 0.5


def test_what_fuse_refuses(cache: Cache, models: list[Path], labels: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two or more prediction sets; 1 given"):
        fused(cache, models[:1], labels)
    with pytest.raises(UsageError, match="did you mean 'dwf'"):
        fused(cache, models, labels, method="dvf")
    with pytest.raises(UsageError, match=r"draws.*greater than or equal to 1"):
        fused(cache, models, labels, option=["draws=0"])
    for wrong in ([models[0], tmp_path / "nowhere.csv"], [tmp_path / "nowhere.csv", models[0]]):
        with pytest.raises(UsageError, match=r"nowhere\.csv"):
            fused(cache, wrong, labels)
    with pytest.raises(UsageError, match=r"cannot read .*nowhere\.csv: No such file"):
        fused(cache, models, tmp_path / "nowhere.csv")
    (tmp_path / "other.csv").write_text("clip,valence,arousal\nx,0.1,0.1\n")
    with pytest.raises(UsageError, match="no clip in common"):
        fused(cache, [models[0], tmp_path / "other.csv"], labels)
    assert not list(cache.root.glob("fuse/*"))


# evaluate


def test_the_test_clips_are_scored_over_all_their_rows_at_once(
    cache: Cache, models: list[Path], labels: Path, truth: Truth
) -> None:
    report = scored(cache, models[0], labels)
    assert (report["split"], report["clips"], report["rows"]) == ("test", 2, 2 * ROWS)
    given = read_predictions(models[0], VA)
    x = np.concatenate([truth["d"], truth["e"]])
    y = given.scores[np.isin(given.clip, ["d", "e"])]
    expected = [plain_ccc(x[:, k], y[:, k]) for k in range(2)]
    assert report["scores"]["ccc/valence"] == pytest.approx(expected[0])
    assert report["scores"]["ccc"] == pytest.approx(np.mean(expected))
    per_clip = [plain_ccc(truth[clip][:, 0], given.scores[given.clip == clip][:, 0]) for clip in ("d", "e")]
    assert report["scores"]["clip-mean/ccc/valence"] == pytest.approx(np.mean(per_clip))


def test_which_split_is_scored(cache: Cache, models: list[Path], truth: Truth, tmp_path: Path) -> None:
    own = table(tmp_path / "own.csv", truth)
    assert scored(cache, models[0], own)["split"] == "test"
    assert scored(cache, models[0], own, split="train")["rows"] == ROWS
    only_val = {clip: "train" if split == "test" else split for clip, split in SPLITS.items()}
    in_labels = table(tmp_path / "in_labels.csv", truth, only_val)
    report = scored(cache, models[0], in_labels)
    assert (report["split"], report["clips"]) == ("val", 2)
    (tmp_path / "splits.csv").write_text("clip,split\na,test\nb,train\n")
    report = scored(cache, models[0], in_labels, splits=tmp_path / "splits.csv")
    assert (report["split"], report["clips"]) == ("test", 1)
    bare = table(tmp_path / "bare.csv", noisy(truth, 1, 0.1, 0.1))
    assert scored(cache, bare, own)["split"] == "all"
    with pytest.raises(UsageError, match=r"no prediction has split 'test' \(there are: train, val\)"):
        scored(cache, models[0], in_labels, split="test")


def test_faces_of_a_clip_are_in_its_split(cache: Cache, truth: Truth, tmp_path: Path) -> None:
    faces = {f"{clip}#{face}": truth[clip] + face for clip in ("d", "e") for face in (0, 1)}
    predictions = table(tmp_path / "predictions.csv", {k: v + 0.01 for k, v in faces.items()})
    labels = table(tmp_path / "labels.csv", faces)
    (tmp_path / "splits.csv").write_text("clip,split\nd,test\ne,val\n")
    report = scored(cache, predictions, labels, splits=tmp_path / "splits.csv")
    assert (report["split"], report["clips"]) == ("test", 2)


def test_rows_without_label_or_score_do_not_count_and_are_counted(
    cache: Cache, models: list[Path], truth: Truth, tmp_path: Path
) -> None:
    holes = noisy(truth, 3, 0.1, 0.1)
    holes["d"][:2] = np.nan
    predictions = table(tmp_path / "holes.csv", holes, SPLITS)
    truth["d"][1:4] = -5
    truth["e"][5, 0] = np.nan
    truth["f"] = np.zeros((2, 2))
    labels = table(tmp_path / "marked.csv", truth)
    report = scored(cache, predictions, labels)
    assert report["rows_without_label"] == 4
    assert report["rows_without_score"] == 1
    assert report["rows"] == 2 * ROWS - 5
    assert report["clips_without_prediction"] == ["f"]
    keep = np.r_[4:ROWS], np.delete(np.arange(ROWS), 5)
    x = np.concatenate([truth["d"][keep[0]], truth["e"][keep[1]]])
    y = np.concatenate([holes["d"][keep[0]], holes["e"][keep[1]]])
    assert report["scores"]["ccc/arousal"] == pytest.approx(plain_ccc(x[:, 1], y[:, 1]))


def test_labelled_clips_of_the_split_without_a_prediction_are_said(
    cache: Cache, models: list[Path], truth: Truth, tmp_path: Path
) -> None:
    truth |= {"x": np.zeros((1, 2)), "y": np.zeros((1, 2))}
    labels = table(tmp_path / "more.csv", truth, {**SPLITS, "x": "test", "y": "val"})
    assert scored(cache, models[0], labels)["clips_without_prediction"] == ["x"]


def test_the_order_of_columns_and_rows_does_not_matter(
    cache: Cache, models: list[Path], labels: Path, tmp_path: Path
) -> None:
    lines = [line.split(",") for line in models[0].read_text().splitlines()]
    turned = [",".join(reversed(cells)) for cells in (lines[0], *reversed(lines[1:]))]
    other = tmp_path / "turned.csv"
    other.write_text("\n".join(turned) + "\n")
    assert scored(cache, other, labels)["scores"] == pytest.approx(scored(cache, models[0], labels)["scores"])


def test_labels_of_other_lengths_meet_by_time(cache: Cache, truth: Truth, tmp_path: Path) -> None:
    coarse = {clip: curve[::2] for clip, curve in truth.items()}
    labels = table(tmp_path / "coarse.csv", coarse, SPLITS, step=1.0)
    exact = {clip: np.repeat(curve, 2, axis=0) for clip, curve in coarse.items()}
    predictions = table(tmp_path / "exact.csv", exact)
    assert scored(cache, predictions, labels)["scores"]["mae"] == pytest.approx(0)


def test_classes_by_name_or_number(cache: Cache, tmp_path: Path) -> None:
    names = tasks.get("expr").targets
    lines = ["clip,start,end,split,label"]
    wanted = [0, 3, 3, 7, 2, 2, 1, 5]
    for row, index in enumerate(wanted):
        lines.append(f"a,{row},{row + 1},test,{names[index] if row % 2 else index}")
    lines.append("a,8,9,test,-1")
    (tmp_path / "expr.csv").write_text("\n".join(lines) + "\n")
    guessed = [0, 3, 2, 7, 2, 1, 1, 5, 5]
    lines = ["clip,start,end," + ",".join(names)]
    for row, index in enumerate(guessed):
        lines.append(f"a,{row},{row + 1}," + ",".join("0.3" if k == index else "0.1" for k in range(8)))
    (tmp_path / "guess.csv").write_text("\n".join(lines) + "\n")
    report = scored(cache, tmp_path / "guess.csv", tmp_path / "expr.csv", task="expr")
    assert (report["rows"], report["rows_without_label"]) == (8, 1)
    assert report["scores"]["war"] == pytest.approx(6 / 8)
    assert report["scores"]["macro-f1"] == pytest.approx(metrics.macro_f1(wanted, guessed[:8], 8))
    with pytest.raises(UsageError, match="label pooling 'mean' does not fit expr"):
        scored(cache, tmp_path / "guess.csv", tmp_path / "expr.csv", task="expr", label_pooling="mean")


def test_a_report_is_cached_by_what_it_was_made_from(cache: Cache, models: list[Path], labels: Path) -> None:
    config = EvaluateConfig(task="va")
    first = evaluate(cache, models[0], labels, config)
    again = evaluate(cache, models[0], labels, config)
    assert (again.artifact.path, again.report) == (first.artifact.path, first.report)
    models[0].write_text(models[0].read_text().replace("0.1", "0.2", 1))
    assert evaluate(cache, models[0], labels, config).artifact.path != first.artifact.path


def cut_column(path: Path) -> None:
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")


def rename_clips(path: Path) -> None:
    path.write_text("\n".join(line if n == 0 else f"x{line}" for n, line in enumerate(path.read_text().splitlines())))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_column, "no column arousal"),
        (rename_clips, "do the clip names and times agree"),
        (lambda path: path.write_text(""), "labels.csv"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00\x01" * 9), "labels.csv"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_text("clip,valence,arousal\na,inf,0\n"), "finite number"),
        (lambda path: path.write_text("clip,valence,arousal\n../a,0,0\n"), "'../a'"),
        (lambda path: path.write_text("clip,valence,arousal\na,,\nd,nan,nan\n"), "do the clip names"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(
    cache: Cache, models: list[Path], labels: Path, change: Callable[[Path], object], message: str
) -> None:
    change(labels)
    with pytest.raises(UsageError) as error:
        scored(cache, models[0], labels)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_artifacts_are_no_predictions(cache: Cache, models: list[Path], labels: Path, tmp_path: Path) -> None:
    report = evaluate(cache, models[0], labels, EvaluateConfig(task="va"))
    with pytest.raises(UsageError, match="needed are predictions"):
        scored(cache, report.artifact.path, labels)
    with pytest.raises(UsageError, match="not an artifact"):
        scored(cache, tmp_path, labels)
