"""Every fuser in the registry keeps the contract; DWF and the forest against independent references."""

from __future__ import annotations

import json

import numpy as np
import pytest

from affectkit import metrics, plugins, tasks
from affectkit.errors import UsageError
from affectkit.fusers._weighting import weighted
from affectkit.plugins import contracts
from affectkit.plugins.contracts.fusers import MODELS, OBLIGATIONS, ROWS, table, tried_tasks


def _made(name: str, task: tasks.Task, **options: str):
    plugin = plugins.get("fusers", name)
    return plugin(plugins.parse_options(plugin, [f"{k}={v}" for k, v in options.items()], name), task)


def _va(seed: int = 0):
    return table(tasks.get("va"), seed=seed)


def _expr(seed: int = 0):
    return table(tasks.get("expr"), seed=seed)


def _au(seed: int = 0):
    return table(tasks.get("au"), seed=seed)


def _compound(seed: int = 0):
    return table(tasks.get("compound"), inputs=tasks.get("expr").outputs, seed=seed)


def _swept() -> list[contracts.Candidate]:
    """Every fuser with every task that it takes."""
    found = []
    for name in plugins.names("fusers"):
        plugin = plugins.get("fusers", name)
        for task in tried_tasks(plugin):
            if (name, task.name) != ("random-forest", "au"):
                found.append(contracts.Candidate("fusers", name, plugin, plugin.Options(), task=task))
    return found


@pytest.mark.parametrize("candidate", _swept(), ids=lambda one: f"{one.name}-{one.task.name}")
@pytest.mark.parametrize("obligation", OBLIGATIONS, ids=contracts.sentence)
def test_contract(candidate: contracts.Candidate, obligation: contracts.Obligation) -> None:
    obligation(candidate)


@pytest.mark.parametrize("name", ["dwf", "best-single", "nnls", "stacking", "random-forest"])
def test_what_learns_is_no_worse_than_the_worst_model(name: str) -> None:
    """On rows that it was not fitted on; what looks at the labels leans on the good model."""
    for task_name, made in (("va", _va), ("expr", _expr)):
        task = tasks.get(task_name)
        fuser = _made(name, task)
        fuser.fit(*made(0), seed=0)
        scores, truth, _ = made(1)
        score = metrics.main(task, truth, fuser.combine(scores))
        alone = [metrics.main(task, truth, one) for one in scores]
        assert score > alone[1]  # of the middle model


def test_equal_is_the_mean() -> None:
    scores, truth, groups = _va()
    scores[0, :10] = np.nan
    fuser = _made("equal", tasks.get("va"))
    fuser.fit(scores, truth, groups, seed=0)
    np.testing.assert_allclose(fuser.combine(scores), np.nanmean(scores, axis=0))


def test_best_single_is_the_model_that_is_best_where_all_are() -> None:
    """The good model is judged on the rows that all have, not on easy rows of its own; where it is missing, the others'
    mean stands in."""
    scores, truth, groups = _va()
    scores = scores[::-1].copy()  # the best is the last
    scores[0, :50] = truth[:50]
    scores[2, :50] = np.nan
    fuser = _made("best-single", tasks.get("va"))
    fuser.fit(scores, truth, groups, seed=0)
    assert fuser.state()["weights"] == [[0, 0], [0, 0], [1, 1]]
    expected = [metrics.main(tasks.get("va"), truth[50:], one[50:]) for one in scores]
    np.testing.assert_allclose(fuser.state()["scores_in_sample"], expected)
    np.testing.assert_allclose(fuser.combine(scores)[:50], scores[:2, :50].mean(axis=0))
    np.testing.assert_array_equal(fuser.combine(scores)[50:], scores[2, 50:])
    scores[1, 50:] = np.nan  # no row of all three: each on its own
    fuser.fit(scores, truth, groups, seed=0)
    assert fuser.state()["scores_in_sample"][1] == metrics.main(tasks.get("va"), truth[:50], scores[1, :50])


def test_best_single_of_an_error_is_the_lowest() -> None:
    task = tasks.get("va").model_copy(update={"metric": "mae"})
    fuser = _made("best-single", task)
    fuser.fit(*_va(), seed=0)
    assert fuser.weights[0].tolist() == [1, 1]


def test_nnls_is_the_least_squares_solution_among_weights_that_are_not_negative() -> None:
    """Against a bounded solver; planted weights are found again."""
    from scipy.optimize import lsq_linear

    scores, truth, groups = _expr()
    fuser = _made("nnls", tasks.get("expr"))
    fuser.fit(scores, truth, groups, seed=0)
    for k in range(8):
        reference = lsq_linear(scores[:, :, k].T, truth[:, 0] == k, (0, np.inf), tol=1e-14, lsmr_tol="auto")
        np.testing.assert_allclose(fuser.weights[:, k], reference.x, atol=1e-6)
    scores, _, groups = _va()
    planted = np.array([[0.5, 0.0], [0.3, 0.9], [0.0, 0.6]])
    fuser = _made("nnls", tasks.get("va"))
    fuser.fit(scores, np.einsum("mnk,mk->nk", scores, planted), groups, seed=0)
    np.testing.assert_allclose(fuser.weights, planted, atol=1e-10)


def test_nnls_gives_even_classes_where_no_model_helps() -> None:
    """Weights of 0 throughout: every class alike, and no division by 0."""
    scores, truth, groups = _expr()
    fuser = _made("nnls", tasks.get("expr"))
    fuser.fit(-scores, truth, groups, seed=0)
    assert (fuser.weights == 0).all()
    np.testing.assert_allclose(fuser.combine(scores), 1 / 8)


def test_stacking_equals_the_closed_form_of_ridge() -> None:
    scores, truth, groups = _va()
    fuser = _made("stacking", tasks.get("va"), alpha="3")
    fuser.fit(scores, truth, groups, seed=0)
    inputs = np.concatenate(list(scores), axis=1)
    z = (inputs - inputs.mean(0)) / inputs.std(0)
    w = np.linalg.solve(z.T @ z + 3 * np.eye(6), z.T @ (truth - truth.mean(0)))
    np.testing.assert_allclose(fuser.combine(scores), truth.mean(0) + z @ w)
    np.testing.assert_allclose(np.concatenate(fuser.state()["coefficients"]), w.T)


def test_stacking_is_at_the_optimum_of_its_penalised_likelihood() -> None:
    """Its gradient there is 0: sum over rows of (p - y) z, and the penalty's."""
    scores, truth, groups = _expr()
    fuser = _made("stacking", tasks.get("expr"), c="0.5")
    fuser.fit(scores, truth, groups, seed=0)
    inputs = np.log(np.concatenate(list(scores), axis=1))
    z = (inputs - inputs.mean(0)) / inputs.std(0)
    residual = fuser.combine(scores) - np.eye(8)[truth[:, 0].astype(int)]
    gradient = residual.T @ z + np.array(fuser.state()["coefficients"][0]) / 0.5
    assert np.abs(gradient).max() < 0.05 * np.abs((np.eye(8)[truth[:, 0].astype(int)] - 1 / 8).T @ z).max()


def test_stacking_of_labels_that_never_occur_and_of_one_class() -> None:
    scores, truth, groups = _au()
    truth[:, 3], truth[:, 4] = 0, 1
    fuser = _made("stacking", tasks.get("au"))
    fuser.fit(scores, truth, groups, seed=0)
    fused = fuser.combine(scores)
    assert (fused[:, 3] == 0).all()
    assert (fused[:, 4] == 1).all()
    json.dumps(fuser.state(), allow_nan=False)
    assert metrics.binary_f1(truth, fused >= 0.5) > 0.8
    scores, truth, groups = _expr()
    fuser = _made("stacking", tasks.get("expr"), balanced="true")
    fuser.fit(scores, np.full_like(truth, 2), groups, seed=0)
    np.testing.assert_array_equal(fuser.combine(scores), np.tile(np.eye(8)[2], (ROWS, 1)))


def test_rank_average_does_not_mind_the_scale_of_a_model() -> None:
    """Any rising function of one model leaves the ranks, so the order of the fused rows; copies of one model give that
    model back, on its scale."""
    from scipy.stats import rankdata

    scores, truth, groups = _va()
    bent = scores.copy()
    bent[1] = np.exp(3 * scores[1])
    orders = []
    for one in (scores, bent):
        fuser = _made("rank-average", tasks.get("va"))
        fuser.fit(one, truth, groups, seed=0)
        orders.append(fuser.combine(one).argsort(axis=0))
    np.testing.assert_array_equal(*orders)
    fuser.fit(np.repeat(scores[:1], 3, axis=0), truth, groups, seed=0)
    np.testing.assert_allclose(fuser.combine(np.repeat(scores[:1], 3, axis=0)), scores[0], atol=1e-9)
    scores, truth, groups = _expr()
    fuser = _made("rank-average", tasks.get("expr"))
    fuser.fit(scores, truth, groups, seed=0)
    ranks = np.mean([(rankdata(one, axis=0) - 0.5) / ROWS for one in scores], axis=0)
    np.testing.assert_allclose(fuser.combine(scores), ranks / ranks.sum(axis=1, keepdims=True))


def test_compounds_are_sums_of_the_two_basic_emotions() -> None:
    scores, truth, groups = _compound()
    fuser = _made("compound-from-basic", tasks.get("compound"))
    assert fuser.inputs == tasks.get("expr").targets
    fuser.fit(scores, truth, groups, seed=0)
    _, anger, disgust, fear, happiness, sadness, surprise, _ = scores.mean(axis=0).T
    sums = np.stack([fear + surprise, happiness + surprise, sadness + surprise, disgust + surprise, anger + surprise,
                     sadness + fear, sadness + anger], axis=1)  # fmt: skip
    fused = fuser.combine(scores)
    np.testing.assert_allclose(fused, sums / sums.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(fuser.combine(np.tile(np.eye(8)[0], (2, 1, 1))), 1 / 7)  # all of it Neutral
    reversed_task = tasks.get("compound").model_copy(update={"targets": tasks.get("compound").targets[::-1]})
    np.testing.assert_allclose(_made("compound-from-basic", reversed_task).combine(scores), fused[:, ::-1])


@pytest.mark.parametrize("task", ["va", "expr", "au"])
def test_compounds_are_for_compound_tasks(task: str) -> None:
    with pytest.raises(UsageError, match="--task compound"):
        _made("compound-from-basic", tasks.get(task))


def test_dwf_is_the_best_of_the_plain_loop() -> None:
    """Same seed, same draws, same winner as an explicit loop over models (FACTS: every class column from Dirichlet)."""
    for task_name, (scores, truth, groups) in (("va", _va(1)), ("expr", _expr(1))):
        task = tasks.get(task_name)
        fuser = _made("dwf", task, draws="50", refine="false")
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


def few_clips(seed: int, clips: int = 8):
    """Valence and arousal of three equally good models: each clip has an error of its own that its rows share."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(clips, 1, 2)) + 0.3 * rng.normal(size=(clips, 10, 2))
    scores = truth + rng.normal(size=(MODELS, clips, 1, 2)) + 0.3 * rng.normal(size=(MODELS, clips, 10, 2))
    return scores.reshape(MODELS, -1, 2), truth.reshape(-1, 2), np.repeat(np.arange(clips), 10)


@pytest.mark.parametrize("name", ["dwf", "nnls", "stacking"])
def test_few_clips_are_shrunk_and_many_are_not(name: str) -> None:
    va = tasks.get("va")
    gains = []
    for seed in range(6):
        plain, shrunk = _made(name, va, shrink="0"), _made(name, va)
        far, truth, _ = few_clips(1000 + seed, 150)
        for fuser in (plain, shrunk):
            fuser.fit(*few_clips(seed), seed=0)
        gains.append(metrics.main(va, truth, shrunk.combine(far)) - metrics.main(va, truth, plain.combine(far)))
        tried = shrunk.state()["shrinkage_tried"]
        assert list(tried) == ["0", "0.25", "0.5", "0.75", "1"]
        assert tried[f"{shrunk.shrinkage:g}"] == max(tried.values())
    assert np.mean(gains) > 0.005
    many = _made(name, va)
    many.fit(*few_clips(0, 20), seed=0)
    assert many.shrinkage == 0 and "shrinkage_tried" not in many.state()


@pytest.mark.parametrize("name", ["dwf", "nnls", "stacking"])
def test_shrunk_by_so_much(name: str) -> None:
    """By all: the mean of the models; by half: half of it; what is told are the weights that combine."""
    for task_name, (scores, truth, groups) in (("va", _va()), ("au", _au())):
        scores[0, 3] = np.nan
        task, fused = tasks.get(task_name), []
        for amount in ("0", "0.5", "1"):
            fuser = _made(name, task, shrink=amount)
            fuser.fit(scores, truth, groups, seed=0)
            fused.append(fuser.combine(scores))
            if name == "dwf":
                expected = weighted(scores, np.array(fuser.state()["weights"]))
                np.testing.assert_allclose(fused[-1], expected)
        np.testing.assert_allclose(fused[2], np.nanmean(scores, axis=0))
        np.testing.assert_allclose(np.delete(fused[1], 3, axis=0), np.delete((fused[0] + fused[2]) / 2, 3, axis=0))
    with pytest.raises(UsageError, match="shrink"):
        _made(name, tasks.get("va"), shrink="1.5")


def test_auto_takes_the_one_model_that_knows() -> None:
    """Beside noise, a fusion of few clips is worse than the model alone, and is not taken."""
    va = tasks.get("va")
    rng = np.random.default_rng(0)
    scores, truth, groups = few_clips(0)
    scores[0], scores[1:] = truth + 0.2 * rng.normal(size=truth.shape), rng.normal(size=(2, *truth.shape))
    fuser = _made("auto", va)
    fuser.fit(scores, truth, groups, seed=0)
    state = fuser.state()
    assert state["chosen"] == "best-single"
    np.testing.assert_array_equal(fuser.combine(scores), scores[0])
    tried = {(one["method"], one["shrinkage"]): one["held_out_score"] for one in state["tried"]}
    assert len(tried) == len(state["tried"]) == 2 + 3 * 4
    assert "best single" in state["why"]
    best = _made("auto", va, rule="best")
    best.fit(scores, truth, groups, seed=0)
    about = best.state()
    assert tried[about["chosen"], about["shrinkage"]] == max(tried.values())


def test_auto_takes_a_fusion_where_it_is_better_beyond_a_standard_error() -> None:
    va = tasks.get("va")
    scores, truth, groups = few_clips(1, 30)
    fuser = _made("auto", va)
    fuser.fit(scores, truth, groups, seed=0)
    assert fuser.state()["chosen"] == "equal"  # models alike: the simplest fusion
    rng = np.random.default_rng(1)
    scores[0] = np.stack([truth[:, 0], rng.normal(size=len(truth))], axis=1)  # each knows one target
    scores[1] = np.stack([rng.normal(size=len(truth)), truth[:, 1]], axis=1)
    scores[2] = rng.normal(size=truth.shape)
    fuser.fit(scores, truth, groups, seed=0)
    assert fuser.state()["chosen"] == "dwf"
    assert metrics.main(va, truth, fuser.combine(scores)) > 0.99


def test_auto_of_one_clip_is_the_mean() -> None:
    scores, truth, _ = _expr()
    fuser = _made("auto", tasks.get("expr"))
    fuser.fit(scores, truth, np.zeros(ROWS), seed=0)
    assert fuser.state()["chosen"] == "equal" and "nothing can be held out" in fuser.state()["why"]
    np.testing.assert_allclose(fuser.combine(scores), scores.mean(axis=0))


def test_forest_is_the_mean_of_trees_grown_on_drawn_clips() -> None:
    """Each tree is scikit-learn's on the rows of the drawn clips, weighed by how often the clip was drawn."""
    from sklearn.tree import DecisionTreeRegressor

    scores, truth, groups = _va()
    fuser = _made("random-forest", tasks.get("va"), trees="20", min_leaf="1")
    fuser.fit(scores, truth, groups, seed=0)
    inputs = np.concatenate(list(scores), axis=1).astype(np.float32)
    for column, forest in enumerate(fuser.forests):
        grown = []
        for tree, drawn in zip(forest.trees, forest.drawn, strict=True):
            assert drawn.sum() == 10
            alone = DecisionTreeRegressor(random_state=tree.random_state)
            alone.fit(inputs, truth[:, column], sample_weight=drawn[groups])
            grown.append(alone.predict(inputs))
        np.testing.assert_allclose(fuser.combine(scores)[:, column], np.mean(grown, axis=0))
        assert len(grown) == len(np.unique(forest.drawn, axis=0)) == 20


def test_out_of_bag_score_is_that_of_clips_a_tree_never_saw() -> None:
    scores, truth, groups = _expr()
    fuser = _made("random-forest", tasks.get("expr"), trees="12")
    fuser.fit(scores, truth, groups, seed=4)
    (forest,) = fuser.forests
    inputs = np.concatenate(list(scores), axis=1).astype(np.float32)
    votes = np.zeros((ROWS, 8))
    for row in range(ROWS):
        for tree, drawn in zip(forest.trees, forest.drawn, strict=True):
            if not drawn[groups[row]]:
                votes[row, tree.classes_.astype(int)] += tree.predict_proba(inputs[row : row + 1])[0]
    judged = votes.sum(axis=1) > 0
    expected = metrics.main(tasks.get("expr"), truth[judged], votes[judged])
    assert fuser.state()["out_of_bag_score"] == pytest.approx(expected)


def test_forest_is_not_flattered_by_neighbouring_frames() -> None:
    """Labels that hang on the clip alone, and scores that give the clip away but nothing else: a forest on drawn rows
    believes that it knows the labels, one on drawn clips knows that it does not."""
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 20)
    truth = rng.normal(size=(20, 2))[groups]
    scores = rng.normal(size=(MODELS, 20, 2))[:, groups] + 0.01 * rng.normal(size=(MODELS, ROWS, 2))
    fuser = _made("random-forest", tasks.get("va"), trees="50")
    fuser.fit(scores, truth, groups, seed=0)
    inputs = np.concatenate(list(scores), axis=1)
    flattered = RandomForestRegressor(50, min_samples_leaf=5, oob_score=True, random_state=0).fit(inputs, truth)
    assert metrics.main(tasks.get("va"), truth, flattered.oob_prediction_) > 0.9
    assert fuser.state()["out_of_bag_score"] < 0.3


def test_forest_of_sun_is_the_best_of_their_six() -> None:
    scores, truth, groups = _expr()
    fuser = _made("random-forest", tasks.get("expr"), preset="sun")
    fuser.fit(scores, truth, groups, seed=0)
    state = fuser.state()
    tried = {(one["trees"], one["criterion"]): one["out_of_bag_score"] for one in state["tried"]}
    assert set(tried) == {(trees, criterion) for trees in (10, 50, 100) for criterion in ("gini", "entropy")}
    assert tried[state["trees"], state["criterion"]] == state["out_of_bag_score"] == max(tried.values())
    assert len(fuser.forests[0].trees) == state["trees"]
    alone = _made("random-forest", tasks.get("expr"), trees=str(state["trees"]), criterion=state["criterion"])
    alone.fit(scores, truth, groups, seed=0)
    np.testing.assert_array_equal(alone.combine(scores), fuser.combine(scores))
    with pytest.raises(UsageError, match="preset=sun chooses trees itself"):
        _made("random-forest", tasks.get("expr"), preset="sun", trees="10")


def test_forest_of_one_clip_has_no_score_out_of_bag() -> None:
    scores, truth, _ = _va()
    fuser = _made("random-forest", tasks.get("va"), trees="3")
    fuser.fit(scores, truth, np.zeros(ROWS), seed=0)
    assert fuser.state()["out_of_bag_score"] is None
    assert np.isfinite(fuser.combine(scores)).all()


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
