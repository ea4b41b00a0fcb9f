"""`affectkit analyze` against the length of the videos: how many times faster than real time, and its peak memory.

The command runs in a process of its own, as a user runs it: start of Python, digests, decoding, faces, scores, tables
and pictures. Two clips at once, so that it may use both of two cores. Memory is that of a short and a long clip, whose
frames all show a face.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _clips import face_clip, repeated
from _report import Ratio, alternate, machine, options, seconds, show_value

from affectkit.tables.score_tables import ScoreTable

MODEL = "mini-xception"


def analyze(clips: list[Path], words: list[str]) -> tuple[float, float, float]:
    """Seconds that the command took, seconds of all cores, and megabytes that it held at most."""
    with tempfile.TemporaryDirectory(dir=clips[0].parent) as name:
        out = Path(name) / "results"
        command = [sys.executable, "-m", "affectkit", "analyze", *map(str, clips), "--out", str(out)]
        began = time.perf_counter()
        with subprocess.Popen(
            [*command, "--cache", f"{name}/cache", "--no-progress", *words], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - began
        assert process.returncode == 0, command
        assert len(list((out / "tables").glob("*.csv"))) == len(clips)
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def write_csv(rows: int, columns: int, rounds: int) -> list[float]:
    """Milliseconds that so many rows of so many scores take as CSV."""
    import numpy as np

    times = np.arange(rows) / 5
    scores = np.random.default_rng(0).random((rows, columns))
    names = tuple(f"score_{number}" for number in range(columns))
    table = ScoreTable(
        "clip", "", times, times + 1 / 30, scores, names, np.ones(rows, bool), np.ones(rows), None, MODEL
    )
    return [1000 * taken for taken in alternate(rounds, csv=seconds(table.csv))["csv"]]


def main() -> None:
    parser = options(
        __doc__, quick={"minutes": 1.0, "long": 3.0, "rounds": 1},
        smoke={"minutes": 0.05, "long": 0.1, "piece": 3.0, "rounds": 1, "weights": "random"},
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, default=5, help="of each of two clips, and of the short one for memory"
    )
    parser.add_argument("--long", type=float, default=30, help="minutes of the long clip")
    parser.add_argument("--piece", type=float, default=10.0, help="seconds that are encoded; the clips repeat them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--detector", default="blazeface")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--no-figures", action="store_true")
    given = parser.parse_args()
    words = ["--detector", given.detector, "--weights", given.weights, *(["--no-figures"] if given.no_figures else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        piece = face_clip(folder, given.piece)
        first, long = (
            repeated(piece, round(60 * minutes / given.piece), folder / f"{minutes:g}-minutes.mp4")
            for minutes in (given.minutes, given.long)
        )
        second = folder / "another.mp4"
        shutil.copy(first, second)
        pair: list[tuple[float, float, float]] = []
        held: dict[str, list[float]] = {"short": [], "long": []}
        taken: dict[str, list[float]] = {"long": []}
        for _ in range(given.rounds):
            pair.append(analyze([first, second], words))
            held["short"].append(analyze([first], words)[2])
            took, _, memory = analyze([long], words)
            taken["long"].append(took)
            held["long"].append(memory)
    what = f"analyze, {MODEL}, {given.detector}, 5 fps of 640x360 at 30 fps"
    length = 2 * 60 * given.minutes
    show_value(
        f"{what}, two clips of {given.minutes:g} min", [length / took for took, *_ in pair], "x real time", at_least=25
    )
    show_value(
        f"{what}, {given.long:g} min", [60 * given.long / took for took in taken["long"]], "x real time", at_least=25
    )
    spent = statistics.median(2 * given.minutes / cores for _, cores, _ in pair)
    print(f"  {1 / spent:.2g} s of one core a minute of video, imports included: {60 * spent:.0f} x real time on one")
    Ratio(held["long"], held["short"], "MB", at_most=1.1).show(
        f"peak memory of analyze, {given.long:g} min / {given.minutes:g} min"
    )
    show_value("9,000 rows of 10 scores as CSV", write_csv(9000, 10, 5), "ms", at_most=50)
    print(machine())


if __name__ == "__main__":
    main()
