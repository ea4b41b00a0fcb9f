"""The grid of C of a kernel extreme learning machine against scikit-learn's search and against inversion.

Rows of length 1, 8 targets, 10 values of C, folds by group. `KernelRidge` (alpha = 1/C, the same machine) is searched
by `GridSearchCV` without refitting, with as many threads: BLAS has them, as in affectkit; `--jobs 2` gives them to
processes instead. Both sides give the same 50 scores, which is checked. The second comparison takes leave-one-out
predictions of every C against no more than the ten solutions inv(K + I/C) @ T. Kernels are computed on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from _report import Ratio, alternate, machine, options, seconds
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from affectkit.kernels.functions import Kernel
from affectkit.kernels.grid import fit_grid
from affectkit.tables.splits import folds_of

CS = np.logspace(-5, 4, 10)
FOLDS = 5
GAMMA = 1.0


def make_data(rows: int, dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [N,D] of length 1, targets [N,8], folds [N] of whole groups."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, dims))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    targets = np.tanh(3 * x @ rng.standard_normal((dims, 8))) + rng.normal(0, 0.3, (rows, 8))
    return x, targets, folds_of(rng.integers(0, rows // 20, rows), FOLDS)


def our_scores(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, kernel: Kernel) -> np.ndarray:
    """R^2 [C, folds]."""
    held_out = fit_grid(x, targets, CS, kernel).held_out(folds)
    return np.array(
        [[r2_score(targets[folds == f], one[folds == f]) for f in range(FOLDS)] for one in held_out]
    )  # fmt: skip


def search_scores(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, kernel: Kernel, jobs: int) -> np.ndarray:
    """R^2 [C, folds]."""
    machine = KernelRidge(kernel=kernel.name, gamma=kernel.gamma)
    search = GridSearchCV(machine, {"alpha": 1 / CS}, cv=PredefinedSplit(folds), refit=False, n_jobs=jobs)
    found = search.fit(x, targets).cv_results_
    return np.stack([found[f"split{f}_test_score"] for f in range(FOLDS)], axis=1)


def ten_inversions(x: np.ndarray, targets: np.ndarray) -> list[np.ndarray]:
    k = rbf_kernel(x, gamma=GAMMA)
    return [np.linalg.inv(k + np.eye(len(k)) / c) @ targets for c in CS]


def leave_one_out(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return fit_grid(x, targets, CS, Kernel("rbf", gamma=GAMMA)).loo()


def keep(results: dict[str, np.ndarray], name: str, work: Callable[[], np.ndarray]) -> Callable[[], None]:
    """Work that leaves its result behind, to be compared."""

    def run() -> None:
        results[name] = work()

    return run


def main() -> None:
    parser = options(__doc__, quick={"rows": 1000, "rounds": 3}, smoke={"rows": 120, "dim": 16, "rounds": 1})
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes of the search, which share the threads")
    given = parser.parse_args()
    rows, rounds = given.rows, given.rounds
    x, targets, folds = make_data(rows, given.dim)
    what = f"{rows:,} x {given.dim}, 8 targets, {len(CS)} C"
    for kernel, target in ((Kernel("linear"), 20.0), (Kernel("rbf", gamma=GAMMA), 2.5)):
        results: dict[str, np.ndarray] = {}
        ours = keep(results, "ours", lambda kernel=kernel: our_scores(x, targets, folds, kernel))
        search = keep(results, "search", lambda kernel=kernel: search_scores(x, targets, folds, kernel, given.jobs))
        ours()  # the first call also loads libraries
        taken = alternate(rounds, search=seconds(search), ours=seconds(ours))
        np.testing.assert_allclose(results["ours"], results["search"], rtol=1e-7, atol=1e-9)
        said = f"{what}, {FOLDS} folds, {kernel.name}; GridSearchCV(KernelRidge) / affectkit"
        Ratio(taken["search"], taken["ours"], "s", at_least=target).show(said)
    taken = alternate(
        rounds,
        loo=seconds(lambda: leave_one_out(x, targets)),
        inversions=seconds(lambda: ten_inversions(x, targets)),
    )
    said = f"{what}, leave-one-out, rbf; affectkit / inv(K + I/C) @ T for each C"
    Ratio(taken["loo"], taken["inversions"], "s", at_most=0.5).show(said)
    print(f"threads: {os.environ.get('OMP_NUM_THREADS', 'all')}, processes of the search: {given.jobs}; {machine()}")


if __name__ == "__main__":
    main()
