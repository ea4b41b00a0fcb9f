"""The bootstrap over clusters: equal to its slow definition, right as often as it says, and quick."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from affectkit import bootstrap, metrics, tasks
from affectkit.tasks import Task

KINDS = ["va", "eri", "expr", "au"]
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def data(task: Task, seed: int = 0, clips: int = 9, length: int = 14) -> Rows:
    """Truth, scores and clip names; clips of several lengths that lie in pieces, not in order of their names."""
    random = np.random.default_rng(seed)
    clip = np.repeat(random.permutation(clips), random.integers(3, length, clips))
    clip = np.concatenate([clip, clip[:5]])
    shape = (len(clip), task.outputs)
    if task.kind == "regression":
        truth = random.normal(size=(clips, task.outputs))[clip] + random.normal(0, 0.5, shape) + 3
        scores = 0.7 * truth + random.normal(0, 0.5, shape)
    elif task.kind == "multiclass":
        truth = random.integers(task.outputs, size=(len(clip), 1)).astype(float)
        scores = random.dirichlet(np.ones(task.outputs), len(clip))
    else:
        truth = (random.random(shape) < 0.3).astype(float)
        scores = np.clip(truth * 0.3 + random.random(shape) * 0.6, 0, 1)
    return truth, scores, np.array([f"clip{one}" for one in clip])


def slowly(task: Task, rows: Rows, draws: int, seed: int) -> dict[str, np.ndarray]:
    """The definition: metrics of the concatenated rows of the clips that were drawn, where what has no row in them, and
    has some in all, does not count."""
    truth, scores, clip = rows
    places = [np.flatnonzero(clip == name) for name in np.unique(clip)]
    found = []
    for chunk in bootstrap.counts(len(places), draws, seed):
        for line in chunk:
            drawn = np.concatenate([np.tile(place, int(n)) for place, n in zip(places, line, strict=True)])
            found.append(of_draw(task, truth, truth[drawn], scores[drawn]))
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def of_draw(task: Task, whole: np.ndarray, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    known, plain = metrics.counted(task, whole), metrics.score(task, truth, scores)
    found = metrics.score_of_part(task, truth, scores)
    means = {"multiclass": [("macro-f1", "f1")], "multilabel": [("binary-f1", "f1")]}
    for mean, prefix in means.get(task.kind, [("ccc", "ccc"), ("pearson", "pearson")]):
        others = [f"{prefix}/{target}" for target, there in zip(task.targets, known, strict=True) if not there]
        found |= {name: plain[name] for name in others}
        if not known.any():
            found[mean] = plain[mean]
        else:
            kept = [f"{prefix}/{target}" for target, there in zip(task.targets, known, strict=True) if there]
            values = [found[name] for name in kept if not np.isnan(found[name])]
            mine = known.sum() * np.mean(values) if values else np.nan
            found[mean] = (sum(plain[name] for name in others) + mine) / task.outputs
    return found


def quickly(task: Task, rows: Rows, draws: int, seed: int) -> dict[str, np.ndarray]:
    truth, scores, clip = rows
    codes, groups = bootstrap._codes(clip)
    return bootstrap._drawn([bootstrap._measure(task, truth, scores, codes, groups)], groups, draws, seed)[0]


def agree(task: Task, rows: Rows, draws: int = 60) -> None:
    quick, slow = quickly(task, rows, draws, 5), slowly(task, rows, draws, 5)
    assert list(quick) == list(slow)
    for name, values in slow.items():
        np.testing.assert_allclose(quick[name], values, atol=1e-10, rtol=0, err_msg=name)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_draws_equal_the_metrics_of_the_rows_drawn(name: str, seed: int) -> None:
    agree(tasks.get(name), data(tasks.get(name), seed))


def awkward() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    walk = random.normal(size=(40, 2))
    steps = np.repeat(random.normal(size=(8, 2)), 5, axis=0)
    yield "constant in each clip", steps, steps + 0.1
    yield "constant truth", np.full((40, 2), 0.3), walk
    yield "both constant and equal", np.full((40, 2), 0.3), np.full((40, 2), 0.3)
    yield "both constant, not equal", np.full((40, 2), 0.3), np.full((40, 2), 0.1)
    yield "perfect", walk, walk
    yield "far from 0", walk + 1e6, walk * 0.9 + 1e6
    yield "one clip varies", np.where(np.arange(40)[:, None] < 5, walk, 0.7), walk


@pytest.mark.parametrize(("truth", "scores"), [(t, s) for _, t, s in awkward()], ids=[name for name, *_ in awkward()])
def test_awkward_values(truth: np.ndarray, scores: np.ndarray) -> None:
    agree(tasks.get("va"), (truth, scores, np.repeat(list("abcdefgh"), 5)))


def test_rare_classes_and_labels() -> None:
    expr, au = tasks.get("expr"), tasks.get("au")
    truth, scores, clip = data(expr)
    truth[:] = 0
    truth[3] = 5
    agree(expr, (truth, scores, clip))
    truth, scores, clip = data(au)
    truth[:, 2], scores[:, 2], truth[:, 3], scores[:, 4] = 0, 0, 0, 1
    agree(au, (truth, scores, clip))


@pytest.mark.parametrize("name", ["expr", "compound", "dfew", "affectnet", "valence-2"])
def test_clips_of_one_class_each_that_are_all_right(name: str) -> None:
    """Every draw lacks classes, and is right in all that it has."""
    task = tasks.get(name)
    truth = np.repeat(np.arange(task.outputs), 5)[:, None]
    scores, clip = np.eye(task.outputs)[truth[:, 0]], np.repeat(np.arange(task.outputs), 5)
    assert metrics.score(task, truth, scores)["macro-f1"] == 1
    found = bootstrap.interval(task, truth, scores, clip)
    assert found == dict.fromkeys(("macro-f1", "uar", "war"), (1.0, 1.0))  # a class of one clip says nothing of others
    worse = np.roll(scores, 5, axis=0)
    gaps = bootstrap.paired(task, truth, scores, worse, clip)
    assert gaps.keys() == found.keys()
    assert all((gap.difference, gap.low, gap.high) == (1.0, 1.0, 1.0) for gap in gaps.values())


@pytest.mark.parametrize("occurring", [1, 3, 7])
def test_classes_that_never_occur_weigh_the_same_in_every_draw(occurring: int) -> None:
    """Macro F1 of all rows counts them as 0, so a draw's does, by the same share."""
    task = tasks.get("expr")
    truth = np.repeat(np.arange(occurring).repeat(2), 4)[:, None]
    scores, clip = np.eye(8)[truth[:, 0]], np.repeat(np.arange(2 * occurring), 4)
    own = metrics.score(task, truth, scores)["macro-f1"]
    assert own == pytest.approx(occurring / 8)
    assert bootstrap.interval(task, truth, scores, clip)["macro-f1"] == pytest.approx((own, own))


def test_labels_of_one_clip_each_that_are_all_right() -> None:
    task = tasks.get("au")
    truth = np.repeat(np.eye(12), 3, axis=0)
    clip = np.repeat(np.arange(12), 3)
    assert bootstrap.interval(task, truth, truth, clip) == {"binary-f1": (1.0, 1.0)}
    truth = np.concatenate([truth, np.zeros((30, 12))])  # clips of no label at all: draws of those only have no score
    clip = np.concatenate([clip, np.repeat(np.arange(100, 110), 3)])
    assert bootstrap.interval(task, truth, truth, clip)["binary-f1"] == (1.0, 1.0)


def test_targets_that_vary_in_one_clip_only() -> None:
    task = tasks.get("eri")
    truth = np.zeros((40, 7))
    truth[:5] = np.random.default_rng(0).normal(size=(5, 7))
    clip = np.repeat(np.arange(8), 5)
    found = bootstrap.interval(task, truth, truth, clip)
    assert found["ccc"] == pytest.approx((1.0, 1.0)) and found["pearson"] == pytest.approx((1.0, 1.0))
    truth[:, 3] = 0.2
    own = metrics.score(task, truth, truth)
    assert own["pearson/Disgust"] == 0
    found = bootstrap.interval(task, truth, truth, clip)
    assert all(low <= own[name] <= high for name, (low, high) in found.items())
    assert found["pearson"] == pytest.approx((6 / 7, 6 / 7))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_an_interval_holds_its_own_score(name: str, seed: int) -> None:
    """Few clips, rare classes, scores at the end of their scale."""
    task = tasks.get(name)
    truth, scores, clip = data(task, seed, clips=2 + seed)
    if task.kind == "multiclass":
        truth = np.minimum(truth, np.array([int(one[4:]) for one in clip])[:, None])
        scores = np.where(np.arange(len(clip))[:, None] % 9 == 0, scores, np.eye(8)[truth[:, 0].astype(int)])
    own = metrics.score(task, truth, scores)
    for where, (low, high) in bootstrap.interval(task, truth, scores, clip, draws=50).items():
        assert low <= own[where] <= high
    for gap in bootstrap.paired(task, truth, scores, np.roll(scores, 3, axis=0), clip, draws=50).values():
        assert gap.low <= gap.difference <= gap.high


def test_a_difference_against_its_draws_is_no_difference() -> None:
    assert bootstrap._two_sided(np.linspace(0.1, 0.2, 100), -0.05, 9) == 1.0
    assert bootstrap._two_sided(np.linspace(0.1, 0.2, 100), 0.15, 9) < 0.01
    assert bootstrap._bounds(np.linspace(0.1, 0.2, 100), -0.05, 9, 0.95)[0] == -0.05


def test_an_interval_is_percentiles_widened_for_few_clips() -> None:
    from scipy import stats

    va = tasks.get("va")
    rows = data(va)
    groups = len(np.unique(rows[2]))
    drawn = slowly(va, rows, 300, 7)
    found = bootstrap.interval(va, *rows, draws=300, seed=7, level=0.9)
    tail = stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf(0.05, groups - 1))
    assert tail < 0.05
    assert found.keys() == metrics.score(va, *rows[:2]).keys()
    for name, bounds in found.items():
        assert bounds == pytest.approx(np.quantile(drawn[name], [tail, 1 - tail]), abs=1e-10)
    wider = bootstrap.interval(va, *rows, draws=300, seed=7, level=0.99)
    assert all(wider[name][0] <= low and high <= wider[name][1] for name, (low, high) in found.items())


@pytest.mark.parametrize("name", KINDS)
def test_differences_are_drawn_in_pairs(name: str) -> None:
    task = tasks.get(name)
    truth, a, clip = data(task)
    b = np.roll(a, 1, axis=0)
    one, other = slowly(task, (truth, a, clip), 200, 3), slowly(task, (truth, b, clip), 200, 3)
    found = bootstrap.paired(task, truth, a, b, clip, draws=200, seed=3)
    informed = bootstrap._informed(task, truth, *bootstrap._codes(clip))
    for metric, gap in found.items():
        tail = bootstrap._tail(0.025, informed.get(metric, len(np.unique(clip))))
        assert gap.difference == metrics.score(task, truth, a)[metric] - metrics.score(task, truth, b)[metric]
        gaps = one[metric] - other[metric]
        expected = np.quantile(gaps[np.isfinite(gaps)], [tail, 1 - tail])
        assert (gap.low, gap.high) == pytest.approx(expected, abs=1e-10)
    turned = bootstrap.paired(task, truth, b, a, clip, draws=200, seed=3)
    main = task.metric
    assert turned[main].difference == -found[main].difference
    assert (turned[main].low, turned[main].high) == pytest.approx((-found[main].high, -found[main].low))
    assert turned[main].p == found[main].p


def test_p_agrees_with_the_interval_and_knows_no_difference() -> None:
    va = tasks.get("va")
    truth, scores, clip = data(va, clips=20)
    same = bootstrap.paired(va, truth, scores, scores, clip)
    assert set(same.values()) == {bootstrap.Difference(0.0, 0.0, 0.0, 1.0)}
    random = np.random.default_rng(0)
    decided = 0
    for noise in np.linspace(0, 0.6, 25):
        worse = scores + random.normal(0, noise + 1e-3, scores.shape)
        for gap in bootstrap.paired(va, truth, scores, worse, clip, draws=999).values():
            if abs(gap.p - 0.05) > 0.01:  # one draw to either side is rounding
                assert (gap.p < 0.05) == (gap.low > 0 or gap.high < 0)
                decided += gap.p < 0.05
    assert decided > 20


def test_p_goes_on_below_one_in_so_many_draws() -> None:
    va = tasks.get("va")
    truth, scores, clip = data(va, clips=20)
    worse = scores + np.random.default_rng(0).normal(0, 1.0, scores.shape)
    few, many = (bootstrap.paired(va, truth, scores, worse, clip, draws=draws)["ccc"].p for draws in (100, 5000))
    assert 0 < few < 2e-3  # one draw in 101 would be 0.03
    assert few == pytest.approx(many, rel=0.9)
    shifted = bootstrap.paired(va, truth, truth + 1, truth + 2, clip)["mae"]
    assert shifted.difference == pytest.approx(-1)
    assert shifted.p == pytest.approx(0, abs=1e-12)


def test_pairing_sees_what_separate_intervals_do_not() -> None:
    va = tasks.get("va")
    truth, scores, clip = data(va, clips=25)
    worse = scores + np.random.default_rng(1).normal(0, 0.25, scores.shape)
    one, other = (bootstrap.interval(va, truth, given, clip)["ccc"] for given in (scores, worse))
    assert one[0] < other[1]
    assert bootstrap.paired(va, truth, scores, worse, clip)["ccc"].low > 0


def test_holm() -> None:
    assert bootstrap.holm([]) == []
    assert bootstrap.holm([0.03]) == [0.03]
    assert bootstrap.holm([0.01, 0.5, 0.02, 0.6]) == pytest.approx([0.04, 1.0, 0.06, 1.0])


def test_seeds_and_names_of_clips() -> None:
    expr = tasks.get("expr")
    truth, scores, clip = data(expr)
    found = bootstrap.interval(expr, truth, scores, clip, seed=1)
    assert bootstrap.interval(expr, truth[:, 0], scores, clip, seed=1) == found
    assert bootstrap.interval(expr, truth, scores, clip, seed=2) != found
    order = np.random.default_rng(0).permutation(len(clip))
    assert bootstrap.interval(expr, truth[order], scores[order], clip[order], seed=1) == found
    assert all(0 <= low <= high <= 1 for low, high in found.values())


def test_chunks_of_draws_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(bootstrap.counts(7, 50, 3)))
    assert (whole.sum(axis=1) == 7).all()
    monkeypatch.setattr(bootstrap, "_CELLS", 20)
    parts = list(bootstrap.counts(7, 50, 3))
    assert len(parts) == 25
    assert np.array_equal(np.concatenate(parts), whole)


def test_too_few_clusters_are_said() -> None:
    va, au, expr = tasks.get("va"), tasks.get("au"), tasks.get("expr")
    truth, scores, clip = data(va)
    assert bootstrap.cautions(va, truth, clip) == []
    assert bootstrap.interval(va, truth, scores, np.full(len(clip), "a")) == {}
    assert bootstrap.paired(va, truth, scores, scores, np.full(len(clip), "a")) == {}
    assert bootstrap.cautions(va, truth, np.full(len(clip), "a"), "subject") == ["one subject only: no interval"]
    assert "7 clips only" in bootstrap.cautions(va, truth[:70], np.repeat(np.arange(7), 10)[: len(truth)])[0]
    truth, clip = np.zeros((40, 1)), np.repeat(np.arange(10), 4)
    truth[:12, 0] = 3
    assert bootstrap.cautions(expr, truth, clip)[0].endswith("hardly known: Fear (3)")
    assert bootstrap.cautions(expr, truth, clip)[1].endswith("no row of it do not count: Fear (3 %)")
    several = np.ones((40, 12))
    several[8:, 5] = 0
    assert bootstrap.cautions(au, several, clip)[0].endswith("hardly known: AU10 (2)")


def test_rows_that_are_not_valid_are_refused() -> None:
    va = tasks.get("va")
    truth, scores, clip = data(va)
    with pytest.raises(ValueError, match="clusters names"):
        bootstrap.interval(va, truth, scores, clip[:-1])
    with pytest.raises(ValueError, match="NaN or infinity"):
        bootstrap.interval(va, truth, np.where(np.arange(len(truth))[:, None] == 3, np.nan, scores), clip)
    with pytest.raises(ValueError, match="no class index"):
        bootstrap.interval(tasks.get("expr"), np.full(len(clip), 8), np.ones((len(clip), 8)), clip)


@pytest.mark.parametrize("name", ["va", "expr"])
def test_a_thousand_draws_of_many_rows_are_quick(name: str) -> None:
    task, rows, clips = tasks.get(name), 280_000, 300
    random = np.random.default_rng(0)
    clip = np.array([f"video{one:04d}" for one in np.sort(random.integers(clips, size=rows))])
    truth = random.random((rows, 2)) if name == "va" else random.integers(8, size=(rows, 1))
    scores = random.random((rows, task.outputs))
    taken = []
    for _ in range(2):
        began = time.process_time()
        bootstrap.interval(task, truth, scores, clip)
        taken.append(time.process_time() - began)
    assert min(taken) < 2  # 0.4 s and 0.1 s on an idle core


def simulated(seed: int, clips: int) -> Rows:
    """Clips with a level of their own in truth and error; rows that follow each other closely."""
    random = np.random.default_rng(seed)
    truth = random.normal(0, 0.5, (clips, 1, 2)) + random.normal(0, 0.15, (clips, 30, 2)).cumsum(axis=1)
    error = random.normal(0, 0.3, (clips, 1, 2)) + random.normal(0, 0.2, (clips, 30, 2))
    return truth.reshape(-1, 2), (0.6 * truth + error).reshape(-1, 2), np.repeat(np.arange(clips), 30)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    va = tasks.get("va")
    true = metrics.score(va, *simulated(10_000, 40_000)[:2])
    hits = dict.fromkeys(true, 0)
    naive = 0
    for seed in range(200):
        truth, scores, clip = simulated(seed, 25)
        for name, (low, high) in bootstrap.interval(va, truth, scores, clip, seed=seed).items():
            hits[name] += low < true[name] < high
        low, high = bootstrap.interval(va, truth, scores, np.arange(len(clip)), draws=200, seed=seed)["ccc"]
        naive += low < true["ccc"] < high
    assert all(0.90 <= count / 200 <= 0.99 for count in hits.values()), hits
    assert naive / 200 < 0.75  # rows drawn one by one promise far too much


def rare_classes(seed: int, clips: list[int]) -> Rows:
    """Rows of so many clips of each class: each clip has an error of its own, and frames of the first class."""
    random = np.random.default_rng(seed)
    own = np.repeat(np.arange(8), clips)
    shape = (len(own), 20)
    truth = np.where(random.random(shape) < 0.15, 0, own[:, None])
    scores = 1.2 * np.eye(8)[truth] + random.normal(size=(len(own), 1, 8)) + random.normal(size=(*shape, 8))
    return truth.reshape(-1, 1).astype(float), scores.reshape(-1, 8), np.repeat(np.arange(len(own)), 20)


def coverage(clips: list[int], times: int, draws: int) -> dict[str, float]:
    """How often the intervals of samples hold the score of 400 times as many clips."""
    expr = tasks.get("expr")
    true = metrics.score(expr, *rare_classes(10**6, [400 * n for n in clips])[:2])
    hits: dict[str, list[bool]] = {}
    for seed in range(times):
        for name, (low, high) in bootstrap.interval(expr, *rare_classes(seed, clips), draws=draws, seed=seed).items():
            hits.setdefault(name, []).append(low <= true[name] <= high)
    return {name: float(np.mean(found)) for name, found in hits.items()}


def test_macro_f1_with_rare_classes_is_covered_in_a_small_simulation() -> None:
    found = coverage([10, 1, 1, 1, 3, 3, 2, 4], times=60, draws=200)  # nominal 0.95; 0.81 with absent classes as 0
    assert found["macro-f1"] >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize("clips", [[20, 2, 2, 2, 5, 5, 3, 6], [10, 1, 1, 1, 3, 3, 2, 4], [40, 5, 3, 2, 20, 15, 5, 10]])
def test_intervals_cover_rare_classes(clips: list[int]) -> None:
    found = coverage(clips, times=300, draws=400)
    assert 0.91 <= found["macro-f1"] <= 0.995, found
    for name, n in zip(tasks.get("expr").targets, clips, strict=True):
        assert (f"f1/{name}" in found) == (n > 1)
        assert found.get(f"f1/{name}", 1) >= (0.82 if n < 4 else 0.9), found


@pytest.mark.slow
def test_systems_that_are_equally_good_are_seldom_told_apart() -> None:
    va = tasks.get("va")
    wrong = 0
    for seed in range(200):
        truth, a, clip = simulated(seed, 25)
        b = 0.6 * truth + (simulated(seed + 5000, 25)[1] - 0.6 * simulated(seed + 5000, 25)[0])
        wrong += bootstrap.paired(va, truth, a, b, clip, seed=seed)["ccc"].p < 0.05
    assert 0.005 <= wrong / 200 <= 0.10, wrong
