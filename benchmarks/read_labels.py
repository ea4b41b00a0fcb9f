"""Reading the labels of a data set with a row a frame, as Aff-Wild2 has them: the reader against a plain loop.

Files of valence and arousal are made to the size of the real data (432 files, 2.3 million rows). The reader checks
headers and numbers, drops invalid rows and attaches times (at an assumed rate: no videos are read); the loop is
Python's csv module into lists of floats, and checks nothing. Both read from the page cache. Then the memory that the
reader takes, in a process of its own.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _report import Ratio, alternate, machine, options, seconds, show_value

from affectkit import plugins, tasks
from affectkit.config import Runtime
from affectkit.digests import Digests
from affectkit.stages.dataset_check import CheckConfig, check_dataset
from affectkit.tables.labels import DatasetLabels
from affectkit.types import ClipLabels

TASKS = ("va", "expr")
FOLDERS = {"va": "VA_Estimation_Challenge", "expr": "EXPR_Recognition_Challenge"}
MEMORY = "memory"


def make_files(root: Path, task: str, files: int, rows: int) -> None:
    """Smooth curves with one row in ten invalid; a fifth of the files is for validation."""
    rng = np.random.default_rng(0)
    header = ",".join(tasks.get(task).targets)
    for number in range(files):
        folder = root / FOLDERS[task] / ("Validation_Set" if number % 5 == 0 else "Train_Set")
        folder.mkdir(parents=True, exist_ok=True)
        length = rows // files + (number < rows % files)
        invalid = rng.random(length) < 0.1
        if task == "va":
            curve = np.sin(np.cumsum(rng.normal(0, 0.05, (length, 2)), axis=0))
            curve[invalid] = -5
            body = "\n".join(f"{valence:.4g},{arousal:.4g}" for valence, arousal in curve.tolist())
        else:
            classes = np.where(invalid, -1, rng.integers(0, 8, length))
            body = "\n".join(map(str, classes.tolist()))
        (folder / f"video{number:03d}.txt").write_text(f"{header}\n{body}\n")


def read(root: Path, task: str) -> dict[str, ClipLabels]:
    """By the reader."""
    plugin = plugins.get("datasets", "affwild2")
    options = plugins.parse_options(plugin, ["fps=30"], "affwild2")
    labels: dict[str, ClipLabels] = plugin(options, root).labels(tasks.get(task))
    return labels


def loop(root: Path, task: str) -> dict[str, list[list[float]]]:
    """By the csv module."""
    found = {}
    for path in sorted((root / FOLDERS[task]).glob("*/*.txt")):
        with path.open(newline="") as file:
            rows = csv.reader(file)
            next(rows)
            found[path.stem] = [[float(cell) for cell in row] for row in rows]
    return found


def check_equal(root: Path, task: str) -> None:
    """Both have the same numbers, to the last bit, where they are valid."""
    labels, plain = read(root, task), loop(root, task)
    assert labels.keys() == plain.keys()
    for clip, rows in plain.items():
        values = np.array(rows)
        values[np.isin(values, tasks.get(task).invalid).any(axis=1)] = np.nan
        np.testing.assert_array_equal(labels[clip].values, values)


def check(root: Path) -> float:
    """Seconds that `dataset check --no-media` takes."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as memo:
        source, config = DatasetLabels("affwild2", root), CheckConfig(task=["va"], media=False)
        check_dataset(source, config, Runtime(progress=False), Digests(Path(memo) / "digests.sqlite"))
    return time.monotonic() - began


def main() -> None:
    parser = options(__doc__, quick={"rows": 460000, "rounds": 3}, smoke={"files": 4, "rows": 400, "rounds": 1})
    parser.add_argument("--files", type=int, default=432)
    parser.add_argument("--rows", type=int, default=2_300_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows, rounds = given.rows, given.rounds
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for task in TASKS:
            make_files(root, task, given.files, rows)
            check_equal(root, task)
            taken = alternate(
                rounds,
                reader=seconds(lambda task=task: read(root, task)),
                loop=seconds(lambda task=task: loop(root, task)),
            )
            what = f"{task}: {given.files} files, {rows:,} rows; csv loop / reader"
            Ratio(taken["loop"], taken["reader"], "s", at_least=5).show(what)
        show_value("  dataset check of va, labels only", [check(root)], "s", at_most=20)
        done = subprocess.run(
            [sys.executable, __file__, MEMORY, name], capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
        show_value("  most memory of a process that reads va", [float(done.stdout)], "MiB", at_most=1024)
    print(machine())


if __name__ == "__main__":
    if sys.argv[1:2] == [MEMORY]:
        read(Path(sys.argv[2]), "va")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()
