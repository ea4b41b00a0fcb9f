"""Dirichlet random weighted fusion of three models on as many rows as Aff-Wild2's validation has: affectkit's search
against a plain loop, which goes through all rows for each draw.

For expressions the loop is numpy's einsum, an argmax and scikit-learn's macro F1; for valence and arousal it is einsum
and the CCC of each target. Both sides get the same draws and must end with the same weights. The loop's time for all
draws is worked out from a few, since every draw takes it the same time. The scores are float64, made up: models that
are right for about half of the rows, and not sure of it. Memory is this process's peak, before the loops.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
from _report import Ratio, alternate, machine, options, seconds, show_value

from affectkit import metrics, plugins, tasks
from affectkit.fusers._objective import Winners

MODELS = 3


def expressions(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [M,N,8] of models that make some of their mistakes together, and classes [N,1]."""
    rng = np.random.default_rng(0)
    truth = rng.choice(8, rows, p=np.array([8, 1, 1, 1, 4, 3, 2, 5]) / 25)
    shared = rng.standard_normal((rows, 8), np.float32)
    scores = np.empty((MODELS, rows, 8))
    for model, noise in enumerate((0.9, 1.0, 1.2)):
        logits = 1.2 * np.eye(8, dtype=np.float32)[truth] + 0.7 * shared
        logits += noise * rng.standard_normal((rows, 8), np.float32)
        powers = np.exp(logits)
        scores[model] = powers / powers.sum(axis=1, keepdims=True)
    return scores, truth[:, None].astype(float)


def affect(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Valence and arousal [M,N,2] of three models, and the truth [N,2]."""
    rng = np.random.default_rng(1)
    truth = np.tanh(0.5 * rng.standard_normal((rows, 2)))
    noise = np.array([0.3, 0.4, 0.6])[:, None, None]
    return 0.7 * truth + noise * rng.standard_normal((MODELS, rows, 2)), truth


def search(task: str, scores: np.ndarray, truth: np.ndarray, draws: int, refine: bool = False) -> np.ndarray:
    """The weights that affectkit draws, or climbs to from there."""
    plugin = plugins.get("fusers", "dwf")
    fuser = plugin(plugins.parse_options(plugin, [f"draws={draws}", f"refine={refine}"], "dwf"), tasks.get(task))
    fuser.fit(scores, truth, np.zeros(len(truth)), seed=0)
    return fuser.weights


def loop(task: str, scores: np.ndarray, truth: np.ndarray, draws: int) -> np.ndarray:
    """The weights that scoring every draw on all rows finds."""
    from sklearn.metrics import f1_score

    generator, best, winner = np.random.default_rng(0), -np.inf, None
    for _ in range(draws):
        weights = generator.dirichlet(np.ones(MODELS), scores.shape[2]).T
        fused = np.einsum("mnk,mk->nk", scores, weights)
        if task == "expr":
            score = f1_score(truth[:, 0], fused.argmax(axis=1), labels=range(8), average="macro", zero_division=0)
        else:
            score = np.mean([metrics.ccc(truth[:, k], fused[:, k]) for k in range(2)])
        if score > best:
            best, winner = score, weights
    return winner


def processor(work: Callable[[], object]) -> float:
    """Seconds of processor time, of all cores together."""
    began = time.process_time()
    work()
    return time.process_time() - began


def peak() -> float:
    """Most memory that this process has had so far (GB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = options(
        __doc__, quick={"draws": 1000, "rounds": 2, "loops": 3},
        smoke={"rows": 2000, "draws": 20, "rounds": 1, "loops": 2},
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=280_000)
    parser.add_argument("--draws", type=int, default=10_000, help="of expressions; a hundred times as many of affect")
    parser.add_argument("--loops", type=int, default=10, help="draws that the loop's time is taken of")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    draws, loops = given.draws, given.loops
    expr, va = expressions(given.rows), affect(given.rows)
    search("expr", expr[0], expr[1], 100)  # compiles
    cpu = processor(lambda: search("expr", *expr, draws)) / draws
    search("va", *va, 100 * draws)
    used = peak()
    for name, data in (("expr", expr), ("va", va)):
        np.testing.assert_array_equal(search(name, *data, loops), loop(name, *data, loops))
    loop_cpu = processor(lambda: loop("expr", *expr, loops)) / loops
    taken = alternate(
        given.rounds,
        expr=seconds(lambda: search("expr", *expr, draws)),
        expr_loop=seconds(lambda: loop("expr", *expr, loops)),
        va=seconds(lambda: search("va", *va, 100 * draws)),
        va_loop=seconds(lambda: loop("va", *va, loops)),
    )
    climbed = {name: seconds(lambda name=name, data=data: search(name, *data, loops, refine=True))() for name, data in
               (("expr", expr), ("va", va))}  # fmt: skip
    touched = Winners("macro-f1", *expr).rows / given.rows
    what = f"{given.rows:,} rows x {MODELS} models"
    whole = [one / loops * draws for one in taken["expr_loop"]]
    Ratio(whole, taken["expr"], "s", at_least=100).show(
        f"{what} x 8 classes, macro F1, {draws:,} draws; loop, from {loops} draws / affectkit"
    )
    show_value("  affectkit, a draw", [1000 * one / draws for one in taken["expr"]], "ms", at_most=0.5)
    print(
        f"  processor time a draw: {1000 * loop_cpu:.3g} ms / {1000 * cpu:.3g} ms = {loop_cpu / cpu:.0f} "
        f"(the loop on one core, affectkit on all); {touched:.0%} of the rows gone through"
    )
    hundred = [one / loops * 100 for one in taken["va_loop"]]
    Ratio(taken["va"], hundred, "s", at_most=1).show(
        f"{what} x valence and arousal, CCC: affectkit, {100 * draws:,} draws / loop, 100 draws (from {loops})"
    )
    for name, took in climbed.items():
        print(f"{what}, {name}: {loops} draws, and the climb from the best: {took:.2f} s")
    show_value("peak memory of both searches, the scores included", [used], "GB", at_most=2)
    print(machine())


if __name__ == "__main__":
    main()
