"""Functionals over windows that overlap heavily: affectkit against a loop over the windows with numpy and polyfit.

Both compute mean, deviation, curvature, slope, offset, minimum and maximum of each dimension, 5 rows a second, a window
of 20 rows every row. The loop takes a part of the windows; its time is extrapolated to all of them (its work does not
depend on where the window lies). affectkit gives the results piece by piece, as its stage writes them; neither side
keeps them. Before, both are compared on some windows.

First, the peak memory of `functionals`, which keeps the whole result, in sizes of its input.
"""

from __future__ import annotations

import resource

import numpy as np
from _report import Measure, Ratio, alternate, machine, options, seconds, show_value

from affectkit.summaries import Functional, functionals, summaries

NAMES: tuple[Functional, ...] = ("mean", "std", "curvature", "slope", "offset", "min", "max")
PERIOD, LENGTH = 0.2, 20
WINDOW = PERIOD * LENGTH
Times = tuple[np.ndarray, np.ndarray, np.ndarray]


def times(count: int) -> Times:
    """start, end and valid of `count` rows."""
    start = PERIOD * np.arange(count)
    return start, start + PERIOD, np.ones(count, bool)


def all_windows(values: np.ndarray) -> Measure:
    """affectkit: seconds for every window."""

    def work() -> None:
        for piece in summaries(values, *times(len(values)), NAMES, WINDOW, PERIOD, np.float32):
            assert piece.valid.all()

    return seconds(work)


def one_window(rows: np.ndarray, time: np.ndarray) -> list[np.ndarray]:
    """The reference, in the order of NAMES."""
    slope, offset = np.polyfit(time, rows, 1)
    curvature = np.polyfit(time, rows, 2)[0]
    return [rows.mean(axis=0), rows.std(axis=0), curvature, slope, offset, rows.min(axis=0), rows.max(axis=0)]


def loop(values: np.ndarray, count: int) -> Measure:
    """The reference: seconds for every window, from the first `count` of them."""
    time = PERIOD * (np.arange(LENGTH) + 0.5)
    windows = len(values) - LENGTH + 1
    measured = seconds(lambda: [one_window(values[at : at + LENGTH], time) for at in range(count)])
    return lambda: measured() * windows / count


def check_equal(values: np.ndarray) -> None:
    """Both sides give the same."""
    rows = values[:200].astype(np.float64)
    made = functionals(rows, *times(200), NAMES, WINDOW, PERIOD).values.reshape(-1, len(NAMES), rows.shape[1])
    time = PERIOD * (np.arange(LENGTH) + 0.5)
    right = np.stack([one_window(rows[at : at + LENGTH], time) for at in range(200 - LENGTH + 1)])
    assert np.abs(made - right).max() < 1e-6 * rows.std()


def main() -> None:
    parser = options(
        __doc__, quick={"rows": 20000, "rounds": 3},
        smoke={"rows": 400, "dim": 8, "sample": 20, "rounds": 1},
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=2_000, help="windows that the loop takes")
    given = parser.parse_args()
    count = given.rows
    values = np.random.default_rng(0).standard_normal((count, given.dim), np.float32)
    check_equal(values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = functionals(values, *times(count), NAMES, WINDOW, PERIOD, np.float32)
    more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    share = f"memory of input and result ({made.values.nbytes / values.nbytes:.1f} inputs) and all between"
    del made
    show_value(share, [1 + more / values.nbytes], "inputs", at_most=10)
    taken = alternate(given.rounds, loop=loop(values, min(given.sample, count // 2)), affectkit=all_windows(values))
    what = f"{count:,} rows x {given.dim} float32, {len(NAMES)} functionals of {count - LENGTH + 1:,} windows"
    Ratio(taken["loop"], taken["affectkit"], "s", at_least=15).show(f"{what}; numpy loop (extrapolated) / affectkit")
    print(machine())


if __name__ == "__main__":
    main()
