"""Windows of features as batches on a device: what heads are trained on, by `engine`, and scored on."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from affectkit.learning.features import Table
from affectkit.learning.windows import Windows, shuffled
from affectkit.training.engine import Objective, Part, RowMeans, mean_of_steps
from affectkit.training.losses import Goal
from affectkit.types import Floats, Indices


@dataclass(frozen=True, repr=False)
class Batch:
    """B windows padded to L steps: x [B,L,D], mask [B,L], labels [B,L,K], or [B,1,K] of the clip or the row that each
    window is about."""

    x: Tensor
    mask: Tensor
    labels: Tensor


class WindowTable:
    """A table and its windows as tensors, on the device where they fit, gathered into batches by index."""

    def __init__(self, table: Table, windows: Windows, device: str) -> None:
        self.windows, self.device = windows, device
        self.target = windows.clip if table.level == "clip" else windows.target
        self.padding = table.padding
        home = device if _fits(table.values.nbytes, device) else "cpu"
        self.values = torch.from_numpy(table.values).to(home)
        self.labels = torch.from_numpy(table.labels).to(device)
        self._lengths = windows.lengths
        self._first = _stretches(windows, self.padding)

    def batch(self, which: Indices) -> Batch:
        """The chosen windows."""
        lengths = self._lengths[which]
        if self._first is not None and lengths.min() == lengths.max():
            return self._stretches(which, self._first[which], int(lengths[0]))
        rows = torch.from_numpy(self.windows.padded(which, self.padding)).to(self.values.device, non_blocking=True)
        x = self.values.index_select(0, rows.flatten()).view(*rows.shape, -1).to(self.device, non_blocking=True)
        rows = rows.to(self.device, non_blocking=True)
        labels = self.labels[rows] if self.target is None else self._labels_about(which)
        return Batch(x, rows != self.padding, labels)

    def _stretches(self, which: Indices, first: Indices, steps: int) -> Batch:
        """The same for windows of one length whose rows follow each other: each is copied in one piece."""
        begin = torch.from_numpy(first)
        x = _every_window(self.values, steps).index_select(0, begin.to(self.values.device, non_blocking=True))
        if self.target is None:
            labels = _every_window(self.labels, steps).index_select(0, begin.to(self.device, non_blocking=True))
            labels = labels.view(len(which), steps, -1)
        else:
            labels = self._labels_about(which)
        mask = torch.ones(len(which), steps, dtype=torch.bool, device=self.device)
        return Batch(x.view(len(which), steps, -1).to(self.device, non_blocking=True), mask, labels)

    def _labels_about(self, which: Indices) -> Tensor:
        assert self.target is not None
        return self.labels[torch.from_numpy(self.target[which]).to(self.device)].unsqueeze(1)


def _stretches(windows: Windows, padding: int) -> Indices | None:
    """The first row [W] of every window, if the rows of each follow each other and none is padding."""
    if not len(windows.rows) or windows.rows.max() >= padding:
        return None
    inside = np.ones(len(windows.rows), bool)
    inside[windows.offsets[:-1]] = False
    if not (np.diff(windows.rows)[inside[1:]] == 1).all():
        return None
    return windows.rows[windows.offsets[:-1]]


def _every_window(table: Tensor, steps: int) -> Tensor:
    """A view [R-steps+1,steps*D] of a table [R,D]: the stretch of `steps` rows from each row on."""
    rows, width = table.shape
    return table.as_strided((rows - steps + 1, steps * width), (width, 1))


def _fits(size: int, device: str) -> bool:
    if not device.startswith("cuda"):
        return True
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return size < free // 2


@dataclass(frozen=True, repr=False)
class WindowObjective(Objective):
    """Windows with the labels of one task; batches of them are drawn from `rng`."""

    goal: Goal
    table: WindowTable
    batch_size: int
    rng: np.random.Generator

    @property
    def steps(self) -> int:
        """How many batches a pass over the windows has."""
        return -(-len(self.table.windows) // self.batch_size)

    def stream(self, epoch: int) -> Generator[Sequence[Part]]:
        """One pass over the windows after another."""
        while True:
            for which in shuffled(self.table.windows.lengths, self.batch_size, self.rng):
                yield [Part(which, which, self.table.batch(which))]

    def scores(self, module: nn.Module, part: Part) -> Tensor:
        answers: Tensor = module(part.batch.x, part.batch.mask)
        return answers

    def answers(self, scores: Tensor, part: Part) -> Tensor:
        """Labels of whole clips are held against the mean of a network's steps."""
        columns = scores[..., self.goal.columns]
        if self.table.target is None or columns.shape[1] == 1:
            return columns
        return mean_of_steps(columns, part.batch.mask)

    def truth(self, part: Part, everyone: bool = False) -> Tensor:
        labels: Tensor = part.batch.labels
        return labels

    def identity(self) -> list[Any]:
        """Of the features, a thousand rows are looked at."""
        table, windows = self.table, self.table.windows
        sample = table.values[:: max(1, len(table.values) // 1000)]
        return [table.labels, sample, windows.clip, windows.rows, windows.offsets]


@torch.inference_mode()
def scores(network: nn.Module, table: WindowTable, batches: Iterable[Indices], outputs: int) -> Floats:
    """Raw scores of each row [R,K] (time level) or clip [C,K]: the mean over all windows that hold it.

    NaN where no window does. The mean is taken on the CPU, in the order of the batches, so that it is reproducible.
    """
    network.eval()
    means = RowMeans(len(table.labels), outputs)
    for which in batches:
        batch = table.batch(which)
        answers = network(batch.x, batch.mask)[..., :outputs].float().cpu()
        if table.target is not None:
            means.add(answers[:, :1], table.target[which][:, None])
        else:
            rows = table.windows.padded(which, table.padding)
            means.add(answers, np.where(rows == table.padding, -1, rows))
    return means.values()
