"""How well scores agree with the truth: the field's metrics, in plain numpy and float64.

Every function takes valid rows only: the caller drops unlabelled and unpredicted rows first. A NaN, an infinity, no
rows at all or shapes that differ raise ValueError, because each of them means that rows were chosen wrongly.

Shapes: N rows (all rows of all clips, concatenated), K targets or classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectkit.errors import UsageError
from affectkit.tasks import Metric, Task
from affectkit.types import Bools, Floats

THRESHOLD = 0.5


def ccc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Concordance correlation coefficient (Lin 1989): 2 cov(x,y) / (var x + var y + (mean x - mean y)^2).

    truth, scores [N]; population moments (ddof 0), over all rows at once. Equal inputs give 1, constant ones
    included; a constant against anything else gives 0.

    >>> ccc([0.0, 1.0], [0.0, 1.0])
    1.0
    >>> ccc([0.0, 1.0], [0.0, 0.5])
    0.66...
    >>> ccc([0.3, 0.3], [0.0, 1.0])
    0.0
    """
    x, y = _pair(truth, scores, ndim=1)
    (mean_x, x), (mean_y, y) = _centred(x), _centred(y)
    spread = np.mean(x * x) + np.mean(y * y) + (mean_x - mean_y) ** 2
    return float(2 * np.mean(x * y) / spread) if spread > 0 else 1.0


def pearson(truth: ArrayLike, scores: ArrayLike) -> float:
    """Pearson's correlation: cov(x,y) / sqrt(var x var y). truth, scores [N]. 0 where either is constant.

    >>> round(pearson([1, 2, 3], [1, 2, 4]), 4)
    0.982
    """
    x, y = _pair(truth, scores, ndim=1)
    x, y = _unit(_centred(x)[1]), _unit(_centred(y)[1])
    return float(np.clip(x @ y, -1, 1))


def mae(truth: ArrayLike, scores: ArrayLike) -> float:
    """Mean absolute error: mean |x - y|. truth, scores [N]. Lower is better.

    >>> mae([0, 1], [0.5, 1])
    0.25
    """
    x, y = _pair(truth, scores, ndim=1)
    return float(np.mean(np.abs(x - y)))


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts [K,K] of rows with the class of the line and the prediction of the column. truth, predicted [N].

    >>> confusion([0, 0, 1], [0, 1, 1], classes=2)
    array([[1, 1],
           [0, 1]])
    """
    x, y = _pair(truth, predicted, ndim=1)
    for name, values in (("truth", x), ("predicted", y)):
        if not ((values == np.floor(values)) & (values >= 0) & (values < classes)).all():
            raise ValueError(f"{name} holds a value that is no class index in 0..{classes - 1}")
    cells = np.bincount(x.astype(np.int64) * classes + y.astype(np.int64), minlength=classes * classes)
    return cells.reshape(classes, classes)


def f1_per_class(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Floats:
    """F1 [K] = 2 TP / (2 TP + FP + FN) of each class; 0 for a class that is neither there nor predicted.

    >>> f1_per_class([0, 0, 1], [0, 1, 1], classes=3).round(3)
    array([0.667, 0.667, 0.   ])
    """
    return _f1(confusion(truth, predicted, classes))


def macro_f1(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Mean F1 over all `classes`. A class that is absent from truth and prediction counts as 0.

    The same as scikit-learn's `f1_score(labels=range(classes), average="macro", zero_division=0)`; without `labels` it
    leaves such a class out. Of a part of the rows see `score_of_part`.

    >>> round(macro_f1([0, 0, 1], [0, 1, 1], classes=2), 4)
    0.6667
    """
    return float(f1_per_class(truth, predicted, classes).mean())


def uar(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Unweighted average recall: mean of TP / (TP + FN) over the classes that occur in the truth.

    >>> uar([0, 0, 1], [0, 1, 1], classes=3)
    0.75
    """
    return _uar(confusion(truth, predicted, classes))


def war(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Weighted average recall, which is accuracy: the share of rows that are right.

    >>> war([0, 0, 1, 1], [0, 1, 1, 1])
    0.75
    """
    x, y = _pair(truth, predicted, ndim=1)
    return float(np.mean(x == y))


def binary_f1_per_label(truth: ArrayLike, predicted: ArrayLike) -> Floats:
    """F1 [K] of each label; truth and predicted [N,K] hold 0 and 1. 0 for a label never there nor predicted."""
    x, y = _pair(truth, predicted, ndim=2)
    for name, values in (("truth", x), ("predicted", y)):
        if not ((values == 0) | (values == 1)).all():
            raise ValueError(f"{name} holds a value other than 0 and 1")
    both = (x * y).sum(axis=0)
    either = x.sum(axis=0) + y.sum(axis=0)
    return np.asarray(np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0))


def binary_f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean over the labels of F1 = 2 TP / (2 TP + FP + FN). truth, predicted [N,K] of 0 and 1.

    >>> round(binary_f1([[1, 0], [1, 1]], [[1, 0], [0, 1]]), 4)
    0.8333
    """
    return float(binary_f1_per_label(truth, predicted).mean())


def score(task: Task, truth: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Every metric that fits the task's kind: the mean, then one a target (`ccc`, `ccc/valence`, ...).

    truth [N,K] (multiclass: class indices [N,1] or [N]); scores [N,K] as predictions hold them: values, or
    probabilities. A class is the highest score; a label is present from 0.5 on.

    >>> from affectkit import tasks
    >>> truth = [[0, 0], [1, 1]]
    >>> score(tasks.get("va"), truth, [[0, 1], [1, 0]])
    {'ccc': 0.0, 'ccc/valence': 1.0, 'ccc/arousal': -1.0, 'pearson': ..., 'mae': 0.5, ...}
    """
    x, y = _rows(task, truth, scores)
    if task.kind == "multiclass":
        cells = confusion(x[:, 0], y.argmax(axis=1), task.outputs)
        f1 = _f1(cells)
        return {
            "macro-f1": float(f1.mean()),
            "uar": _uar(cells),
            "war": float(np.trace(cells) / cells.sum()),
            **_named("f1", task, f1),
        }
    if task.kind == "multilabel":
        f1 = binary_f1_per_label(x, y >= THRESHOLD)
        return {"binary-f1": float(f1.mean()), **_named("f1", task, f1)}
    found: dict[str, float] = {}
    for name, metric in (("ccc", ccc), ("pearson", pearson), ("mae", mae)):
        values = _per_target(metric, x, y)
        found |= {name: float(values.mean()), **_named(name, task, values)}
    return found


def counted(task: Task, truth: ArrayLike) -> Bools:
    """[K] what per-class scores of these rows are about: the classes and labels that have a row, the values that vary.

    truth as for `score`. Predictions have no say: what a model is scored on is not the model's choice.

    >>> from affectkit import tasks
    >>> counted(tasks.get("va"), [[0.1, 0.3], [0.1, 0.4]])
    array([False,  True])
    """
    x = np.asarray(truth, np.float64)
    if task.kind == "multiclass":
        return np.bincount(x.reshape(-1).astype(np.intp), minlength=task.outputs) > 0
    x = x.reshape(len(x), task.outputs)
    return np.asarray((x > 0).any(axis=0) if task.kind == "multilabel" else (x != x[0]).any(axis=0))


def score_of_part(task: Task, truth: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """`score` of a part of the rows, such as one clip or one fold, in which not every class occurs.

    F1 is of the classes and labels that have a row here, CCC and Pearson of the targets that vary here; the others are
    NaN and do not count in the mean, which is NaN where nothing counts.

    >>> from affectkit import tasks
    >>> score_of_part(tasks.get("expr"), [3, 3], np.eye(8)[[3, 3]])["macro-f1"]
    1.0
    """
    found = score(task, truth, scores)
    here = counted(task, truth)
    per_class = {"multiclass": {"macro-f1": "f1"}, "multilabel": {"binary-f1": "f1"}}
    for mean, prefix in per_class.get(task.kind, {"ccc": "ccc", "pearson": "pearson"}).items():
        names = [f"{prefix}/{target}" for target in task.targets]
        found |= {name: math.nan for name, counts in zip(names, here, strict=True) if not counts}
        kept = [found[name] for name, counts in zip(names, here, strict=True) if counts]
        found[mean] = float(np.mean(kept)) if kept else math.nan
    return found


def score_per_clip(task: Task, truth: ArrayLike, scores: ArrayLike, clips: ArrayLike) -> dict[str, float]:
    """The mean over clips of each clip's own metrics, under `clip-mean/ccc`, `clip-mean/ccc/valence`, ...

    clips [N] names the clip of each row. This is not the pooled metric that the challenges rank by: a clip of few rows
    weighs as much as a long one. A clip's metrics are those of `score_of_part`: a class without rows in the clip, or a
    target that is constant in it, does not count there; what counts in no clip has no entry. Clip-level tasks have one
    row a clip and no such score: ValueError.

    >>> from affectkit import tasks
    >>> found = score_per_clip(tasks.get("va"), [[0, 0], [1, 1]] * 2, [[0, 0], [1, 1], [0, 1], [1, 0]], list("aabb"))
    >>> found["clip-mean/ccc/valence"], found["clip-mean/ccc/arousal"]
    (1.0, 0.0)
    """
    if task.level == "clip":
        raise ValueError(f"task {task.name} has one row a clip: no score within a clip")
    x, y = _rows(task, truth, scores)
    names, which = np.unique(np.asarray(clips), return_inverse=True)
    if len(which) != len(x):
        raise ValueError(f"clips names {len(which)} rows where truth has {len(x)}")
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(names)))[:-1])
    each = [score_of_part(task, x[rows], y[rows]) for rows in parts]
    values = {name: [one[name] for one in each if not math.isnan(one[name])] for name in each[0]}
    return {f"clip-mean/{name}": float(np.mean(found)) for name, found in values.items() if found}


def main(task: Task, truth: ArrayLike, scores: ArrayLike) -> float:
    """The task's own metric, pooled over all rows: the number that training and fusion select by.

    Arguments as for `score`. Raises UsageError where the metric does not fit the task's kind.

    >>> from affectkit import tasks
    >>> main(tasks.get("expr"), [0, 1, 2], np.eye(8)[[0, 1, 1]])
    0.2083...
    """
    x, y = _rows(task, truth, scores)
    if (task.metric, task.kind) not in _MAIN:
        fitting = ", ".join(metric for metric, kind in _MAIN if kind == task.kind)
        raise UsageError(
            f"task {task.name}: metric '{task.metric}' is not for {task.kind} targets (accepted: {fitting})"
        )
    return _MAIN[task.metric, task.kind](x, y)


def is_better(metric: Metric, new: float, old: float | None) -> bool:
    """Whether `new` beats `old` (None: nothing yet, so anything does). An error is better when lower.

    >>> is_better("ccc", 0.2, 0.1), is_better("mae", 0.2, 0.1), is_better("ccc", -0.3, None)
    (True, False, True)
    """
    if old is None:
        return True
    return new < old if metric == "mae" else new > old


def probabilities(task: Task, raw: ArrayLike) -> Floats:
    """A head's raw scores [N,K] as predictions: values as they are, softmax for classes, sigmoid for labels.

    NaN rows stay NaN.

    >>> from affectkit import tasks
    >>> probabilities(tasks.get("au"), [[0.0] * 12])[0, 0]
    np.float64(0.5)
    """
    values = np.asarray(raw, dtype=np.float64)
    if task.kind == "multiclass":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    if task.kind == "multilabel":
        return np.asarray(0.5 * (1 + np.tanh(values / 2)))  # the sigmoid, without overflow
    return values


_MAIN: dict[tuple[str, str], Callable[[Floats, Floats], float]] = {
    ("ccc", "regression"): lambda x, y: float(_per_target(ccc, x, y).mean()),
    ("pearson", "regression"): lambda x, y: float(_per_target(pearson, x, y).mean()),
    ("mae", "regression"): lambda x, y: float(_per_target(mae, x, y).mean()),
    ("macro-f1", "multiclass"): lambda x, y: macro_f1(x[:, 0], y.argmax(axis=1), y.shape[1]),
    ("uar", "multiclass"): lambda x, y: uar(x[:, 0], y.argmax(axis=1), y.shape[1]),
    ("war", "multiclass"): lambda x, y: war(x[:, 0], y.argmax(axis=1)),
    ("binary-f1", "multilabel"): lambda x, y: binary_f1(x, y >= THRESHOLD),
}


def _rows(task: Task, truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Checked truth [N,K] (multiclass [N,1]) and scores [N,K]."""
    x, y = _finite(truth, "truth"), _finite(scores, "scores")
    columns = 1 if task.kind == "multiclass" else task.outputs
    if x.ndim == 1 and columns == 1:
        x = x[:, None]
    if x.ndim != 2 or x.shape[1] != columns or y.shape != (len(x), task.outputs):
        raise ValueError(
            f"task {task.name} takes truth [N,{columns}] and scores [N,{task.outputs}], "
            f"not {list(x.shape)} and {list(y.shape)}"
        )
    return x, y


def _pair(truth: ArrayLike, scores: ArrayLike, ndim: int) -> tuple[Floats, Floats]:
    x, y = _finite(truth, "truth"), _finite(scores, "scores")
    if x.shape != y.shape or x.ndim != ndim:
        raise ValueError(f"truth {list(x.shape)} and scores {list(y.shape)} must have one shape of {ndim} dimension(s)")
    return x, y


def _finite(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError(f"{name} has no rows")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity: pass valid rows only")
    return array


def _centred(values: Floats) -> tuple[float, Floats]:
    """Mean and deviations. Counted from the first value, so that a constant deviates by exactly 0."""
    moved = values - values[0]
    mean = moved.mean()
    return float(values[0] + mean), moved - mean


def _unit(values: Floats) -> Floats:
    largest = np.abs(values).max()
    if largest == 0:
        return values
    scaled = values / largest
    return np.asarray(scaled / np.sqrt(scaled @ scaled))


def _per_target(metric: Callable[[Floats, Floats], float], truth: Floats, scores: Floats) -> Floats:
    return np.array([metric(truth[:, k], scores[:, k]) for k in range(truth.shape[1])])


def _named(prefix: str, task: Task, values: Floats) -> dict[str, float]:
    return {f"{prefix}/{target}": float(value) for target, value in zip(task.targets, values, strict=True)}


def _f1(cells: NDArray[np.int64]) -> Floats:
    right = np.diag(cells).astype(np.float64)
    counted = cells.sum(axis=0) + cells.sum(axis=1)
    return np.asarray(np.divide(2 * right, counted, out=np.zeros_like(right), where=counted > 0))


def _uar(cells: NDArray[np.int64]) -> float:
    support = cells.sum(axis=1)
    there = support > 0
    return float(np.mean(np.diag(cells)[there] / support[there]))
