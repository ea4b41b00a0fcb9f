"""Heads that are a torch network over windows of one feature sequence: reading, training, predicting, saving.

A head of this kind is a plugin file with its `Options` and a `network`; all else is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from affectkit import metrics
from affectkit.config import validate
from affectkit.errors import HostileFile, UsageError
from affectkit.heads import _outputs, _saved
from affectkit.heads._normalise import Normaliser
from affectkit.heads._options import TrainingOptions
from affectkit.heads._sequences import Table, gather, labelled
from affectkit.heads._windows import Indices, Plan, Windows, by_length, plan, slide
from affectkit.plugins import Auxiliary, Epoch, Example, Monitor
from affectkit.tasks import Task
from affectkit.types import Floats

if TYPE_CHECKING:
    from torch import nn

    from affectkit.heads._layers import Scorer
    from affectkit.heads._training import WindowTable


class TemporalHeader(_saved.Header):
    """What a saved head needs to be built again: window and stride in steps, and the output that "auto" meant."""

    steps: int | None = Field(ge=1)
    stride: int = Field(ge=1)
    output: _outputs.Activation


@dataclass(frozen=True, repr=False)
class Fitted:
    """What was learnt: a network with its last activation, the scaling of its D inputs, and its windows."""

    network: Scorer
    normaliser: Normaliser
    inputs: int
    plan: Plan
    output: _outputs.Activation


class TemporalHead(ABC):
    """Follows `affectkit.plugins.Head`. Scores of overlapping windows are averaged at each row (clip level: over the
    clip's windows). Predicting goes clip by clip, so that a clip's scores cannot depend on the others'."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[TrainingOptions]]

    def __init__(self, options: Any, task: Task) -> None:
        self.options = options
        self.task = task
        self.fitted: Fitted | None = None

    @abstractmethod
    def network(self, inputs: int, outputs: int) -> nn.Module:
        """A module from (x [B,T,D], mask [B,T], valid steps first) to raw scores [B,T,K], or [B,1,K] for a clip-level
        task; `_layers` has its blocks. The last activation is added to it. Raises UsageError for a D that cannot be."""

    def windows(self, offsets: Indices, plan: Plan) -> Windows:
        """The rows that each window reads; clip c has the rows offsets[c]:offsets[c+1]."""
        return slide(offsets, plan.steps, plan.stride)

    def fit(
        self,
        train: Sequence[Example],
        val: Sequence[Example],
        *,
        seed: int,
        device: str,
        monitor: Monitor,
        auxiliary: Sequence[Auxiliary] = (),
        state: Path | None = None,
    ) -> list[Epoch]:
        """See `affectkit.plugins.Head.fit`. The same seed, data and thread count give the same weights on a CPU.

        Raises UsageError: no labelled row in a split, bad features or labels, options that do not fit them.
        """
        from affectkit.heads import _losses, _training

        learn = labelled("train", train, self.task, self.options.missing)
        check = labelled("val", val, self.task, self.options.missing, learn.dim)
        normaliser = learn.normaliser(self.options.normalise)
        for table in (learn, check):
            table.prepare(normaliser, self.options.missing)
        steps = plan(self.options, self.task.level, [example.inputs[0] for example in train])
        output = _outputs.choose(self.options.output, self.task, learn.labels)
        loss = _losses.build(self.options, self.task, learn.labels, device)
        with _training.seeded(seed, device) as rng:
            network = self._build(learn.dim, output)
            _outputs.scale(network.output, self.task, learn.labels)
            network.to(device)
            seen, held = (self._window_table(table, steps, device) for table in (learn, check))
            history = _training.optimise(
                network, [_training.Objective(seen, loss, slice(None))], self._scorer(network, held, check),
                options=self.options, metric=self.task.metric, monitor=monitor, rng=rng,
            )  # fmt: skip
        self.fitted = Fitted(network, normaliser, learn.dim, steps, output)
        return history

    def predict(self, examples: Sequence[Example], *, device: str) -> list[Floats]:
        """See `affectkit.plugins.Head.predict`. Raises UsageError for features that cannot be read or are not of the
        dimension that the head was trained on."""
        fitted = self._fitted()
        fitted.network.to(device)
        return [self._predict(example, fitted, device) for example in examples]

    def save(self, folder: Path) -> None:
        """Write `head.json` and `head.safetensors` into an existing folder."""
        fitted = self._fitted()
        header = TemporalHeader(
            version=self.version, task=self.task, options=self.options.model_dump(mode="json"), inputs=fitted.inputs,
            steps=fitted.plan.steps, stride=fitted.plan.stride, output=fitted.output,
        )  # fmt: skip
        tensors = {name: value.cpu().numpy() for name, value in fitted.network.state_dict().items()}
        _saved.write(folder, header, tensors | fitted.normaliser.tensors())

    @classmethod
    def load(cls, folder: Path, task: Task) -> Self:
        """The head that `save` wrote. Raises UsageError or HostileFile, see `_saved.read`."""
        import torch

        header, tensors = _saved.read(folder, TemporalHeader, cls.version, task)
        head = cls(validate(cls.Options, header.options, str(folder / _saved.HEADER)), task)
        normaliser = Normaliser.of(head.options.normalise, tensors, header.inputs)
        with torch.device("meta"):  # takes no memory, whatever sizes the header claims
            network = head._build(header.inputs, header.output)
        if any(values.dtype != np.float32 for values in tensors.values()):
            raise HostileFile(f"{folder / _saved.TENSORS} holds numbers other than float32")
        try:
            network.load_state_dict({name: torch.tensor(values) for name, values in tensors.items()}, assign=True)
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise HostileFile(f"{folder / _saved.TENSORS} does not fit {_saved.HEADER}: {why}") from None
        head.fitted = Fitted(network, normaliser, header.inputs, Plan(header.steps, header.stride), header.output)
        return head

    def _build(self, inputs: int, output: _outputs.Activation) -> Scorer:
        from affectkit.heads._layers import Scorer

        return Scorer(self.network(inputs, self.task.outputs), _outputs.module(output, self.task.outputs))

    def _window_table(self, table: Table, steps: Plan, device: str) -> WindowTable:
        """The windows that hold a label."""
        from affectkit.heads._training import WindowTable

        windows = self.windows(table.offsets, steps)
        about = windows.clip if self.task.level == "clip" else windows.target
        marks = windows.any(table.labelled) if about is None else table.labelled[about]
        return WindowTable(table, windows.where(marks), device)

    def _scorer(self, network: nn.Module, held: WindowTable, table: Table) -> Callable[[], float]:
        """The task's metric on the labelled rows of a split, at the network's present weights."""
        from affectkit.heads._training import scores

        batches = list(by_length(held.windows.lengths))
        truth = table.labels[table.labelled]

        def score() -> float:
            raw = scores(network, held, batches, self.task.outputs)[table.labelled]
            if not np.isfinite(raw).all():
                raise UsageError(f"training diverged: lower option learning_rate={self.options.learning_rate:g}")
            return metrics.main(self.task, truth, metrics.probabilities(self.task, raw))

        return score

    def _predict(self, example: Example, fitted: Fitted, device: str) -> Floats:
        from affectkit.heads._training import WindowTable, scores

        table = gather([replace(example, labels=None)], self.task, self.options.missing, fitted.inputs)
        rows = 1 if self.task.level == "clip" else len(example.inputs[0])
        found = np.full((rows, self.task.outputs), np.nan, np.float32)
        if len(table.kept):
            table.prepare(fitted.normaliser, self.options.missing)
            held = WindowTable(table, self.windows(table.offsets, fitted.plan), device)
            raw = scores(fitted.network, held, by_length(held.windows.lengths), self.task.outputs)
            if self.task.level == "clip":
                found[:] = raw
            else:
                found[table.kept] = raw[:-1]
        return found

    def _fitted(self) -> Fitted:
        if self.fitted is None:
            raise RuntimeError("fit or load the head first")
        return self.fitted
