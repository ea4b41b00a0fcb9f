"""Networks of a few numbers, and units for them, for what the engine itself promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from affectkit import tasks
from affectkit.learning.options import TuningOptions
from affectkit.plugins import Epoch, Units
from affectkit.tasks import Task
from affectkit.training.engine import seeded
from affectkit.training.parallel import World, alone
from affectkit.training.tuning import Tuning, tune

DIM = 5


def options(**given: Any) -> TuningOptions:
    """Short, and without anything that is drawn."""
    return TuningOptions(**{"epochs": 3, "batch_size": 16, "augment": 0, "warmup_steps": 0} | given)


def units(task: Task, count: int, seed: int, *, length: int = 1, missing: int = 0) -> Units:
    """`count` units of DIM numbers each (noise is what augments them), about rows of two clips; labels follow a
    plane. The first `missing` have no label."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, length, DIM)).astype(np.float32)
    plane = np.random.default_rng(0).normal(size=(DIM, task.outputs))
    rows = count if task.level == "clip" else count * length
    found = x.mean(axis=1) @ plane if task.level == "clip" else x.reshape(-1, DIM) @ plane
    if task.kind == "multiclass":
        known = found.argmax(axis=1)[:, None].astype(float)
    else:
        known = np.tanh(found) if task.kind == "regression" else (found > 0).astype(float)
    known[:missing] = np.nan
    targets = np.repeat(np.arange(count)[:, None], length, 1) if task.level == "clip" else np.arange(rows)
    tensor = torch.from_numpy(x)

    def load(which: np.ndarray, rng: np.random.Generator | None) -> Tensor:
        batch = tensor[torch.from_numpy(which)]
        return batch if rng is None else batch + torch.from_numpy(rng.normal(0, 0.1, batch.shape).astype(np.float32))

    return Units(
        ["a", "b"], np.array([0, rows // 2, rows]), np.arange(rows) / 5, (np.arange(rows) + 1) / 5, known,
        targets.reshape(count, length), load,
    )  # fmt: skip


class Flat(nn.Module):
    """[...,D] -> [N,D] and back, for batch norms."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.module(x.flatten(0, -2))
        return found.unflatten(0, x.shape[:-1])


class Idle(nn.Identity):
    """Has a parameter that nothing depends on, as some published networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(3))


def network(outputs: int, *, norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Three blocks."""
    return nn.Sequential(
        nn.Linear(DIM, 8),
        nn.Sequential(Flat(nn.BatchNorm1d(8)) if norm else nn.Identity(), nn.Tanh(), nn.Linear(8, 8), Idle()),
        nn.Sequential(nn.Dropout(dropout), nn.Linear(8, outputs)),
    )


def blocks(module: nn.Sequential) -> list[list[nn.Parameter]]:
    """From the input to the output."""
    return [list(part.parameters()) for part in module]


def trained(
    chosen: TuningOptions, names: Sequence[str] = ("va",), *, count: int = 64, seed: int = 0,
    world: World | None = None, state: Path | None = None, monitor: Any = None, watch: Any = None, length: int = 1,
    **made: Any,
) -> tuple[nn.Sequential, list[Epoch]]:  # fmt: skip
    """A network trained on planes, and its history."""
    learnt = [tasks.get(name) for name in names]
    with seeded(seed, "cpu"):
        module = network(sum(task.outputs for task in learnt), **made)
        seen = [units(task, count // (1 + n), 1 + n, length=length) for n, task in enumerate(learnt)]
        tuning = Tuning(
            module, blocks(module), learnt, seen, units(learnt[0], 40, 99, length=length), chosen, seed,
            world or alone("cpu"), 2, monitor or (lambda epoch: None), watch or (lambda *told: None),
        )  # fmt: skip
        return module, tune(tuning, state)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """All that is kept of it."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def bits(module: nn.Module) -> dict[str, bytes]:
    """The same, to compare."""
    return {name: value.numpy().tobytes() for name, value in weights(module).items()}
