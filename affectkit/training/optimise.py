"""The training loop and scoring of windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from affectkit.errors import UsageError
from affectkit.learning.features import Table
from affectkit.learning.options import TrainingOptions
from affectkit.learning.windows import Indices, Windows, shuffled
from affectkit.plugins import Epoch, Monitor
from affectkit.tasks import Metric
from affectkit.training import loop
from affectkit.training import loop as loop_module
from affectkit.training.loop import Pass
from affectkit.training.losses import LossFunction
from affectkit.training.resume import Run, State, identify
from affectkit.types import Floats


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


@contextmanager
def seeded(seed: int, device: str) -> Iterator[np.random.Generator]:
    """torch's generators seeded inside and put back after; yields a numpy generator with the same seed."""
    cuda = device.startswith("cuda")
    index = (torch.device(device).index or 0) if cuda else 0
    with torch.random.fork_rng(devices=[index] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield np.random.default_rng(seed)


@dataclass(frozen=True, repr=False)
class Objective:
    """What is learnt of one task: windows with its labels, its loss, and which columns of the scores are its own."""

    table: WindowTable
    loss: LossFunction
    columns: slice
    weight: float = 1.0

    def __call__(self, network: nn.Module, which: Indices) -> Tensor:
        """The loss on the chosen windows. Labels of whole clips are held against the mean of a network's steps."""
        batch = self.table.batch(which)
        found = network(batch.x, batch.mask)[..., self.columns]
        if self.table.target is not None and found.shape[1] > 1:
            there = batch.mask.unsqueeze(-1)
            found = (found * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True)
        return self.weight * self.loss(found, batch.labels)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Indices]:
        """Batches without end: one pass over the windows after another."""
        while True:
            yield from shuffled(self.table.windows.lengths, size, rng)


def optimise(
    network: nn.Module,
    objectives: Sequence[Objective],
    validate: Callable[[], float],
    *,
    options: TrainingOptions,
    metric: Metric,
    monitor: Monitor,
    rng: np.random.Generator,
    state: Path | None = None,
) -> list[Epoch]:
    """Train until `validate` no longer improves, and leave the best weights in the network.

    An epoch is one pass over the windows of the first objective; after each of its steps, every other one takes a step
    of its own. With a folder as `state`, training goes on from what is found there. Raises UsageError when the loss is
    no longer finite; `Interrupted` for Ctrl-C, with the best weights so far in the network.
    """
    run = Run(network, loop_module.optimiser(network.parameters(), options), rng, objectives[0].table.device)
    kept = None if state is None else State(state, _identity(run, objectives, options))
    if kept is not None:
        kept.restore(run)

    def epoch() -> Pass:
        batches = shuffled(objectives[0].table.windows.lengths, options.batch_size, run.rng)
        rates = loop_module.rates(run.history, len(batches), metric, options)
        others = [objective.batches(options.batch_size, run.rng) for objective in objectives[1:]]
        loss = _pass(run, objectives, [batches, *others], rates, options)
        return Pass(loss, validate(), rates[-1])

    return loop.train(run, epoch, limits=options, metric=metric, monitor=monitor, state=kept)


def _pass(
    run: Run,
    objectives: Sequence[Objective],
    batches: Sequence[Iterable[Indices]],
    rates: Sequence[float],
    options: TrainingOptions,
) -> float:
    """One pass over the batches of the first objective: its mean loss."""
    run.network.train()
    first, *others = objectives
    summed = torch.zeros((), device=first.table.device)  # stays on the device: reading it would wait for every step
    for rate, which, *along in zip(rates, *batches, strict=False):
        for group in run.optimiser.param_groups:
            group["lr"] = rate
        summed += _step(run, first(run.network, which), options)
        for objective, chosen in zip(others, along, strict=True):
            _step(run, objective(run.network, chosen), options)
    mean = float(summed) / len(rates)
    if not math.isfinite(mean):
        raise UsageError(f"training diverged (loss {mean}): lower option learning_rate={options.learning_rate:g}")
    return mean


def _step(run: Run, loss: Tensor, options: TrainingOptions) -> Tensor:
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if options.clip_norm:
        nn.utils.clip_grad_norm_(run.network.parameters(), options.clip_norm)
    run.optimiser.step()
    return loss.detach()


def _identity(run: Run, objectives: Sequence[Objective], options: TrainingOptions) -> str:
    """What a state must be of, to be gone on from; of the features, a thousand rows are looked at."""
    parts: list[object] = [options.model_dump(mode="json"), run.device.partition(":")[0], run.rng.bit_generator.state]
    parts += [part for item in run.network.state_dict().items() for part in item]
    for objective in objectives:
        table, windows = objective.table, objective.table.windows
        sample = table.values[:: max(1, len(table.values) // 1000)]
        parts += [objective.weight, table.labels, sample, windows.clip, windows.rows, windows.offsets]
    return identify(parts)


@torch.inference_mode()
def scores(network: nn.Module, table: WindowTable, batches: Iterable[Indices], outputs: int) -> Floats:
    """Raw scores of each row [R,K] (time level) or clip [C,K]: the mean over all windows that hold it.

    NaN where no window does. The mean is taken on the CPU, in the order of the batches, so that it is reproducible.
    """
    network.eval()
    summed = torch.zeros(len(table.labels), outputs)
    count = torch.zeros(len(table.labels))
    for which in batches:
        batch = table.batch(which)
        found = network(batch.x, batch.mask)[..., :outputs].float().cpu()
        if table.target is not None:
            found, target = found[:, 0], torch.from_numpy(table.target[which])
        else:
            rows = torch.from_numpy(table.windows.padded(which, table.padding))
            there = rows != table.padding
            found, target = found[there], rows[there]
        summed.index_add_(0, target, found)
        count.index_add_(0, target, torch.ones(len(target)))
    return np.asarray((summed / count[:, None]).numpy())  # 0 / 0 is NaN
