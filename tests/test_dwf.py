"""The search of DWF against an explicit loop over the same draws: same winner, same score, whatever was skipped."""

from __future__ import annotations

import numpy as np
import pytest

from affectkit import metrics, plugins, tasks
from affectkit.errors import UsageError
from affectkit.fusers import _search
from affectkit.fusers._objective import Labels, Moments, Winners
from affectkit.fusers._search import Search
from affectkit.fusers._weighting import patterns, renormalised, weighted

MODELS, ROWS = 3, 700


def _task(name: str, metric: str) -> tasks.Task:
    return tasks.get(name).model_copy(update={"metric": metric})


def _va(seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (ROWS, 2))
    noise, bias = np.array([0.5, 0.6, 0.8])[:, None, None], np.array([0.3, 0.0, -0.4])[:, None, None]
    return truth + bias + noise * rng.normal(size=(MODELS, ROWS, 2)), truth


def _expr(seed: int = 0, classes: int = 8, noise: float = 1.5, dtype: type = np.float64):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, (ROWS, 1), p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    logits = 2 * np.eye(classes)[truth[:, 0]] + noise * rng.normal(size=(MODELS, ROWS, classes))
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return scores.astype(dtype), truth.astype(float)


def _au(seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((ROWS, 12)) < np.linspace(0.05, 0.6, 12)).astype(float)
    return 1 / (1 + np.exp(-(2 * truth - 1 + rng.normal(size=(MODELS, ROWS, 12))))), truth


def _made(case: str, seed: int = 0):
    if case == "au":
        return _au(seed)
    return _va(seed) if case == "va" else _expr(seed)


def _holed(scores, seed: int = 0):
    """Stretches and single cells of models are missing; the last model has all, so every row keeps a score."""
    rng = np.random.default_rng(seed)
    holed = scores.copy()
    holed[0, 50:200] = np.nan
    holed[-2, 150:300] = np.nan
    holed[0][rng.random(scores.shape[1:]) < 0.05] = np.nan
    return holed


def _by_hand(scores, weights):
    """The fused scores of one draw: the mean of what is there, weighed by the weights of those that are there."""
    there = np.isfinite(scores)
    masses = there * weights[:, None, :]
    return (masses / masses.sum(axis=0) * np.where(there, scores, 7.0)).sum(axis=0)


def _loop(task, scores, truth, draws: int, seed: int):
    """The best of the draws by scoring each on all rows."""
    rng = np.random.default_rng(seed)
    best, winner = None, None
    for _ in range(draws):
        weights = np.stack([rng.dirichlet(np.ones(len(scores))) for _ in range(scores.shape[2])], axis=1)
        fused = sum(scores[m].astype(float) * weights[m] for m in range(len(scores)))
        score = metrics.main(task, truth, fused)
        if metrics.is_better(task.metric, score, best):
            best, winner = score, weights
    return best, winner


CASES = [
    ("va", "ccc"), ("va", "pearson"), ("va", "mae"), ("expr", "macro-f1"), ("expr", "uar"), ("expr", "war"),
    ("au", "binary-f1"),
]  # fmt: skip


@pytest.fixture(params=[False, True], ids=["rows", "counted"])
def counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether classes and labels are counted, as they are in large searches, or scored on the rows."""
    monkeypatch.setattr(_search, "_SMALL", 0 if request.param else np.inf)
    return request.param


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_fit_is_the_best_of_the_plain_loop(name: str, metric: str, counted: bool) -> None:
    task = _task(name, metric)
    for seed in range(3):
        scores, truth = _made(name, seed)
        plugin = plugins.get("fusers", "dwf")
        fuser = plugin(plugins.parse_options(plugin, ["draws=150", "refine=false"], "dwf"), task)
        fuser.fit(scores, truth, np.zeros(ROWS), seed=seed)
        best, winner = _loop(task, scores, truth, 150, seed)
        np.testing.assert_array_equal(fuser.weights, winner)
        assert fuser.state()["score_in_sample"] == best


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("models", "classes"), [(2, 7), (3, 8), (4, 3), (3, 11)])
def test_counted_scores_have_the_bits_of_the_metrics(models: int, classes: int, dtype: type) -> None:
    """More classes than fit into a packed word included; ties of coarse scores too."""
    task = tasks.Task(name="x", kind="multiclass", level="time", targets=tuple("abcdefghijk"[:classes]), metric="uar")
    scores, truth = _expr(2, classes, 1.5, dtype)
    scores = np.concatenate([scores, scores[::-1]])[:models]
    draws = np.random.default_rng(0).dirichlet(np.ones(models), (30, classes)).transpose(0, 2, 1)
    draws[0] = 1 / models
    draws[1] = np.eye(models)[0][:, None]
    for values in (scores, np.round(scores, 1), _holed(np.round(scores, 1))):
        for metric in ("macro-f1", "uar", "war"):
            one = task.model_copy(update={"metric": metric})
            expected = [metrics.main(one, truth, weighted(values, weights)) for weights in draws]
            np.testing.assert_array_equal(Winners(metric, values, truth)(draws), expected)


def test_counted_labels_have_the_bits_of_the_metrics() -> None:
    task = tasks.get("au")
    scores, truth = _au(1)
    draws = np.random.default_rng(0).dirichlet(np.ones(MODELS), (30, 12)).transpose(0, 2, 1)
    draws[0] = 1 / MODELS
    for values in (scores, np.round(scores, 1), _holed(np.round(scores, 1)), scores.astype(np.float32)):
        expected = [metrics.main(task, truth, weighted(values, weights)) for weights in draws]
        np.testing.assert_array_equal(Labels(values, truth)(draws), expected)


@pytest.mark.parametrize("metric", ["ccc", "pearson"])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_moments_give_the_scores_of_the_rows(metric: str, shift: float) -> None:
    """Missing scores, values far from zero and constant columns included."""
    scores, truth = _va(1)
    constant = scores.copy()
    constant[:, :, 1] = 0.3
    draws = np.random.default_rng(0).dirichlet(np.ones(MODELS), (50, 2)).transpose(0, 2, 1)
    for values in (scores, _holed(scores), constant):
        found = Moments(metric, values + shift, truth + shift)(draws)
        expected = [metrics.main(_task("va", metric), truth + shift, weighted(values + shift, w)) for w in draws]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_all_draws_at_once_are_the_draws_one_by_one() -> None:
    one, many = np.random.default_rng(7), np.random.default_rng(7)
    alpha = np.full(4, 0.7)
    np.testing.assert_array_equal([one.dirichlet(alpha, 3) for _ in range(20)], many.dirichlet(alpha, (20, 3)))


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = _va()
    found = []
    for cells in (1, 500, 1 << 20):
        monkeypatch.setattr("affectkit.fusers._objective._CELLS", cells)
        search = Search(tasks.get("va"), scores, truth, 300)
        search.uniform(np.random.default_rng(1), 1.0, 300, (MODELS, 2))
        found.append((search.score, search.weights.tolist()))
    assert found[0] == found[1] == found[2]


def test_of_equals_the_first_draw_wins(counted: bool) -> None:
    """Three copies of one model: every draw scores the same up to rounding; of classes, exactly the same."""
    scores, truth = _expr()
    scores = np.repeat(np.round(scores[:1] * 64) / 64, MODELS, axis=0)
    search = Search(tasks.get("expr"), scores, truth, 50)
    search.uniform(np.random.default_rng(3), 1.0, 50, (MODELS, 8))
    best, winner = _loop(tasks.get("expr"), scores, truth, 50, 3)
    assert search.score == best
    np.testing.assert_array_equal(search.weights, winner)


def test_scores_that_differ_by_rounding_are_settled_on_the_rows() -> None:
    """CCC of copies of one model differs in the last bits only: there the rows decide, as in the loop."""
    scores, truth = _va()
    scores = np.repeat(scores[:1], MODELS, axis=0)
    search = Search(tasks.get("va"), scores, truth, 60)
    search.uniform(np.random.default_rng(3), 1.0, 60, (MODELS, 2))
    best, winner = _loop(tasks.get("va"), scores, truth, 60, 3)
    assert search.score == best
    np.testing.assert_array_equal(search.weights, winner)


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_missing_scores_are_searched_as_they_are_combined(name: str, metric: str, counted: bool) -> None:
    task = _task(name, metric)
    scores, truth = _made(name, 4)
    scores = _holed(scores)
    search = Search(task, scores, truth, 25)
    search.uniform(np.random.default_rng(5), 1.0, 25, (MODELS, scores.shape[2]))
    rng = np.random.default_rng(5)
    draws = [rng.dirichlet(np.ones(MODELS), scores.shape[2]).T for _ in range(25)]
    by_hand = [metrics.main(task, truth, _by_hand(scores, one)) for one in draws]
    best = min(by_hand) if metric == "mae" else max(by_hand)
    assert search.score == pytest.approx(best, abs=1e-12)
    assert metrics.main(task, truth, _by_hand(scores, search.weights)) == pytest.approx(best, abs=1e-12)


def test_weights_shared_out() -> None:
    scores = np.array([[1.0, 1.0, np.nan, np.nan], [3.0, np.nan, 3.0, np.nan], [5.0, 5.0, 5.0, np.nan]])[:, :, None]
    weights = np.array([[0.5], [0.5], [0.0]])
    np.testing.assert_allclose(weighted(scores, weights)[:, 0], [2, 1, 3, np.nan])
    np.testing.assert_allclose(weighted(scores, np.array([[1.0], [0.0], [0.0]]))[:, 0], [1, 1, 4, np.nan])
    np.testing.assert_allclose(weighted(scores, np.array([[2.0], [2.0], [0.0]]))[:, 0], [8, 4, 12, np.nan])
    present, which = patterns(scores)
    assert present[which][:, :, 0].T.tolist() == np.isfinite(scores[:, :, 0]).tolist()
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), (5, 1)).transpose(0, 2, 1)
    np.testing.assert_array_equal(renormalised(drawn, np.ones((1, 3, 1), bool))[:, 0], drawn)


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_more_rounds_never_end_worse(name: str, metric: str) -> None:
    task = _task(name, metric)
    gains = []
    for seed in range(3):
        scores, truth = _made(name, seed)
        plugin = plugins.get("fusers", "dwf")
        found = []
        for rounds in (0, 2, 5):
            options = plugins.parse_options(plugin, ["draws=40", f"rounds={rounds}", "refine=false"], "dwf")
            fuser = plugin(options, task)
            fuser.fit(scores, truth, np.zeros(ROWS), seed=seed)
            np.testing.assert_allclose(fuser.weights.sum(axis=0), 1)
            assert metrics.main(task, truth, weighted(scores, fuser.weights)) == fuser.score
            found.append(-fuser.score if metric == "mae" else fuser.score)
        assert found[0] <= found[1] <= found[2]
        gains.append(found[2] - found[0])
    assert max(gains) > 0


def fitted(task: tasks.Task, scores, truth, *options: str):
    plugin = plugins.get("fusers", "dwf")
    fuser = plugin(plugins.parse_options(plugin, options, "dwf"), task)
    fuser.fit(scores, truth, np.zeros(scores.shape[1]), seed=0)
    return fuser


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(("name", "metric"), CASES)
def test_the_climb_ends_no_worse_than_the_draw_and_the_same_each_time(name: str, metric: str, holes: bool) -> None:
    task = _task(name, metric)
    for models in (2, 3):
        scores, truth = _made(name, 7)
        scores = (_holed(scores) if holes else scores)[-models:]
        drawn, climbed, again = (fitted(task, scores, truth, "draws=30", *more) for more in (["refine=false"], [], []))
        np.testing.assert_allclose(climbed.weights.sum(axis=0), 1)
        assert (climbed.weights >= 0).all()
        assert climbed.score == metrics.main(task, truth, weighted(scores, climbed.weights))
        assert not metrics.is_better(metric, drawn.score, climbed.score)
        assert climbed.drawn_score == drawn.score
        np.testing.assert_array_equal(again.weights, climbed.weights)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(("name", "metric"), [case for case in CASES if case[0] != "expr"])
def test_two_models_are_at_the_best_of_a_fine_grid(name: str, metric: str, holes: bool) -> None:
    """Each target by itself: 301 shares of the first model."""
    task = _task(name, metric).model_copy(update={"targets": ("a", "b")})
    scores, truth = (one[..., -2:] for one in _made(name, 3))
    scores = (_holed(scores) if holes else scores)[-2:]
    share = np.linspace(0, 1, 301)
    one = task.model_copy(update={"targets": ("x",)})
    best = []
    for k in range(scores.shape[2]):
        column, labels = scores[:, :, [k]], truth[:, [k]]
        found = [metrics.main(one, labels, weighted(column, np.array([[w], [1 - w]]))) for w in share]
        best.append(min(found) if metric == "mae" else max(found))
    score, sign = fitted(task, scores, truth).score, -1 if metric == "mae" else 1
    assert sign * score >= sign * np.mean(best) - 1e-9
    assert sign * score <= sign * np.mean(best) + (5e-3 if name == "au" else 1e-5)  # steps lie between the grid's


@pytest.mark.parametrize("metric", ["macro-f1", "uar", "war"])
def test_two_models_of_two_classes_are_at_the_best_of_a_fine_grid(metric: str) -> None:
    task = tasks.Task(name="x", kind="multiclass", level="time", targets=("a", "b"), metric=metric)
    scores, truth = _expr(3, 2, 1.5)
    scores = scores[:2]
    share = np.linspace(0, 1, 31)
    grid = [
        metrics.main(task, truth, weighted(scores, np.array([[a, b], [1 - a, 1 - b]]))) for a in share for b in share
    ]
    assert fitted(task, scores, truth).score >= max(grid) - 2e-3


@pytest.mark.parametrize("metric", ["ccc", "pearson", "mae"])
@pytest.mark.parametrize("models", [3, 5])
def test_more_models_are_at_the_optimum_of_an_optimiser(metric: str, models: int) -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(models)
    truth = rng.normal(size=(400, 2))
    scores = truth + rng.uniform(0.4, 1.2, models)[:, None, None] * rng.normal(size=(models, 400, 2)) + rng.normal(
        0, 0.5, (400, 2)
    )  # fmt: skip
    task, sign = _task("va", metric), -1 if metric == "mae" else 1
    measure = {"ccc": metrics.ccc, "pearson": metrics.pearson, "mae": metrics.mae}[metric]
    best = []
    for k in range(2):

        def loss(z, k=k):
            weights = np.exp(z) / np.exp(z).sum()
            return -sign * measure(truth[:, k], weights @ scores[:, :, k])

        starts = np.vstack([np.zeros(models), 2 * np.eye(models)])
        best.append(max(-minimize(loss, start, method="Powell", options={"ftol": 1e-10}).fun for start in starts))
    found = sign * fitted(task, scores, truth).score
    assert found >= np.mean(best) - (1e-5 if metric == "mae" else 1e-6)


def test_a_thousand_draws_of_six_targets_are_below_what_is_climbed_to() -> None:
    task = tasks.Task(name="six", kind="regression", level="clip", targets=tuple("abcdef"), metric="pearson")
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(300, 6))
    scores = truth + np.array([0.8, 1.1])[:, None, None] * rng.normal(size=(2, 300, 6))
    drawn, climbed = fitted(task, scores, truth, "refine=false"), fitted(task, scores, truth)
    assert climbed.score > drawn.score + 1e-3
    best = [max(metrics.pearson(truth[:, k], w * scores[0, :, k] + (1 - w) * scores[1, :, k])
                for w in np.linspace(0, 1, 1001)) for k in range(6)]  # fmt: skip
    assert climbed.score == pytest.approx(np.mean(best), abs=1e-6)


def test_one_model_and_models_alike_are_climbed_from_nowhere() -> None:
    scores, truth = _va()
    np.testing.assert_allclose(fitted(tasks.get("va"), scores[:1], truth).weights, 1)
    alike = fitted(tasks.get("va"), np.repeat(scores[:1], 3, axis=0), truth)
    np.testing.assert_allclose(alike.weights.sum(axis=0), 1)


def test_very_many_rows_change_sides_in_stretches_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = _expr(5)
    exact = fitted(tasks.get("expr"), scores, truth, "draws=50").score
    monkeypatch.setattr("affectkit.fusers._segments._STRETCHES", 64)
    monkeypatch.setattr("affectkit.fusers._segments._MOST", 0)
    assert fitted(tasks.get("expr"), scores, truth, "draws=50").score == pytest.approx(exact, abs=0.02)


def test_drawn_ccc_nears_the_optimum() -> None:
    """Against a numerical optimiser on each target's simplex."""
    from scipy.optimize import minimize

    scores, truth = _va(6)
    best = []
    for k in range(2):

        def loss(z, k=k):
            weights = np.exp(z) / np.exp(z).sum()
            return -metrics.ccc(truth[:, k], weights @ scores[:, :, k])

        best.append(max(-minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).fun
                        for start in np.vstack([np.zeros(3), 2 * np.eye(3)])))  # fmt: skip
    search = Search(tasks.get("va"), scores, truth, 2000)
    generator = np.random.default_rng(0)
    search.uniform(generator, 1.0, 500, (MODELS, 2))
    for turn in range(6):
        search.around(generator, 12.0 * 4**turn, 500)
    assert np.mean(best) - 1e-4 < search.score <= np.mean(best) + 1e-6


def test_rows_that_no_weights_can_change_are_not_gone_through() -> None:
    scores, truth = _expr(noise=0.1)
    assert Winners("macro-f1", scores, truth).rows == 0
    assert 0 < Winners("macro-f1", _expr(noise=0.5)[0], truth).rows < ROWS
    draws = np.random.default_rng(0).dirichlet(np.ones(MODELS), (4, 8)).transpose(0, 2, 1)
    expected = metrics.main(tasks.get("expr"), truth, scores[0])
    np.testing.assert_array_equal(Winners("macro-f1", scores, truth)(draws), np.full(4, expected))


def test_labels_that_no_weights_can_change_are_not_gone_through() -> None:
    _, truth = _au()
    sure = np.stack([0.1 + 0.7 * truth, 0.2 + 0.7 * truth, 0.3 + 0.3 * truth])
    sure[:, 5, 2] = 1 - sure[:, 5, 2]
    draws = np.random.default_rng(0).dirichlet(np.ones(MODELS), (4, 12)).transpose(0, 2, 1)
    expected = metrics.main(tasks.get("au"), truth, sure[0])
    assert expected < 1
    np.testing.assert_array_equal(Labels(sure, truth)(draws), np.full(4, expected))


def test_a_model_of_no_weight_and_rows_of_nothing() -> None:
    """With a tiny concentration whole columns fall to one model; rows that only others scored are still fused."""
    scores, truth = _va()
    scores[0, :100] = np.nan
    scores[:, 100] = np.nan
    truth[101] = np.nan
    plugin = plugins.get("fusers", "dwf")
    fuser = plugin(plugins.parse_options(plugin, ["draws=40", "concentration=0.001"], "dwf"), tasks.get("va"))
    fuser.fit(scores, truth, np.zeros(ROWS), seed=0)
    fused = fuser.combine(scores)
    assert np.isnan(fused[100]).all()
    assert np.isfinite(np.delete(fused, 100, axis=0)).all()
    with pytest.raises(UsageError, match="no row"):
        fuser.fit(scores, np.full_like(truth, np.nan), np.zeros(ROWS), seed=0)


def test_compiled_code_need_not_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the package's folder nor the user's can be written."""
    import numba

    from affectkit.fusers import _kernels

    asked = []

    def njit(**options: bool):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert _kernels._compiled(len) is len
    assert asked == [{"nogil": True, "cache": True}, {"nogil": True}]
