"""From examples to a fitted head: tables, normaliser, network, and an objective a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import nn

from affectkit import metrics
from affectkit.learning import output_layer
from affectkit.learning.features import Inputs, Table, auxiliary_table, labelled
from affectkit.learning.normalise import Normaliser
from affectkit.learning.windows import WindowPlan, Windows, by_length, plan
from affectkit.nets.joints import scale_outputs
from affectkit.plugins import Auxiliary, Epoch, Example, Interrupted, Monitor, Outputs
from affectkit.tasks import Task
from affectkit.training import engine, losses
from affectkit.training.engine import Training
from affectkit.training.parallel import alone
from affectkit.training.window_table import WindowObjective, WindowTable, scores
from affectkit.types import Bools, Indices

if TYPE_CHECKING:
    from affectkit.nets.layers import Scorer


@dataclass(frozen=True, repr=False)
class Fitted:
    """A network with its last activations, the scaling of its D dimensions, its windows, the outputs of each task, the
    head's own first, and how its inputs become one."""

    network: Scorer
    normaliser: Normaliser
    dim: int
    plan: WindowPlan
    outputs: list[Outputs]
    inputs: Inputs


class WindowedHead(Protocol):
    """What is asked of a head that is fitted here; see `TemporalHead`."""

    options: Any
    task: Task
    fitted: Fitted | None
    notices: list[str]

    def build(self, dim: int, outputs: Sequence[Outputs], inputs: Inputs) -> Scorer: ...
    def windows(self, offsets: Indices, plan: WindowPlan) -> Windows: ...
    def training_windows(self, windows: Windows, plan: WindowPlan) -> Windows: ...


def fit(
    head: WindowedHead, inputs: Inputs, train: Sequence[Example], val: Sequence[Example], *,
    seed: int, device: str, monitor: Monitor, auxiliary: Sequence[Auxiliary] = (), state: Path | None = None,
) -> tuple[Fitted, list[Epoch]]:  # fmt: skip
    """What the head learns, and the history. Raises UsageError, see `TemporalHead.fit`."""
    options, missing = head.options, head.options.missing
    learn = labelled("train", [inputs.join(example) for example in train], head.task, missing)
    check = labelled("val", [inputs.join(example) for example in val], head.task, missing, learn.dim)
    joined = [replace(source, train=[inputs.join(example) for example in source.train]) for source in auxiliary]
    tables = [learn, *(auxiliary_table(source, head.task, missing, learn.dim) for source in joined)]
    normaliser = learn.normaliser(options.normalise, inputs.dims)
    for table in (check, *tables):
        table.prepare(normaliser, missing)
    steps = plan(options, head.task.level, [example.inputs[0] for example in train])
    tasks = [head.task, *(source.task for source in auxiliary)]
    outputs = output_layer.chosen(options.output, tasks, [table.labels for table in tables])
    with engine.seeded(seed, device) as rng:
        network = head.build(learn.dim, outputs, inputs)
        scale_outputs(network.output, tasks, [table.labels for table in tables])
        network.to(device)
        goals = losses.goals(options, tasks, [table.labels for table in tables], device)
        objectives = [
            WindowObjective(goal, window_table(head, table, steps, device, training=True), options.batch_size, rng)
            for goal, table in zip(goals, tables, strict=True)
        ]
        if left_out := int((~(marks := _labelled_windows(head, learn, steps)[1])).sum()):
            head.notices = [f"train windows without a label, which are not learnt from: {left_out} of {len(marks)}"]
        fitted = Fitted(network, normaliser, learn.dim, steps, outputs, inputs)
        training = Training(
            network, [[parameter for parameter in network.parameters() if parameter.requires_grad]], objectives,
            _scorer(head, network, window_table(head, check, steps, device), check), objectives[0].steps, options,
            monitor, rng, alone(device), head.task.metric,
        )  # fmt: skip
        try:
            history = engine.train(training, state)
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
        kept = None if state is None else state / str(number)
        try:
            result = fit(head, replace(inputs, chosen=number), train, val, state=kept, **how)
        except KeyboardInterrupt:
            if best is None:
                raise
            head.fitted = best[0]  # of an input that is finished
            raise Interrupted(best[1]) from None
        if best is None or metrics.is_better(head.task.metric, result[1][-1].best, best[1][-1].best):
            best = result
    assert best is not None
    return best


def window_table(
    head: WindowedHead, table: Table, steps: WindowPlan, device: str, training: bool = False
) -> WindowTable:
    """The windows that hold a label; for training, those that the head takes of them."""
    windows, marks = _labelled_windows(head, table, steps)
    windows = windows.where(marks)
    return WindowTable(table, head.training_windows(windows, steps) if training else windows, device)


def _labelled_windows(head: WindowedHead, table: Table, steps: WindowPlan) -> tuple[Windows, Bools]:
    """All windows [W], and which of them hold a label."""
    windows = head.windows(table.offsets, steps)
    about = windows.clip if table.level == "clip" else windows.target
    return windows, np.asarray(windows.any(table.labelled) if about is None else table.labelled[about])


def _scorer(head: WindowedHead, network: nn.Module, held: WindowTable, table: Table) -> Callable[[], float]:
    """The task's metric on the labelled rows of a split, at the network's present weights."""
    batches = list(by_length(held.windows.lengths))
    truth = table.labels[table.labelled]

    def score() -> float:
        raw = scores(network, held, batches, head.task.outputs)[table.labelled]
        if not np.isfinite(raw).all():
            raise engine.diverged(head.options)
        return metrics.main(head.task, truth, metrics.probabilities(head.task, raw))

    return score
