"""Fine-tuning against the frozen backbone, by macro-F1 on the practice EXPR set, each with three seeds.

Both learn from the same 112-pixel crops of `affectkit practice affwild2` (460 labelled ones at 5 fps) and are selected
on its validation clips. They are scored there, and on the labelled clips of a second set, drawn with another seed,
which nobody has selected on. EfficientNet-Lite0 with ImageNet weights (a package, no download), all on CPU.

Fine-tuned = network `static`, the backbone's last 6 blocks and SUN's head, 5 epochs. Frozen, the same head =
`trainable_blocks=0` and else the same options. Frozen, mlp = `train-head mlp` on embeddings of `embed`, at 112 pixels
and at the backbone's own 224, for as long as its validation score improves. The difference is to the best frozen one.
The commands are those of the command line, and they are printed.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from _report import machine, options

from affectkit import cli

TUNED = ["backbone=efficientnet-lite0", "input_size=112", "trainable_blocks=6", "epochs=5", "learning_rate=1e-3",
         "layer_decay=0.9"]  # fmt: skip
LABELS = ["--task", "expr"]


@dataclass(frozen=True)
class PracticeSet:
    """A practice set in a folder of its own, with its cache, crops and embeddings by input size."""

    folder: Path
    seed: int
    clips: int
    embeddings: dict[int, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """Run `affectkit ARGUMENTS --json` in this process, in the set's folder; what it printed."""
        line = ["affectkit", *arguments, "--json"]
        if self.seed == 0:
            print(f"$ {shlex.join(line)}", flush=True)
        out, cache = io.StringIO(), {"AFFECTKIT_CACHE": "cache"}
        with chdir(self.folder), mock.patch.dict(os.environ, cache), mock.patch.object(sys, "argv", line):
            try:
                with redirect_stdout(out):
                    cli.main(standalone=False)
            except SystemExit as end:
                if end.code:
                    raise
        printed: dict[str, Any] = json.loads(out.getvalue())
        return printed

    def make(self) -> str:
        """Write the set and cache its crops; the artifact."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self("practice", "affwild2", "set", "--seed", str(self.seed), "--count", str(self.clips))
        found = self("extract", "faces", *self.data, "--dataset-option", "media=crops", "--videos", "set/videos",
                     "--size", "112", "--fps", "5")  # fmt: skip
        return str(found["artifact"])

    @property
    def data(self) -> list[str]:
        return ["--dataset", "affwild2", "--root", "set"]

    def embed(self, faces: str, size: int) -> None:
        made = self("embed", faces, "--backbone", "efficientnet-lite0", "-o", f"input_size={size}")
        self.embeddings[size] = str(made["artifact"])

    def score(self, model: str, inputs: str, splits: list[str]) -> float:
        """Macro-F1 of a model's predictions on split val."""
        made = self("predict", model, inputs)["artifact"]
        found = self("evaluate", str(made), *self.data, *LABELS, "--split", "val", "--draws", "0", *splits)
        return float(found["scores"]["macro-f1"])


Score = tuple[float, float]
"""Macro-F1 on the validation clips and on those of the other set."""


def held_out(practice: PracticeSet) -> list[str]:
    """Options that make all labelled clips of a set one split."""
    names = sorted(path.stem for path in (practice.folder / "set/EXPR_Recognition_Challenge").rglob("*.txt"))
    rows = "".join(f"{name},val\n" for name in names)
    (practice.folder / "held.csv").write_text("clip,split\n" + rows, encoding="utf-8")
    return ["--splits", "held.csv"]


def main() -> None:
    parser = options(
        __doc__, quick={"seeds": 1},
        smoke={"seeds": 1, "clips": [6, 6], "option": ['epochs=1', 'trainable_blocks=1']},
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, nargs=2, default=[24, 12], help="of the set learnt from, and of the other")
    parser.add_argument("--folder", type=Path, help="keep everything here, and go on from what is there")
    parser.add_argument("-o", "--option", action="append", default=[], help="another option of the fine-tuned network")
    given = parser.parse_args()
    began, seeds = time.perf_counter(), range(given.seeds)
    with tempfile.TemporaryDirectory() as name:
        folder = (given.folder or Path(name)).absolute()
        first, other = (
            PracticeSet(folder / name, seed, count)
            for seed, (name, count) in enumerate(zip(("first", "other"), given.clips, strict=True))
        )
        faces, held = first.make(), other.make()
        for practice, crops in ((first, faces), (other, held)):
            for size in (112, 224):
                practice.embed(crops, size)
        splits = held_out(other)

        def tuned(seed: int, *changes: str) -> Score:
            options = dict(option.split("=", 1) for option in [*TUNED, *given.option, *changes])
            flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
            made = first("finetune", faces, *first.data, *LABELS, "--seed", str(seed), *flags)
            return scores(str(made["artifact"]), faces, held)

        def mlp(seed: int, size: int) -> Score:
            own = first.embeddings[size]
            made = first("train-head", own, *first.data, *LABELS, "--head", "mlp", "--seed", str(seed))
            return scores(str(made["artifact"]), own, other.embeddings[size])

        def scores(model: str, own: str, others: str) -> Score:
            model = str(first.folder / model)
            return first.score(model, own, []), other.score(model, others, splits)

        ways: dict[str, Callable[[int], Score]] = {
            "fine-tuned": tuned,
            "frozen, the same head": lambda seed: tuned(seed, "trainable_blocks=0"),
            "frozen, mlp on 112 px": lambda seed: mlp(seed, 112),
            "frozen, mlp on 224 px": lambda seed: mlp(seed, 224),
        }
        found = {way: np.array([run(seed) for seed in seeds]) for way, run in ways.items()}
    show(found)
    print(f"{time.perf_counter() - began:.0f} s in all")
    print(machine())


def show(found: dict[str, np.ndarray]) -> None:
    """Print the scores [seeds,2] of each way, and how far the first is ahead of the best of the others."""
    for way, values in found.items():
        seeds = ", ".join(f"{val:.3f}/{held:.3f}" for val, held in values)
        val, held = values.mean(axis=0)
        print(f"{way}: macro-F1 {val:.3f} val, {held:.3f} held out (seeds {seeds})")
    tuned, *frozen = found.values()
    for place, what in enumerate(("val", "held-out clips")):
        best = max((values[:, place] for values in frozen), key=lambda values: float(values.mean()))
        difference = statistics.mean((tuned[:, place] - best).tolist())
        met = "met" if tuned[:, place].min() > best.max() else "not met"
        print(f"fine-tuned - best frozen, {what}: {difference:+.3f} (target: every seed ahead of all: {met})")


if __name__ == "__main__":
    main()
