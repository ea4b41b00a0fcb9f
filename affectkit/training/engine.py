"""The trainer of heads and of networks: epochs of steps, validated, kept and gone on from.

A step is about all units of its batches together, in whatever parts and processes they are read: its gradient is that
of the loss of all of them at once. Most losses are means, and the parts' losses add up by what their labels weigh,
which is known beforehand. CCC and the root of a mean are not: then all scores are found first, without a gradient, the
loss of all of them says how it changes with each, and the parts are run again for their gradients.

What units are, how they are read, and what is drawn in an epoch is for the objectives to say: windows of features for
heads (`window_table`), crops and sound for networks (`tuning`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from affectkit.config import Precision
from affectkit.errors import AffectkitError, UsageError
from affectkit.learning.options import LearningOptions
from affectkit.plugins import Epoch, Monitor
from affectkit.tasks import Metric
from affectkit.training import blocks, loop, precision
from affectkit.training.loop import Ends, Pass
from affectkit.training.losses import Goal
from affectkit.training.parallel import World
from affectkit.training.resume import Run, State, identify
from affectkit.types import Floats, Indices


class Part(NamedTuple):
    """A batch: which units it has in this process, and in all of them, and what was read of the former."""

    mine: Indices
    all: Indices
    batch: Any


class Objective(ABC):
    """What is learnt of one task, from units with its labels."""

    goal: Goal

    @abstractmethod
    def stream(self, epoch: int) -> Generator[Sequence[Part]]:
        """The parts of one step after another, for as long as they are asked for."""

    @abstractmethod
    def scores(self, module: nn.Module, part: Part) -> Tensor:
        """What the module says of a part: [B,L,...], the columns of all tasks."""

    @abstractmethod
    def answers(self, scores: Tensor, part: Part) -> Tensor:
        """This task's columns [B,L,K] of these scores, in float32; of a clip-level task [B,1,K]."""

    @abstractmethod
    def truth(self, part: Part, everyone: bool = False) -> Tensor:
        """The labels of these answers, NaN where there are none; `everyone`: of the units of all processes."""

    @abstractmethod
    def identity(self) -> list[Any]:
        """Arrays, and what JSON can say, that tell this objective from another one."""


Watch = Callable[[int, int, int, int, Tensor], None]
"""Told after each step: of which epoch, how many of how many steps are done, units in a step, and its loss (reading it
waits for the device)."""


@dataclass(frozen=True, repr=False)
class Training:
    """What is trained on what, and how.

    An epoch is `steps` steps of the first objective, the task's own; after each, every other one takes a step of its
    own. `score` is the validation score at the module's present weights; `rng` is what objectives draw from. With
    `seed`, what torch draws in an epoch does not depend on those before. Of the blocks, `opened` says how many, the
    last ones, are trained in an epoch, and each has `decay` times the rate of the one above it.
    """

    module: nn.Module
    blocks: blocks.Blocks
    objectives: Sequence[Objective]
    score: Callable[[], float]
    steps: int
    options: LearningOptions
    monitor: Monitor
    rng: np.random.Generator
    world: World
    metric: Metric
    seed: int | None = None
    decay: float = 1.0
    opened: Callable[[int], int] = lambda epoch: 1
    precision: Precision = "float32"
    ends: Ends | None = None
    watch: Watch = lambda epoch, done, steps, units, loss: None
    held: Sequence[Any] = ()
    """What tells the validation units from others, see `Objective.identity`."""


def train(training: Training, state: Path | None = None) -> list[Epoch]:
    """Train until the validation score no longer improves, and leave the best weights in the module; the history.

    With a folder as `state`, training goes on from what is found there. Raises UsageError when the loss is no longer
    finite; `Interrupted` for Ctrl-C, with the best weights so far in the module.
    """
    world, options = training.world, training.options
    scaler = precision.scaler(training.precision)
    groups = [{"params": list(block)} for block in training.blocks]
    optimiser = loop.optimiser(groups, options, scaled=scaler is not None)
    run = Run(training.module, optimiser, training.rng, world.device, scaler=scaler)
    kept = None if state is None else State(state, _identity(training))
    if kept is not None:
        kept.restore(run)
    if not world.agree([epoch.epoch for epoch in run.history]):
        raise AffectkitError("the processes find different states: the cache must be one folder that all of them see")
    return loop.train(
        run, Trainer(training, run).epoch, limits=options, metric=training.metric, monitor=training.monitor,
        state=kept if world.first else None,
    )  # fmt: skip


def _identity(training: Training) -> str:
    """What a state must be of, to be gone on from."""
    world = training.world
    parts: list[Any] = [training.options.model_dump(mode="json"), world.device.partition(":")[0], world.size]
    parts.append(training.rng.bit_generator.state)
    parts += [part for item in training.module.state_dict().items() for part in item]
    for objective in training.objectives:
        parts += [objective.goal.weight, *objective.identity()]
    return identify([*parts, *training.held])


class Trainer:
    """Trains for an epoch at a time."""

    def __init__(self, training: Training, run: Run) -> None:
        self.training, self.run = training, run
        self.shares = blocks.shares(training.blocks, training.decay)
        self._stepper: Stepper | None = None
        self._open = 0

    def epoch(self) -> Pass:
        """Train for the next one and score it."""
        training = self.training
        number = len(self.run.history) + 1
        if training.seed is not None:
            _reseed(training.seed, number, training.world.rank)
        stepper = self._opened(number)
        rates = loop.rates(self.run.history, training.steps, training.metric, training.options, training.ends)
        loss = self._pass(stepper, number, rates)
        training.world.share_buffers(training.module)
        return Pass(loss, self.score(), rates[-1])

    def score(self) -> float:
        """The validation score, as process 0 has it."""
        return self.training.world.told(self.training.score())

    def _opened(self, epoch: int) -> Stepper:
        """Steps with the blocks that are trained in this epoch."""
        training = self.training
        count = training.opened(epoch)
        if self._stepper is None or count != self._open:
            blocks.open_last(training.module, training.blocks, count)
            blocks.train_mode(training.module)
            if training.world.size > 1:
                self._close_idle(training.objectives[0], epoch)
            self._open = count
            self._stepper = Stepper(training, self.run)
        blocks.train_mode(training.module)
        return self._stepper

    def _close_idle(self, objective: Objective, epoch: int) -> None:
        module = self.training.module
        with closing(objective.stream(epoch)) as stream, unnoticed(module):
            blocks.close_idle(module, objective.scores(module, next(stream)[0]))

    def _pass(self, stepper: Stepper, epoch: int, rates: Sequence[float]) -> float:
        """One pass over the units of the first objective: its mean loss."""
        training = self.training
        losses: list[Tensor] = []  # stay on the device: reading one would wait for its step
        streams = [objective.stream(epoch) for objective in training.objectives]
        try:
            for rate in rates:
                for group, share in zip(self.run.optimiser.param_groups, self.shares, strict=True):
                    group["lr"] = rate * share
                parts = next(streams[0])
                losses.append(stepper.step(training.objectives[0], parts))
                for objective, stream in zip(training.objectives[1:], streams[1:], strict=True):
                    stepper.step(objective, next(stream))
                units = sum(len(part.all) for part in parts)
                training.watch(epoch, len(losses), training.steps, units, losses[-1])
        finally:
            for stream in streams:
                stream.close()
        return self._mean(losses)

    def _mean(self, losses: Sequence[Tensor]) -> float:
        """Steps that overflow in float16 are not taken, and do not count unless there is no other."""
        counted = losses
        if self.training.precision == "float16":
            finite = torch.stack(list(losses)).isfinite().tolist()
            counted = [loss for loss, is_finite in zip(losses, finite, strict=True) if is_finite]
        summed = sum(counted, torch.zeros((), device=self.run.device))
        mean = float(summed) / len(counted) if counted else math.nan
        if not math.isfinite(mean):
            raise diverged(self.training.options)
        return mean


def diverged(options: LearningOptions) -> UsageError:
    """The error of a training whose loss or scores are no longer finite."""
    return UsageError(f"training diverged: lower option learning_rate={options.learning_rate:g}")


def _reseed(seed: int, epoch: int, rank: int) -> None:
    (word,) = np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(word))


class Stepper:
    """Takes steps of the optimiser; wraps the module for the processes with the parameters that are trained now."""

    def __init__(self, training: Training, run: Run) -> None:
        self.module = training.world.wrapped(training.module)
        self.run, self.options, self.world = run, training.options, training.world
        self.precision = training.precision

    def step(self, objective: Objective, parts: Sequence[Part]) -> Tensor:
        """Take one; its loss over all processes, without the objective's weight."""
        self.run.optimiser.zero_grad(set_to_none=True)
        in_parts = len(parts) > 1 and objective.goal.mass is not None
        loss = self._in_parts(objective, parts) if in_parts else self._together(objective, parts)
        self._descend()
        return loss

    def _in_parts(self, objective: Objective, parts: Sequence[Part]) -> Tensor:
        """The parts' losses, each by its share of what the labels of all parts and processes weigh."""
        mass = objective.goal.mass
        assert mass is not None
        whole = torch.stack([mass(objective.truth(part, everyone=True)) for part in parts]).sum().clamp_min(1e-8)
        total = torch.zeros((), device=self.world.device)
        for number, part in enumerate(parts):
            truth = objective.truth(part)
            share = mass(truth) / whole
            with self._shared(number == len(parts) - 1):
                answers = self._answers(objective, part)
                loss, gradient = _gradient(objective.goal, answers, truth)
                self._backward(answers, gradient * share)
            total += loss * share
        return self.world.summed(total)

    def _together(self, objective: Objective, parts: Sequence[Part]) -> Tensor:
        """The loss of all answers at once, and back through each part."""
        truth = _joined([objective.truth(part, everyone=True) for part in parts])
        live = self._answers(objective, parts[0]) if len(parts) == 1 else None
        looked_at = self._look(objective, parts) if live is None else [live.detach()]
        whole = _joined([self.world.gathered(answers) for answers in looked_at])
        loss, gradient = _gradient(objective.goal, whole, truth)
        of_process = gradient.unflatten(0, (len(parts), self.world.size, len(parts[0].mine)))[:, self.world.rank]
        for number, part in enumerate(parts):
            with self._shared(number == len(parts) - 1):
                self._backward(self._answers(objective, part) if live is None else live, of_process[number])
        return loss

    def _answers(self, objective: Objective, part: Part) -> Tensor:
        with precision.forward(self.precision, self.world.device):
            scores = objective.scores(self.module, part)
        return objective.answers(scores, part)

    @torch.no_grad()
    def _look(self, objective: Objective, parts: Sequence[Part]) -> list[Tensor]:
        with unnoticed(self.run.network):
            return [self._answers(objective, part) for part in parts]

    def _backward(self, answers: Tensor, gradient: Tensor) -> None:
        """What is to be added up over the processes is averaged by torch: it is so much larger here."""
        gradient = gradient * self.world.size
        answers.backward(gradient if self.run.scaler is None else self.run.scaler.scale(gradient))

    def _shared(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward pass of a part: the processes share gradients once a step, in the last."""
        return nullcontext() if last or self.world.size == 1 else self.module.no_sync()  # type: ignore[operator]

    def _descend(self) -> None:
        optimiser, scaler = self.run.optimiser, self.run.scaler
        if scaler is not None:
            scaler.unscale_(optimiser)
        if self.options.clip_norm:
            nn.utils.clip_grad_norm_(self.run.network.parameters(), self.options.clip_norm)
        if scaler is None:
            optimiser.step()
        else:
            scaler.step(optimiser)
            scaler.update()


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _gradient(goal: Goal, answers: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of these answers, and how the weighed loss changes with each."""
    leaf = answers.detach().requires_grad_()
    loss = goal.loss(leaf, truth)
    (gradient,) = torch.autograd.grad(goal.weight * loss, leaf)
    return loss.detach(), gradient


def mean_of_steps(answers: Tensor, about: Tensor) -> Tensor:
    """[B,1,K] the mean of [B,L,K] over the steps of each unit that are about its clip [B,L]."""
    about = about.unsqueeze(-1)
    return (answers * about).sum(dim=1, keepdim=True) / about.sum(dim=1, keepdim=True).clamp_min(1)


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


@contextmanager
def unnoticed(network: nn.Module) -> Iterator[None]:
    """What runs inside leaves no trace: generators and statistics are as before, so that it can run again alike."""
    device = next(network.parameters()).device
    buffers = [buffer.clone() for buffer in network.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":  # dropout of cuDNN's GRU has a generator of its own, begun anew when this is set
            torch.cuda.set_rng_state(torch.cuda.get_rng_state(device), device)
        yield
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)


class RowMeans:
    """The mean [R,K] of the scores that are about each row, taken on the CPU in the order that they come in."""

    def __init__(self, rows: int, outputs: int) -> None:
        self._summed, self._count = torch.zeros(rows, outputs), torch.zeros(rows)

    def add(self, scores: Tensor, targets: Indices) -> None:
        """Scores [U,L,K], and the row that each is about [U,L], -1 for none."""
        counted = torch.from_numpy(targets >= 0)
        about = torch.from_numpy(targets)[counted]
        self._summed.index_add_(0, about, scores[counted])
        self._count.index_add_(0, about, torch.ones(len(about)))

    def values(self) -> Floats:
        """NaN where no score is about a row."""
        return np.asarray((self._summed / self._count[:, None]).numpy())  # 0 / 0 is NaN


def row_means(scores: Tensor, targets: Indices, rows: int) -> Floats:
    """The mean [R,K] of the scores [U,L,K] that are about each row; targets [U,L], -1 for none.

    >>> row_means(torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]]]), np.array([[0, 1], [1, -1]]), 3).ravel()
    array([ 1.,  3., nan], dtype=float32)
    """
    means = RowMeans(rows, scores.shape[-1])
    means.add(scores, targets)
    return means.values()
