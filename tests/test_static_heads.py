"""kernel-elm and functionals: what a segment is, the machine's own numbers, estimators and how they are saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from test_networks import ORDER, ordered, unseen
from threadpoolctl import threadpool_limits

from affectkit import metrics, plugins, tasks
from affectkit.errors import HostileFile, UsageError
from affectkit.heads._estimators import TABLE
from affectkit.heads.functionals import Estimator
from affectkit.kernels.elm import KernelELMClassifier, KernelELMRegressor
from affectkit.kernels.normalise import CanonicalNormaliser
from affectkit.kernels.nystroem import ApproximationWarning
from affectkit.learning.saved_head import FILES
from affectkit.learning.segments import Recipe, typical
from affectkit.plugins import Auxiliary, Epoch, Example
from affectkit.store import Artifact, Cache, features_schema, write_table
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

VA, EXPR, ERI, COMPOUND, AU = (tasks.get(name) for name in ("va", "expr", "eri", "compound", "au"))
HEADS = ("kernel-elm", "functionals")
DIM, FPS = 4, 5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for each other's threads."""
    with threadpool_limits(1):
        yield


def make(name: str, task: Task, *options: str) -> Any:
    plugin = plugins.get("heads", name)
    return plugin(plugins.parse_options(plugin, options, name), task)


def sequence(values: np.ndarray, valid: Any = None, fps: float = FPS, shift: float = 0.0) -> FeatureSequence:
    start = np.arange(len(values)) / fps + shift
    valid = np.ones(len(values), bool) if valid is None else np.asarray(valid, bool)
    return FeatureSequence(start, start + 1 / fps, np.asarray(values, np.float32), valid)


def clips(task: Task, count: int, seed: int, rows: tuple[int, int] = (8, 30)) -> list[Example]:
    """Labels follow slow curves (time level) or a level (clip level), which are mixed into the features."""
    rng, mix = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(task.outputs, DIM))
    found = []
    for number in range(count):
        t = np.arange(rng.integers(*rows)) / FPS
        hidden = np.sin(t[:, None] * rng.uniform(0.3, 1, task.outputs) + rng.uniform(0, 6, task.outputs))
        hidden = hidden if task.level == "time" else np.repeat(rng.uniform(-1, 1, (1, task.outputs)), len(t), axis=0)
        shown = hidden if task.level == "time" else hidden[:1]
        if task.kind == "multiclass":
            labels = shown.argmax(axis=1)[:, None].astype(float)
        else:
            labels = (shown > 0).astype(float) if task.kind == "multilabel" else shown
        values = hidden @ mix + rng.normal(size=(len(t), DIM)) * 0.2
        found.append(Example(f"clip{number}", (sequence(values),), labels))
    return found


def small(task: Task, targets: int = 3) -> Task:
    return task.model_copy(update={"targets": task.targets[:targets]})


def fit(head: Any, train: list[Example], val: list[Example], seed: int = 0, **how: Any) -> list[Epoch]:
    return list(head.fit(train, val, seed=seed, device="cpu", monitor=lambda epoch: None, **how))


def scores(head: Any, examples: list[Example]) -> np.ndarray:
    return np.concatenate(head.predict(examples, device="cpu"))


def truth(examples: list[Example]) -> np.ndarray:
    return np.concatenate([np.asarray(example.labels) for example in examples])


def summary(example: Example, *names: str) -> np.ndarray:
    """[F*D] functionals of a whole clip, by numpy alone."""
    (shown,) = example.inputs
    rows = np.asarray(shown.values[shown.valid], np.float64)
    known = {"mean": rows.mean(axis=0), "std": rows.std(axis=0), "max": rows.max(axis=0), "min": rows.min(axis=0)}
    return np.concatenate([known[name] for name in names])


# ---- segments


@pytest.mark.parametrize("name", HEADS)
def test_each_row_is_the_mean_of_the_windows_that_hold_it(name: str) -> None:
    """Windows of 2 s every 0.8 s, as a plain loop."""
    head = make(name, VA, "window=2", "stride=0.8", "functionals=mean,std")
    fit(head, clips(VA, 6, 1), clips(VA, 3, 2))
    valid = np.arange(27) % 5 != 2
    valid[:11] = False  # no window that begins at 0 s has a valid row
    example = Example("x", (sequence(np.random.default_rng(0).normal(size=(27, DIM)), valid),))
    (found,) = head.predict([example], device="cpu")
    total, count = np.zeros((27, 2)), np.zeros((27, 1))
    for first in range(0, 24, 4):
        rows = np.arange(first, min(first + 10, 27))
        there = example.inputs[0].values[rows[valid[rows]]]
        if len(there):
            x = np.concatenate([there.mean(axis=0), there.std(axis=0)])[None]
            total[rows] += head.fitted.model.scores(head.fitted.normaliser.transform(x))
            count[rows] += 1
        if first + 10 >= 27:
            break
    assert count.max() > 1 and not count[:4].any() and count[4:].all()
    np.testing.assert_allclose(found[4:], (total / np.where(count, count, 1))[4:], atol=1e-4)
    assert np.isnan(found[:4]).all()


def test_a_window_learns_the_typical_label_of_its_valid_rows() -> None:
    nan = np.nan
    labels = np.array([[0.0, 1], [nan, 5], [4, 4], [7, 7], [9, 9]])
    valid = np.array([1, 1, 1, 0, 0])
    example = Example("x", (sequence(np.ones((5, 1)), valid, fps=1),), labels)
    found = Recipe(VA, (1,), (("mean",),), 2.0, 2.0).of_clip(example)
    assert found.labels.tolist() == [[0, 1], [4, 4]] and len(found) == 2  # the last window has no valid row
    np.testing.assert_array_equal(found.truth, labels)
    assert list(zip(found.segment.tolist(), found.about.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("task", [VA, EXPR, AU], ids=lambda task: task.name)
def test_typical_labels_by_a_plain_loop(task: Task) -> None:
    rng = np.random.default_rng(0)
    top = {"regression": 1.0, "multiclass": 3, "multilabel": 2}[task.kind]
    labels = rng.uniform(0, top, (40, len(task.label_columns)))
    labels = labels if task.kind == "regression" else np.floor(labels)
    labels[rng.random(40) < 0.3] = np.nan
    labels[10:16] = np.nan
    first = rng.integers(0, 35, 60)
    last = np.minimum(first + rng.integers(0, 9, 60), 40)
    first[0], last[0] = 10, 15
    found = typical(labels, first, last, task)
    for a, b, got in zip(first, last, found, strict=True):
        rows = labels[a:b][np.isfinite(labels[a:b]).all(axis=1)]
        if not len(rows):
            assert np.isnan(got).all()
        elif task.kind == "multiclass":
            assert got[0] == np.bincount(rows[:, 0].astype(int)).argmax()
        else:
            mean = rows.mean(axis=0)
            np.testing.assert_allclose(got, mean >= 0.5 if task.kind == "multilabel" else mean, atol=1e-12)


def test_rows_as_they_are() -> None:
    """functionals=none: each valid row is learnt from; rows without a face have no score."""
    head = make("functionals", VA, "functionals=none", "normalise=none", "params.alpha=1e-8")
    train = clips(VA, 8, 1)
    fit(head, train, clips(VA, 3, 2))
    x = np.concatenate([e.inputs[0].values for e in train]).astype(np.float64)
    weights, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), truth(train), rcond=None)
    test = clips(VA, 1, 3)[0]
    test = replace(test, inputs=(replace(test.inputs[0], valid=np.arange(len(test.inputs[0])) != 2),))
    expected = np.column_stack([test.inputs[0].values, np.ones(len(test.inputs[0]))]) @ weights
    (found,) = head.predict([test], device="cpu")
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(np.delete(found, 2, axis=0), np.delete(expected, 2, axis=0), atol=1e-4)
    task = small(COMPOUND)
    one = make("functionals", task, "functionals=none", "estimator=logistic")
    fit(one, clips(task, 30, 1), clips(task, 9, 2))
    (rows,) = clips(task, 1, 3, rows=(5, 6))
    alone = [Example("row", (sequence(rows.inputs[0].values[n : n + 1]),)) for n in range(5)]
    np.testing.assert_allclose(scores(one, [rows])[0], scores(one, alone).mean(axis=0), atol=1e-5)


def two_inputs(task: Task, count: int, seed: int) -> list[Example]:
    """The second input has rows of its own: 2 a second of 3 dimensions, the first of which are the label's."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        length = int(rng.integers(20, 40))
        hidden = np.sin(np.arange(length)[:, None] / FPS * [0.5, 0.9] + rng.uniform(0, 6, 2))
        labels = hidden if task.level == "time" else np.tile(hidden.mean(axis=0), 4)[None, :7]
        slow = np.arange(0.25, length / FPS, 0.5)
        other = np.stack([np.interp(slow, (np.arange(length) + 0.5) / FPS, column) for column in hidden.T], axis=1)
        other = np.column_stack([other, rng.normal(size=len(other))])
        noise = rng.normal(size=(length, DIM))
        found.append(Example(f"clip{number}", (sequence(noise), sequence(other, fps=2)), labels))
    return found


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("task", [VA, ERI], ids=["time", "clip"])
def test_several_inputs_need_no_equal_rows(name: str, task: Task, tmp_path: Path) -> None:
    train, val = two_inputs(task, 30, 1), two_inputs(task, 15, 2)
    options = ["functionals=mean/mean,last"] + (["window=1"] if task.level == "time" else [])
    head = make(name, task, *options)
    assert fit(head, train, val)[-1].best > 0.8
    assert head.fitted.recipe.width == DIM + 2 * 3
    head.save(tmp_path)
    np.testing.assert_array_equal(scores(type(head).load(tmp_path, task), val), scores(head, val))
    with pytest.raises(UsageError, match="this head takes 2 feature artifacts; clip 'clip0' comes with 1"):
        head.predict([replace(val[0], inputs=val[0].inputs[:1])], device="cpu")
    with pytest.raises(UsageError, match="is for 3 inputs; there are 2"):
        fit(make(name, task, "functionals=mean/fun/std"), train, val)
    with pytest.raises(UsageError, match="rows of other times: functionals=none"):
        fit(make(name, task, "functionals=none"), train, val)
    mute = replace(val[0], inputs=(val[0].inputs[0], replace(val[0].inputs[1], valid=val[0].inputs[1].valid & False)))
    assert np.isnan(head.predict([mute], device="cpu")[0]).all()


def test_windows_of_a_second_input_lie_by_the_first() -> None:
    """The same input twice gives the same numbers twice, wherever its rows begin."""
    names = ("mean", "std", "slope", "offset", "max")
    example = Example("x", (sequence(np.random.default_rng(0).normal(size=(33, DIM)), np.arange(33) % 7 > 0),) * 2)
    found = Recipe(VA, (DIM, DIM), (names, names), 2.0, 0.7).of_clip(example).values
    np.testing.assert_allclose(found[:, : found.shape[1] // 2], found[:, found.shape[1] // 2 :], atol=1e-5)
    late = replace(example, inputs=(example.inputs[0], sequence(np.ones((3, DIM)), shift=4.1)))
    segments = Recipe(VA, (DIM, DIM), (names, names), 2.0, 2.0).of_clip(late)
    assert len(segments) == 1 and set(segments.about) == set(range(20, 30))  # only the window from 4 s on has both


# ---- the kernel extreme learning machine


def test_kernel_elm_is_the_estimator_on_functionals() -> None:
    train, val, test = (clips(ERI, count, seed) for seed, count in enumerate((30, 12, 9)))
    x, y = (np.stack([summary(e, "mean", "std") for e in part]).astype(np.float32) for part in (train, test))
    normaliser = CanonicalNormaliser().fit(x)
    for options, plain in (
        (["C=10"], {"C": 10.0}),
        (["C=3", "kernel=rbf", "gamma=0.7"], {"C": 3.0, "kernel": "rbf", "gamma": 0.7}),
        (["C=0.5", "kernel=poly", "degree=2"], {"C": 0.5, "kernel": "poly", "degree": 2}),
    ):
        head = make("kernel-elm", ERI, "functionals=mean,std", "centre=false", *options)
        fit(head, train, val)
        expected = (
            KernelELMRegressor(**plain).fit(normaliser.transform(x), truth(train)).predict(normaliser.transform(y))
        )
        np.testing.assert_allclose(scores(head, test), expected, atol=1e-4)
    centred = make("kernel-elm", ERI, "functionals=mean,std", "C=1e-9")
    fit(centred, train, val)
    np.testing.assert_allclose(scores(centred, test), np.tile(truth(train).mean(axis=0), (9, 1)), atol=1e-4)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("targets", ["one-hot", "plus-minus"])
def test_kernel_elm_of_classes(weighted: bool, targets: str) -> None:
    task = small(COMPOUND)
    train, val, test = (clips(task, count, seed) for seed, count in enumerate((40, 12, 15)))
    x, y = (np.stack([summary(e, "mean") for e in part]).astype(np.float32) for part in (train, test))
    own = ["C=2", "normalise=none", "functionals=mean", f"weighted={weighted}", f"targets={targets}"]
    head = make("kernel-elm", task, *own)
    fit(head, train, val)
    kind = "signed" if targets == "plus-minus" else "onehot"
    estimator = KernelELMClassifier(C=2.0, weighted=weighted, targets=kind).fit(x, truth(train).ravel())
    np.testing.assert_allclose(scores(head, test), estimator.scores(y), atol=1e-5)


@pytest.mark.parametrize("task", [VA, COMPOUND], ids=["time", "clip"])
def test_c_is_the_best_of_the_grid(task: Task) -> None:
    train, val = clips(task, 25, 1), clips(task, 12, 2)
    head = make("kernel-elm", task, "window=2" if task.level == "time" else "window=clip", "select=val")
    (epoch,) = fit(head, train, val)
    grid = dict(head.fitted.model.grid)
    assert list(grid) == pytest.approx([10.0**p for p in range(-5, 5)])
    assert epoch.best == epoch.score == pytest.approx(max(grid.values()))
    for c in (1e-3, 1.0, head.fitted.model.c):
        alone = make("kernel-elm", task, f"C={c}", *(["window=2"] if task.level == "time" else []))
        assert fit(alone, train, val)[-1].score == pytest.approx(grid[c], abs=1e-6)


def test_grouped_selection_is_cross_validation_over_clips() -> None:
    """Held-out scores of every C against refitting without each fold's clips."""
    from affectkit.tables.splits import folds_of

    train = clips(VA, 9, 1)
    options = ["window=2", "functionals=mean,std", "normalise=none", "centre=false"]
    head = make("kernel-elm", VA, *options, "select=grouped", "folds=3")
    fit(head, train, clips(VA, 3, 2))
    segments = head.fitted.recipe.read("train", train)
    folds = folds_of(segments.clip, 3)
    x, held = segments.values.astype(np.float64), np.zeros((len(segments), 2))
    assert all(len(set(folds[segments.clip == clip])) == 1 for clip in range(9))
    for c, score in head.fitted.model.grid:
        for fold in range(3):
            machine = KernelELMRegressor(C=c).fit(x[folds != fold], segments.labels[folds != fold])
            held[folds == fold] = machine.predict(x[folds == fold])
        spread = segments.spread(held)
        assert metrics.main(VA, truth(train), spread) == pytest.approx(score, abs=1e-5)
    with pytest.raises(UsageError, match="folds=10 needs as many labelled training clips, not 9"):
        fit(make("kernel-elm", VA, "select=grouped", "folds=10"), train, train)


def test_selection_on_val_and_on_folds_can_differ() -> None:
    """The val clips have labels of their own: only select=val sees them."""
    train = clips(ERI, 30, 1)
    odd = [replace(e, labels=np.random.default_rng(n).normal(size=(1, 7))) for n, e in enumerate(clips(ERI, 30, 2))]
    by = {select: make("kernel-elm", ERI, f"select={select}") for select in ("val", "grouped")}
    for head in by.values():
        fit(head, train, odd)
    assert by["val"].fitted.model.grid != by["grouped"].fitted.model.grid
    again = make("kernel-elm", ERI, "select=grouped")
    fit(again, train, clips(ERI, 30, 2))
    assert again.fitted.model.grid == by["grouped"].fitted.model.grid


def test_an_approximated_kernel_is_announced(tmp_path: Path) -> None:
    train, val = clips(VA, 40, 1, rows=(30, 40)), clips(VA, 5, 2)
    options = ["kernel=rbf", "window=1", "stride=0.2", "memory_limit=2", "C=1000", "normalise=standard"]
    runs = []
    for seed in (0, 0, 1):
        head = make("kernel-elm", VA, *options)
        with pytest.warns(ApproximationWarning, match="approximated by"):
            fit(head, train, val, seed=seed)
        runs.append(scores(head, val))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert head.fitted.model.form == "nystroem"
    head.save(tmp_path)
    np.testing.assert_array_equal(scores(type(head).load(tmp_path, VA), val), runs[2])


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (ERI, ["kernel=chi2"], "kernel=chi2, normalise=canonical: Negative values"),
        (ERI, ["weighted=true"], "weighted=true is for tasks of one class a row; eri is regression"),
        (AU, ["weighted=true"], "au is multilabel"),
        (VA, ["window=2", "stride=3"], "stride=3 is longer than window=2"),
        (ERI, ["stride=3"], "not the whole clip"),
    ],
)
def test_options_that_do_not_fit(task: Task, options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(make("kernel-elm", task, *options), clips(task, 9, 1), clips(task, 5, 2))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kernel-elm", ["C=0"], "C"),
        ("kernel-elm", ["kernel=cosine"], "kernel"),
        ("kernel-elm", ["functionals=median"], "'median' is neither a set"),
        ("kernel-elm", ["functionals=none/fun"], "none is for all inputs"),
        ("kernel-elm", ["functionals=mean,none"], "'none' is neither"),
        ("kernel-elm", ["functionals="], "'' is neither"),
        ("functionals", ["estimator=forest"], "estimator"),
        ("functionals", ["params.alpha.x=1"], "params.alpha"),
        ("functionals", ["params=3"], "params"),
        ("functionals", ["param.alpha=3"], "did you mean 'params'"),
    ],
)
def test_bad_options_are_one_line(name: str, options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as told:
        make(name, ERI, *options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", HEADS)
def test_other_tasks_cannot_be_learnt_along(name: str) -> None:
    with pytest.raises(UsageError, match=f"head {name} learns one task: leave out --aux"):
        fit(make(name, ERI), clips(ERI, 9, 1), clips(ERI, 5, 2), auxiliary=[Auxiliary(VA, clips(VA, 3, 3))])


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_torch_solves_the_same_machine(kernel: str) -> None:
    """The path that a GPU takes, on the CPU."""
    train, val = clips(VA, 8, 1), clips(VA, 4, 2)
    both = []
    for device in ("cpu", "torch"):
        head = make("kernel-elm", VA, f"kernel={kernel}", "window=1")
        head.fit(train, val, seed=0, device=device, monitor=lambda epoch: None)
        both.append((type(head.fitted.model), head.fitted.model.c, scores(head, val)))
    assert both[0][:2] == both[1][:2]
    np.testing.assert_allclose(both[0][2], both[1][2], atol=1e-5)


# ---- scikit-learn's estimators


QUICK = {("ridge", "eri"), ("logistic", "au"), ("svm", "compound"), ("random-forest", "compound")}


def combinations() -> list[Any]:
    every = [(name, task) for name, pair in TABLE.items() for task in (ERI, COMPOUND, AU) if pair[task is not ERI]]
    return [
        pytest.param(name, task, id=f"{name}-{task.name}", marks=() if (name, task.name) in QUICK else pytest.mark.slow)
        for name, task in every
    ]


FAST = {
    "random-forest": ["params.n_estimators=20", "params.n_jobs=1"],
    "extra-trees": ["params.n_estimators=20", "params.n_jobs=1"],
    "gradient-boosting": ["params.max_iter=20", "params.min_samples_leaf=5"],
    "lasso": ["params.alpha=0.01"],
    "elastic-net": ["params.alpha=0.01"],
}


@pytest.mark.parametrize(("estimator", "task"), combinations())
def test_every_estimator_learns_and_comes_back_the_same(estimator: str, task: Task, tmp_path: Path) -> None:
    task = small(task)
    counts = (60, 12, 40) if task.level == "clip" else (15, 5, 10)
    train, val, test = (clips(task, count, seed) for seed, count in enumerate(counts))
    options = [f"estimator={estimator}", "functionals=mean", *FAST.get(estimator, [])]
    options += ["window=1"] if task.level == "time" else []
    head = make("functionals", task, *options)
    (epoch,) = fit(head, train, val)
    found = scores(head, test)
    assert metrics.main(task, truth(test), metrics.probabilities(task, found)) > 0.6
    assert metrics.main(task, truth(val), metrics.probabilities(task, scores(head, val))) == pytest.approx(epoch.score)
    head.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    np.testing.assert_array_equal(scores(type(head).load(tmp_path, task), test), found)
    twin = make("functionals", task, *options)
    fit(twin, train, val)
    np.testing.assert_array_equal(scores(twin, test), found)


def test_the_table_and_the_option_agree() -> None:
    from typing import get_args

    assert set(get_args(Estimator)) == set(TABLE)


@pytest.mark.parametrize("estimator", ["ridge", "svm", "random-forest"])
def test_estimators_are_scikit_learns(estimator: str) -> None:
    """Fitted here on functionals by numpy and z-scores by hand; probabilities of classes reach the predictions."""
    task = small(COMPOUND)
    train, val, test = (clips(task, count, seed) for seed, count in enumerate((60, 12, 20)))
    x, y = (np.stack([summary(e, "mean", "max", "min") for e in part]).astype(np.float32) for part in (train, test))
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    options = (
        ["params.max_depth=3", "params.n_estimators=20", "params.n_jobs=1"] if estimator == "random-forest" else []
    )
    head = make("functionals", task, "functionals=sun-visual", f"estimator={estimator}", *options)
    fit(head, train, val, seed=5)
    own = {"max_depth": 3, "n_estimators": 20, "random_state": 5} if options else {}
    reference = TABLE[estimator][1](**own).fit((x - mean) / std, truth(train).ravel())
    found = scores(head, test)
    if estimator == "random-forest":
        expected = reference.predict_proba((y - mean) / std)
        np.testing.assert_allclose(metrics.probabilities(task, found), expected, atol=1e-4)
    else:
        np.testing.assert_allclose(found, reference.decision_function((y - mean) / std), atol=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=1), reference.predict((y - mean) / std))


def test_probabilities_of_linear_classifiers_are_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    for targets in (2, 3):
        task = small(COMPOUND, targets)
        train, val, test = (clips(task, count, seed) for seed, count in enumerate((40, 12, 20)))
        head = make("functionals", task, "functionals=mean", "normalise=none", "estimator=logistic", "params.C=3")
        fit(head, train, val)
        x, y = (np.stack([summary(e, "mean") for e in part]).astype(np.float32) for part in (train, test))
        reference = LogisticRegression(C=3, max_iter=1000).fit(x.astype(float), truth(train).ravel())
        expected = reference.predict_proba(y)
        np.testing.assert_allclose(metrics.probabilities(task, scores(head, test)), expected, atol=1e-4)


@pytest.mark.parametrize(
    "estimator",
    ["logistic", "svm", *(pytest.param(one, marks=pytest.mark.slow) for one in ("random-forest", "linear-svm"))],
)
def test_a_class_that_training_never_had_is_never_predicted(estimator: str, tmp_path: Path) -> None:
    train, test = ([e for e in clips(COMPOUND, 80, s) if e.labels[0, 0] not in (0, 4)] for s in (1, 2))
    head = make("functionals", COMPOUND, f"estimator={estimator}", "functionals=mean", *FAST.get(estimator, []))
    fit(head, train, test)
    head.save(tmp_path)
    head = type(head).load(tmp_path, COMPOUND)
    found = metrics.probabilities(COMPOUND, scores(head, test))
    assert (found[:, [0, 4]] < 1e-4).all()
    assert metrics.war(truth(test).ravel(), found.argmax(axis=1)) > 0.5
    with pytest.raises(UsageError, match="training labels are all Happily_Surprised"):
        fit(head, [e for e in train if e.labels[0, 0] == 1], test)


@pytest.mark.parametrize("estimator", ["logistic", "svm", "knn"])
def test_a_label_that_training_never_had_is_never_predicted(estimator: str, tmp_path: Path) -> None:
    task = small(AU)
    train, val = clips(task, 12, 1), clips(task, 5, 2)
    for example in train:
        example.labels[:, 1], example.labels[:, 2] = 0, 1
    head = make("functionals", task, f"estimator={estimator}", "functionals=mean", "window=1")
    fit(head, train, val)
    head.save(tmp_path)
    found = metrics.probabilities(task, scores(type(head).load(tmp_path, task), val))
    assert (found[:, 1] < 0.5).all() and (found[:, 2] > 0.5).all() and 0 < (found[:, 0] > 0.5).mean() < 1


def test_seeds_reach_the_forest_and_global_generators_do_not() -> None:
    train, val = clips(ERI, 30, 1), clips(ERI, 9, 2)
    runs = []
    for seed in (0, 0, 1):
        head = make("functionals", ERI, "estimator=random-forest", "params.n_estimators=5", "params.n_jobs=1")
        np.random.seed(len(runs))  # noqa: NPY002
        fit(head, train, val, seed=seed)
        runs.append(scores(head, val))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["params.alfa=1"], r"unknown parameter params.alfa of ridge \(Ridge\) 'alfa': did you mean 'alpha'"),
        (["params.alpha=-1"], "estimator ridge: The 'alpha' parameter of Ridge must be"),
        (["params.alpha=much"], "estimator ridge: The 'alpha' parameter"),
        (["estimator=logistic"], r"estimator=logistic is not for regression \(task eri\): use one of ridge, lasso"),
    ],
)
def test_parameters_that_the_estimator_does_not_take(options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(make("functionals", ERI, *options), clips(ERI, 9, 1), clips(ERI, 5, 2))


def test_parameters_are_numbers_words_and_text() -> None:
    given = ["a=10", "b=1e-3", "c=true", "d=None", "e=balanced", "f=null", "g=False", "h=0.5"]
    params = make("functionals", ERI, *(f"params.{one}" for one in given)).options.params
    assert params == {"a": 10, "b": 1e-3, "c": True, "d": None, "e": "balanced", "f": None, "g": False, "h": 0.5}
    assert [type(params[key]) for key in "abcg"] == [int, float, bool, bool]


# ---- saved heads


@pytest.fixture
def forest(tmp_path: Path) -> Path:
    head = make("functionals", ERI, "estimator=random-forest", "params.n_estimators=5", "params.n_jobs=1")
    fit(head, clips(ERI, 20, 1), clips(ERI, 9, 2))
    head.save(tmp_path)
    return tmp_path


def change(folder: Path, **tensors: np.ndarray) -> None:
    from safetensors.numpy import load_file, save_file

    known = load_file(folder / FILES.tensors)
    known.update(tensors)
    save_file({key: value for key, value in known.items() if value is not None}, folder / FILES.tensors)


def load(folder: Path, name: str = "functionals") -> Any:
    return plugins.get("heads", name).load(folder, ERI)


def test_a_forest_that_grows_otherwise_is_refused(forest: Path) -> None:
    from safetensors.numpy import load_file

    load(forest)
    header = json.loads((forest / FILES.header).read_text()) | {"sklearn": "0.99"}
    (forest / FILES.header).write_text(json.dumps(header))
    load(forest)  # another version that learns the same is none to refuse
    change(forest, check=load_file(forest / FILES.tensors)["check"] + 0.01)
    with pytest.raises(UsageError, match=r"trained with scikit-learn 0\.99, and .* does not learn the same"):
        load(forest)


@pytest.mark.parametrize("name", ["values", "labels", "check", "normaliser.mean", "normaliser.scale"])
def test_tensors_that_are_missing_or_wrong_are_refused(forest: Path, name: str) -> None:
    change(forest, **{name: np.zeros((3, 2), np.float16)})
    with pytest.raises(HostileFile, match=f"saved head's {name} is not finite"):
        load(forest)
    change(forest, **{name: None})
    with pytest.raises(HostileFile, match=f"(no|lack) '{name}'"):
        load(forest)


@pytest.mark.parametrize("options", [["kernel=linear"], ["kernel=rbf"]])
def test_a_machine_that_does_not_fit_its_header_is_refused(options: list[str], tmp_path: Path) -> None:
    head = make("kernel-elm", ERI, "functionals=mean", *options)
    fit(head, clips(ERI, 20, 1), clips(ERI, 9, 2))
    head.save(tmp_path)
    header = json.loads((tmp_path / FILES.header).read_text())
    assert header["form"] == ("primal" if options == ["kernel=linear"] else "dual")
    other = "primal" if header["form"] == "dual" else "dual"
    (tmp_path / FILES.header).write_text(json.dumps(header | {"form": other}))
    with pytest.raises(HostileFile):
        load(tmp_path, "kernel-elm")
    (tmp_path / FILES.header).write_text(json.dumps(header))
    change(tmp_path, coef=np.full_like(head.fitted.model.machine.coef, np.nan))
    with pytest.raises(HostileFile, match="coef is not finite"):
        load(tmp_path, "kernel-elm")


# ---- the planted order


def on_order(names: str, *options: str) -> float:
    """Accuracy on the clips of `test_networks`, of which the classes are one wave, forwards and backwards."""
    head = make("functionals", ORDER, f"functionals={names}", "estimator=logistic", "normalise=standard", *options)
    fit(head, ordered(200, 1), ordered(50, 2))
    return metrics.main(ORDER, truth(unseen()), metrics.probabilities(ORDER, scores(head, unseen())))


def test_order_is_seen_by_functionals_that_know_time() -> None:
    """Rise and fall against fall and rise: one class is the other backwards, with the same distribution, to which mean,
    deviation and extremes are blind; the slope of a line tells which half came first.

    Of bumps and dips made of the same numbers the line is level too: only the parabola sees which is which.
    """
    assert abs(on_order("mean,std,min,max") - 0.5) < 0.05
    assert on_order("std,slope") > 0.75

    def bumps(count: int, seed: int) -> list[Example]:
        rng, rise = np.random.default_rng(seed), np.linspace(-1, 1, 12)
        found = []
        for n in range(count):
            curve = np.concatenate([rise, rise[::-1]] if n % 2 else [rise[::-1], rise])[:, None]
            shown = sequence(curve + rng.normal(size=(24, 2)) * 0.3)
            found.append(Example(f"clip{n}", (shown,), np.array([[float(n % 2)]])))
        return found

    for names, sees in (("mean,std,min,max,slope", False), ("mean,curvature", True)):
        head = make("functionals", ORDER, f"functionals={names}", "estimator=logistic")
        fit(head, bumps(100, 1), bumps(50, 2))
        test = bumps(300, 3)
        accuracy = metrics.main(ORDER, truth(test), metrics.probabilities(ORDER, scores(head, test)))
        assert accuracy > 0.95 if sees else abs(accuracy - 0.5) < 0.08


# ---- the command line


SPLITS = {f"c{n:02d}": "train" if n < 12 else "val" if n < 17 else "test" for n in range(24)}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """24 clips of 30 rows: valence and arousal among noise. Their va.csv, eri.csv and expr.csv lie beside the cache."""
    folder = tmp_path_factory.mktemp("static")
    rng = np.random.default_rng(0)
    records, va, eri = [], ["clip,start,end,split,valence,arousal"], ["clip,split," + ",".join(ERI.targets)]
    for clip, split in SPLITS.items():
        start = np.arange(30) / FPS
        curve = np.tanh(np.sin(start[:, None] * [0.7, 1.1] + rng.uniform(0, 6, 2)) + rng.normal(size=2) / 2)
        values = np.concatenate([curve + rng.normal(0, 0.2, curve.shape), rng.normal(size=(30, 2))], axis=1)
        valid = rng.random(30) > 0.1
        values[~valid] = 0
        records.append((clip, clip, {"start": start, "end": start + 1 / FPS, "valid": valid, "values": values}))
        va += [f"{clip},{t},{t + 1 / FPS},{split},{v:.4f},{a:.4f}" for t, (v, a) in zip(start, curve, strict=True)]
        mean = (curve.mean(axis=0) + 1) / 2
        eri.append(f"{clip},{split}," + ",".join(f"{mean[k % 2]:.4f}" for k in range(7)))
    (folder / "va.csv").write_text("\n".join(va) + "\n")
    (folder / "eri.csv").write_text("\n".join(eri) + "\n")
    table = features_schema(4)
    write = partial(write_table, schema=table, records=records)
    return Cache(folder / "cache").create_whole("embed", "static", {"stage": "embed"}, write, table=table)


@pytest.mark.parametrize(
    ("name", "options", "task"),
    [
        ("kernel-elm", ["kernel=rbf", "select=grouped", "folds=4"], "va"),
        pytest.param("kernel-elm", [], "eri", marks=pytest.mark.slow),
        pytest.param("functionals", ["params.alpha=3"], "va", marks=pytest.mark.slow),
        ("functionals", ["estimator=random-forest", "params.n_estimators=10", "params.n_jobs=1"], "eri"),
    ],
)
def test_from_features_to_scores(
    affectkit: Command, name: str, options: list[str], task: str, features: Artifact
) -> None:
    folder = features.path.parents[2]
    labels, metric = folder / f"{task}.csv", tasks.get(task).metric
    cache = ["--cache", folder / "cache"]
    given = [*options, "functionals=mean,std", *(["window=1"] if task == "va" else [])]
    chosen = [word for option in given for word in ("-o", option)]
    about = [features.path, "--labels", labels, "--task", task, "--head", name, *chosen, *cache]

    def said(*words: object) -> str:
        done = affectkit(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    trained = said("train-head", *about, "--device", "cpu")
    report = json.loads((Path(trained) / "head.json").read_text())
    history = (Path(trained) / "seed_0" / "history.jsonl").read_text().splitlines()
    assert len(history) == 1 and json.loads(history[0])["best"] == report["val_score"]["mean"]
    predicted = said("predict", trained, features.path, *cache, "--device", "cpu")
    found = json.loads(said("evaluate", predicted, "--labels", labels, "--task", task, "--json", *cache))
    assert found["split"] == "test" and found["scores"][metric] > 0.7
    rows = 30 if task == "va" else 1
    assert all(len(Artifact(Path(predicted)).column(clip, "start")) == rows for clip in SPLITS)
    assert said("train-head", *about, "--device", "cpu") == trained
