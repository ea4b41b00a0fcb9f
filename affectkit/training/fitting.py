"""From examples to a fitted head: tables, normaliser, network, and an objective a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import nn

from affectkit import metrics
from affectkit.errors import UsageError
from affectkit.learning import output_layer
from affectkit.learning.features import Inputs, Table, auxiliary_table, labelled
from affectkit.learning.normalise import Normaliser
from affectkit.learning.windows import Indices, Plan, Windows, by_length, plan
from affectkit.nets.joints import scale_outputs
from affectkit.plugins import Auxiliary, Epoch, Example, Interrupted, Monitor, Outputs
from affectkit.tasks import Task
from affectkit.training import losses, optimise
from affectkit.training.optimise import Objective, WindowTable
from affectkit.types import Bools

if TYPE_CHECKING:
    from affectkit.nets.layers import Scorer


@dataclass(frozen=True, repr=False)
class Fitted:
    """A network with its last activations, the scaling of its D dimensions, its windows, the outputs of each task, the
    head's own first, and how its inputs become one."""

    network: Scorer
    normaliser: Normaliser
    dim: int
    plan: Plan
    outputs: list[Outputs]
    inputs: Inputs


class WindowedHead(Protocol):
    """What is asked of a head that is fitted here; see `TemporalHead`."""

    options: Any
    task: Task
    fitted: Fitted | None
    notices: list[str]

    def build(self, dim: int, outputs: Sequence[Outputs], inputs: Inputs) -> Scorer: ...
    def windows(self, offsets: Indices, plan: Plan) -> Windows: ...
    def training_windows(self, windows: Windows, plan: Plan) -> Windows: ...


def fit(
    head: WindowedHead, inputs: Inputs, train: Sequence[Example], val: Sequence[Example], *,
    seed: int, device: str, monitor: Monitor, auxiliary: Sequence[Auxiliary] = (), state: Path | None = None,
) -> tuple[Fitted, list[Epoch]]:  # fmt: skip
    """What the head learns, and the history. Raises UsageError, see `TemporalHead.fit`."""
    options, missing = head.options, head.options.missing
    learn = labelled("train", [inputs.join(example) for example in train], head.task, missing)
    check = labelled("val", [inputs.join(example) for example in val], head.task, missing, learn.dim)
    joined = [replace(one, train=[inputs.join(example) for example in one.train]) for one in auxiliary]
    tables = [learn, *(auxiliary_table(one, head.task, missing, learn.dim) for one in joined)]
    normaliser = learn.normaliser(options.normalise, inputs.dims)
    for table in (check, *tables):
        table.prepare(normaliser, missing)
    steps = plan(options, head.task.level, [example.inputs[0] for example in train])
    tasks = [head.task, *(one.task for one in auxiliary)]
    outputs = output_layer.chosen(options.output, tasks, [table.labels for table in tables])
    with optimise.seeded(seed, device) as rng:
        network = head.build(learn.dim, outputs, inputs)
        scale_outputs(network.output, tasks, [table.labels for table in tables])
        network.to(device)
        objectives = [_objective(head, number, tasks, tables[number], steps, device) for number in range(len(tasks))]
        validate = _scorer(head, network, window_table(head, check, steps, device), check)
        fitted = Fitted(network, normaliser, learn.dim, steps, outputs, inputs)
        try:
            history = optimise.optimise(
                network, objectives, validate,
                options=options, metric=head.task.metric, monitor=monitor, rng=rng, state=state,
            )  # fmt: skip
        except Interrupted:
            head.fitted = fitted
            raise
    return fitted, history


def sweep(
    head: WindowedHead, inputs: Inputs, train: Sequence[Example], val: Sequence[Example], *,
    state: Path | None = None, **how: Any,
) -> tuple[Fitted, list[Epoch]]:  # fmt: skip
    """`fit` on each input alone; the one with the best validation score."""
    best: tuple[Fitted, list[Epoch]] | None = None
    for number in range(inputs.count):
        own = None if state is None else state / str(number)
        try:
            found = fit(head, replace(inputs, chosen=number), train, val, state=own, **how)
        except KeyboardInterrupt:
            if best is None:
                raise
            head.fitted = best[0]  # of an input that is finished
            raise Interrupted(best[1]) from None
        if best is None or metrics.is_better(head.task.metric, found[1][-1].best, best[1][-1].best):
            best = found
    assert best is not None
    return best


def window_table(head: WindowedHead, table: Table, steps: Plan, device: str, training: bool = False) -> WindowTable:
    """The windows that hold a label; for training, those that the head takes of them."""
    windows, marks = _labelled_windows(head, table, steps)
    windows = windows.where(marks)
    return WindowTable(table, head.training_windows(windows, steps) if training else windows, device)


def _labelled_windows(head: WindowedHead, table: Table, steps: Plan) -> tuple[Windows, Bools]:
    """All windows [W], and which of them hold a label."""
    windows = head.windows(table.offsets, steps)
    about = windows.clip if table.level == "clip" else windows.target
    return windows, np.asarray(windows.any(table.labelled) if about is None else table.labelled[about])


def _objective(
    head: WindowedHead, number: int, tasks: Sequence[Task], table: Table, steps: Plan, device: str
) -> Objective:
    """What is learnt of task `number`; the first is the head's own, and the options of losses are about that one."""
    options, task = head.options, tasks[number]
    if number:
        options = options.model_copy(update={"loss": "auto", "label_smoothing": 0.0})
    first = sum(one.outputs for one in tasks[:number])
    loss = losses.build(options, task, table.labels, device)
    weight = options.auxiliary_weight if number else 1.0
    seen = window_table(head, table, steps, device, training=True)
    if not number:
        marks = _labelled_windows(head, table, steps)[1]
        if left := int((~marks).sum()):
            head.notices = [f"train windows without a label, which are not learnt from: {left} of {len(marks)}"]
    return Objective(seen, loss, slice(first, first + task.outputs), weight)


def _scorer(head: WindowedHead, network: nn.Module, held: WindowTable, table: Table) -> Callable[[], float]:
    """The task's metric on the labelled rows of a split, at the network's present weights."""
    batches = list(by_length(held.windows.lengths))
    truth = table.labels[table.labelled]

    def score() -> float:
        raw = optimise.scores(network, held, batches, head.task.outputs)[table.labelled]
        if not np.isfinite(raw).all():
            raise UsageError(f"training diverged: lower option learning_rate={head.options.learning_rate:g}")
        return metrics.main(head.task, truth, metrics.probabilities(head.task, raw))

    return score
