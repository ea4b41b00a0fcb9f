"""The best constant prediction: no other constant is better."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from affectkit import metrics, tasks
from affectkit.stages import scoring
from affectkit.tasks import Task

SMALL = Task(name="small", kind="multilabel", level="time", targets=("a", "b"), metric="binary-f1")


@pytest.mark.parametrize("metric", ["macro-f1", "uar", "war"])
def test_of_classes(metric: str) -> None:
    task = tasks.get("expr").model_copy(update={"metric": metric})
    truth = np.random.default_rng(0).choice(8, 200, p=[0.05, 0.1, 0.3, 0.05, 0.25, 0.1, 0.1, 0.05])[:, None]
    found = scoring.constant_report(task, truth)
    others = [metrics.main(task, truth, np.tile(np.eye(8)[k], (200, 1))) for k in range(8)]
    assert found["scores"][metric] == pytest.approx(max(others))
    assert found["what"] == "the most frequent class of the rows scored"


def test_of_labels() -> None:
    truth = (np.random.default_rng(0).uniform(size=(100, 2)) < [0.2, 0.7]) * 1.0
    found = scoring.constant_report(SMALL, truth)
    others = [metrics.main(SMALL, truth, np.tile(one, (100, 1))) for one in product((0.0, 1.0), repeat=2)]
    assert found["scores"]["binary-f1"] == pytest.approx(max(others))


@pytest.mark.parametrize("metric", ["ccc", "pearson", "mae"])
def test_of_values(metric: str) -> None:
    task = tasks.get("va").model_copy(update={"metric": metric})
    truth = np.random.default_rng(0).exponential(1.0, (101, 2))
    found = scoring.constant_report(task, truth)
    grid = np.quantile(truth, np.linspace(0, 1, 41), axis=0)
    others = [metrics.main(task, truth, np.tile(one, (101, 1))) for one in grid]
    best = min(others) if metric == "mae" else max(others)
    assert found["scores"][metric] == pytest.approx(best, abs=1e-12)
