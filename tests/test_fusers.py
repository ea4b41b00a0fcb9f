"""Every fuser in the registry keeps the contract; DWF and the forest against independent references."""

from __future__ import annotations

import json

import numpy as np
import pytest

from affectkit import metrics, plugins, tasks
from affectkit.errors import UsageError
from affectkit.fusers._weighting import weighted

MODELS, ROWS = 3, 400


def _made(name: str, task: tasks.Task, **options: str):
    plugin = plugins.get("fusers", name)
    return plugin(plugins.parse_options(plugin, [f"{k}={v}" for k, v in options.items()], name), task)


def _va(seed: int = 0):
    """Three models of growing noise; groups of 40 rows."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (ROWS, 2))
    noise = np.array([0.2, 0.6, 1.2])[:, None, None]
    return truth + noise * rng.normal(size=(MODELS, ROWS, 2)), truth, np.repeat(np.arange(10), 40)


def _expr(seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 8, (ROWS, 1))
    logits = 2 * np.eye(8)[truth[:, 0]] + np.array([0.5, 1.0, 2.0])[:, None, None] * rng.normal(size=(MODELS, ROWS, 8))
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return scores, truth.astype(float), np.repeat(np.arange(10), 40)


@pytest.mark.parametrize("name", plugins.names("fusers"))
@pytest.mark.parametrize("task", ["va", "expr"])
def test_contract(name: str, task: str) -> None:
    scores, truth, groups = _va() if task == "va" else _expr()
    fuser = _made(name, tasks.get(task))
    fuser.fit(scores, truth, groups, seed=3)
    fused = fuser.combine(scores)
    assert fused.shape == scores.shape[1:]
    assert np.isfinite(fused).all()
    again = _made(name, tasks.get(task))
    again.fit(scores, truth, groups, seed=3)
    np.testing.assert_array_equal(again.combine(scores), fused)
    json.dumps(fuser.state(), allow_nan=False)
    if task == "expr":
        np.testing.assert_allclose(fused.sum(1), 1)


@pytest.mark.parametrize("name", plugins.names("fusers"))
def test_a_missing_model_is_bridged_and_missing_rows_stay_missing(name: str) -> None:
    scores, truth, groups = _va()
    fuser = _made(name, tasks.get("va"))
    fuser.fit(scores, truth, groups, seed=0)
    holes = scores.copy()
    holes[0, :5] = np.nan
    holes[:, 7] = np.nan
    fused = fuser.combine(holes)
    assert np.isfinite(fused[:5]).all()
    assert np.isnan(fused[7]).all()


def test_dwf_is_the_best_of_the_plain_loop() -> None:
    """Same seed, same draws, same winner as an explicit loop over models (FACTS: every class column from Dirichlet)."""
    for task_name, (scores, truth, groups) in (("va", _va(1)), ("expr", _expr(1))):
        task = tasks.get(task_name)
        fuser = _made("dwf", task, draws="50")
        fuser.fit(scores, truth, groups, seed=5)
        rng = np.random.default_rng(5)
        best, winner = -np.inf, None
        for _ in range(50):
            weights = np.stack([rng.dirichlet(np.ones(MODELS)) for _ in range(scores.shape[2])], axis=1)
            fused = sum(scores[m] * weights[m] for m in range(MODELS))
            score = metrics.main(task, truth, fused)
            if score > best:
                best, winner = score, weights
        np.testing.assert_allclose(fuser.weights, winner, rtol=0, atol=1e-12)
        assert fuser.state()["score_in_sample"] == pytest.approx(best, abs=1e-12)


def test_dwf_keeps_something_when_every_draw_is_bad() -> None:
    """A metric below zero must not leave the weights empty (a known trap)."""
    scores, truth, groups = _va()
    fuser = _made("dwf", tasks.get("va"), draws="5")
    fuser.fit(-scores, truth, groups, seed=0)
    assert fuser.state()["score_in_sample"] < 0
    assert np.isfinite(fuser.combine(scores)).all()


def test_dwf_weights_are_simplex_columns_and_prefer_the_better_model() -> None:
    scores, truth, groups = _va()
    fuser = _made("dwf", tasks.get("va"))
    fuser.fit(scores, truth, groups, seed=0)
    np.testing.assert_allclose(fuser.weights.sum(0), 1)
    assert (fuser.weights.argmax(0) == 0).all()


def test_weights_of_missing_models_go_to_the_others() -> None:
    scores = np.array([[[1.0]], [[3.0]], [[np.nan]]])
    assert weighted(scores, np.array([[0.2], [0.2], [0.6]]))[0, 0] == pytest.approx(2.0)


def test_forest_equals_scikit_learn_on_concatenated_inputs() -> None:
    from sklearn.ensemble import RandomForestRegressor

    scores, truth, groups = _va()
    fuser = _made("random-forest", tasks.get("va"), trees="20")
    fuser.fit(scores, truth, groups, seed=0)
    inputs = np.concatenate(list(scores), axis=1)
    for column in range(2):
        reference = RandomForestRegressor(20, min_samples_leaf=5, random_state=0).fit(inputs, truth[:, column])
        np.testing.assert_allclose(fuser.combine(scores)[:, column], reference.predict(inputs))


def test_forest_gives_zero_to_classes_it_never_saw() -> None:
    scores, truth, groups = _expr()
    seen = truth[:, 0] < 5
    fuser = _made("random-forest", tasks.get("expr"))
    fuser.fit(scores[:, seen], truth[seen], groups[seen], seed=0)
    assert (fuser.combine(scores)[:, 5:] == 0).all()


def test_forest_refuses_multilabel() -> None:
    with pytest.raises(UsageError, match="dwf"):
        _made("random-forest", tasks.get("au"))


def test_unknown_options_are_named() -> None:
    with pytest.raises(UsageError, match="draws"):
        _made("dwf", tasks.get("va"), drows="5")
