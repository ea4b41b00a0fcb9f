"""Whether probabilities are what they say: reliability and the expected calibration error (Guo et al. 2017).

Shapes: N rows, K classes or labels, B bins of equal width over 0..1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from affectkit.tasks import Task
from affectkit.types import Floats

BINS = 15


class Reliability(NamedTuple):
    """Of each bin [B]: how many rows, their mean probability, and the share of them in which it came true."""

    rows: Floats
    probability: Floats
    share: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: sum over bins of rows/N |share - probability|."""
        return float(self.rows @ np.abs(self.share - self.probability) / self.rows.sum())


def reliability(probability: ArrayLike, true: ArrayLike, bins: int = BINS) -> Reliability:
    """Rows by their probability [N] and whether it came true [N]; a bin is (low, high], the first holds 0 as well.

    >>> found = reliability([0.95, 0.85, 0.1], [1, 0, 0], bins=2)
    >>> found.rows.tolist(), found.share.tolist(), round(found.ece, 3)
    ([1.0, 2.0], [0.0, 0.5], 0.3)
    """
    p, t = np.clip(np.asarray(probability, np.float64), 0, 1), np.asarray(true, np.float64)
    place = np.clip(np.ceil(p * bins).astype(np.intp) - 1, 0, bins - 1)
    rows = np.bincount(place, minlength=bins).astype(np.float64)
    means = [np.divide(np.bincount(place, values, bins), rows, out=np.zeros(bins), where=rows > 0) for values in (p, t)]
    return Reliability(rows, *means)


def curves(task: Task, truth: Floats, scores: Floats) -> dict[str, Reliability]:
    """Classes: the highest probability and whether its class is right, under "top class"; labels: one curve each.

    Regression has no probabilities, and no curve.
    """
    if task.kind == "multiclass":
        return {"top class": reliability(scores.max(axis=1), scores.argmax(axis=1) == truth[:, 0])}
    if task.kind == "multilabel":
        return {name: reliability(scores[:, k], truth[:, k]) for k, name in enumerate(task.targets)}
    return {}


def report(found: dict[str, Reliability]) -> dict[str, Any]:
    """For JSON: the expected calibration error (of labels: the mean, and each), and the bins."""
    each = {name: curve.ece for name, curve in found.items()}
    about: dict[str, Any] = {"bins": BINS, "ece": float(np.mean(list(each.values())))}
    if len(each) > 1:
        about["ece_per_label"] = each
    about["curves"] = {
        name: {field: getattr(curve, field).tolist() for field in curve._fields} for name, curve in found.items()
    }
    return about
