"""Smoothing and interpolation against loops that spell out the definition, and in train-head and predict."""

from __future__ import annotations

import json
import math
import time as clock
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
from stage_calls import evaluate, predict, train

from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.moments import interpolate
from affectkit.plugins import Example
from affectkit.smoothing import Kind, smooth
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.predict import PredictConfig
from affectkit.stages.stage import Result
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.trained import load_heads, stored_task
from affectkit.store import Artifact, Cache, Features, features_schema, write_table

KINDS = get_args(Kind)
RUNTIME = Runtime(workers=1, progress=False)


def weight(kind: str, distance: float, half_width: float) -> float:
    share = distance / half_width
    if kind == "hamming":
        return 0.54 + 0.46 * math.cos(math.pi * share)
    return math.exp(-0.5 * (2.5 * share) ** 2) if kind == "gaussian" else 1.0


def naive(values: np.ndarray, time: np.ndarray, kind: str, half_width: float) -> np.ndarray:
    """The definition, row by row."""
    found = np.full(values.shape, np.nan)
    for i in range(len(values)):
        if np.isnan(values[i]).any():
            continue
        near = [
            j
            for j in range(len(values))
            if not np.isnan(values[j]).any() and abs(time[j] - time[i]) <= half_width * (1 + 1e-6)
        ]
        for k in range(values.shape[1]):
            if kind == "median":
                found[i, k] = sorted_middle([values[j, k] for j in near])
            else:
                shares = [weight(kind, abs(time[j] - time[i]), half_width) for j in near]
                found[i, k] = sum(w * values[j, k] for w, j in zip(shares, near, strict=True)) / sum(shares)
    return found


def sorted_middle(numbers: list[float]) -> float:
    ordered, half = sorted(numbers), len(numbers) // 2
    return ordered[half] if len(numbers) % 2 else (ordered[half - 1] + ordered[half]) / 2


def times(how: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    regular = np.arange(rows) / 30 + 0.7
    return {
        "regular": regular,
        "gaps": np.delete(np.arange(rows + 25) / 30, slice(20, 45)),
        "jitter": regular + rng.uniform(-0.01, 0.01, rows),
        "random": np.sort(rng.uniform(0, rows / 30, rows)),
        "unsorted": rng.permutation(regular),
        "repeated": np.repeat(np.arange(rows // 2 + 1) / 10, 2)[:rows],
        "far": np.where(np.arange(rows) < rows // 2, regular, regular + 1e6),
    }[how]


@pytest.mark.parametrize("how", ["regular", "gaps", "jitter", "random", "unsorted", "repeated", "far"])
@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_is_its_definition(kind: Kind, how: str) -> None:
    rng = np.random.default_rng(1)
    for rows in (1, 2, 61):
        if how == "gaps" and rows < 61:
            continue
        time = times(how, rows, rng)
        values = rng.normal(size=(rows, 3))
        values[rng.random(rows) < 0.15] = np.nan
        if rows > 30:
            values[25, 1] = np.nan  # one score is missing: the row is
        for half_width in (0.01, 1 / 30, 0.1, 0.25, 1.0, 50.0):
            found = smooth(values, time, kind, half_width)
            assert np.allclose(found, naive(values, time, kind, half_width), rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_stays_and_zero_changes_nothing(kind: Kind) -> None:
    rng = np.random.default_rng(2)
    time = np.arange(40) / 25
    assert np.allclose(smooth(np.full((40, 2), 0.3), time, kind, 0.4), 0.3, rtol=1e-14)
    values = rng.normal(size=(40, 2))
    values[3] = np.nan
    assert np.array_equal(smooth(values, time, kind, 0), values, equal_nan=True)
    assert np.isnan(smooth(np.full((5, 2), np.nan), np.arange(5), kind, 1)).all()
    assert smooth(np.zeros((0, 2)), np.zeros(0), kind, 1).shape == (0, 2)


def test_a_window_of_many_rows_is_the_hamming_of_numpy() -> None:
    """Inside a clip, 2 n + 1 rows within the half-width are weighed as np.hamming(2 n + 1)."""
    values = np.random.default_rng(3).normal(size=(200, 1))
    window = np.hamming(31)
    expected = np.convolve(values[:, 0], window / window.sum(), mode="valid")
    assert np.allclose(smooth(values, np.arange(200) / 30, "hamming", 0.5)[15:-15, 0], expected, atol=1e-12)


def test_noise_goes_and_the_signal_stays() -> None:
    rng = np.random.default_rng(4)
    time = np.arange(3000) / 30
    signal = np.sin(time / 2)[:, None]
    noisy = signal + rng.normal(0, 0.5, signal.shape)
    for kind in KINDS:
        assert np.square(smooth(noisy, time, kind, 0.5) - signal).mean() < np.square(noisy - signal).mean() / 5


@pytest.mark.parametrize("kind", KINDS)
def test_long_clips_take_moments(kind: Kind) -> None:
    values = np.random.default_rng(5).normal(size=(30 * 1200, 2))
    began = clock.perf_counter()
    smooth(values, np.arange(len(values)) / 30, kind, 1)
    assert clock.perf_counter() - began < 3


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[T,K\]"):
        smooth([1.0, 2.0], [0, 1], "box", 1)
    with pytest.raises(ValueError, match="half-width"):
        smooth([[1.0]], [0], "box", -1)
    with pytest.raises(ValueError, match="finite"):
        interpolate([[1.0]], [np.inf], [0])


def test_interpolation_is_linear_between_rows_with_a_score_and_held_at_the_ends() -> None:
    rng = np.random.default_rng(6)
    time = np.sort(rng.uniform(0, 10, 30))
    values = rng.normal(size=(30, 2))
    values[[4, 5, 29]] = np.nan
    kept = [n for n in range(30) if n not in (4, 5, 29)]
    at = np.concatenate([rng.uniform(-2, 12, 50), time[:3]])
    found = interpolate(values, time, at)
    for moment, row in zip(at, found, strict=True):
        before = [n for n in kept if time[n] <= moment]
        after = [n for n in kept if time[n] > moment]
        if not before or not after:
            expected = values[after[0] if after else before[-1]]
        else:
            a, b = before[-1], after[0]
            share = (moment - time[a]) / (time[b] - time[a])
            expected = (1 - share) * values[a] + share * values[b]
        assert np.allclose(row, expected, atol=1e-12)
    shuffled = rng.permutation(30)
    assert np.array_equal(interpolate(values[shuffled], time[shuffled], at), found)
    assert np.isnan(interpolate(values * np.nan, time, at)).all()


def test_a_gap_that_is_too_wide_is_not_bridged() -> None:
    time = np.array([0.0, 1.0, 5.0])
    values = np.array([[1.0], [2.0], [6.0]])
    at = np.array([-0.5, -0.6, 0.5, 1.5, 1.6, 3.0, 4.5, 5.5, 5.6])
    found = interpolate(values, time, at, max_gap=0.5).ravel()
    near = np.array([min(abs(moment - time)) <= 0.5 for moment in at])
    assert np.array_equal(np.isfinite(found), near)
    assert np.allclose(found[near], interpolate(values, time, at).ravel()[near])
    assert np.array_equal(np.isfinite(interpolate([[1.0]], [2.0], [1.0, 2.4], max_gap=0.5)).ravel(), [False, True])


# In train-head and predict

FPS, ROWS, NOISE = 10, 80, 12
SPLITS = {f"c{n:02d}": "train" if n < 4 else "val" if n < 7 else "test" for n in range(9)}
TASK = 'name = "mood"\nkind = "multiclass"\nlevel = "time"\ntargets = ["low", "mid", "high"]\nmetric = "uar"\n'
# Windows of one row: noise stays noise.
HEAD = ["hidden=8", "epochs=3", "learning_rate=0.03", "window=0.1", "batch_size=64"]
DEVICE: dict[str, Any] = {"device": "cpu"}


class Noisy(NamedTuple):
    """Features that are noisy views of slow curves, with labels of valence and arousal and of three classes."""

    features: Artifact
    folder: Path
    curves: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Noisy:
    folder = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(0)
    curves = {clip: 0.8 * np.sin(np.arange(ROWS)[:, None] / FPS * [0.6, 0.9] + rng.uniform(0, 6, 2)) for clip in SPLITS}
    records = []
    for clip, curve in curves.items():
        start = np.arange(ROWS) / FPS
        values = np.concatenate([curve + rng.normal(0, 0.8, curve.shape), rng.normal(size=(ROWS, 2))], axis=1)
        valid = rng.random(ROWS) > 0.05
        values[~valid] = 0
        records.append((clip, clip, {"start": start, "end": start + 1 / FPS, "valid": valid, "values": values}))
    table = features_schema(4)
    write = partial(write_table, schema=table, records=records)
    made = Cache(folder / "cache").create_whole("embed", "noisy", {"stage": "embed"}, write, table=table)
    (folder / "mood.toml").write_text(TASK)
    write_labels(folder, curves)
    return Noisy(made, folder, curves)


def write_labels(folder: Path, curves: dict[str, np.ndarray], garbage: str = "") -> None:
    """va.csv and mood.csv; labels of the split `garbage` are turned round."""
    va, mood = ["clip,start,end,split,valence,arousal"], ["clip,start,end,split,label"]
    for clip, curve in curves.items():
        for row, (valence, arousal) in enumerate(curve * (-1 if SPLITS[clip] == garbage else 1)):
            where = f"{clip},{row / FPS},{(row + 1) / FPS},{SPLITS[clip]}"
            va.append(f"{where},{valence:.4f},{arousal:.4f}")
            mood.append(f"{where},{'low' if valence < -0.3 else 'high' if valence > 0.3 else 'mid'}")
    (folder / "va.csv").write_text("\n".join(va) + "\n")
    (folder / "mood.csv").write_text("\n".join(mood) + "\n")


def fit(cache: Cache, noisy: Noisy, labels: Path, **fields: Any) -> Result:
    task = {"task": "va" if labels.stem == "va" else str(noisy.folder / "mood.toml")}
    config = TrainConfig(**{"head": "lstm", "option": HEAD} | task | fields)
    return train(cache, [Features(noisy.features)], labels, config, RUNTIME, **DEVICE)


def ask(cache: Cache, head: Result, noisy: Noisy, at: Path | None = None, **fields: Any) -> Artifact:
    config = PredictConfig(**fields)
    done = predict(cache, head.artifact, [Features(noisy.features)], RUNTIME, config=config, at=at, **DEVICE)
    return Artifact(done.path)


def raw_scores(head: Result, noisy: Noisy, clip: str) -> list[np.ndarray]:
    inputs = (Features(noisy.features).sequence(clip),)
    return [
        np.asarray(one.predict([Example(clip, inputs)], device="cpu")[0], np.float64)
        for one in load_heads(head.artifact, stored_task(head.report))
    ]


def softmax(raw: np.ndarray) -> np.ndarray:
    return np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)


def test_the_half_width_is_chosen_on_validation_and_applied(cache: Cache, noisy: Noisy) -> None:
    labels = noisy.folder / "va.csv"
    plain, smoothed = fit(cache, noisy, labels), fit(cache, noisy, labels, smooth="hamming")
    assert plain.artifact.path != smoothed.artifact.path
    assert "smoothing" not in plain.report
    said = smoothed.report["smoothing"]
    assert said["kind"] == "hamming"
    assert max(map(float, said["val"])) <= ROWS / FPS / 2 < 2 * max(map(float, said["val"]))
    assert said["half_width"] == float(max(said["val"], key=said["val"].__getitem__)) > 0
    assert said["val"]["0"] == pytest.approx(plain.report["val_score"]["mean"], abs=1e-6)
    config = EvaluateConfig(task="va")
    rough, fine = (evaluate(cache, ask(cache, one, noisy).path, labels, config).report for one in (plain, smoothed))
    assert fine["scores"]["ccc"] > rough["scores"]["ccc"] + 0.02
    on_val = evaluate(cache, ask(cache, smoothed, noisy).path, labels, EvaluateConfig(task="va", split="val")).report
    assert on_val["scores"]["ccc"] == pytest.approx(said["val"][f"{said['half_width']:g}"], abs=1e-5)
    again = fit(cache, noisy, labels, smooth="hamming")
    assert (again.cached, again.report["smoothing"]) == (True, said)


def test_labels_of_the_test_clips_change_nothing(cache: Cache, noisy: Noisy, tmp_path: Path) -> None:
    write_labels(tmp_path, noisy.curves, garbage="test")
    fair = fit(cache, noisy, noisy.folder / "va.csv", smooth="box")
    elsewhere = Cache(cache.root / "2")
    turned = fit(elsewhere, noisy, tmp_path / "va.csv", smooth="box")
    assert not turned.cached
    assert turned.report["smoothing"] == fair.report["smoothing"]
    assert turned.artifact.path.name == fair.artifact.path.name
    write_labels(tmp_path, noisy.curves, garbage="val")
    assert fit(elsewhere, noisy, tmp_path / "va.csv", smooth="box").report["smoothing"] != fair.report["smoothing"]


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_smoothed_as_logits_seed_by_seed(cache: Cache, noisy: Noisy, kind: Kind) -> None:
    trained = fit(cache, noisy, noisy.folder / "mood.csv", smooth=kind, half_width=0.7, seeds=2)
    found = ask(cache, trained, noisy)
    for clip in ("c00", "c08"):
        time = Features(noisy.features).sequence(clip).middle
        seeds = [naive(raw, time, kind, 0.7) for raw in raw_scores(trained, noisy, clip)]
        assert np.allclose(found.column(clip, "scores"), np.mean([softmax(raw) for raw in seeds], axis=0), atol=1e-6)


def test_predict_may_smooth_otherwise_and_that_is_another_recipe(cache: Cache, noisy: Noisy) -> None:
    labels = noisy.folder / "mood.csv"
    trained, plain = fit(cache, noisy, labels, smooth="box", half_width=0.5), fit(cache, noisy, labels)
    own = ask(cache, trained, noisy)
    assert ask(cache, trained, noisy, smooth="box", half_width=0.5).path == own.path
    assert ask(cache, trained, noisy, smooth="box").path == own.path
    without, wider = ask(cache, trained, noisy, smooth="none"), ask(cache, trained, noisy, half_width=1.5)
    median = ask(cache, trained, noisy, smooth="median")
    assert len({one.path for one in (own, without, wider, median)}) == 4
    raw, time = raw_scores(trained, noisy, "c03")[0], Features(noisy.features).sequence("c03").middle
    for artifact, expected in (
        (own, naive(raw, time, "box", 0.5)),
        (without, raw),
        (wider, naive(raw, time, "box", 1.5)),
        (median, naive(raw, time, "median", 0.5)),
    ):
        assert np.allclose(artifact.column("c03", "scores"), softmax(expected), atol=1e-6)
    assert np.array_equal(without.column("c03", "scores"), ask(cache, plain, noisy).column("c03", "scores"))
    with pytest.raises(UsageError, match="needs --half-width"):
        ask(cache, plain, noisy, smooth="box")
    with pytest.raises(UsageError, match="needs --smooth"):
        ask(cache, plain, noisy, half_width=1.0)
    with pytest.raises(UsageError, match="needs --smooth"):
        fit(cache, noisy, labels, half_width=1.0)


def test_scores_are_read_at_the_rows_of_a_table(cache: Cache, noisy: Noisy, tmp_path: Path) -> None:
    trained = fit(cache, noisy, noisy.folder / "mood.csv", smooth="hamming", half_width=0.5)
    rows = [("c03", 0.33, 0.37), ("c03", -0.0, 0.04), ("c03", 20.0, 20.04), ("c08", 1.0, 1.5), ("stranger", 0.0, 1.0)]
    (tmp_path / "rows.csv").write_text("clip,start,end\n" + "".join(f"{c},{a},{b}\n" for c, a, b in rows))
    done = predict(
        cache, trained.artifact, [Features(noisy.features)], RUNTIME, at=tmp_path / "rows.csv",
        config=PredictConfig(reach=20), **DEVICE,
    )  # fmt: skip
    found = Artifact(done.path)
    assert found.clips == ["c03", "c08"]
    assert [notice.split(":", 1)[1] for notice in done.notices[:2]] == [" 7 (c00, c01, c02, ...)", " 1 (stranger)"]
    assert found.column("c03", "start").tolist() == [0.0, 0.33, 20.0]
    raw, time = raw_scores(trained, noisy, "c03")[0], Features(noisy.features).sequence("c03").middle
    slow = naive(raw, time, "hamming", 0.5)
    kept = np.isfinite(slow).all(axis=1)
    at = [np.interp([0.02, 0.35, 20.02], time[kept], column[kept]) for column in slow.T]
    assert np.allclose(found.column("c03", "scores"), softmax(np.stack(at, axis=1)), atol=1e-6)
    for usual in ({}, {"reach": 20, "max_gap": 1.0}):  # 20 s are 12 s from what was seen, and from any score
        near = ask(cache, trained, noisy, tmp_path / "rows.csv", **usual)
        assert near.path != found.path
        assert near.column("c03", "valid").tolist() == [True, True, False]
        assert np.isnan(near.column("c03", "scores")[2]).all()
    with_labels = (tmp_path / "rows.csv").read_text().splitlines()
    (tmp_path / "more.csv").write_text("\n".join([f"{line},{n}" for n, line in enumerate(with_labels)]) + "\n")
    assert ask(cache, trained, noisy, tmp_path / "more.csv", reach=20).path == found.path  # the same rows
    (tmp_path / "rows.csv").write_text("clip,start,end\nother,0,1\n")
    with pytest.raises(UsageError, match=r"none of the 9 clips to predict has rows in .*other"):
        ask(cache, trained, noisy, tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text("clip,start,end\nc03,0,\n")
    with pytest.raises(UsageError, match=r"rows.csv:2: .*start and an end"):
        ask(cache, trained, noisy, tmp_path / "rows.csv")


def test_scores_are_read_at_a_rate(cache: Cache, noisy: Noisy) -> None:
    trained = fit(cache, noisy, noisy.folder / "va.csv")
    found = ask(cache, trained, noisy, rate=25)
    start, end = found.column("c00", "start"), found.column("c00", "end")
    assert np.allclose(start, np.arange(ROWS * 25 // FPS) / 25)
    assert np.allclose(end - start, 1 / 25)
    same = ask(cache, trained, noisy, rate=FPS)
    assert np.allclose(same.column("c00", "scores"), raw_scores(trained, noisy, "c00")[0], atol=1e-6)
    for wrong, fields in (("give one", {"rate": 5, "at": noisy.folder / "va.csv"}), ("--max-gap", {"max_gap": 1.0})):
        with pytest.raises(UsageError, match=wrong):
            ask(cache, trained, noisy, **fields)


def test_clips_of_one_score_are_not_smoothed(cache: Cache, noisy: Noisy, tmp_path: Path) -> None:
    (tmp_path / "whole.toml").write_text(TASK.replace('"time"', '"clip"'))
    lines = [f"{clip},{split},{('low', 'mid', 'high')[n % 3]}" for n, (clip, split) in enumerate(SPLITS.items())]
    (tmp_path / "whole.csv").write_text("\n".join(["clip,split,label", *lines]) + "\n")
    own = {"task": str(tmp_path / "whole.toml"), "option": ["hidden=8", "epochs=1"]}
    with pytest.raises(UsageError, match="one score a clip"):
        fit(cache, noisy, tmp_path / "whole.csv", **own, smooth="box")
    trained = fit(cache, noisy, tmp_path / "whole.csv", **own)
    with pytest.raises(UsageError, match="one score a clip"):
        ask(cache, trained, noisy, rate=5)
    with pytest.raises(UsageError, match="one score a clip"):
        ask(cache, trained, noisy, smooth="box", half_width=1.0)
    assert len(ask(cache, trained, noisy).column("c00", "scores")) == 1


def test_the_command_line(affectkit: Any, noisy: Noisy) -> None:
    labels = noisy.folder / "va.csv"
    train_head = ["train-head", noisy.features.path, "--labels", labels, "--task", "va", "--head", "lstm"]
    options = [word for option in HEAD for word in ("-o", option)]
    done = affectkit(*train_head, *options, "--smooth", "gaussian", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "smoothing gaussian, half-width" in done.stderr
    head = said["artifact"]
    assert said["smoothing"] == json.loads((Path(head) / "head.json").read_text())["smoothing"]
    own, none, at = (
        affectkit("predict", head, noisy.features.path, *words)
        for words in ([], ["--smooth", "none"], ["--at", labels, "--half-width", "0.3"])
    )
    assert [one.returncode for one in (own, none, at)] == [0, 0, 0], at.stderr
    assert len({own.stdout, none.stdout, at.stdout}) == 3
    wrong = affectkit(*train_head, "--smooth", "hamming", "--half-width", "wide")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--half-width" in wrong.stderr
