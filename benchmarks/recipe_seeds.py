"""How far the figures of the small recipes depend on the seed: each `--tiny` run on its practice set, again and again
with other seeds of heads, networks and fusions.

The sets are the same bytes everywhere, and so are faces, crops and frozen features but for the last digits; training
turns these into other weights, so a figure of one run elsewhere is one more draw from what is printed here. For each
system: the mean over the seeds, their standard deviation, the least and the greatest.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from _report import machine, options

from affectkit.cli import main as affectkit

ROOTS = {
    "eri-2023": ["hume-reaction"], "sun-2024-va": ["affwild2"], "sun-2024-expr": ["affwild2"],
    "tlhn-2024": ["cexpr", "dfew"], "strong-baseline": ["affwild2"],
}  # fmt: skip
SEEDED = ("train-head", "finetune", "fuse")
APART = 10  # `train-head --seeds` averages consecutive ones: no head is in two runs


def main() -> None:
    parser = options(__doc__, quick={"seeds": 3}, smoke={"seeds": 1, "clips": 12, "epochs": 1, "recipes": ["eri-2023"]})
    parser.add_argument("--recipes", nargs="+", default=list(ROOTS), choices=list(ROOTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clips", type=int, help="of every practice set (default: its own number)")
    parser.add_argument("--epochs", type=int, help="of every head (default: the recipe's)")
    parser.add_argument("--folder", type=Path, help="keep sets and cache here, so that a second run goes on")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        os.environ["AFFECTKIT_CACHE"] = str(folder / "cache")
        for recipe in given.recipes:
            show(recipe, [run(recipe, APART * n, folder, given.clips, given.epochs) for n in range(given.seeds)])
    print(machine())


def run(recipe: str, seed: int, folder: Path, clips: int | None, epochs: int | None) -> dict[str, float]:
    """The metric of every system of a recipe's small run, and of its fusion where nothing was fitted on the rows."""
    line = ["run", recipe, "--tiny", "--json"]
    for number, name in enumerate(ROOTS[recipe]):
        command("practice", name, str(folder / name), *([] if clips is None else ["--count", str(clips)]))
        line += ["--root", f"{name}={folder / name}" if number else str(folder / name)]
    for stage in SEEDED:
        line += ["--set", f"defaults.{stage}.seed={seed}"]
    if epochs is not None:
        line += ["--set", f"defaults.train-head.option.epochs={epochs}"]
    summary = json.loads(command(*line))
    scored = summary["scores"][-1]
    figures = {name: system["scores"][scored["metric"]] for name, system in scored["systems"].items()}
    held_out = {one["step"]: one["held_out"].get("scores", {}).get(one["step"]) for one in summary["fusions"]}
    figures |= {f"{step} (held out)": value for step, value in held_out.items() if isinstance(value, float)}
    return figures | {"best constant": scored["constant"]["scores"][scored["metric"]]}


def command(*line: str) -> str:
    """What a command prints; what it logs is shown only where it fails."""
    printed, logged, argv = StringIO(), StringIO(), sys.argv
    sys.argv = ["affectkit", *line]
    try:
        with redirect_stdout(printed), redirect_stderr(logged):
            affectkit()
    except SystemExit as ended:
        if ended.code not in (0, None):
            raise SystemExit(f"{' '.join(line)}: {logged.getvalue()}") from None
    finally:
        sys.argv = argv
    return printed.getvalue()


def show(recipe: str, runs: list[dict[str, float]]) -> None:
    """Print a line a system."""
    for name in runs[0]:
        values = [one[name] for one in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"{recipe}, {name}: {statistics.mean(values):.3f} ± {spread:.3f} "
            f"({min(values):.3f} to {max(values):.3f}, {len(values)} seeds)",
            flush=True,
        )


if __name__ == "__main__":
    main()
