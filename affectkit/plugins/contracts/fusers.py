"""What every fuser keeps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from affectkit import tasks
from affectkit.plugins.contracts.candidate import Candidate, Obligation, hold, same
from affectkit.tasks import Task
from affectkit.types import Floats

MODELS, ROWS = 3, 400
Table = tuple[Floats, Floats, Any]


def table(task: Task, inputs: int | None = None, seed: int = 0) -> Table:
    """scores [M,N,K] of three models of growing noise, the truth, and groups of 40 rows.

    `inputs`: as many columns of classes, of which the truth is made.
    """
    rng = np.random.default_rng(seed)
    groups, noise = np.repeat(np.arange(ROWS // 40), 40), np.array([0.5, 1.0, 2.0])[:, None, None]
    if task.kind == "regression":
        truth = rng.uniform(-1, 1, (ROWS, task.outputs))
        levels = np.array([0.2, 0.6, 1.2])[:, None, None]
        return truth + levels * rng.normal(size=(MODELS, ROWS, task.outputs)), truth, groups
    if task.kind == "multilabel":
        truth = (rng.random((ROWS, task.outputs)) < 0.3).astype(float)
        logits = 3 * truth - 1.5 + noise * rng.normal(size=(MODELS, ROWS, task.outputs))
        return 1 / (1 + np.exp(-logits)), truth, groups
    columns = inputs or task.outputs
    classes = rng.integers(0, columns, (ROWS, 1))
    logits = 2 * np.eye(columns)[classes[:, 0]] + noise * rng.normal(size=(MODELS, ROWS, columns))
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return scores, (classes % task.outputs).astype(float), groups


def tried_tasks(plugin: type[Any]) -> list[Task]:
    """The tasks that a fuser is tried with: those that read other columns with the one that those make."""
    return [tasks.get(name) for name in (["compound"] if getattr(plugin, "inputs", None) else ["va", "expr", "au"])]


def _table(candidate: Candidate) -> Table:
    assert candidate.task is not None
    return table(candidate.task, len(getattr(candidate.plugin, "inputs", None) or ()) or None)


def _fitted(candidate: Candidate, given: Table, seed: int = 0) -> Any:
    fuser = candidate.make()
    fuser.fit(*given, seed=seed)
    return fuser


def combines_all_rows(candidate: Candidate) -> None:
    """`combine` gives finite [N,K]; of classes, probabilities that sum to 1."""
    assert candidate.task is not None
    given = _table(candidate)
    fused = _fitted(candidate, given).combine(given[0])
    shape = (ROWS, candidate.task.outputs)
    hold(np.shape(fused) == shape, f"combine gives {list(np.shape(fused))}, not {list(shape)}")
    hold(np.isfinite(fused).all(), "combine gives values that are not finite")
    if candidate.task.kind == "multiclass":
        hold(np.allclose(fused.sum(1), 1) and (fused >= 0).all(), "probabilities do not sum to 1")


def repeats_itself(candidate: Candidate) -> None:
    """The same seed gives the same bits and the same state, and what is given is left as it was."""
    given = _table(candidate)
    before = given[0].copy(), given[1].copy()
    first, again = (_fitted(candidate, given, seed=3) for _ in range(2))
    same(again.combine(given[0]), first.combine(given[0]), "a second fit")
    hold(again.state() == first.state(), "a second fit has another state")
    same(given[0], before[0], "the scores, afterwards")
    same(given[1], before[1], "the truth, afterwards")


def says_what_it_learnt(candidate: Candidate) -> None:
    """`state` is a dictionary that JSON can hold, without NaN."""
    state = _fitted(candidate, _table(candidate)).state()
    hold(isinstance(state, dict), f"state is a {type(state).__name__}")
    json.dumps(state, allow_nan=False)


def is_restored(candidate: Candidate) -> None:
    """With `restore`, a new fuser of the same state and arrays gives the same bits; the state goes through JSON."""
    if not hasattr(candidate.plugin, "restore"):
        return
    scores, truth, groups = _table(candidate)
    scores[1, 5:20] = np.nan
    fuser = _fitted(candidate, (scores, truth, groups))
    again = candidate.make()
    again.restore(json.loads(json.dumps(fuser.state())), dict(fuser.arrays()) if hasattr(fuser, "arrays") else {})
    same(again.combine(scores), fuser.combine(scores), "scores of a restored fuser")


def combines_each_row_alone(candidate: Candidate) -> None:
    """A row does not depend on the rows beside it."""
    scores, truth, groups = _table(candidate)
    scores[1, 5:20] = np.nan
    fuser = _fitted(candidate, (scores, truth, groups))
    together = fuser.combine(scores[:, :60])
    for rows in (slice(0, 1), slice(3, 11), slice(40, 60)):
        hold(np.allclose(fuser.combine(scores[:, rows]), together[rows], rtol=1e-12, atol=1e-12),
             f"rows {rows.start} to {rows.stop} alone are others")  # fmt: skip


def bridges_missing_scores(candidate: Candidate) -> None:
    """A model's missing scores (NaN) are bridged, in rows fitted on and in others; rows of no model stay NaN."""
    scores, truth, groups = _table(candidate)
    holes = scores.copy()
    holes[0, :5] = np.nan
    holes[:2, 5] = np.nan
    holes[:, 7] = np.nan
    for fitted_on in (scores, holes):
        fuser = _fitted(candidate, (fitted_on, truth, groups))
        fused = fuser.combine(holes)
        hold(np.isfinite(fused[:6]).all(), "rows that some model has are not bridged")
        hold(np.isnan(fused[7]).all(), "a row that no model has is scored")
        hold(np.allclose(fused[8:], fuser.combine(scores)[8:]), "holes change other rows")
        json.dumps(fuser.state(), allow_nan=False)


def leaves_out_what_has_no_label(candidate: Candidate) -> None:
    """Rows without a label change nothing of what is learnt from the others."""
    if getattr(candidate.plugin, "reads_unlabelled", False):
        return
    scores, truth, groups = _table(candidate)
    more, nothing = np.concatenate([scores, scores[:, :50]], axis=1), np.full((50, truth.shape[1]), np.nan)
    fuser = _fitted(candidate, (scores, truth, groups), seed=1)
    whole = _fitted(
        candidate, (more, np.concatenate([truth, nothing]), np.concatenate([groups, np.full(50, 99)])), seed=1
    )
    same(whole.combine(scores), fuser.combine(scores), "scores with unlabelled rows beside")


OBLIGATIONS: list[Obligation] = [
    combines_all_rows, repeats_itself, says_what_it_learnt, is_restored, combines_each_row_alone,
    bridges_missing_scores, leaves_out_what_has_no_label,
]  # fmt: skip
