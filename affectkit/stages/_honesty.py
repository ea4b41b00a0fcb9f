"""Scores of a fusion that it was not fitted on: of held-out folds of the validation clips, or of the test clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from affectkit import bootstrap, metrics
from affectkit.folds import folds_of
from affectkit.tasks import Task
from affectkit.types import Floats

FUSED, BEST_SINGLE = "fused", "best single"
Make = Callable[[], Any]
Fitted = dict[str, Any]


def cross_fitted(
    fusers: Mapping[str, Make], scores: Floats, truth: Floats, groups: np.ndarray, *, folds: int, seed: int
) -> dict[str, Floats]:
    """What each fuser says of each row when it was fitted on the other folds: name -> [N,K]."""
    fold = folds_of(groups, folds, seed)
    order = np.argsort(fold, kind="stable")  # the rows, fold by fold
    parts: dict[str, list[Floats]] = {name: [] for name in fusers}
    for held_out in np.unique(fold):
        learn, test = fold != held_out, fold == held_out
        for name, make in fusers.items():
            fuser = make()
            fuser.fit(scores[:, learn], truth[learn], groups[learn], seed=seed)
            parts[name].append(fuser.combine(scores[:, test]))
    back = np.argsort(order, kind="stable")
    return {name: np.concatenate(found)[back] for name, found in parts.items()}


def compare(
    task: Task, truth: Floats, systems: Mapping[str, Floats], groups: np.ndarray, clips: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Each system's main metric on the rows that all of them have a score for, and how the fusion fares against the
    best single model there: `better` only where the interval of the difference leaves out 0."""
    used = np.logical_and.reduce([np.isfinite(one).all(axis=1) for one in systems.values()])
    if not used.any():
        return {"rows": 0, "clips": 0, "scores": {}}
    found: dict[str, Any] = {
        "rows": int(used.sum()),
        "clips": len(np.unique(clips[used])),
        "clips_without_score": sorted(set(clips.tolist()) - set(clips[used].tolist())),
        "rows_without_score": int((~used).sum()),
        "scores": {name: metrics.main(task, truth[used], one[used]) for name, one in systems.items()},
    }
    if FUSED in systems and BEST_SINGLE in systems:
        found["against_best_single"] = against(
            task, truth[used], systems[FUSED][used], systems[BEST_SINGLE][used], groups[used], seed
        )
    return found


def against(task: Task, truth: Floats, one: Floats, other: Floats, groups: np.ndarray, seed: int) -> dict[str, Any]:
    """The difference of the main metric by a bootstrap over whole groups."""
    gap = bootstrap.paired(task, truth, one, other, groups, seed=seed).get(task.metric)
    cautions = bootstrap.cautions(task, truth, groups)
    if gap is None:
        return {"better": False, "cautions": cautions}
    better = gap.high < 0 if task.metric == "mae" else gap.low > 0
    return {**gap._asdict(), "better": bool(better), "cautions": cautions}
