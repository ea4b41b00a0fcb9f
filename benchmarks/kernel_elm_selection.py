"""By what the C of a kernel extreme learning machine is chosen best: a validation split, or grouped folds of training.

Clips of subjects, five each, whose features carry a class (one of four), who it is, and noise. A fifth of the subjects
is val. C of ten values is chosen by the UAR on val, or by that on 5 folds of the train clips that keep subjects whole;
the machine is then fitted again on train and val, and scored on 2000 clips of other subjects. What is lost against the
C that is best on those is the mean over draws, with its standard error. The sign says nothing: smaller is better.
"""

from __future__ import annotations

import numpy as np
from _report import machine, options

from affectkit.kernels.functions import Kernel
from affectkit.kernels.grid import class_weights, fit_grid, one_hot
from affectkit.kernels.normalise import CanonicalNormaliser
from affectkit.tables.splits import folds_of

CS = np.logspace(-5, 4, 10)
CLASSES, DIMS, EACH, FOLDS = 4, 60, 5, 5
TEST = 2000


def draw(clips: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N,D], classes [N] and subjects [N]."""
    subject = np.arange(clips) // EACH
    y = rng.integers(0, CLASSES, clips)
    centres = np.random.default_rng(0).standard_normal((CLASSES, DIMS))
    who = rng.standard_normal((subject.max() + 1, DIMS))
    return 0.35 * centres[y] + 0.7 * who[subject] + rng.standard_normal((clips, DIMS)), y, subject


def uar(scores: np.ndarray, y: np.ndarray) -> float:
    """Mean recall of the classes that there are."""
    right = scores.argmax(axis=1) == y
    return float(np.mean([right[y == k].mean() for k in np.unique(y)]))


def lost(clips: int, seed: int) -> dict[str, float]:
    """UAR on other subjects that either choice loses."""
    rng = np.random.default_rng([clips, seed])
    x, y, subject = draw(clips, rng)
    test, truth, _ = draw(TEST, rng)
    val = folds_of(subject, FOLDS, seed) == 0
    first = CanonicalNormaliser().fit(x[~val])
    grid = fit_grid(first.transform(x[~val]), one_hot(y[~val], CLASSES), CS, Kernel(), weights=_weights(y[~val]))
    by_val = [uar(grid.machine(c)(first.transform(x[val])), y[val]) for c in CS]
    by_folds = [uar(one, y[~val]) for one in grid.held_out(folds_of(subject[~val], FOLDS))]
    whole = CanonicalNormaliser().fit(x)
    final = fit_grid(whole.transform(x), one_hot(y, CLASSES), CS, Kernel(), weights=_weights(y))
    score = np.array([uar(final.machine(c)(whole.transform(test)), truth) for c in CS])
    return {name: float(score.max() - score[np.argmax(found)]) for name, found in
            (("val", by_val), ("grouped", by_folds))}  # fmt: skip


def _weights(y: np.ndarray) -> np.ndarray:
    return class_weights(np.unique(y, return_inverse=True)[1])


def main() -> None:
    parser = options(__doc__, quick={"rounds": 20, "most": 320}, smoke={"rounds": 2, "most": 50})
    parser.add_argument("--rounds", type=int, default=100, help="draws of each size")
    parser.add_argument("--most", type=int, default=1280, help="clips (train and val) of the largest size")
    given = parser.parse_args()
    for clips in (50, 100, 150, 200, 250, 320, 640, 1280):
        if clips > given.most:
            break
        found = [lost(clips, seed) for seed in range(given.rounds)]
        parts = []
        for name in ("val", "grouped"):
            values = np.array([one[name] for one in found])
            parts.append(f"{name} {values.mean():.4f} +- {values.std() / len(values) ** 0.5:.4f}")
        print(f"{clips} clips, {int(clips * (1 - 1 / FOLDS))} train: UAR lost by choosing by {', by '.join(parts)}")
    print(machine())


if __name__ == "__main__":
    main()
