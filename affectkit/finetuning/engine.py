"""Training a network whole: epochs of steps, validated, kept and gone on from.

Imports torch: import this module inside functions only.

What an epoch does follows from the seed and its number alone: the order of units, what augments them, what is dropped
out. A training that is taken up again at the last epoch that was kept goes the same way as one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from affectkit import metrics
from affectkit.errors import AffectkitError, UsageError
from affectkit.finetuning import arithmetic, blocks
from affectkit.finetuning.loading import batches
from affectkit.finetuning.objectives import Objective
from affectkit.finetuning.order import Cut, Indices, passes
from affectkit.finetuning.parallel import World
from affectkit.finetuning.processes import NoMemory
from affectkit.finetuning.sampling import labelled
from affectkit.finetuning.scoring import row_scores
from affectkit.finetuning.stepping import Part, Stepper, unnoticed
from affectkit.heads import _loop, _schedule
from affectkit.heads._loop import Pass
from affectkit.heads._resume import Run, State, identify
from affectkit.networks._options import TuningOptions
from affectkit.plugins import Epoch, Monitor, Units

PEAK_TO_FIRST, PEAK_TO_LAST = 500, 50  # SUN's: 5e-3 to 1e-5 and 1e-4


class Watch(Protocol):
    """Told after each step: of which epoch, how many of its steps are done, units in a step, and its loss (reading it
    waits for the device)."""

    def __call__(self, epoch: int, done: int, steps: int, units: int, loss: Tensor) -> None: ...


@dataclass(frozen=True, repr=False)
class Tuning:
    """What is trained on what, and how: the first objective is the task's own, `held` its validation units."""

    module: nn.Module
    blocks: blocks.Blocks
    objectives: Sequence[Objective]
    held: Units
    options: TuningOptions
    seed: int
    world: World
    workers: int
    monitor: Monitor
    watch: Watch


def tune(tuning: Tuning, state: Path | None = None) -> list[Epoch]:
    """Train until the validation score no longer improves, and leave the best weights in the module; the history.

    An epoch is one pass over the units of the first objective; after each of its steps, every other one takes a step of
    its own. With a folder as `state`, training goes on from what is found there. Raises UsageError when the loss is no
    longer finite; `NoMemory` for batches that the device cannot hold; `Interrupted` for Ctrl-C, with the best weights
    so far in the module.
    """
    options, world, task = tuning.options, tuning.world, tuning.objectives[0].task
    shares = blocks.shares(tuning.blocks, options.layer_decay)
    groups = [{"params": list(block)} for block in tuning.blocks]
    scaler = arithmetic.scaler(options.precision)
    optimiser = _schedule.optimiser(groups, options, scaled=scaler is not None)
    run = Run(tuning.module, optimiser, np.random.default_rng(tuning.seed), world.device, scaler=scaler)
    kept = None if state is None else State(state, _identity(tuning))
    if kept is not None:
        kept.restore(run)
    if not world.agree([epoch.epoch for epoch in run.history]):
        raise AffectkitError("the processes find different states: the cache must be one folder that all of them see")
    trainer = _Trainer(tuning, run, shares)
    try:
        with arithmetic.exact(world.device):
            return _loop.train(
                run, trainer.epoch, limits=options, metric=task.metric, monitor=tuning.monitor,
                state=kept if world.first else None,
            )  # fmt: skip
    except torch.OutOfMemoryError:
        raise NoMemory(
            f"the memory of {world.device} does not hold option batch_size={options.batch_size}: lower it and raise "
            "accumulate as much, or set checkpointing=true"
        ) from None


class _Trainer:
    """Trains for an epoch at a time."""

    def __init__(self, tuning: Tuning, run: Run, shares: Sequence[float]) -> None:
        self.tuning, self.run, self.shares = tuning, run, shares
        options, world = tuning.options, tuning.world
        self.cuts = [
            Cut.of(int(labelled(one.units).sum()), options.batch_size, options.accumulate, world.size)
            for one in tuning.objectives
        ]
        self.steps = self.cuts[0].steps
        if any(cut.size == 1 for cut in self.cuts) and blocks.needs_others(tuning.module):
            raise UsageError(
                f"batches of one unit cannot be trained: this network has batch norms (option "
                f"batch_size={options.batch_size}, accumulate={options.accumulate}; give it batches of 2 or more)"
            )
        self.held = np.flatnonzero(labelled(tuning.held))
        self._stepper: Stepper | None = None
        self._open = 0

    def epoch(self) -> Pass:
        """Train for the next one and score it."""
        tuning, options = self.tuning, self.tuning.options
        number = len(self.run.history) + 1
        _reseed(tuning.seed, number, tuning.world.rank)
        stepper = self._opened(number)
        metric = tuning.objectives[0].task.metric
        rates = _schedule.rates(self.run.history, self.steps, metric, options, _ends(options))
        losses = torch.stack(list(self._pass(stepper, number, rates)))
        loss = _mean(losses, options)
        tuning.world.share_buffers(tuning.module)
        return Pass(loss, tuning.world.told(self._score()), rates[-1])

    def _opened(self, epoch: int) -> Stepper:
        """Steps with the blocks that are trained in this epoch."""
        tuning = self.tuning
        count = blocks.trained(len(tuning.blocks), epoch, tuning.options)
        if self._stepper is None or count != self._open:
            blocks.open_last(tuning.module, tuning.blocks, count)
            blocks.train_mode(tuning.module)
            if tuning.world.size > 1:
                with unnoticed(tuning.module):
                    blocks.close_idle(tuning.module, self._glimpse())
            self._open = count
            self._stepper = Stepper(tuning.world.wrapped(tuning.module), self.run, tuning.options, tuning.world)
        blocks.train_mode(tuning.module)
        return self._stepper

    def _glimpse(self) -> Tensor:
        """Scores of two units."""
        units = self.tuning.objectives[0].units
        batch = units.load(np.flatnonzero(labelled(units))[:2], None)
        found: Tensor = self.tuning.module(batch.to(self.tuning.world.device))
        return found

    def _pass(self, stepper: Stepper, epoch: int, rates: Sequence[float]) -> Iterator[Tensor]:
        """One pass over the units of the first objective: the losses of its steps."""
        tuning, first = self.tuning, self.tuning.objectives[0]
        streams = [self._stream(number, epoch) for number in range(len(tuning.objectives))]
        try:
            for done, rate in enumerate(rates, start=1):
                for group, share in zip(self.run.optimiser.param_groups, self.shares, strict=True):
                    group["lr"] = rate * share
                loss = stepper.step(first, next(streams[0]))
                for objective, stream in zip(tuning.objectives[1:], streams[1:], strict=True):
                    stepper.step(objective, next(stream))
                tuning.watch(epoch, done, self.steps, self.cuts[0].units // self.steps, loss)
                yield loss
        finally:
            for stream in streams:
                stream.close()

    def _stream(self, number: int, epoch: int) -> Any:
        """The parts of each step for one objective; a generator."""
        tuning, objective, cut = self.tuning, self.tuning.objectives[number], self.cuts[number]
        seed, rank = [tuning.seed, epoch, number], tuning.world.rank
        # What balances classes is the first task's option: others may have none.
        balanced = tuning.options.balanced and not number
        orders = passes(objective.units, objective.task, cut, balanced, self.steps, seed)
        own = np.ascontiguousarray(orders[:, :, rank])
        read = batches(
            objective.units, own.reshape(-1), cut.size, seed=[*seed, rank], augmented=tuning.options.augment > 0,
            workers=tuning.workers,
        )  # fmt: skip
        return _grouped(read, orders.reshape(len(orders), cut.parts, -1))

    def _score(self) -> float:
        """The task's metric on the labelled rows of the validation units, at the module's present weights."""
        tuning, task = self.tuning, self.tuning.objectives[0].task
        held = tuning.held
        raw = row_scores(
            tuning.module, held, self.held, task.outputs, tuning.options, tuning.world, tuning.workers
        )  # fmt: skip
        seen = np.unique(held.targets[self.held])
        rows = seen[(seen >= 0) & np.isfinite(held.labels[seen]).all(axis=1)]
        if not np.isfinite(raw[rows]).all():
            raise _diverged(tuning.options)
        return metrics.main(task, held.labels[rows], metrics.probabilities(task, raw[rows]))


def _grouped(read: Any, orders: Indices) -> Iterator[list[Part]]:
    """Batches as the parts of each step; orders [step, part, units of all processes]."""
    with closing(read):
        for step in orders:
            found = []
            for everyone in step:
                own, batch = next(read)
                found.append(Part(own, everyone, batch))
            yield found


def _reseed(seed: int, epoch: int, rank: int) -> None:
    """What torch draws in an epoch does not depend on those before."""
    (word,) = np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(word))


def _ends(options: TuningOptions) -> _schedule.Ends:
    peak = options.learning_rate
    return _schedule.Ends(options.warmup_rate or peak / PEAK_TO_FIRST, options.final_rate or peak / PEAK_TO_LAST)


def _mean(losses: Tensor, options: TuningOptions) -> float:
    """The mean loss; steps that overflow in float16 are not taken, and do not count unless there is no other."""
    if options.precision == "float16":
        losses = losses[losses.isfinite()]
    mean = float(losses.mean())
    if not math.isfinite(mean):
        raise _diverged(options)
    return mean


def _diverged(options: TuningOptions) -> UsageError:
    return UsageError(f"training diverged: lower option learning_rate={options.learning_rate:g}")


def _identity(tuning: Tuning) -> str:
    """What a state must be of, to be gone on from."""
    world = tuning.world
    parts: list[Any] = [tuning.options.model_dump(mode="json"), world.device.partition(":")[0], world.size, tuning.seed]
    parts += [part for item in tuning.module.state_dict().items() for part in item]
    for objective in tuning.objectives:
        parts += [objective.task.model_dump(mode="json"), objective.weight]
    for units in (*(objective.units for objective in tuning.objectives), tuning.held):
        parts += [list(units.clips), units.labels, units.targets, units.offsets]
    return identify(parts)
