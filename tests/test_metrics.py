from __future__ import annotations

import numpy as np
import pytest

from affectkit import metrics, tasks
from affectkit.errors import UsageError
from affectkit.tasks import Task

REGRESSION = [metrics.ccc, metrics.pearson, metrics.mae]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_ccc_by_hand():
    # mean 2 and 3, var 2/3 and 8/3, cov 4/3: 2*(4/3) / (2/3 + 8/3 + 1) = 8/13
    assert metrics.ccc([1, 2, 3], [1, 3, 5]) == pytest.approx(8 / 13, abs=1e-12)


def test_ccc_matches_torchmetrics(rng):
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.regression import concordance_corrcoef

    x = rng.normal(size=500)
    y = 0.6 * x + rng.normal(size=500)
    # torchmetrics divides by n - 1, ours by n: the same number where the means agree
    x, y = x - x.mean(), y - y.mean()
    assert metrics.ccc(x, y) == pytest.approx(float(concordance_corrcoef(torch.tensor(y), torch.tensor(x))), abs=1e-9)


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
def test_ccc_matches_the_formula_with_ddof_0(rng, offset):
    x = rng.normal(size=50) + offset
    y = 0.6 * x + rng.normal(size=50) + 0.3
    cov = np.cov(x, y, ddof=0)
    expected = 2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (x.mean() - y.mean()) ** 2)
    assert metrics.ccc(x, y) == pytest.approx(expected, abs=1e-9)


def test_pearson_matches_scipy(rng):
    from scipy.stats import pearsonr

    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    assert metrics.pearson(x, y) == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
    assert metrics.pearson(x * 1e-200, y) == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "ccc", "pearson"),
    [
        ([0.1] * 7, [0.1] * 7, 1.0, 0.0),
        ([0.1] * 7, [0.2] * 7, 0.0, 0.0),
        ([0.1] * 3, [0.1, 0.2, 0.3], 0.0, 0.0),
        ([0.1, 0.2, 0.3], [0.1] * 3, 0.0, 0.0),
        ([0.4], [0.4], 1.0, 0.0),
        ([0.4], [0.5], 0.0, 0.0),
        ([0.1, 0.2, 0.4], [0.1, 0.2, 0.4], 1.0, 1.0),
        ([0.1, 0.2], [-0.1, -0.2], -0.1 * 0.1 / 2 / (0.1 * 0.1 / 2 + 0.3**2), -1.0),
    ],
)
def test_constants_are_defined(x, y, ccc, pearson):
    assert metrics.ccc(x, y) == pytest.approx(ccc, abs=1e-12)
    assert metrics.pearson(x, y) == pytest.approx(pearson, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 8])
def test_classes_match_sklearn(rng, classes):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

    truth = rng.integers(0, max(2, classes - 2), size=400)  # two classes never occur
    predicted = np.where(rng.random(400) < 0.5, truth, rng.integers(0, classes, size=400))
    labels = list(range(classes))
    expected = f1_score(truth, predicted, labels=labels, average="macro", zero_division=0)
    assert metrics.macro_f1(truth, predicted, classes) == pytest.approx(expected, abs=1e-12)
    each = f1_score(truth, predicted, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose(metrics.f1_per_class(truth, predicted, classes), each, atol=1e-12)
    known = np.isin(predicted, truth)  # scikit-learn warns about the others
    assert metrics.uar(truth[known], predicted[known], classes) == pytest.approx(
        balanced_accuracy_score(truth[known], predicted[known]), abs=1e-12
    )
    assert metrics.war(truth, predicted) == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
    np.testing.assert_array_equal(
        metrics.confusion(truth, predicted, classes), confusion_matrix(truth, predicted, labels=labels)
    )


def test_an_absent_class_lowers_macro_f1_but_not_uar():
    truth, predicted = [0, 1], [0, 1]
    assert metrics.macro_f1(truth, predicted, 4) == 0.5
    assert metrics.uar(truth, predicted, 4) == 1.0


def test_binary_f1_matches_sklearn(rng):
    from sklearn.metrics import f1_score

    truth = (rng.random((200, 5)) < 0.3).astype(int)
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, 1 - truth)
    truth[:, 4] = predicted[:, 4] = 0
    expected = f1_score(truth, predicted, average=None, zero_division=0)
    np.testing.assert_allclose(metrics.binary_f1_per_label(truth, predicted), expected, atol=1e-12)
    assert metrics.binary_f1(truth, predicted) == pytest.approx(expected.mean())


@pytest.mark.parametrize("metric", REGRESSION)
@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0]])
def test_nan_and_infinity_are_refused(metric, bad):
    with pytest.raises(ValueError, match="valid rows only"):
        metric(bad, [0.0, 1.0])
    with pytest.raises(ValueError, match="valid rows only"):
        metric([0.0, 1.0], bad)


@pytest.mark.parametrize("metric", REGRESSION)
def test_shapes_are_checked(metric):
    with pytest.raises(ValueError, match="no rows"):
        metric([], [])
    with pytest.raises(ValueError, match="one shape"):
        metric([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="one shape"):
        metric([[1.0, 2.0]], [[1.0, 2.0]])


@pytest.mark.parametrize("wrong", [[0, 2], [0, -1], [0, 0.5]])
def test_class_indices_are_checked(wrong):
    with pytest.raises(ValueError, match="no class index"):
        metrics.macro_f1(wrong, [0, 1], 2)
    with pytest.raises(ValueError, match="no class index"):
        metrics.confusion([0, 1], wrong, 2)


def test_binary_labels_are_checked():
    with pytest.raises(ValueError, match="other than 0 and 1"):
        metrics.binary_f1([[0, 2]], [[0, 1]])


def test_score_names_every_target(rng):
    truth, scores = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    found = metrics.score(tasks.get("va"), truth, scores)
    assert set(found) == {f"{m}{t}" for m in ("ccc", "pearson", "mae") for t in ("", "/valence", "/arousal")}
    assert found["ccc/arousal"] == metrics.ccc(truth[:, 1], scores[:, 1])
    assert found["mae"] == pytest.approx((found["mae/valence"] + found["mae/arousal"]) / 2)


def test_score_of_classes(rng):
    task = tasks.get("expr")
    truth, scores = rng.integers(0, 8, size=60), rng.normal(size=(60, 8))
    found = metrics.score(task, truth[:, None], scores)
    assert found == metrics.score(task, truth, scores)
    assert found["macro-f1"] == metrics.macro_f1(truth, scores.argmax(1), 8)
    assert found["uar"] == metrics.uar(truth, scores.argmax(1), 8)
    assert found["war"] == pytest.approx(metrics.war(truth, scores.argmax(1)))
    assert found["f1/Neutral"] == metrics.f1_per_class(truth, scores.argmax(1), 8)[0]


def test_score_of_labels_takes_probabilities():
    task = Task(name="two", kind="multilabel", level="time", targets=("a", "b"), metric="binary-f1")
    found = metrics.score(task, [[1, 0], [1, 1]], [[0.5, 0.49], [0.2, 0.9]])
    assert found == {"binary-f1": pytest.approx(5 / 6), "f1/a": pytest.approx(2 / 3), "f1/b": 1.0}


@pytest.mark.parametrize("name", ["va", "expr", "eri", "compound", "au"])
def test_main_is_the_tasks_own_metric(name, rng):
    task = tasks.get(name)
    if task.kind == "multiclass":
        truth = rng.integers(0, task.outputs, size=(40, 1))
    elif task.kind == "multilabel":
        truth = rng.integers(0, 2, size=(40, task.outputs))
    else:
        truth = rng.random((40, task.outputs))
    scores = rng.random((40, task.outputs))
    assert metrics.main(task, truth, scores) == pytest.approx(metrics.score(task, truth, scores)[task.metric])


@pytest.mark.parametrize(("kind", "metric"), [("regression", "uar"), ("multiclass", "ccc"), ("multilabel", "war")])
def test_a_metric_of_another_kind_is_a_usage_error(kind, metric):
    task = Task(name="odd", kind=kind, level="time", targets=("a", "b"), metric=metric)
    truth = [0, 1] if kind == "multiclass" else [[0, 1], [1, 0]]
    with pytest.raises(UsageError, match=f"metric '{metric}' is not for {kind} targets \\(accepted: "):
        metrics.main(task, truth, [[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize("scores", [np.zeros((3, 7)), np.zeros((2, 8)), np.zeros(3)])
def test_score_checks_shapes(scores):
    with pytest.raises(ValueError, match="expr takes truth"):
        metrics.score(tasks.get("expr"), [0, 1, 2], scores)


def test_per_clip_is_the_mean_of_clips_and_labelled(rng):
    task = tasks.get("va")
    truth, scores = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    clips = np.array(["b", "a", "c"])[rng.integers(0, 3, size=30)]  # rows of a clip need not be neighbours
    found = metrics.score_per_clip(task, truth, scores, clips)
    each = [metrics.ccc(truth[clips == c, 0], scores[clips == c, 0]) for c in "abc"]
    assert found["clip-mean/ccc/valence"] == pytest.approx(np.mean(each))
    assert all(name.startswith("clip-mean/") for name in found)
    assert found["clip-mean/ccc"] != pytest.approx(metrics.score(task, truth, scores)["ccc"])


def test_what_does_not_occur_in_a_clip_does_not_count_there():
    expr, va, au = tasks.get("expr"), tasks.get("va"), tasks.get("au")
    truth, clips = np.repeat(np.arange(4), 5), np.repeat(list("abcd"), 5)
    found = metrics.score_per_clip(expr, truth, np.eye(8)[truth], clips)
    assert found["clip-mean/macro-f1"] == found["clip-mean/uar"] == found["clip-mean/f1/Fear"] == 1
    assert "clip-mean/f1/Other" not in found
    assert metrics.macro_f1(truth, truth, 8) == 0.5  # all rows: the challenge's mean over its classes
    wrong = np.eye(8)[np.where(clips == "a", 5, truth)]  # what is predicted only is an error, and no class of the clip
    assert metrics.score_per_clip(expr, truth, wrong, clips)["clip-mean/macro-f1"] == 0.75

    values = np.tile(np.linspace(0, 1, 5)[:, None], (4, 2))
    values[:5, 0] = 0.3  # valence is constant in the first clip
    found = metrics.score_per_clip(va, values, values, clips)
    assert found["clip-mean/ccc"] == found["clip-mean/pearson/valence"] == pytest.approx(1)
    flat = values.copy()
    flat[5:10] = 0.5  # a model that says one value has no agreement there, and that counts
    assert metrics.score_per_clip(va, values, flat, clips)["clip-mean/ccc"] == pytest.approx(0.75)
    assert "clip-mean/ccc" not in metrics.score_per_clip(va, np.full((4, 2), 0.1), np.zeros((4, 2)), list("aabb"))

    labels = np.repeat(np.eye(12)[:4], 5, axis=0)
    found = metrics.score_per_clip(au, labels, labels, clips)
    assert found["clip-mean/binary-f1"] == found["clip-mean/f1/AU1"] == 1
    assert "clip-mean/f1/AU26" not in found


def test_a_part_of_the_rows_has_what_occurs_in_it():
    found = metrics.score_of_part(tasks.get("expr"), [1, 1, 2], np.eye(8)[[1, 2, 2]])
    assert found["macro-f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert np.isnan(found["f1/Neutral"])
    assert list(found) == list(metrics.score(tasks.get("expr"), [1], np.eye(8)[[1]]))
    assert np.isnan(metrics.score_of_part(tasks.get("va"), [[1, 1]], [[1, 1]])["ccc"])


def test_per_clip_refuses_clip_level_and_wrong_lengths():
    with pytest.raises(ValueError, match="one row a clip"):
        metrics.score_per_clip(tasks.get("eri"), np.zeros((2, 7)), np.zeros((2, 7)), ["a", "b"])
    with pytest.raises(ValueError, match="1 rows where truth has 2"):
        metrics.score_per_clip(tasks.get("va"), np.zeros((2, 2)), np.zeros((2, 2)), ["a"])


def test_probabilities(rng):
    raw = rng.normal(size=(5, 8)) * 300
    raw[2] = np.nan
    soft = metrics.probabilities(tasks.get("expr"), raw)
    assert np.isnan(soft[2]).all()
    np.testing.assert_allclose(soft[[0, 1, 3, 4]].sum(axis=1), 1)
    np.testing.assert_array_equal(soft[[0, 1]].argmax(1), raw[[0, 1]].argmax(1))
    labels = metrics.probabilities(tasks.get("au"), np.linspace(-1000, 1000, 24).reshape(2, 12))
    assert labels.min() == 0 and labels.max() == 1
    np.testing.assert_allclose(metrics.probabilities(tasks.get("au"), np.full((1, 12), 0.7)), 1 / (1 + np.exp(-0.7)))
    np.testing.assert_array_equal(metrics.probabilities(tasks.get("va"), raw[:, :2]), raw[:, :2])


def test_selection_knows_that_errors_are_better_low():
    assert metrics.is_better("mae", 0.1, 0.2)
    assert not metrics.is_better("ccc", 0.1, 0.1)
    assert metrics.is_better("ccc", -1.0, None)
