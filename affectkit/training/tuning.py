"""Networks trained whole, by `engine`, on units of crops or sound, in one process or in several.

What an epoch does follows from the seed and its number alone: the order of units, what augments them, what is dropped
out. A training that is taken up again at the last epoch that was kept goes the same way as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from affectkit import metrics
from affectkit.errors import UsageError
from affectkit.learning.options import TuningOptions
from affectkit.learning.order import Cut, batches, labelled, passes
from affectkit.learning.processes import NoMemory
from affectkit.plugins import Epoch, Monitor, Units
from affectkit.tasks import Task
from affectkit.training import blocks, engine, losses, precision
from affectkit.training.engine import Objective, Part, Training, Watch
from affectkit.training.loop import Ends
from affectkit.training.losses import Goal
from affectkit.training.parallel import World
from affectkit.types import Floats, Indices

PEAK_TO_FIRST, PEAK_TO_LAST = 500, 50  # SUN's: 5e-3 to 1e-5 and 1e-4


@dataclass(frozen=True, repr=False)
class Tuning:
    """What is trained on what, and how: units of each task, the network's own first; `held` its validation units."""

    module: nn.Module
    blocks: blocks.Blocks
    tasks: Sequence[Task]
    units: Sequence[Units]
    held: Units
    options: TuningOptions
    seed: int
    world: World
    workers: int
    monitor: Monitor
    watch: Watch

    def objectives(self) -> list[UnitObjective]:
        """One for each task."""
        seen = [each.labels[np.unique(each.targets[each.targets >= 0])] for each in self.units]
        goals = losses.goals(self.options, self.tasks, seen, self.world.device)
        options, counts = self.options, [int(labelled(each).sum()) for each in self.units]
        cuts = [Cut.of(count, options.batch_size, options.accumulate, self.world.size) for count in counts]
        return [
            UnitObjective(self, number, cuts[0].steps, *each)
            for number, each in enumerate(zip(goals, self.units, cuts, strict=True))
        ]


def tune(tuning: Tuning, state: Path | None = None) -> list[Epoch]:
    """The history of a training with `engine.train`, which leaves the best weights in the module and raises what that
    raises; besides, `NoMemory` for batches that the device cannot hold."""
    options, world, task = tuning.options, tuning.world, tuning.tasks[0]
    objectives = tuning.objectives()
    if any(objective.cut.size == 1 for objective in objectives) and blocks.needs_others(tuning.module):
        raise UsageError(
            f"batches of one unit cannot be trained: this network has batch norms (option "
            f"batch_size={options.batch_size}, accumulate={options.accumulate}; give it batches of 2 or more)"
        )
    training = Training(
        tuning.module, tuning.blocks, objectives, partial(_score, tuning, np.flatnonzero(labelled(tuning.held))),
        objectives[0].steps, options, tuning.monitor, np.random.default_rng(tuning.seed), world, task.metric,
        seed=tuning.seed, decay=options.layer_decay,
        opened=lambda epoch: blocks.trained(len(tuning.blocks), epoch, options),
        precision=options.precision, ends=_ends(options), watch=tuning.watch, held=_identity(tuning.held),
    )  # fmt: skip
    try:
        with precision.exact(world.device):
            return engine.train(training, state)
    except torch.OutOfMemoryError:
        raise NoMemory(
            f"the memory of {world.device} does not hold option batch_size={options.batch_size}: lower it and raise "
            "accumulate as much, or set checkpointing=true"
        ) from None


def _ends(options: TuningOptions) -> Ends:
    peak = options.learning_rate
    return Ends(options.warmup_rate or peak / PEAK_TO_FIRST, options.final_rate or peak / PEAK_TO_LAST)


def _identity(units: Units) -> list[Any]:
    return [list(units.clips), units.labels, units.targets, units.offsets]


@dataclass(frozen=True, repr=False)
class UnitObjective(Objective):
    """Units with the labels of task `number` of a tuning, of which an epoch takes so many `steps`; a pass over the
    units is `cut` into batches."""

    tuning: Tuning
    number: int
    steps: int
    goal: Goal
    units: Units
    cut: Cut

    def stream(self, epoch: int) -> Generator[Sequence[Part]]:
        """Balancing classes is about the first task: others may have none."""
        tuning, options = self.tuning, self.tuning.options
        cut, rank = self.cut, tuning.world.rank
        seed = [tuning.seed, epoch, self.number]
        orders = passes(self.units, self.goal.task, cut, options.balanced and not self.number, self.steps, seed)
        of_process = np.ascontiguousarray(orders[:, :, rank])
        read = batches(
            self.units, of_process.reshape(-1), cut.size, seed=[*seed, rank], augmented=options.augment > 0,
            workers=tuning.workers,
        )  # fmt: skip
        with closing(read):
            for step in orders.reshape(len(orders), cut.parts, -1):
                yield [Part(which, everyone, batch) for everyone, (which, batch) in zip(step, read, strict=False)]

    def scores(self, module: nn.Module, part: Part) -> Tensor:
        answers: Tensor = module(part.batch.to(self.tuning.world.device, non_blocking=True))
        return answers

    def answers(self, scores: Tensor, part: Part) -> Tensor:
        """Of a clip-level task the mean over those of a unit's scores that are about the clip."""
        columns = scores[..., self.goal.columns].float()
        if self.goal.task.level == "time" or columns.shape[1] == 1:
            return columns
        return engine.mean_of_steps(columns, torch.from_numpy(self.units.targets[part.mine] >= 0).to(columns.device))

    def truth(self, part: Part, everyone: bool = False) -> Tensor:
        """[B,L,K], of a clip-level task [B,1,K]."""
        targets = self.units.targets[part.all if everyone else part.mine]
        if self.goal.task.level == "clip":
            targets = targets.max(axis=1, keepdims=True)
        labels = np.where((targets >= 0)[..., None], self.units.labels[targets], np.nan)
        return torch.from_numpy(labels).to(self.tuning.world.device, torch.float32, non_blocking=True)

    def identity(self) -> list[Any]:
        return [self.goal.task.model_dump(mode="json"), *_identity(self.units)]


def _score(tuning: Tuning, which: Indices) -> float:
    """The task's metric on the labelled rows of the validation units `which`, at the module's present weights."""
    task, held = tuning.tasks[0], tuning.held
    raw = row_scores(tuning.module, held, which, task.outputs, tuning.options, tuning.world, tuning.workers)
    seen = np.unique(held.targets[which])
    rows = seen[(seen >= 0) & np.isfinite(held.labels[seen]).all(axis=1)]
    if not np.isfinite(raw[rows]).all():
        raise engine.diverged(tuning.options)
    return metrics.main(task, held.labels[rows], metrics.probabilities(task, raw[rows]))


@torch.inference_mode()
def row_scores(
    network: nn.Module, units: Units, which: Indices, outputs: int, options: TuningOptions, world: World, workers: int
) -> Floats:
    """Raw scores [R,outputs] of the rows of the label table that the chosen units are about, NaN for the others: the
    mean of a row's scores, taken on the CPU in the order of the units.

    Each process scores its share of the units, the last of which may stand in for none. The network is left in eval
    mode.
    """
    network.eval()
    each = -(-len(which) // world.size)
    of_process = np.resize(which, each * world.size)[world.rank * each : (world.rank + 1) * each]
    parts = []
    for _, batch in batches(units, of_process, options.batch_size, seed=(), augmented=False, workers=workers):
        with precision.forward(options.precision, world.device):
            parts.append(network(batch.to(world.device, non_blocking=True))[..., :outputs].float())
    scores = world.gathered(torch.cat(parts)).cpu()
    return engine.row_means(scores[: len(which)], units.targets[which], len(units.labels))
