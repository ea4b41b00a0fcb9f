"""What evaluate says beside the scores: intervals, rows of other times, confusion, calibration, another system."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stage_calls import evaluate

from affectkit import bootstrap, metrics, tasks
from affectkit.errors import UsageError
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.scoring import reliability
from affectkit.store import Cache

CLIPS = [f"p{number}/clip{number}" for number in range(10)]
Curves = dict[str, np.ndarray]


def table(
    path: Path,
    curves: Curves,
    columns: Sequence[str],
    step: float | None = 0.1,
    subject: bool = False,
    first: float = 0,
) -> Path:
    """A CSV of labels or predictions, rows of `step` seconds (None: whole clips), all of split test."""
    lines = ["clip," + ("start,end," if step else "") + "split," + ("subject," if subject else "") + ",".join(columns)]
    for clip, rows in curves.items():
        for number, values in enumerate(rows):
            times = f"{first + number * step:.6f},{first + (number + 1) * step:.6f}," if step else ""
            who = f"{int(clip[1]) // 3}," if subject else ""
            cells = ",".join("" if np.isnan(value) else repr(float(value)) for value in np.atleast_1d(values))
            lines.append(f"{clip},{times}test,{who}{cells}")
    path.write_text("\n".join(lines) + "\n")
    return path


def curves(columns: int, rows: int = 30, seed: int = 0) -> Curves:
    random = np.random.default_rng(seed)
    return {clip: random.uniform(-1, 1, (rows, columns)).cumsum(axis=0) / 3 for clip in CLIPS}


def noisy(truth: Curves, noise: float, seed: int = 1) -> Curves:
    random = np.random.default_rng(seed)
    return {clip: rows + random.normal(0, noise, rows.shape) for clip, rows in truth.items()}


def labels_of(tmp_path: Path, truth: Curves, **options: Any) -> Path:
    return table(tmp_path / "labels.csv", truth, ["valence", "arousal"], **options)


def given(tmp_path: Path, scores: Curves, name: str = "given.csv", **options: Any) -> Path:
    return table(tmp_path / name, scores, ["valence", "arousal"], **options)


def scored(cache: Cache, predictions: Path, labels: Path, against: Path | None = None, **fields: Any) -> dict[str, Any]:
    config = EvaluateConfig(**{"task": "va", "draws": 100} | fields)
    return evaluate(cache, predictions, labels, config, against=against).report


# intervals


def test_every_pooled_score_has_the_interval_of_its_clips(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    scores = noisy(truth, 0.5)
    report = scored(cache, given(tmp_path, scores), labels_of(tmp_path, truth), seed=3, level=0.9)
    x, y = np.concatenate(list(truth.values())), np.concatenate(list(scores.values()))
    clip = np.repeat(CLIPS, 30)
    expected = bootstrap.interval(tasks.get("va"), x, y, clip, draws=100, seed=3, level=0.9)
    assert report["intervals"].keys() == expected.keys() == metrics.score(tasks.get("va"), x, y).keys()
    for name, bounds in expected.items():
        assert report["intervals"][name] == pytest.approx(bounds)
        assert bounds[0] < report["scores"][name] < bounds[1]
    assert report["bootstrap"] == {"by": "clip", "clusters": 10, "draws": 100, "level": 0.9, "seed": 3}
    assert report["cautions"] == []


def test_intervals_by_subject(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    predictions = given(tmp_path, noisy(truth, 0.5))
    by_clip = scored(cache, predictions, labels_of(tmp_path, truth, subject=True))
    by_subject = scored(cache, predictions, labels_of(tmp_path, truth, subject=True), by="subject")
    assert (by_clip["bootstrap"]["clusters"], by_subject["bootstrap"]["clusters"]) == (10, 4)
    assert by_clip["scores"] == by_subject["scores"]
    assert by_subject["cautions"] == ["4 subjects only: the intervals are rough below 8"]
    with pytest.raises(UsageError, match="10 clips have no subject in the labels, such as 'p0/clip0'"):
        scored(cache, predictions, labels_of(tmp_path, truth), by="subject")


def test_faces_of_one_video_are_drawn_together(cache: Cache, tmp_path: Path) -> None:
    truth = {f"{clip}#{face}": rows for clip, rows in curves(2).items() for face in (0, 1)}
    report = scored(cache, given(tmp_path, noisy(truth, 0.5)), labels_of(tmp_path, truth))
    assert (report["clips"], report["bootstrap"]["clusters"]) == (20, 10)


def test_one_clip_has_no_interval_and_that_is_said(cache: Cache, tmp_path: Path) -> None:
    truth = {"p0": curves(2)[CLIPS[0]]}
    report = scored(cache, given(tmp_path, noisy(truth, 0.2)), labels_of(tmp_path, truth))
    assert report["intervals"] == {}
    assert report["cautions"] == ["one clip only: no interval"]
    assert report["scores"]["ccc"] > 0.5
    assert scored(cache, given(tmp_path, noisy(truth, 0.2)), labels_of(tmp_path, truth), draws=0)["cautions"] == []


# rows


def test_predictions_of_another_rate_are_scored_at_every_label(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2, rows=60)
    coarse = {clip: rows[::6] for clip, rows in noisy(truth, 0.1).items()}
    predictions, labels = given(tmp_path, coarse, step=0.6), labels_of(tmp_path, truth)
    report = scored(cache, predictions, labels)
    assert (report["rows"], report["rows_of"]) == (600, "labels")
    assert report["interpolation"] == "linear between row middles"
    middle, at = (np.arange(10) + 0.5) * 0.6, (np.arange(60) + 0.5) * 0.1
    read = [[np.interp(at, middle, column) for column in rows.T] for rows in coarse.values()]
    x, y = np.concatenate(list(truth.values())), np.concatenate([np.stack(one, axis=1) for one in read])
    expected = metrics.score(tasks.get("va"), x, y)
    assert {name: report["scores"][name] for name in expected} == pytest.approx(expected)
    assert (report["rows_interpolated"], report["rows_beyond_predictions"]) == (600, 0)
    own = scored(cache, predictions, labels, rows="predictions")
    assert (own["rows"], own["rows_of"], own["rows_interpolated"]) == (100, "predictions", 0)
    assert "interpolation" not in own
    faster = scored(cache, predictions, labels, rate=2.5)
    assert (faster["rows"], faster["rows_of"]) == (150, "2.5 a second")


def test_labels_that_predictions_do_not_reach_are_counted(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2, rows=30)
    half = {clip: rows[:15] for clip, rows in noisy(truth, 0.1).items()}
    report = scored(cache, given(tmp_path, half), labels_of(tmp_path, truth))
    assert (report["rows"], report["rows_interpolated"], report["rows_beyond_predictions"]) == (300, 150, 150)


def test_rows_without_a_score_are_not_made_up(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2, rows=30)
    holes = {clip: rows[::3].copy() for clip, rows in truth.items()}
    for rows in holes.values():
        rows[4:7] = np.nan
    report = scored(cache, given(tmp_path, holes, step=0.3), labels_of(tmp_path, truth))
    assert (report["rows"], report["rows_without_score"]) == (210, 90)


def test_pooled_labels_are_those_of_prediction_rows(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2, rows=30)
    means = {clip: rows.reshape(10, 3, 2).mean(axis=1) for clip, rows in truth.items()}
    predictions, labels = given(tmp_path, means, step=0.3), labels_of(tmp_path, truth)
    report = scored(cache, predictions, labels, label_pooling="mean")
    assert (report["rows_of"], report["rows"]) == ("predictions", 100)
    assert report["scores"]["mae"] == pytest.approx(0, abs=1e-6)
    assert scored(cache, predictions, labels)["scores"]["mae"] > 0.01
    with pytest.raises(UsageError, match="leave --rows labels away"):
        scored(cache, predictions, labels, label_pooling="mean", rows="labels")


def test_a_label_of_a_whole_clip_is_that_of_every_row(cache: Cache, tmp_path: Path) -> None:
    truth = {clip: rows[:1] for clip, rows in curves(2).items()}
    constant = {clip: np.repeat(rows, 20, axis=0) for clip, rows in truth.items()}
    report = scored(cache, given(tmp_path, constant), labels_of(tmp_path, truth, step=None))
    assert (report["rows"], report["scores"]["mae"]) == (200, pytest.approx(0))


def test_options_that_contradict_each_other(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    files = given(tmp_path, truth), labels_of(tmp_path, truth)
    for fields, message in [
        ({"rate": 5, "rows": "labels"}, "give one of them"),
        ({"task": "eri", "rate": 5}, "eri has one score a clip"),
        ({"draw_clips": "p1*"}, "give --figures as well"),
        ({"label_pooling": "mode"}, "does not fit va"),
    ]:
        with pytest.raises(UsageError, match=message):
            scored(cache, *files, **fields)
    with pytest.raises(UsageError, match="--draws 0 leaves none"):
        scored(cache, *files, against=files[0], draws=0)


# classes and labels


def class_files(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """Expressions of ten clips: labels, predictions, and what is in them (the last row has no label)."""
    random, names = np.random.default_rng(0), tasks.get("expr").targets
    truth = random.integers(8, size=(10, 20)).astype(float)
    scores = random.dirichlet(np.ones(8) / 2, (10, 20))
    scores[random.random((10, 20)) < 0.5, 0] += 1e-9
    labels = {clip: rows[:, None] for clip, rows in zip(CLIPS, truth, strict=True)}
    labels[CLIPS[-1]] = np.r_[labels[CLIPS[-1]][:-1], [[-1]]]
    files = (
        table(tmp_path / "labels.csv", labels, ["label"]),
        table(tmp_path / "given.csv", dict(zip(CLIPS, scores, strict=True)), names),
    )
    return *files, truth.ravel()[:-1], scores.reshape(-1, 8)[:-1]


def test_confusion_and_calibration_of_classes(cache: Cache, tmp_path: Path) -> None:
    from sklearn.metrics import confusion_matrix, f1_score

    labels, predictions, truth, scores = class_files(tmp_path)
    report = scored(cache, predictions, labels, task="expr")
    assert report["rows_without_label"] == 1
    guessed = scores.argmax(axis=1)
    expected = confusion_matrix(truth, guessed, labels=range(8))
    assert report["confusion"] == {"classes": list(tasks.get("expr").targets), "rows": expected.tolist()}
    per_class = f1_score(truth, guessed, labels=range(8), average=None, zero_division=0)
    assert [report["scores"][f"f1/{name}"] for name in tasks.get("expr").targets] == pytest.approx(per_class)
    assert report["calibration"]["bins"] == 15
    assert report["calibration"]["ece"] == pytest.approx(ece(scores.max(axis=1), guessed == truth))
    assert sum(report["calibration"]["curves"]["top class"]["rows"]) == len(truth)


def ece(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """The definition, bin by bin."""
    total = 0.0
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if number == 0:
            inside |= confidence == 0
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_calibration_of_labels_is_one_each(cache: Cache, tmp_path: Path) -> None:
    task = tasks.get("au")
    random = np.random.default_rng(0)
    scores = {clip: random.random((40, 12)) for clip in CLIPS}
    truth = {clip: (random.random((40, 12)) < rows).astype(float) for clip, rows in scores.items()}
    files = table(tmp_path / "given.csv", scores, task.targets), table(tmp_path / "labels.csv", truth, task.targets)
    report = scored(cache, *files, task="au")
    x, y = np.concatenate(list(truth.values())), np.concatenate(list(scores.values()))
    each = [ece(y[:, k], x[:, k]) for k in range(12)]
    assert list(report["calibration"]["ece_per_label"].values()) == pytest.approx(each)
    assert report["calibration"]["ece"] == pytest.approx(np.mean(each))
    assert report["calibration"]["ece"] < 0.1  # the labels were drawn with these probabilities
    here, said = x[:, 3] == 1, y[:, 3] >= 0.5
    cells = [
        [int((~here & ~said).sum()), int((~here & said).sum())],
        [int((here & ~said).sum()), int((here & said).sum())],
    ]
    assert report["confusion"]["AU6"] == cells


def test_a_value_on_the_edge_of_a_bin_is_in_the_lower_one() -> None:
    curve = reliability([0.0, 0.5, 0.5000001, 1.0, 1.02], [0, 1, 1, 1, 1], bins=2)
    assert curve.rows.tolist() == [2, 3]
    assert curve.share.tolist() == [0.5, 1]


# another system, and the files


def test_the_difference_to_another_system(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    good, bad = noisy(truth, 0.1), noisy(truth, 0.8, seed=2)
    del bad[CLIPS[0]]
    bad[CLIPS[1]][:7] = np.nan
    files = given(tmp_path, good), labels_of(tmp_path, truth)
    report = scored(cache, *files, against=given(tmp_path, bad, "bad.csv"), seed=1)
    alone = scored(cache, *files, seed=1)
    assert {name: report[name] for name in alone} == alone
    against = report["against"]
    assert (against["rows"], against["clips"]) == (263, 9)
    keep = [slice(7 * (clip == CLIPS[1]), None) for clip in bad]
    x, a, b = (
        np.concatenate([of[clip][rows] for clip, rows in zip(bad, keep, strict=True)]) for of in (truth, good, bad)
    )
    clip = np.repeat(list(bad), [len(bad[clip][rows]) for clip, rows in zip(bad, keep, strict=True)])
    expected = bootstrap.paired(tasks.get("va"), x, a, b, clip, draws=100, seed=1)
    for name, gap in expected.items():
        assert against["differences"][name] == pytest.approx(gap._asdict())
    assert against["differences"]["ccc"]["low"] > 0
    assert against["scores"]["ccc"] == pytest.approx(metrics.main(tasks.get("va"), x, b))


def test_other_options_are_other_artifacts(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    files = given(tmp_path, noisy(truth, 0.1)), labels_of(tmp_path, truth, subject=True)
    changes: list[dict[str, Any]] = [
        {}, {"draws": 50}, {"seed": 1}, {"level": 0.9}, {"by": "subject"}, {"rows": "predictions"}, {"rate": 3.0},
    ]  # fmt: skip
    made = [evaluate(cache, *files, EvaluateConfig(task="va", **change)).artifact.path for change in changes]
    made.append(evaluate(cache, *files, EvaluateConfig(task="va"), against=files[0]).artifact.path)
    assert len(set(made)) == len(changes) + 1
    before = (made[0] / "report.json").stat().st_mtime_ns
    again = evaluate(cache, *files, EvaluateConfig(task="va"))
    assert (again.artifact.path, (made[0] / "report.json").stat().st_mtime_ns) == (made[0], before)


def test_each_clips_own_score_is_in_a_file(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    scores = noisy(truth, 0.5)
    done = evaluate(cache, given(tmp_path, scores), labels_of(tmp_path, truth), EvaluateConfig(task="va", draws=0))
    lines = (done.artifact.path / "clips.csv").read_text().splitlines()
    assert lines[0] == "clip,rows,ccc"
    own = {name: float(value) for name, rows, value in (line.split(",") for line in lines[1:]) if rows == "30"}
    expected = {clip: metrics.main(tasks.get("va"), truth[clip], scores[clip]) for clip in CLIPS}
    assert own == pytest.approx(expected)
    assert np.mean(list(own.values())) == pytest.approx(done.report["scores"]["clip-mean/ccc"])


def test_clips_of_one_class_each_that_are_all_right(cache: Cache, tmp_path: Path) -> None:
    """Macro F1 is 1, and so are its interval, the mean over clips, and every clip's own."""
    names = list(tasks.get("expr").targets)
    labels = table(tmp_path / "labels.csv", {f"c{k}": np.full((5, 1), k) for k in range(8)}, ["label"])
    given = table(tmp_path / "given.csv", {f"c{k}": np.tile(np.eye(8)[k], (5, 1)) for k in range(8)}, names)
    done = evaluate(cache, given, labels, EvaluateConfig(task="expr", figures=True))
    report = done.report
    assert report["scores"]["macro-f1"] == report["scores"]["clip-mean/macro-f1"] == 1
    assert report["intervals"]["macro-f1"] == [1, 1]
    assert "hardly known: Neutral (1), Anger (1)" in report["cautions"][0]
    lines = (done.artifact.path / "clips.csv").read_text().splitlines()[1:]
    assert {line.rpartition(",")[2] for line in lines} == {"1.0"}


def test_a_clip_without_a_score_of_its_own_is_left_empty(cache: Cache, tmp_path: Path) -> None:
    truth = curves(2)
    flat = CLIPS[0]
    truth[flat][:] = 0.25
    done = evaluate(cache, given(tmp_path, noisy(truth, 0.5)), labels_of(tmp_path, truth),
                    EvaluateConfig(task="va", figures=True, draw_clips="*"))  # fmt: skip
    rows = dict(line.split(",")[::2] for line in (done.artifact.path / "clips.csv").read_text().splitlines()[1:])
    assert rows.pop(flat) == ""
    assert done.report["scores"]["clip-mean/ccc"] == pytest.approx(np.mean([float(one) for one in rows.values()]))


def test_a_clip_level_task_has_one_row_a_clip(cache: Cache, tmp_path: Path) -> None:
    task = tasks.get("eri")
    truth = {clip: rows[:1] for clip, rows in curves(7).items()}
    several = {clip: rows + np.array([[0.1], [-0.1], [0.2], [-0.2]]) for clip, rows in truth.items()}
    files = table(tmp_path / "given.csv", several, task.targets), table(tmp_path / "l.csv", truth, task.targets, None)
    done = evaluate(cache, *files, EvaluateConfig(task="eri", draws=50))
    assert done.report["rows"] == 10
    assert done.report["scores"]["pearson"] == pytest.approx(1)
    assert not (done.artifact.path / "clips.csv").exists()


def test_the_command_prints_intervals_and_keeps_scores_plain(affectkit: Command, tmp_path: Path) -> None:
    truth = curves(2)
    given(tmp_path, noisy(truth, 0.4)), given(tmp_path, noisy(truth, 0.5, 5), "other.csv"), labels_of(tmp_path, truth)
    line = ["evaluate", "given.csv", "--labels", "labels.csv", "--task", "va", "--draws", "50"]
    plain = affectkit(*line, "--against", "other.csv", "--level", "0.9")
    assert plain.returncode == 0, plain.stderr
    assert Path(tmp_path, plain.stdout.strip(), "report.json").is_file()
    for words in ("90 % interval", "mean over clips", "rows of: labels", "against other.csv"):
        assert words in plain.stderr
    told = json.loads(affectkit(*line, "--json").stdout)
    assert all(isinstance(value, float) for value in told["scores"].values())
    low, high = told["intervals"]["ccc"]
    assert low < told["scores"]["ccc"] < high
    assert f"{told['scores']['ccc']:.4f}" in plain.stderr
    for wrong in (["--level", "1"], ["--draws", "-1"], ["--by", "row"], ["--rows", "all"], ["--rate", "0"]):
        refused = affectkit(*line, *wrong)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert wrong[0].strip("-") in refused.stderr.splitlines()[-1]


# rows without a score


def test_rows_without_a_score_are_held_where_that_is_asked_for(cache: Cache, tmp_path: Path) -> None:
    """As submit holds them: the clip's nearest score in time, of two equally near the earlier; they are counted."""
    truth = {clip: rows / 4 for clip, rows in curves(2, rows=6).items()}
    scores = noisy(truth, 0.06)
    scores[CLIPS[0]][1:4] = np.nan  # rows 1 and 2 take row 0, row 3 takes row 4
    scores[CLIPS[1]][:] = np.nan
    predictions, labels = given(tmp_path, scores), labels_of(tmp_path, truth)
    dropped = scored(cache, predictions, labels)
    assert (dropped["rows"], dropped["clips"], dropped["rows_held"]) == (51, 9, 0)
    assert dropped["rows_without_score"] == 9 and dropped["clips_without_score"] == [CLIPS[1]]
    held = scored(cache, predictions, labels, missing="hold")
    assert (held["rows"], held["clips"], held["rows_held"], held["rows_without_score"]) == (54, 9, 3, 6)
    filled = dict(scores)
    filled[CLIPS[0]][1:4] = scores[CLIPS[0]][[0, 0, 4]]
    kept = [clip for clip in CLIPS if clip != CLIPS[1]]
    x, y = (np.concatenate([values[clip] for clip in kept]) for values in (truth, filled))
    assert held["scores"]["ccc"] == pytest.approx(metrics.score(tasks.get("va"), x, y)["ccc"])


def test_a_clip_without_a_score_is_not_among_those_scored(cache: Cache, tmp_path: Path, affectkit: Command) -> None:
    names = tasks.get("dfew").targets
    lines, rows = ["clip,label"], ["clip," + ",".join(names)]
    for number in range(8):
        lines.append(f"c{number},{number % 7}")
        cells = [""] * 7 if number == 3 else ["1" if k == number % 7 else "0" for k in range(7)]
        rows.append(f"c{number}," + ",".join(cells))
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    done = affectkit("evaluate", "p.csv", "--labels", "labels.csv", "--task", "dfew", "--draws", 10)
    assert "7 rows of 7 clips" in done.stderr and "1 clips (c3) predicted without any score" in done.stderr
