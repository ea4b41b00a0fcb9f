from __future__ import annotations

import numpy as np
import pytest

from affectkit import metrics, tasks
from affectkit.errors import UsageError
from affectkit.learning.options import TrainingOptions
from affectkit.tasks import Task

torch = pytest.importorskip("torch")
from affectkit.training import losses  # noqa: E402


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def holed(labels, rng):
    """Labels [B,T,K] with a third of the steps unlabelled, and which are labelled [B,T]."""
    labelled = rng.random(labels.shape[:2]) > 0.33
    return np.where(labelled[..., None], labels, np.nan), labelled


def build(task, labels, **options):
    return losses.build(TrainingOptions(**options), task, labels.reshape(-1, labels.shape[-1]), "cpu")


@pytest.mark.parametrize("name", ["ccc", "mse", "ccc+mse", "rmse", "log-cosh"])
def test_regression_matches_numpy(name, rng):
    truth, labelled = holed(rng.uniform(-1, 1, size=(3, 11, 2)), rng)
    scores = rng.uniform(-1, 1, size=truth.shape)
    x, y = truth[labelled], scores[labelled]
    ccc = 1 - np.mean([metrics.ccc(x[:, k], y[:, k]) for k in range(2)])
    mse = np.mean((x - y) ** 2)
    expected = {
        "ccc": ccc, "mse": mse, "ccc+mse": ccc + mse, "rmse": np.sqrt(mse), "log-cosh": np.mean(np.log(np.cosh(x - y))),
    }[name]  # fmt: skip
    assert float(build(tasks.get("va"), truth, loss=name)(tensor(scores), tensor(truth))) == pytest.approx(
        expected, abs=1e-5
    )


def test_log_cosh_neither_overflows_nor_loses_its_slope():
    scores = torch.tensor([[[1000.0], [-1000.0], [0.0]]], requires_grad=True)
    value = losses.log_cosh(scores, torch.zeros(1, 3, 1))
    value.backward()
    assert value.item() == pytest.approx((2 * (1000 - np.log(2))) / 3)
    np.testing.assert_allclose(scores.grad.ravel() * 3, [1, -1, 0])


def test_rmse_of_a_perfect_score_has_a_gradient():
    scores = torch.ones(1, 3, 2, requires_grad=True)
    value = losses.rmse(scores, torch.ones(1, 3, 2))
    value.backward()
    assert value.item() < 1e-5 and (scores.grad == 0).all()


@pytest.mark.parametrize("weights", ["none", "balanced", "max"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_matches_torch(weights, smoothing, rng):
    truth, labelled = holed(rng.choice(8, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0, 0], size=(4, 9, 1)).astype(float), rng)
    scores = rng.normal(size=(4, 9, 8))
    found = build(tasks.get("expr"), truth, class_weights=weights, label_smoothing=smoothing)(
        tensor(scores), tensor(truth)
    )
    index = truth[labelled][:, 0].astype(int)
    counts = np.bincount(index, minlength=8)
    rare = np.divide(1, counts, out=np.zeros(8), where=counts > 0)
    scale = {"none": np.ones(8), "balanced": rare, "max": rare * counts.max()}[weights]
    module = torch.nn.CrossEntropyLoss(weight=tensor(scale), label_smoothing=smoothing)
    assert float(found) == pytest.approx(float(module(tensor(scores[labelled]), torch.tensor(index))), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("weights", "gamma"), [("balanced", 2.0), ("none", 0.5), ("max", 0.0)])
def test_focal_matches_numpy(smoothing, weights, gamma, rng):
    truth, labelled = holed(rng.integers(0, 8, size=(4, 30, 1)).astype(float), rng)
    scores = rng.normal(size=(4, 30, 8))
    options = {"class_weights": weights, "focal_gamma": gamma} if (weights, gamma) != ("balanced", 2.0) else {}
    loss = build(tasks.get("expr"), truth, loss="focal", label_smoothing=smoothing, **options)
    found = loss(tensor(scores), tensor(truth))
    index = truth[labelled][:, 0].astype(int)
    counts = np.bincount(index, minlength=8)
    alpha = {"balanced": 1 / counts / (1 / counts).sum(), "none": np.ones(8), "max": counts.max() / counts}[weights]
    each = []
    for row, k in zip(scores[labelled], index, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        q = (1 - smoothing) * np.eye(8)[k] + smoothing / 8
        each.append(-np.sum(alpha * q * (1 - p) ** gamma * np.log(p)))
    assert float(found) == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize("weights", ["none", "balanced", "max"])
def test_bce_matches_torch(weights, rng):
    truth, labelled = holed((rng.random((4, 9, 12)) < 0.3).astype(float), rng)
    scores = rng.normal(size=truth.shape)
    found = build(tasks.get("au"), truth, class_weights=weights)(tensor(scores), tensor(truth))
    x = truth[labelled]
    there = x.sum(0)
    ratio = {"none": np.ones(12), "balanced": (len(x) - there) / there, "max": there.max() / there}[weights]
    module = torch.nn.BCEWithLogitsLoss(pos_weight=tensor(ratio))
    assert float(found) == pytest.approx(float(module(tensor(scores[labelled]), tensor(x))), rel=1e-5)


def test_a_label_always_or_never_there_has_weight_1():
    np.testing.assert_array_equal(losses.positive_weight(np.array([[0.0, 1, 1], [0, 1, 0], [0, 1, 0]])), [1, 1, 2])


def everyone(rng):
    for task, loss in [
        ("va", "ccc"),
        ("va", "mse"),
        ("va", "rmse"),
        ("va", "log-cosh"),
        ("expr", "cross-entropy"),
        ("expr", "focal"),
        ("au", "bce"),
    ]:
        chosen = tasks.get(task)
        columns = len(chosen.label_columns)
        high = chosen.outputs if chosen.kind == "multiclass" else 2
        labels = rng.integers(0, high, size=(2, 5, columns)).astype(float)
        yield chosen, loss, labels, rng.normal(size=(2, 5, chosen.outputs))


def test_unlabelled_steps_neither_count_nor_get_a_gradient(rng):
    for task, loss, labels, scores in everyone(rng):
        labels[1, 2:] = np.nan
        function = build(task, labels, loss=loss)
        x = tensor(scores).requires_grad_()
        value = function(x, tensor(labels))
        value.backward()
        assert (x.grad[1, 2:] == 0).all() and (x.grad[0].abs().sum() > 0), loss
        scores[1, 2:] = 1e3
        assert float(function(tensor(scores), tensor(labels))) == pytest.approx(value.item(), rel=1e-6), loss


@pytest.mark.parametrize("steps", [0, 1])
def test_one_labelled_step_or_none_is_finite(steps, rng):
    for task, loss, labels, scores in everyone(rng):
        function = build(task, labels, loss=loss)
        labels.reshape(10, -1)[steps:] = np.nan
        x = tensor(scores).requires_grad_()
        value = function(x, tensor(labels))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(x.grad).all(), loss


@pytest.mark.parametrize(
    ("task", "loss"), [("va", "bce"), ("va", "cross-entropy"), ("expr", "ccc"), ("expr", "bce"), ("au", "focal")]
)
def test_a_loss_of_another_kind_is_refused(task, loss):
    with pytest.raises(UsageError, match=rf"loss '{loss}' is not for .* \(accepted: "):
        build(tasks.get(task), np.zeros((1, 2, len(tasks.get(task).label_columns))), loss=loss)


def test_smoothing_of_values_is_refused():
    with pytest.raises(UsageError, match="label_smoothing"):
        build(tasks.get("va"), np.zeros((1, 2, 2)), label_smoothing=0.1)


def test_auto_is_the_tasks_loss(rng):
    task = Task(name="x", kind="multiclass", level="time", targets=("a", "b", "c"), metric="uar", loss="focal")
    labels, scores = rng.integers(0, 3, size=(1, 6, 1)).astype(float), tensor(rng.normal(size=(1, 6, 3)))
    assert build(task, labels)(scores, tensor(labels)) == build(task, labels, loss="focal")(scores, tensor(labels))
