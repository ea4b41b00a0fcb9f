"""What a fusion leaves out, assumes or cannot know, one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from affectkit import bootstrap, metrics
from affectkit.errors import listed
from affectkit.stages.gating import gated
from affectkit.tables.splits import folds_of
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Bools, Floats, Predictions


def of_sets(names: Sequence[str], sets: Sequence[Predictions], base: Predictions, scores: Floats) -> list[str]:
    """Of the prediction sets as they were given, at the rows of the fusion: scores [M,N,K] of M sets."""
    clips, found = by_clip(base), []
    there = np.asarray(np.isfinite(scores).all(axis=2))  # [M,N]
    for name, one, known in zip(names, sets, there, strict=True):
        silent = [clip for clip, rows in clips.items() if not known[rows].any()]
        if silent:
            found.append(f"{name} has no score for {listed(silent, 'clips')}: fused from the others")
        holes = sum(int((~known[rows]).sum()) for clip, rows in clips.items() if clip not in set(silent))
        if holes:
            found.append(f"{name} has no score in {holes} of {len(base)} rows of its clips: fused from the others")
        found += _other_splits(name, one, base)
    nothing = int((~there.any(axis=0)).sum())
    if nothing:
        found.append(f"{nothing} of {len(base)} rows have no score of any set, and none of the fusion")
    for (first, ours), (second, theirs) in combinations(zip(names, scores, strict=True), 2):
        if np.array_equal(ours, theirs, equal_nan=True):
            found.append(f"{first} and {second} give the same scores in all rows: one model, counted twice")
    return found


def of_fit(task: Task, names: Sequence[str], scores: Floats, truth: Floats, fused: Floats) -> list[str]:
    """Of the rows that it is fitted on: scores [M,N,K], truth [N,K] (classes [N,1]), the fusion's own scores [N,K]."""
    found = []
    if task.outputs == scores.shape[2]:  # else the fuser reads columns of another task
        for name, one in zip(names, scores, strict=True):
            found += _constant(task, name, one)
    if task.kind != "regression":
        absent = [name for name, there in zip(task.targets, metrics.counted(task, truth), strict=True) if not there]
        if absent:
            found.append(f"no validation row is of {listed(absent, 'classes')}: how they are fused is not judged")
        given = fused[np.isfinite(fused).all(axis=1)]
        never = never_given(task, given)
        if never:
            found.append(f"the fusion never gives {listed(never, 'classes')} in {len(given)} validation rows")
    return found


def of_rows(base: Predictions, truth: Floats, scores: Floats, split: str) -> list[str]:
    """Rows of the labels [N] of a split that are not fitted on or scored, for want of a label or of any score."""
    here = base.split == split
    unlabelled = here & ~np.isfinite(truth).all(axis=1)
    unscored = here & ~unlabelled & ~np.asarray(np.isfinite(scores).any(axis=0)).all(axis=1)
    words = ((unlabelled, "without a label"), (unscored, "without a score of any set"))
    return [f"{int(rows.sum())} of {int(here.sum())} {split} rows are {word}: left out" for rows, word in words
            if rows.any()]  # fmt: skip


def of_gate(names: Sequence[str], scores: Floats, nats: float | None) -> list[str]:
    """How many rows of each set a gate leaves out. scores [M,N,K]."""
    if nats is None:
        return []
    before, after = (np.isfinite(one).all(axis=2).sum(axis=1) for one in (scores, gated(scores, nats)))
    each = ", ".join(f"{a - b} of {a} of {name}" for name, a, b in zip(names, before, after, strict=True))
    return [f"the gate of {nats:.3g} nats leaves out rows: {each}"]


def never_given(task: Task, scores: Floats) -> list[str]:
    """The classes or labels that no row of scores [N,K] is given."""
    if task.kind == "multiclass":
        given: Bools = np.bincount(scores.argmax(axis=1), minlength=task.outputs) > 0
    else:
        given = np.asarray((scores >= metrics.THRESHOLD).any(axis=0))
    return [name for name, there in zip(task.targets, given, strict=True) if not there]


def _constant(task: Task, name: str, scores: Floats) -> list[str]:
    """scores [N,K] of one set."""
    known = scores[np.isfinite(scores).all(axis=1)]
    if not len(known):
        return [f"{name} has no score in any labelled validation row: it is fused unseen, if at all"]
    flat = (known == known[0]).all(axis=0)
    if len(known) > 1 and (flat.all() if task.kind == "multiclass" else flat.any()):
        which = "" if flat.all() else f" of {', '.join(np.array(task.targets)[flat])}"
        return [f"{name} gives one value{which} in all {len(known)} validation rows"]
    return []


def _other_splits(name: str, one: Predictions, base: Predictions) -> list[str]:
    """Clips that the set itself has in another split than the fusion."""
    used = {clip: str(base.split[rows][0]) for clip, rows in by_clip(base).items()}
    said = {clip: str(one.split[rows][0]) for clip, rows in by_clip(one).items()}
    moved: dict[tuple[str, str], list[str]] = {}
    for clip, split in said.items():
        if split and used.get(clip) and split != used[clip]:
            moved.setdefault((split, used[clip]), []).append(clip)
    return [
        f"{name} has {listed(clips, 'clips')} in split {theirs}, the fusion in {ours}"
        + (": its head may have been fitted on them" if theirs == "train" else "")
        for (theirs, ours), clips in sorted(moved.items())
    ]


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
