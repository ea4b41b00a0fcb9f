"""The training loop and scoring of windows. Imports torch: import this module inside functions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from affectkit import metrics
from affectkit.errors import UsageError
from affectkit.heads._losses import LossFunction
from affectkit.heads._options import TrainingOptions
from affectkit.heads._sequences import Table
from affectkit.heads._windows import Indices, Windows, shuffled
from affectkit.plugins import Epoch, Monitor
from affectkit.tasks import Metric
from affectkit.types import Floats

FINAL_RATE = 0.02  # the cosine ends at this share of the peak (SUN: 5e-3 -> 1e-4)


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

    def batch(self, which: Indices) -> Batch:
        """The chosen windows."""
        rows = torch.from_numpy(self.windows.padded(which, self.padding)).to(self.values.device, non_blocking=True)
        x = self.values.index_select(0, rows.flatten()).view(*rows.shape, -1).to(self.device, non_blocking=True)
        rows = rows.to(self.device, non_blocking=True)
        if self.target is None:
            labels = self.labels[rows]
        else:
            labels = self.labels[torch.from_numpy(self.target[which]).to(self.device)].unsqueeze(1)
        return Batch(x, rows != self.padding, labels)


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
) -> list[Epoch]:
    """Train with AdamW, stop when `validate` no longer improves, and leave the best weights in the network.

    An epoch is one pass over the windows of the first objective; after each of its steps, every other one takes a step
    of its own. Raises UsageError when the loss is no longer finite.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    lengths = objectives[0].table.windows.lengths
    total = options.epochs * -(-len(lengths) // options.batch_size)
    history: list[Epoch] = []
    best: Epoch | None = None
    weights: dict[str, Tensor] = {}
    step = 0
    for epoch in range(1, options.epochs + 1):
        batches = shuffled(lengths, options.batch_size, rng)
        others = [objective.batches(options.batch_size, rng) for objective in objectives[1:]]
        mean_loss = _epoch(network, objectives, [batches, *others], optimiser, options, step, total)
        step += len(batches)
        score = validate()
        better = best is None or metrics.is_better(metric, score, best.score)
        history.append(Epoch(epoch, options.epochs, mean_loss, score, score if best is None or better else best.score))
        if better:
            best = history[-1]
            weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        monitor(history[-1])
        if best is not None and epoch - best.epoch >= options.patience:
            break
    network.load_state_dict(weights)
    network.eval()
    return history


def _epoch(
    network: nn.Module,
    objectives: Sequence[Objective],
    batches: Sequence[Iterable[Indices]],
    optimiser: torch.optim.Optimizer,
    options: TrainingOptions,
    step: int,
    total: int,
) -> float:
    """One pass over the batches of the first objective: its mean loss."""
    network.train()
    first, *others = objectives
    summed = torch.zeros((), device=first.table.device)  # stays on the device: reading it would wait for every step
    count = 0
    for which, *along in zip(*batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step + count, total, options)
        summed += _step(network, first(network, which), optimiser, options)
        for objective, chosen in zip(others, along, strict=True):
            _step(network, objective(network, chosen), optimiser, options)
        count += 1
    mean = float(summed) / count
    if not math.isfinite(mean):
        raise UsageError(f"training diverged (loss {mean}): lower option learning_rate={options.learning_rate:g}")
    return mean


def _step(network: nn.Module, loss: Tensor, optimiser: torch.optim.Optimizer, options: TrainingOptions) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if options.clip_norm:
        nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
    optimiser.step()
    return loss.detach()


def learning_rate(step: int, total: int, options: TrainingOptions) -> float:
    """The rate of one step of `total`: linear warm-up to the peak, then cosine down to its `FINAL_RATE`."""
    warmup = min(options.warmup_steps, total // 10)
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    return options.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2)


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
        found = network(batch.x, batch.mask).float().cpu()
        if table.target is not None:
            found, target = found[:, 0], torch.from_numpy(table.target[which])
        else:
            rows = torch.from_numpy(table.windows.padded(which, table.padding))
            there = rows != table.padding
            found, target = found[there], rows[there]
        summed.index_add_(0, target, found)
        count.index_add_(0, target, torch.ones(len(target)))
    return np.asarray((summed / count[:, None]).numpy())  # 0 / 0 is NaN
