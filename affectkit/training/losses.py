"""Training losses over the labelled steps of a batch.

A loss takes scores [B,T,K] (values or logits) and labels [B,T,K] (classes: [B,T,1], the index) in which a NaN marks a
step without a label, padding included, and gives one number. Unlabelled steps weigh 0: no step is cut out by a mask, so
that nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from affectkit.errors import UsageError
from affectkit.learning.options import LearningOptions
from affectkit.tasks import Loss, Task
from affectkit.types import Floats

LossFunction = Callable[[Tensor, Tensor], Tensor]

_KINDS: dict[str, tuple[Loss, ...]] = {
    "regression": ("ccc", "mse", "ccc+mse", "rmse", "log-cosh"),
    "multiclass": ("cross-entropy", "focal"),
    "multilabel": ("bce",),
}


@dataclass(frozen=True, repr=False)
class Goal:
    """The loss of one task, which columns of the scores it is about, and what it weighs beside those of other tasks.

    `mass` says how much labels weigh in the loss, where a batch can be taken in parts.
    """

    task: Task
    loss: LossFunction
    mass: Callable[[Tensor], Tensor] | None
    columns: slice
    weight: float = 1.0


def goals(options: LearningOptions, tasks: Sequence[Task], labels: Sequence[Floats], device: str) -> list[Goal]:
    """What is learnt of each task, from its training labels [N,K]; the options of losses are about the first one."""
    result: list[Goal] = []
    for task, values in zip(tasks, labels, strict=True):
        first = result[-1].columns.stop if result else 0
        chosen = options.model_copy(update={"loss": "auto", "label_smoothing": 0.0}) if result else options
        loss, weigh = build(chosen, task, values, device), mass(chosen, task, values, device)
        weight = options.auxiliary_weight if result else 1.0
        result.append(Goal(task, loss, weigh, slice(first, first + task.outputs), weight))
    return result


def build(options: LearningOptions, task: Task, labels: Floats, device: str) -> LossFunction:
    """The loss that the options name ("auto": the task's own), with class weights from the training labels [N,K].

    Raises UsageError for a loss that does not fit the task's kind.
    """
    name = task.default_loss if options.loss == "auto" else options.loss
    smoothing = options.label_smoothing
    if name not in _KINDS[task.kind]:
        raise UsageError(f"loss '{name}' is not for {task.kind} targets (accepted: {', '.join(_KINDS[task.kind])})")
    if smoothing and task.kind == "regression":
        raise UsageError(f"option label_smoothing={smoothing:g} is for classes and labels, not for regression")
    if task.kind == "regression":
        return _REGRESSION[name]
    labels = labels[np.isfinite(labels).all(axis=1)]
    weights = torch.tensor(class_weights(options, task, labels), dtype=torch.float32, device=device)
    if task.kind == "multilabel":
        return lambda scores, truth: bce(scores, truth, weights, smoothing)
    if name == "focal":
        return lambda scores, truth: focal(scores, truth, weights, smoothing, options.focal_gamma)
    return lambda scores, truth: cross_entropy(scores, truth, weights, smoothing)


def mass(options: LearningOptions, task: Task, labels: Floats, device: str) -> Callable[[Tensor], Tensor] | None:
    """How much the labels of a batch weigh [B,T,K] -> [], with class weights from the training labels [N,K].

    By this weight, the mean of the losses of a batch's parts is the loss of the batch. None for a loss that no parts
    tell (ccc, rmse).
    """
    name = task.default_loss if options.loss == "auto" else options.loss
    if name in ("ccc", "ccc+mse", "rmse"):
        return None
    if name != "cross-entropy":
        return lambda truth: _labelled(truth)[0].sum()
    labels = labels[np.isfinite(labels).all(axis=1)]
    weights = torch.tensor(class_weights(options, task, labels), dtype=torch.float32, device=device)

    def of_classes(truth: Tensor) -> Tensor:
        weight, index = _labelled(truth)
        return (weights[index[:, 0].long()] * weight).sum()

    return of_classes


def class_weights(options: LearningOptions, task: Task, labels: Floats) -> Floats:
    """Weights [K] of the classes or, for labels, of their positives, from the labelled training rows [N,K]."""
    if options.class_weights == "none":
        return np.ones(task.outputs)
    if task.kind == "multilabel":
        return positive_weight(labels) if options.class_weights == "balanced" else over_largest(labels.sum(axis=0))
    if options.class_weights == "balanced":
        return inverse_frequency(labels, task.outputs)
    return over_largest(np.bincount(labels[:, 0].astype(int), minlength=task.outputs).astype(np.float64))


def inverse_frequency(labels: Floats, classes: int) -> Floats:
    """Weights [K] proportional to 1 / count, with sum 1; 0 for a class without a training row.

    >>> inverse_frequency(np.array([[0], [0], [0], [1]]), classes=3)
    array([0.25, 0.75, 0.  ])
    """
    counts = np.bincount(labels[:, 0].astype(int), minlength=classes)
    weights = np.divide(1.0, counts, out=np.zeros(classes), where=counts > 0)
    return np.asarray(weights / weights.sum())


def over_largest(counts: Floats) -> Floats:
    """Weights [K]: the largest count / count; 0 where nothing was counted (SUN's for sound).

    >>> over_largest(np.array([3, 1, 0]))
    array([1., 3., 0.])
    """
    return np.divide(counts.max(initial=0), counts, out=np.zeros(len(counts)), where=counts > 0)


def positive_weight(labels: Floats) -> Floats:
    """Negatives per positive [K] of each label; 1 for a label that is always or never there."""
    positive = labels.sum(axis=0)
    negative = len(labels) - positive
    return np.divide(negative, positive, out=np.ones(len(positive)), where=(positive > 0) & (negative > 0))


def ccc(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over the targets of 1 - CCC, over all labelled steps of the batch (`affectkit.metrics.ccc`)."""
    weight, labels = _labelled(labels)
    weight = weight.unsqueeze(-1)
    count = weight.sum().clamp_min(1)
    scores, labels = scores.reshape(-1, scores.shape[-1]), labels.reshape(-1, labels.shape[-1])
    mean_x, mean_y = (labels * weight).sum(0) / count, (scores * weight).sum(0) / count
    x, y = (labels - mean_x) * weight, (scores - mean_y) * weight
    spread = (x.square().sum(0) + y.square().sum(0)) / count + (mean_x - mean_y).square()
    return (1 - 2 * (x * y).sum(0) / count / (spread + 1e-8)).mean()


def mse(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error over labelled steps and targets."""
    weight, labels = _labelled(labels)
    squares = (scores.reshape(labels.shape) - labels).square().mean(dim=-1)
    return (squares * weight).sum() / weight.sum().clamp_min(1)


def rmse(scores: Tensor, labels: Tensor) -> Tensor:
    """The root of `mse`; its gradient ends at an error of about 1e-6."""
    return (mse(scores, labels) + 1e-12).sqrt()


def log_cosh(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over labelled steps and targets of log cosh(score - label): squares near 0, absolute values far from it."""
    weight, labels = _labelled(labels)
    size = (scores.reshape(labels.shape) - labels).abs()
    each = (size + functional.softplus(-2 * size) - math.log(2)).mean(dim=-1)  # cosh itself overflows
    return (each * weight).sum() / weight.sum().clamp_min(1)


def cross_entropy(scores: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted cross entropy, as torch's with weight [K] and label smoothing: divided by the weights of the labels."""
    weight, labels = _labelled(labels)
    index = labels[:, 0].long()
    each = functional.cross_entropy(
        scores.reshape(-1, scores.shape[-1]), index, weight=weights, reduction="none", label_smoothing=smoothing
    )
    return (each * weight).sum() / (weights[index] * weight).sum().clamp_min(1e-8)


def focal(scores: Tensor, labels: Tensor, alpha: Tensor, smoothing: float, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017) on soft labels q: mean of sum_k -alpha_k q_k (1 - p_k)^gamma log p_k.

    SUN's: gamma 2, alpha [K] the normalised inverse class frequency. q is one-hot with `smoothing` spread over all K.
    """
    weight, labels = _labelled(labels)
    log_p = scores.reshape(-1, scores.shape[-1]).log_softmax(dim=-1)
    classes = log_p.shape[-1]
    q = functional.one_hot(labels[:, 0].long(), classes) * (1 - smoothing) + smoothing / classes
    each = -(alpha * q * (1 - log_p.exp()).pow(gamma) * log_p).sum(dim=-1)
    return (each * weight).sum() / weight.sum().clamp_min(1)


def bce(scores: Tensor, labels: Tensor, positive: Tensor, smoothing: float) -> Tensor:
    """Binary cross entropy over labelled steps and labels; `positive` [K] weighs the positives."""
    weight, labels = _labelled(labels)
    soft = labels * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(
        scores.reshape(labels.shape), soft, pos_weight=positive, reduction="none"
    ).mean(dim=-1)
    return (each * weight).sum() / weight.sum().clamp_min(1)


def _labelled(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Steps in one row: weight [N], 0 where any target is NaN, and labels [N,K] with those rows as 0."""
    flat = labels.reshape(-1, labels.shape[-1])
    labelled = flat.isfinite().all(dim=-1)
    return labelled.to(torch.float32), torch.where(labelled[:, None], flat, torch.zeros_like(flat))


_REGRESSION: dict[str, LossFunction] = {
    "ccc": ccc,
    "mse": mse,
    "ccc+mse": lambda scores, truth: ccc(scores, truth) + mse(scores, truth),
    "rmse": rmse,
    "log-cosh": log_cosh,
}
