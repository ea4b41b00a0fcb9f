"""Heads that are a torch network over windows of one feature sequence: reading, training, predicting, saving.

A head of this kind is a plugin file with its `Options` and a `network`; all else is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from affectkit.config import validate
from affectkit.errors import HostileFile
from affectkit.learning import saved_head
from affectkit.learning.features import Inputs, gather
from affectkit.learning.modalities import Dims
from affectkit.learning.normalise import Normaliser
from affectkit.learning.options import TrainingOptions
from affectkit.learning.saved_files import as_torch, state_of
from affectkit.learning.saved_head import FILES
from affectkit.learning.windows import WindowPlan, Windows, by_length, slide
from affectkit.plugins import Auxiliary, Epoch, Example, Monitor, Outputs
from affectkit.tasks import Task
from affectkit.types import Floats, Indices

if TYPE_CHECKING:
    from torch import nn

    from affectkit.nets.layers import Scorer
    from affectkit.training.fitting import Fitted


class TemporalHeader(saved_head.HeadHeader):
    """What a saved head needs to be built again: window and stride in steps, the outputs of each task with the
    activation that "auto" meant, and how many inputs there were, with the one chosen of them, or the dimensions of each
    where they are modalities."""

    steps: int | None = Field(ge=1)
    stride: int = Field(ge=1)
    outputs: list[Outputs] = Field(min_length=1)
    count: int = Field(1, ge=1, le=1000)
    chosen: int | None = Field(None, ge=0)
    dims: list[Annotated[int, Field(ge=1, le=1 << 20)]] = Field([], max_length=1000)

    @model_validator(mode="after")
    def _dims_are_of_the_inputs(self) -> TemporalHeader:
        if self.dims and (len(self.dims) != self.count or sum(self.dims) + self.count != self.inputs):
            raise ValueError(f"{self.count} inputs of dims {self.dims} do not make {self.inputs} columns")
        return self


class TemporalHead(ABC):
    """Follows `affectkit.plugins.Head`. Scores of overlapping windows are averaged at each row (clip level: over the
    clip's windows). Predicting goes clip by clip, so that a clip's scores cannot depend on the others'."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[TrainingOptions]]

    def __init__(self, options: Any, task: Task) -> None:
        self.options = options
        self.task = task
        self.fitted: Fitted | None = None
        self.notices: list[str] = []

    def fusion(self, dims: Dims, outputs: int) -> nn.Module:
        """`network` for modalities of `dims` dimensions, for heads with `learning.modalities.ModalityOptions`."""
        raise NotImplementedError

    @abstractmethod
    def network(self, inputs: int, outputs: int) -> nn.Module:
        """A module from (x [B,T,D], mask [B,T], valid steps first) to raw scores [B,T,K], or [B,1,K] for a clip-level
        task; `nets.layers` has its blocks. The last activation is added to it. Raises UsageError for a D that cannot
        be."""

    def windows(self, offsets: Indices, plan: WindowPlan) -> Windows:
        """The rows that each window reads; clip c has the rows offsets[c]:offsets[c+1]."""
        return slide(offsets, plan.steps, plan.stride)

    def training_windows(self, windows: Windows, plan: WindowPlan) -> Windows:
        """Of the windows that hold a label, those to train on: all, unless there are many that say the same."""
        return windows

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
        from affectkit.training.fitting import fit, sweep

        inputs = Inputs.of(train, self.options)
        train_on = sweep if inputs.combine == "sweep" else fit
        self.fitted, history = train_on(
            self, inputs, train, val, seed=seed, device=device, monitor=monitor, auxiliary=auxiliary, state=state
        )
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
            version=self.version, task=self.task, options=self.options.model_dump(mode="json"), inputs=fitted.dim,
            steps=fitted.plan.steps, stride=fitted.plan.stride, outputs=fitted.outputs,
            count=fitted.inputs.count, chosen=fitted.inputs.chosen, dims=list(fitted.inputs.dims),
        )  # fmt: skip
        FILES.write(folder, header, state_of(fitted.network) | fitted.normaliser.tensors())

    @classmethod
    def load(cls, folder: Path, task: Task) -> Self:
        """The head that `save` wrote. Raises UsageError or HostileFile, see `saved_head`."""
        import torch

        from affectkit.training.fitting import Fitted

        header = saved_head.read_header(folder, TemporalHeader, cls.version, task)
        tensors = FILES.read_tensors(folder, ("float32",))
        head = cls(validate(cls.Options, header.options, str(folder / FILES.header)), task)
        inputs = Inputs.again(head.options, header.count, header.chosen, tuple(header.dims))
        normaliser = Normaliser.of(head.options.normalise, tensors, header.inputs, inputs.dims)
        with torch.device("meta"):  # takes no memory, whatever sizes the header claims
            network = head.build(header.inputs, header.outputs, inputs)
        try:
            network.load_state_dict(as_torch(tensors), assign=True)
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise HostileFile(f"{folder / FILES.tensors} does not fit {FILES.header}: {why}") from None
        plan = WindowPlan(header.steps, header.stride)
        head.fitted = Fitted(network, normaliser, header.inputs, plan, header.outputs, inputs)
        return head

    def build(self, dim: int, outputs: Sequence[Outputs], inputs: Inputs) -> Scorer:
        """The whole network: `dim` dimensions in, those of all inputs together; the outputs of all tasks."""
        from affectkit.nets.joints import LayerWeights, output_layer
        from affectkit.nets.layers import Scorer

        layers, count = inputs.layers, sum(each.count for each in outputs)
        network = self.fusion(inputs.dims, count) if inputs.dims else self.network(dim // layers, count)
        return Scorer(LayerWeights(layers, network) if layers > 1 else network, output_layer(outputs))

    def _predict(self, example: Example, fitted: Fitted, device: str) -> Floats:
        from affectkit.training.window_table import WindowTable, scores

        joined = fitted.inputs.join(replace(example, labels=None))
        table = gather([joined], self.task, self.options.missing, fitted.dim)
        rows = 1 if self.task.level == "clip" else len(example.inputs[0])
        predicted = np.full((rows, self.task.outputs), np.nan, np.float32)
        if len(table.kept):
            table.prepare(fitted.normaliser, self.options.missing)
            held = WindowTable(table, self.windows(table.offsets, fitted.plan), device)
            raw = scores(fitted.network, held, by_length(held.windows.lengths), self.task.outputs)
            if self.task.level == "clip":
                predicted[:] = raw
            else:
                predicted[table.kept] = raw[:-1]
        return predicted

    def _fitted(self) -> Fitted:
        if self.fitted is None:
            raise RuntimeError("fit or load the head first")
        return self.fitted
