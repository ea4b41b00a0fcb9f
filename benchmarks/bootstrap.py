"""Intervals of 1000 draws over the clips of as many rows as Aff-Wild2's validation has: affectkit's sums of what each
clip contributes against the definition, which puts the rows of the drawn clips together and scores them.

Both sides get the same draws and must agree. The definition's time for all draws is worked out from a few, since every
draw takes it the same time. Rows and scores are made up.
"""

from __future__ import annotations

import numpy as np
from _report import Ratio, alternate, machine, options, seconds, show_value

from affectkit import bootstrap, metrics, tasks
from affectkit.tasks import Task

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def made_up(task: Task, rows: int, clips: int) -> Rows:
    """Truth, scores and the clip of each row; clips of unequal length."""
    random = np.random.default_rng(0)
    clip = np.sort(random.integers(clips, size=rows))
    if task.kind == "multiclass":
        truth, scores = random.integers(task.outputs, size=(rows, 1)), random.dirichlet(np.ones(task.outputs), rows)
    elif task.kind == "multilabel":
        truth, scores = random.random((rows, task.outputs)) < 0.3, random.random((rows, task.outputs))
    else:
        truth = random.normal(size=(rows, task.outputs)) + random.normal(size=(clips, task.outputs))[clip]
        scores = 0.7 * truth + random.normal(size=truth.shape)
    return truth.astype(float), scores, np.array([f"clip{one:05d}" for one in clip])


def definition(task: Task, rows: Rows, draws: int, of: int) -> list[float]:
    """The task's metric of the first draws, row by row."""
    truth, scores, clip = rows
    starts = np.flatnonzero(np.r_[True, clip[1:] != clip[:-1]])
    places = np.split(np.arange(len(clip)), starts[1:])
    found = []
    for line in np.concatenate(list(bootstrap.counts(len(places), of, seed=0)))[:draws]:
        drawn = np.concatenate([np.tile(place, int(n)) for place, n in zip(places, line, strict=True)])
        found.append(metrics.score(task, truth[drawn], scores[drawn])[task.metric])
    return found


def sums(task: Task, rows: Rows, draws: int) -> np.ndarray:
    """The task's metric of every draw, as `interval` takes it."""
    codes, groups = bootstrap._codes(rows[2])
    return bootstrap._drawn([bootstrap._measure(task, *rows[:2], codes, groups)], groups, draws, 0)[0][task.metric]


def main() -> None:
    parser = options(
        __doc__, quick={"rounds": 2, "few": 2},
        smoke={"rows": 2000, "clips": 20, "draws": 20, "rounds": 1, "few": 2},
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=280_000)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--few", type=int, default=5, help="draws that the definition's time is taken of")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for name in ("va", "expr", "au"):
        task = tasks.get(name)
        rows = made_up(task, given.rows, given.clips)
        slow = definition(task, rows, given.few, given.draws)
        np.testing.assert_allclose(sums(task, rows, given.draws)[: given.few], slow, atol=1e-10, rtol=0)
        taken = alternate(
            given.rounds,
            affectkit=seconds(lambda task=task, rows=rows: bootstrap.interval(task, *rows, draws=given.draws)),
            definition=seconds(lambda task=task, rows=rows: definition(task, rows, given.few, given.draws)),
        )
        whole = [one / given.few * given.draws for one in taken["definition"]]
        what = f"{name}, {given.rows:,} rows of {given.clips} clips, {given.draws:,} draws"
        Ratio(whole, taken["affectkit"], "s", at_least=50).show(
            f"{what}; definition, from {given.few} draws / affectkit"
        )
        show_value("  affectkit", taken["affectkit"], "s", at_most=1)
    print(machine())


if __name__ == "__main__":
    main()
