"""Held-out predictions in closed form against refitting, for every C."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from affectkit.kernels import grid as grid_module
from affectkit.kernels.functions import Kernel
from affectkit.kernels.grid import class_weights, fit_grid, one_hot
from affectkit.kernels.normalise import CanonicalNormaliser
from affectkit.tables.splits import folds_of

CS = [1e-5, 1e-3, 0.1, 1.0, 10.0, 1e4]
N = 75
ROUTES = [("eigh", "cpu"), ("cholesky", "cpu"), ("eigh", "torch"), ("cholesky", "torch")]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for each other's threads."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture
def clips() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N,D] normalised by the full training split, class indices [N], subjects [N] of uneven size."""
    rng = np.random.default_rng(0)
    x = CanonicalNormaliser().fit_transform(rng.standard_normal((N, 10)))
    classes = np.minimum(rng.geometric(0.5, N) - 1, 3)
    classes[:4] = range(4)
    return x, classes, np.minimum(rng.geometric(0.15, N), 12)


def refit(k: np.ndarray, t: np.ndarray, w: np.ndarray, folds: np.ndarray, c: float) -> np.ndarray:
    """Predictions [N,K]: for each fold the formula, by `inv`, on all other rows with their own weights."""
    predicted = np.full(t.shape, np.nan)
    for fold in set(folds.tolist()) - {-1}:
        held, rest = folds == fold, folds != fold
        big_w = np.diag(w[rest])
        beta = np.linalg.inv(big_w @ k[np.ix_(rest, rest)] + np.eye(rest.sum()) / c) @ big_w @ t[rest]
        predicted[held] = k[np.ix_(held, rest)] @ beta
    return predicted


def assert_close(found: np.ndarray, expected: np.ndarray, relative: float = 1e-8) -> None:
    assert found.shape == expected.shape
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(found - expected)) <= relative * np.nanmax(np.abs(expected))


def folds_to_try(subjects: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "subjects": subjects,
        "grouped": folds_of(subjects, 5),
        "two": (subjects > 3).astype(int),
        "some never": np.where(subjects == 2, -1, subjects * 10),
        "one fold and the rest": np.where(subjects == 2, 7, -1),
        "single rows and pairs": np.where(np.arange(N) < 40, np.arange(N), 100 + np.arange(N) // 2),
        "each": rng.permutation(N),
    }


@pytest.mark.parametrize("kernel", [Kernel("linear"), Kernel("rbf", gamma=0.8), Kernel("poly", 0.5, 2)], ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("solver", "device"), ROUTES)
def test_grouped_folds_are_refitting(clips, kernel, weighted, solver, device, monkeypatch):
    monkeypatch.setattr(grid_module, "LEAF", 16)  # N is small: recurse all the same
    x, classes, subjects = clips
    t, w = one_hot(classes, 4), class_weights(classes) if weighted else np.ones(N)
    grid = fit_grid(x, t, CS, kernel, weights=w, solver=solver, device=device)
    k = x @ x.T if kernel.name == "linear" else kernel(x, x)
    for name, folds in folds_to_try(subjects).items():
        found = grid.held_out(folds)
        assert found.shape == (len(CS), N, 4), name
        for row, c in enumerate(CS):
            assert_close(found[row], refit(k, t, w, folds, c))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["eigh", "cholesky"])
@pytest.mark.parametrize("name", ["linear", "rbf", "sigmoid"])
def test_leave_one_out_is_refitting(clips, weighted, solver, name):
    x, classes, _ = clips
    t, w = one_hot(classes, 4, signed=True), class_weights(classes) if weighted else np.ones(N)
    kernel = Kernel(name, gamma=0.3, coef0=-0.5)  # type: ignore[arg-type]
    grid, k = fit_grid(x, t, CS, kernel, weights=w, solver=solver), kernel(x, x)
    found = grid.loo()
    for row, c in enumerate(CS):
        assert_close(found[row], refit(k, t, w, np.arange(N), c), 1e-7 if name == "sigmoid" else 1e-8)
        assert_close(grid.loo(c), found[row], 1e-9)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_closed_form_of_the_docstring(clips, weighted):
    """(I - H_FF)^-1 (T - H T)_F with H = K (W K + I/C)^-1 W."""
    x, classes, subjects = clips
    t, w = one_hot(classes, 4), class_weights(classes) if weighted else np.ones(N)
    k, c = rbf_kernel(x, gamma=0.8), 3.0
    h = k @ np.linalg.inv(np.diag(w) @ k + np.eye(N) / c) @ np.diag(w)
    found = fit_grid(x, t, [c], Kernel("rbf", gamma=0.8), weights=w).held_out(subjects)[0]
    for subject in np.unique(subjects):
        f = subjects == subject
        left = np.linalg.solve(np.eye(f.sum()) - h[np.ix_(f, f)], (t - h @ t)[f])
        assert_close(found[f], t[f] - left)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_primal_holds_out_as_the_dual_does(clips, weighted):
    x, classes, subjects = clips
    t, w = one_hot(classes, 4), class_weights(classes) if weighted else None
    primal = fit_grid(x, t, CS, weights=w)
    dual = fit_grid(x @ x.T, t, CS, Kernel("precomputed"), weights=w)
    assert (primal.form, dual.form) == ("primal", "dual")
    for folds in folds_to_try(subjects).values():
        for one, other in zip(primal.held_out(folds), dual.held_out(folds), strict=True):
            assert_close(one, other)


def test_the_primal_never_forms_n_by_n():
    import tracemalloc

    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((6000, 8)), rng.standard_normal((6000, 2))
    tracemalloc.start()
    grid = fit_grid(x, t, [0.1, 1.0])
    grid.loo(), grid.held_out(np.arange(6000) % 5), grid.held_out(np.arange(6000) // 3), grid.dual(1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000 * 6000 * 8 / 20


def test_duplicates_and_a_rank_deficient_kernel_hold_out_sanely():
    x = np.repeat(np.random.default_rng(0).standard_normal((10, 3)), 4, axis=0)
    t = x @ np.array([[1.0], [2.0], [-1.0]])
    for c, tolerance in ((1e-5, None), (1e4, 1e-4)):
        for kernel in (Kernel("linear"), Kernel("precomputed")):
            given = x if kernel.name == "linear" else x @ x.T
            for solver in ("eigh", "cholesky"):
                found = fit_grid(given, t, [c], kernel, solver=solver).held_out(np.arange(40) // 4)[0]
                assert_close(found, refit(x @ x.T, t, np.ones(40), np.arange(40) // 4, c), 1e-7)
                assert tolerance is None or np.abs(found - t).max() < tolerance


def test_many_values_of_c_take_one_eigendecomposition(clips, monkeypatch):
    x, classes, subjects = clips
    t, kernel, cs = one_hot(classes, 4), Kernel("rbf"), np.logspace(-5, 4, 30)
    calls, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: calls.append(a.shape) or eigh(a))
    grid = fit_grid(x, t, cs, kernel)
    found = grid.held_out(subjects)
    grid.loo(), [grid.dual(c) for c in cs]
    assert calls == [(N, N)]
    few = np.concatenate([fit_grid(x, t, cs[i : i + 3], kernel).held_out(subjects) for i in range(0, 30, 3)])
    assert calls == [(N, N)]
    for one, other in zip(found, few, strict=True):
        assert_close(one, other)


def test_two_runs_are_bit_equal(clips):
    x, classes, subjects = clips
    for kernel in (Kernel("linear"), Kernel("rbf")):
        one, two = (fit_grid(x, one_hot(classes, 4), CS, kernel).held_out(subjects) for _ in range(2))
        assert one.tobytes() == two.tobytes()


def test_folds_that_do_not_fit_are_named():
    grid = fit_grid(np.ones((3, 2)), np.ones((3, 1)), [1.0])
    with pytest.raises(ValueError, match=r"fold 4 holds all rows \(3\)"):
        grid.held_out([4, 4, 4])
    with pytest.raises(ValueError, match="one integer >= -1 a row"):
        grid.held_out([0, 1])
    with pytest.raises(ValueError, match="one integer >= -1 a row"):
        grid.held_out([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="one integer >= -1 a row"):
        grid.held_out([0, 1, -2])
    with pytest.raises(ValueError, match="nothing is left to train on"):
        fit_grid(np.ones((1, 2)), np.ones((1, 1)), [1.0]).loo()
    assert np.isnan(grid.held_out([-1, -1, -1])).all()


def test_folds_keep_groups_whole_and_even():
    groups = np.random.default_rng(0).integers(0, 40, 300)
    folds = folds_of(groups, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    sizes = np.bincount(folds)
    reference = [len(test) for _, test in GroupKFold(5).split(groups, groups=groups)]
    assert sorted(sizes) == sorted(reference)
    with pytest.raises(ValueError, match="5 folds of 2 groups"):
        folds_of([1, 1, 2], 5)
