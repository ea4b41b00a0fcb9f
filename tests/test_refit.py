"""Heads that are fitted at once: on all folds but one, and again on train and val; against scikit-learn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from stage_calls import cross_validate, predict, train

from affectkit import metrics, tasks
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.kernels.elm import KernelELMRegressor
from affectkit.kernels.normalise import CanonicalNormaliser
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.trained import load_heads
from affectkit.store import Artifact, Cache, Features, features_schema
from affectkit.tasks import Task

RUNTIME = Runtime(workers=1, progress=False)
DIM, ROWS, SUBJECTS, EACH = 6, 5, 5, 4
CLIPS = [f"s{subject}/c{clip}" for subject in range(SUBJECTS) for clip in range(EACH)]
WHO = np.array([clip.partition("/")[0] for clip in CLIPS])
MEANS = ["functionals=mean"]


class Planted:
    """Clips of five subjects: features, their means [N,D], one label a clip [N] of `kinds` classes (0: two values)."""

    def __init__(self, cache: Cache, folder: Path, task: Task, splits: dict[str, str] | None = None) -> None:
        rng = np.random.default_rng(3)
        self.artifact = cache.create("embed", "planted", {"stage": "embed"}, features_schema(DIM))
        part, means = self.artifact.new_part(), []
        for _ in CLIPS:
            values = (rng.standard_normal((1, DIM)) * 2 + rng.standard_normal((ROWS, DIM))).astype(np.float32)
            means.append(values.mean(axis=0))
        for clip, mean, seed in zip(CLIPS, means, range(len(CLIPS)), strict=True):
            noise = np.random.default_rng(seed).standard_normal((ROWS, DIM))
            values = (mean + noise - noise.mean(axis=0)).astype(np.float32)
            times = np.arange(ROWS + 1) / 5
            part.append({"start": times[:-1], "end": times[1:], "valid": np.ones(ROWS, bool), "values": values})
            part.end(clip, "0" * 64)
        part.commit()
        self.artifact.seal()
        self.x = np.array([self.artifact.column(clip, "values").astype(np.float64).mean(axis=0) for clip in CLIPS])
        score = self.x @ rng.standard_normal((DIM, task.outputs)) + rng.standard_normal((len(CLIPS), task.outputs))
        self.y = score.argmax(axis=1) if task.kind == "multiclass" else 1 / (1 + np.exp(-score))
        self.labels = folder / "labels.csv"
        splits = splits or {}
        columns = "label" if task.kind == "multiclass" else ",".join(task.targets)
        lines = [f"clip,subject,split,{columns}"]
        for clip, who, y in zip(CLIPS, WHO, self.y, strict=True):
            lines.append(f"{clip},{who},{splits.get(clip, '')},{','.join(map(str, np.atleast_1d(y).tolist()))}")
        self.labels.write_text("\n".join(lines) + "\n")
        self.features = [Features(self.artifact)]


def leave_one_subject_out(planted: Planted, make: Any, scale: Any = StandardScaler) -> np.ndarray:
    """Decisions or values [N,...] of each subject by an estimator fitted on all others."""
    found = [np.zeros(0)] * len(CLIPS)
    for who in np.unique(WHO):
        test = who == WHO
        scaler = scale().fit(planted.x[~test])
        one = make().fit(scaler.transform(planted.x[~test]), planted.y[~test])
        x = scaler.transform(planted.x[test])
        for place, row in zip(np.flatnonzero(test), getattr(one, "decision_function", one.predict)(x), strict=True):
            found[place] = row
    return np.array(found)


def crossed(cache: Cache, planted: Planted, task: Task, head: str, option: list[str], folds: int = SUBJECTS) -> Any:
    config = TrainConfig(task=task.name, head=head, option=option, split_by="subject")
    return cross_validate(cache, planted.features, planted.labels, config, RUNTIME, folds=folds, device="cpu")


def of_clips(artifact: Artifact) -> np.ndarray:
    return np.array([artifact.column(clip, "scores")[0] for clip in CLIPS])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_leave_one_subject_out_of_values_is_scikit_learns(cache: Cache, tmp_path: Path) -> None:
    task = tasks.get("eri")
    planted = Planted(cache, tmp_path, task)
    done = crossed(cache, planted, task, "functionals", [*MEANS, "estimator=ridge", "params.alpha=2"])
    expected = leave_one_subject_out(planted, lambda: Ridge(alpha=2))
    np.testing.assert_allclose(of_clips(done.artifact), expected, atol=1e-4)
    assert done.report["pooled"] == pytest.approx(metrics.main(task, planted.y, expected), abs=1e-4)
    assert done.report["trained_on"] == "4 of 5 folds"
    tables = [(done.artifact.path / f"fold_{n}.csv").read_text() for n in range(SUBJECTS)]
    assert all("val" not in table and table.count("train") == 16 for table in tables)


@pytest.mark.parametrize(
    ("option", "make"),
    [("logistic", lambda: LogisticRegression(max_iter=1000)), ("linear-svm", lambda: LinearSVC(random_state=0))],
)
def test_leave_one_subject_out_of_classes_is_scikit_learns(
    cache: Cache, tmp_path: Path, option: str, make: Any
) -> None:
    task = tasks.get("dfew")
    planted = Planted(cache, tmp_path, task)
    planted.y = np.where(np.isin(planted.y, (0, 1, 2)), planted.y, 2)
    for number, clip in enumerate(CLIPS):  # every subject shows every class: no fold lacks one
        planted.y[number] = number % EACH % 3 if "c3" not in clip else planted.y[number]
    lines = ["clip,subject,label", *(f"{c},{w},{y}" for c, w, y in zip(CLIPS, WHO, planted.y, strict=True))]
    planted.labels.write_text("\n".join(lines) + "\n")
    done = crossed(cache, planted, task, "functionals", [*MEANS, f"estimator={option}"])
    expected = softmax(leave_one_subject_out(planted, make))
    found = of_clips(done.artifact)[:, :3]
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), expected, atol=1e-4)


def test_a_kernel_machine_of_fixed_c_trains_on_all_folds_but_one(cache: Cache, tmp_path: Path) -> None:
    task = tasks.get("eri")
    planted = Planted(cache, tmp_path, task)
    done = crossed(cache, planted, task, "kernel-elm", [*MEANS, "C=10", "centre=false"])
    expected = leave_one_subject_out(planted, lambda: KernelELMRegressor(C=10), CanonicalNormaliser)
    np.testing.assert_allclose(of_clips(done.artifact), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("head", "option", "with_val"),
    [
        ("kernel-elm", [], False), ("kernel-elm", ["select=grouped"], False), ("kernel-elm", ["select=val"], True),
        ("mlp", ["epochs=1", "hidden=4"], True),
    ],
)  # fmt: skip
def test_a_fold_is_val_where_something_is_chosen_by_it(
    cache: Cache, tmp_path: Path, head: str, option: list[str], with_val: bool
) -> None:
    task = tasks.get("eri")
    done = crossed(cache, Planted(cache, tmp_path, task), task, head, option, folds=3)
    assert ("val" in (done.artifact.path / "fold_0.csv").read_text()) == with_val
    assert done.report["trained_on"] == ("1 of 3 folds, 1 is val" if with_val else "2 of 3 folds")


def test_two_folds_are_enough_where_nothing_is_chosen(cache: Cache, tmp_path: Path) -> None:
    task = tasks.get("eri")
    planted = Planted(cache, tmp_path, task)
    assert len(crossed(cache, planted, task, "functionals", [], folds=2).report["folds"]) == 2
    with pytest.raises(UsageError, match="--folds 2: three are needed, for test, val and train"):
        crossed(cache, planted, task, "mlp", [], folds=2)


# ---- fitted again on train and val

SPLITS = {clip: {"s3": "val", "s4": "test"}.get(clip.partition("/")[0], "train") for clip in CLIPS}


def trained(cache: Cache, planted: Planted, head: str = "functionals", **fields: Any) -> Any:
    config = TrainConfig(task="eri", head=head, **({"option": MEANS} | fields))
    return train(cache, planted.features, planted.labels, config, RUNTIME, device="cpu")


def test_test_clips_are_predicted_by_the_head_that_saw_val_and_val_clips_are_not(cache: Cache, tmp_path: Path) -> None:
    planted = Planted(cache, tmp_path, tasks.get("eri"), SPLITS)
    done = trained(cache, planted)
    assert done.report["refit"] and done.report["fitted_splits"] == ["train", "val"]
    found = of_clips(Artifact(predict(cache, done.artifact, planted.features, RUNTIME, device="cpu").path))
    split = np.array([SPLITS[clip] for clip in CLIPS])
    for fitted_on, predicted in ((["train"], "val"), (["train", "val"], "test")):
        own = np.isin(split, fitted_on)
        scaler = StandardScaler().fit(planted.x[own])
        one = Ridge().fit(scaler.transform(planted.x[own]), planted.y[own])
        expected = one.predict(scaler.transform(planted.x[split == predicted]))
        np.testing.assert_allclose(found[split == predicted], expected, atol=1e-5)
    val = metrics.main(tasks.get("eri"), planted.y[split == "val"], found[split == "val"])
    assert done.report["val_score"]["mean"] == pytest.approx(val, abs=1e-6)


def test_without_refit_it_is_the_head_of_before(cache: Cache, tmp_path: Path) -> None:
    planted = Planted(cache, tmp_path, tasks.get("eri"), SPLITS)
    again, once = trained(cache, planted), trained(cache, planted, refit=False)
    assert again.artifact.path != once.artifact.path and once.report["fitted_splits"] == ["train"]
    assert "refit" not in once.artifact.stage.inputs  # as it was before there was a choice
    plain, fitted = (load_heads(one.artifact, tasks.get("eri"), refitted=True)[0] for one in (once, again))
    assert not np.allclose(plain.fitted.normaliser.mean_, fitted.fitted.normaliser.mean_)
    for folder in again.artifact.path.glob("seed_*/refitted"):
        shutil.rmtree(folder)  # a head of before there were any
    assert np.allclose(
        load_heads(again.artifact, tasks.get("eri"), refitted=True)[0].fitted.normaliser.mean_,
        plain.fitted.normaliser.mean_,
    )


def test_the_c_that_was_chosen_is_kept(cache: Cache, tmp_path: Path) -> None:
    planted = Planted(cache, tmp_path, tasks.get("eri"), SPLITS)
    done = trained(cache, planted, "kernel-elm", option=["select=val"])
    first, again = (load_heads(done.artifact, tasks.get("eri"), refitted=r)[0] for r in (False, True))
    assert first.fitted.model.c == again.fitted.model.c == again.options.C and first.options.C == "auto"


def test_heads_that_stop_early_are_not_fitted_again(affectkit: Command, cache: Cache, tmp_path: Path) -> None:
    planted = Planted(cache, tmp_path, tasks.get("eri"), SPLITS)
    line = [
        "train-head",
        str(planted.artifact.path),
        "--labels",
        str(planted.labels),
        "--task",
        "eri",
        "--device",
        "cpu",
    ]
    small = ["--head", "mlp", "-o", "epochs=2", "-o", "hidden=4"]
    refused = affectkit(*line, *small, "--refit")
    assert refused.returncode == 2 and "--refit: mlp stops by the validation score" in refused.stderr
    plain = affectkit(*line, *small, "--json")
    report = json.loads(plain.stdout)
    assert report["refit"] is False and report["training"]["0"]["epochs"] == 2 and "best epoch" in plain.stderr
    both = affectkit(*line, "--head", "functionals")
    assert "fitted again on train and val clips" in both.stderr
    assert "fitted again" not in affectkit(*line, "--head", "functionals", "--no-refit").stderr


# ---- C of kernel machines


def test_folds_of_c_keep_subjects_whole(cache: Cache, tmp_path: Path) -> None:
    """Features that say who it is, and labels that are of the person: by clip any C looks good, by subject none."""
    from affectkit.plugins import Example, get, parse_options
    from affectkit.types import FeatureSequence

    task = tasks.get("eri")
    examples: dict[bool, list[Example]] = {}
    for known in (True, False):
        rng, examples[known] = np.random.default_rng(0), []
        for subject in range(8):
            centre, label = rng.standard_normal(12) * 3, rng.uniform(0, 1, (1, 7))
            for clip in range(5):
                values = centre + rng.standard_normal((4, 12)) * 0.3
                times = np.arange(5) / 5
                sequence = FeatureSequence(times[:-1], times[1:], values, np.ones(4, bool))
                examples[known].append(
                    Example(f"{subject}-{clip}", (sequence,), label, f"s{subject}" if known else None)
                )
    plugin, best = get("heads", "kernel-elm"), {}
    for known, some in examples.items():
        head = plugin(parse_options(plugin, ["functionals=mean"], "kernel-elm"), task)
        head.fit(some, (), seed=0, device="cpu", monitor=lambda epoch: None)
        best[known] = max(score for _, score in head.fitted.model.grid)
    assert best[False] > 0.9 and best[True] < 0.7, best
