"""Kernel extreme learning machines: solutions against the formula with numpy's `inv`, and the estimators."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import pairwise
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from affectkit.kernels._linalg import linalg_on
from affectkit.kernels.elm import KernelELMClassifier, KernelELMRegressor
from affectkit.kernels.functions import KERNELS, Kernel
from affectkit.kernels.grid import class_weights, fit_grid, one_hot
from affectkit.kernels.normalise import CanonicalNormaliser, power
from affectkit.kernels.nystroem import ApproximationWarning, draw_landmarks, exact_bytes, landmarks_within

CS = [1e-5, 1e-2, 1.0, 1e2, 1e4]
KERNELS_OF_FEATURES = [
    Kernel("linear"),
    Kernel("rbf", gamma=0.3),
    Kernel("poly", gamma=0.2, degree=2, coef0=1),
    Kernel("sigmoid", gamma=0.05, coef0=0.1),
    Kernel("chi2", gamma=0.5),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for each other's threads."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


def data(rows: int = 60, dims: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features [N,D] >= 0 in rows of length 1, and skewed classes [N] of three."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.standard_normal((rows, dims)))
    classes = np.minimum(rng.geometric(0.6, rows) - 1, 2)
    classes[:3] = [0, 1, 2]
    return x / np.linalg.norm(x, axis=1, keepdims=True), classes


def by_hand(k: np.ndarray, t: np.ndarray, c: float, w: np.ndarray | None = None) -> np.ndarray:
    """(W K + I/C)^-1 W T, as it is written."""
    big_w = np.diag(np.ones(len(k)) if w is None else w)
    return np.linalg.inv(big_w @ k + np.eye(len(k)) / c) @ big_w @ t


def assert_close(found: np.ndarray, expected: np.ndarray, relative: float = 1e-8) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= relative * np.abs(expected).max()


def independent_kernel(kernel: Kernel, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Entry by entry from the formula."""
    a, b = x[:, None], y[None]
    dot = (a * b).sum(2)
    total = np.where(a + b == 0, 1, a + b)
    gamma = kernel.gamma if kernel.gamma is not None else 1.0 if kernel.name == "chi2" else 1 / x.shape[1]
    return {
        "linear": dot,
        "rbf": np.exp(-gamma * ((a - b) ** 2).sum(2)),
        "poly": (gamma * dot + kernel.coef0) ** kernel.degree,
        "sigmoid": np.tanh(gamma * dot + kernel.coef0),
        "chi2": np.exp(-gamma * ((a - b) ** 2 / total).sum(2)),
    }[kernel.name]


@pytest.mark.parametrize("kernel", [*KERNELS_OF_FEATURES, *(Kernel(name) for name in KERNELS[:-1])], ids=str)
def test_kernels_are_their_formulas(kernel):
    x, y = data(9)[0], data(5, seed=1)[0]
    x[2] = x[3] = 0
    assert_close(kernel(x, y), independent_kernel(kernel, x, y), 1e-12)


@pytest.mark.parametrize("solver", ["eigh", "cholesky"])
@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kernel", KERNELS_OF_FEATURES, ids=lambda kernel: kernel.name)
def test_solutions_are_the_formula_by_inv(kernel, weighted, device, solver):
    for dims in (7, 80):  # the linear kernel in the primal, and in the dual
        x, classes = data(dims=dims)
        t, w = one_hot(classes, 3, signed=True), class_weights(classes) if weighted else None
        k, new = kernel(x, x), data(11, dims, seed=5)[0]
        grid = fit_grid(x, t, CS, kernel, weights=w, device=device, solver=solver)
        assert grid.form == ("primal" if kernel.name == "linear" and dims < 60 else "dual")
        for c in CS:
            expected = by_hand(k, t, c, w)
            assert_close(kernel(new, x) @ expected, grid.machine(c)(new))
            assert_close(grid.dual(c), expected, 1e-8)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_primal_equals_dual(weighted):
    x, classes = data(90, 20)
    t, w = one_hot(classes, 3), class_weights(classes) if weighted else None
    primal = fit_grid(x, t, CS, weights=w)
    dual = fit_grid(x @ x.T, t, CS, Kernel("precomputed"), weights=w)
    new = data(10, 20, seed=9)[0]
    assert (primal.form, dual.form) == ("primal", "dual")
    for c in CS:
        assert_close(primal.machine(c)(new), dual.machine(c)(new @ x.T))
        assert_close(primal.dual(c), dual.dual(c))


def test_the_unweighted_machine_is_kernel_ridge():
    x, _ = data()
    t = np.random.default_rng(1).standard_normal((60, 4))
    for c in CS:
        ours = KernelELMRegressor(C=c, kernel="rbf", gamma=0.5).fit(x, t)
        theirs = KernelRidge(alpha=1 / c, kernel="rbf", gamma=0.5).fit(x, t)
        assert_close(ours.predict(x), theirs.predict(x))


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly", "sigmoid", "chi2"])
@pytest.mark.parametrize("targets", ["onehot", "signed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_classifier_is_the_formula(kernel, targets, weighted):
    x, classes = data()
    labels = np.array(["sad", "angry", "happy"])[classes]
    machine = KernelELMClassifier(C=10, kernel=kernel, gamma=0.3, weighted=weighted, targets=targets).fit(x, labels)
    names, indices = np.unique(labels, return_inverse=True)
    t = (labels[:, None] == names).astype(float)
    t = 2 * t - 1 if targets == "signed" else t
    w = np.array([1 / (labels == label).sum() for label in labels]) if weighted else None
    k = independent_kernel(Kernel(kernel, gamma=0.3, degree=3, coef0=1), x, x)
    expected = k @ by_hand(k, t, 10, w)
    assert_close(machine.scores(x), expected)
    assert (machine.predict(x) == names[expected.argmax(1)]).all()
    assert indices.shape == (60,)


def test_weights_help_the_rare_class():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (190, 2)), rng.normal(1.5, 1, (10, 2))])
    y = np.repeat([0, 1], [190, 10])
    plain = KernelELMClassifier(kernel="rbf", C=10).fit(x, y).predict(x)
    weighted = KernelELMClassifier(kernel="rbf", C=10, weighted=True).fit(x, y).predict(x)
    assert (weighted[190:] == 1).mean() >= 0.8 > 0.3 >= (plain[190:] == 1).mean()


def test_a_precomputed_kernel_is_the_same_machine():
    x, classes = data()
    new = data(8, seed=3)[0]
    rbf = KernelELMClassifier(kernel="rbf", gamma=0.7, weighted=True).fit(x, classes)
    given = KernelELMClassifier(kernel="precomputed", weighted=True)
    given.fit(pairwise.rbf_kernel(x, x, gamma=0.7), classes)
    assert_close(given.scores(pairwise.rbf_kernel(new, x, gamma=0.7)), rbf.scores(new))


@parametrize_with_checks([
    KernelELMRegressor(), KernelELMRegressor(kernel="chi2"), KernelELMClassifier(), CanonicalNormaliser(),
    KernelELMClassifier(kernel="rbf", weighted=True, targets="signed"), KernelELMClassifier(kernel="precomputed"),
])  # fmt: skip
def test_scikit_learn_accepts_the_estimators(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_the_normaliser_is_its_steps():
    rng = np.random.default_rng(0)
    x, new = rng.normal(3, 5, (40, 6)), rng.normal(3, 5, (7, 6))
    x[:, 2] = new[:, 2] = 4.2  # constant
    scaler = StandardScaler().fit(x)
    z = scaler.transform(new)
    expected = normalize(np.sign(z) * np.abs(z) ** 0.5)
    found = CanonicalNormaliser().fit(x).transform(new)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    alone = CanonicalNormaliser(zscore=False, unit_rows=False).fit(x).transform(new)
    np.testing.assert_allclose(alone, np.sign(new) * np.sqrt(np.abs(new)), rtol=1e-15)
    assert (alone == power(new)).all()


def test_the_normaliser_keeps_zero_rows_and_huge_values():
    plain = CanonicalNormaliser(zscore=False, power=False).fit([[0.0, 0.0], [3e200, 4e200]])
    np.testing.assert_allclose(plain.transform([[0.0, 0.0], [3e200, 4e200]]), [[0, 0], [0.6, 0.8]])


@pytest.mark.parametrize("kernel", KERNELS_OF_FEATURES[1:3], ids=lambda kernel: kernel.name)
def test_landmarks_are_nystroem(kernel):
    x, _ = data(50, 5)
    landmarks = draw_landmarks(kernel, x, 12, seed=3)
    given = {"gamma": kernel.gamma, "degree": kernel.degree, "coef0": kernel.coef0}
    given = {name: given[name] for name in (["gamma"] if kernel.name == "rbf" else given)}
    reference = Nystroem(kernel=kernel.name, n_components=12, **given).fit(landmarks.rows)
    theirs, ours = reference.transform(x), landmarks(x)
    assert_close(ours @ ours.T, theirs @ theirs.T, 1e-7)
    whole = draw_landmarks(kernel, x, 50, seed=0)(x)
    assert_close(whole @ whole.T, kernel(x, x), 1e-6)


def test_beyond_the_memory_limit_the_kernel_is_approximated_and_said_so():
    x, classes = data(400, 6)
    t, kernel = one_hot(classes, 3), Kernel("rbf", gamma=1.0)
    limit = exact_bytes(400) // 4
    with pytest.warns(ApproximationWarning, match=r"rbf kernel of 400 rows .* landmarks"):
        grid = fit_grid(x, t, [1.0], kernel, memory_limit=limit)
    assert grid.form == "nystroem" and grid.landmarks is not None
    count = len(grid.landmarks.rows)
    assert 8 * (3 * 400 * count + 6 * count**2) <= limit < 8 * (3 * 400 * (count + 1) + 6 * (count + 1) ** 2)
    phi = grid.landmarks(x)
    assert_close(grid.machine(1.0)(x), phi @ phi.T @ by_hand(phi @ phi.T, t, 1.0), 1e-7)
    exact = fit_grid(x, t, [1.0], kernel).machine(1.0)(x)
    assert np.abs(grid.machine(1.0)(x) - exact).max() < 0.05
    with pytest.warns(ApproximationWarning):
        estimator = KernelELMClassifier(kernel="rbf", gamma=1.0, memory_limit=limit).fit(x, classes)
    assert estimator.form_ == "nystroem"
    assert_close(estimator.scores(x), grid.machine(1.0)(x), 1e-12)


def test_within_the_memory_limit_nothing_is_approximated():
    x, classes = data(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_grid(x, one_hot(classes, 3), [1], Kernel("rbf"), memory_limit=exact_bytes(60)).form == "dual"
        assert fit_grid(x, one_hot(classes, 3), [1], memory_limit=10_000).form == "primal"  # the primal needs no N x N
    with pytest.raises(ValueError, match="one landmark of 60 rows needs"):
        landmarks_within(1000, 60)


@pytest.mark.parametrize("c", [1e-5, 1e4])
@pytest.mark.parametrize("kernel", [Kernel("linear"), Kernel("rbf")], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("dims", [3, 40])
def test_duplicate_rows_and_a_rank_deficient_kernel(c, kernel, dims):
    x = np.repeat(data(10, 3)[0], 3, axis=0) @ np.random.default_rng(0).standard_normal((3, dims))
    t = np.random.default_rng(1).standard_normal((30, 2))
    k = kernel(x, x)
    for solver in ("eigh", "cholesky"):
        grid = fit_grid(x, t, [c], kernel, solver=solver)
        assert_close(k @ grid.dual(c), k @ by_hand(k, t, c))


def test_one_row():
    found = KernelELMRegressor(C=4.0).fit([[2.0]], [3.0]).predict([[2.0]])
    assert found == pytest.approx(4 * 3 / (4 + 1 / 4))
    assert fit_grid([[2.0, 0.0]], [[3.0]], [4.0]).dual(4.0) == pytest.approx(3 / (4 + 1 / 4))


def test_an_indefinite_kernel_is_solved():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5))
    kernel = Kernel("sigmoid", gamma=0.5, coef0=-1)
    k, t = kernel(x, x), rng.standard_normal((40, 2))
    assert np.linalg.eigvalsh(k)[0] < -0.1
    for solver in ("eigh", "cholesky"):
        assert_close(fit_grid(x, t, [10.0], kernel, solver=solver).dual(10.0), by_hand(k, t, 10.0))
    with pytest.raises(ValueError, match=r"singular at C = 0\.5"):
        fit_grid(np.diag([-2.0, 1.0]), np.ones((2, 1)), [0.5], Kernel("precomputed")).dual(0.5)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"C": 0.0}, "C 0.0 is not above 0"),
        ({"C": np.inf}, "is not above 0"),
        ({"kernel": "rfb"}, "kernel 'rfb' is not one of linear, rbf"),
        ({"kernel": "rbf", "gamma": -1.0}, "gamma -1.0 is not above 0"),
        ({"device": "tpu"}, "device 'tpu' is not cpu, cuda"),
        ({"targets": "two-hot"}, "targets 'two-hot' is not onehot or signed"),
    ],
)
def test_wrong_parameters_are_named(broken, message):
    with pytest.raises(ValueError, match=message):
        KernelELMClassifier(**broken).fit([[0.0], [1.0]], [0, 1])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="one class only"):
        KernelELMClassifier().fit([[0.0], [1.0]], ["a", "a"])
    with pytest.raises(ValueError, match="Negative values in data"):
        KernelELMRegressor(kernel="chi2").fit([[-1.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="not symmetric"):
        KernelELMRegressor(kernel="precomputed").fit([[1.0, 0.5], [0.0, 1.0]], [0, 1])
    with pytest.raises(ValueError, match="is square"):
        fit_grid(np.ones((2, 3)), np.ones((2, 1)), [1], Kernel("precomputed"))
    with pytest.raises(ValueError, match="weights: one above 0 for each of 2 rows"):
        fit_grid(np.ones((2, 3)), np.ones((2, 1)), [1], weights=[1, 0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_grid(np.full((2, 3), np.nan), np.ones((2, 1)), [1])
    with pytest.raises(ValueError, match="solver 'lu'"):
        fit_grid(np.ones((2, 3)), np.ones((2, 1)), [1], solver="lu")


def test_no_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="device 'cuda': torch sees no GPU"):
        linalg_on("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [Kernel("linear"), Kernel("rbf")], ids=lambda kernel: kernel.name)
def test_a_gpu_agrees_with_the_cpu(kernel):
    x, classes = data(300, 12)
    t, w, folds = one_hot(classes, 3), class_weights(classes), np.arange(300) % 7
    for solver in ("eigh", "cholesky"):
        cpu = fit_grid(x, t, CS, kernel, weights=w, solver=solver)
        gpu = fit_grid(x, t, CS, kernel, weights=w, solver=solver, device="cuda")
        assert_close(gpu.dual(1.0), cpu.dual(1.0))
        assert_close(gpu.held_out(folds), cpu.held_out(folds))
        assert_close(gpu.loo(), cpu.loo())


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, affectkit.kernels; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"sklearn", "scipy", "torch", "numpy"}
