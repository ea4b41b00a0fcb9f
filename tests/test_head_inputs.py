"""Several inputs of one head, and several tasks: layer weights, concatenation, a sweep, auxiliary labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from affectkit import plugins, tasks
from affectkit.config import validate
from affectkit.errors import UsageError
from affectkit.nets.joints import LayerWeights
from affectkit.plugins import Auxiliary, Example
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

VA, EXPR, COMPOUND = tasks.get("va"), tasks.get("expr"), tasks.get("compound")
DIM, HOP = 6, 0.2
SMALL = {"epochs": "8", "hidden": "12", "learning_rate": "0.01", "class_weights": "none"}


def make(task: Task, **options: Any) -> Any:
    plugin = plugins.get("heads", "lstm")
    return plugin(validate(plugin.Options, SMALL | options, "options"), task)


def sequence(values: np.ndarray, shift: float = 0.0) -> FeatureSequence:
    start = np.arange(len(values)) * HOP + shift
    return FeatureSequence(start, start + HOP, values.astype(np.float32), np.ones(len(values), bool))


def clips(task: Task, count: int, seed: int, layers: int = 1, informative: int = 0) -> list[Example]:
    """Labels are written into the first dimensions of one layer; the others are noise."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        inputs = [rng.standard_normal((30, DIM)) for _ in range(layers)]
        curve = np.tanh(np.cumsum(rng.standard_normal((30, 2)), axis=0) / 3)
        inputs[informative][:, :2] = curve
        if task.kind == "multiclass":
            labels = np.argmax(curve, axis=1)[:, None].astype(float)
            labels = labels if task.level == "time" else labels[:1]
            if task.level == "clip":
                inputs[informative][:, 0] = labels[0, 0] * 2 - 1
        else:
            labels = curve
        found.append(Example(f"clip{number}", tuple(sequence(one) for one in inputs), labels))
    return found


def fit(head: Any, train: Sequence[Example], val: Sequence[Example], **how: Any) -> list[Any]:
    return list(head.fit(train, val, seed=0, device="cpu", monitor=lambda epoch: None, **how))


@pytest.mark.parametrize("combine", ["weights", "concat", "sweep"])
def test_the_layer_that_knows_is_found(combine: str, tmp_path: Path) -> None:
    train, val = clips(VA, 12, 1, layers=3, informative=2), clips(VA, 6, 2, layers=3, informative=2)
    head = make(VA, combine=combine)
    history = fit(head, train, val)
    alone = fit(make(VA), [Example(e.clip, e.inputs[:1], e.labels) for e in train],
                [Example(e.clip, e.inputs[:1], e.labels) for e in val])  # fmt: skip
    assert history[-1].best > alone[-1].best + 0.15
    if combine == "weights":
        weights = head.fitted.network.network.logits.softmax(0)
        assert weights.argmax() == 2
    if combine == "sweep":
        assert head.fitted.inputs.chosen == 2
    head.save(tmp_path)
    again = type(head).load(tmp_path, VA)
    for one, other in zip(head.predict(val, device="cpu"), again.predict(val, device="cpu"), strict=True):
        assert one.tobytes() == other.tobytes()


def test_equal_weights_are_the_mean_of_the_layers() -> None:
    mixed = LayerWeights(4, torch.nn.Identity())
    mixed.network = type("Take", (torch.nn.Module,), {"forward": lambda self, x, mask: x})()
    x = torch.randn(2, 5, 4 * DIM)
    assert torch.allclose(mixed(x, torch.ones(2, 5)), x.view(2, 5, 4, DIM).mean(2), atol=1e-6)


def test_inputs_that_do_not_fit_are_refused() -> None:
    train = clips(VA, 3, 1, layers=2)
    with pytest.raises(UsageError, match=r"comes with 2: set option combine=weights"):
        fit(make(VA), train, train)
    shifted = [Example(e.clip, (e.inputs[0], sequence(e.inputs[1].values, shift=0.05)), e.labels) for e in train]
    with pytest.raises(UsageError, match="rows of other times"):
        fit(make(VA, combine="concat"), shifted, shifted)
    narrow = [Example(e.clip, (e.inputs[0], sequence(e.inputs[1].values[:, :3])), e.labels) for e in train]
    with pytest.raises(UsageError, match="cannot be weighed"):
        fit(make(VA, combine="weights"), narrow, narrow)
    head = make(VA, combine="concat", epochs="1")
    fit(head, train, train)
    with pytest.raises(UsageError, match="takes 2 feature artifacts"):
        head.predict([Example("a", train[0].inputs[:1])], device="cpu")


@pytest.mark.parametrize(("task", "other"), [(VA, EXPR), (VA, COMPOUND), (COMPOUND, VA), (EXPR, VA)])
def test_another_task_is_learnt_along(task: Task, other: Task, tmp_path: Path) -> None:
    """Whatever its level; what is predicted is the head's own task."""
    train, val, others = clips(task, 12, 1), clips(task, 6, 2), clips(other, 9, 3)
    head = make(task)
    fit(head, train, val, auxiliary=[Auxiliary(other, others)])
    found = head.predict(val, device="cpu")
    assert found[0].shape == ((1 if task.level == "clip" else 30), task.outputs)
    width = head.fitted.network(torch.zeros(1, 30, DIM), torch.ones(1, 30, dtype=torch.bool)).shape[-1]
    assert width == task.outputs + other.outputs
    head.save(tmp_path)
    again = type(head).load(tmp_path, task).predict(val, device="cpu")
    assert all(one.tobytes() == two.tobytes() for one, two in zip(found, again, strict=True))


def test_the_auxiliary_labels_reach_the_loss() -> None:
    train, val = clips(VA, 6, 1), clips(VA, 3, 2)
    one, two = (
        fit(make(VA, epochs="2"), train, val, auxiliary=[Auxiliary(EXPR, clips(EXPR, 4, seed))]) for seed in (5, 6)
    )
    assert one[-1].loss != two[-1].loss
    assert (
        one[-1].loss == fit(make(VA, epochs="2"), train, val, auxiliary=[Auxiliary(EXPR, clips(EXPR, 4, 5))])[-1].loss
    )
