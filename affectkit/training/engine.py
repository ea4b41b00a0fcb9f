"""Training a network whole: epochs of steps, validated, kept and gone on from.

What an epoch does follows from the seed and its number alone: the order of units, what augments them, what is dropped
out. A training that is taken up again at the last epoch that was kept goes the same way as one that was never stopped.

One step of the optimiser.

A step is about all units of its batches together, in whatever parts and processes they are read: its gradient is that
of the loss of all of them at once. Most losses are means, and the parts' losses add up by what their labels weigh,
which is known beforehand. CCC and the root of a mean are not: then all scores are found first, without a gradient, the
loss of all of them says how it changes with each, and the parts are run again for their gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affectkit import metrics
from affectkit.errors import AffectkitError, UsageError
from affectkit.learning.options import TuningOptions
from affectkit.learning.order import Cut, batches, labelled, passes
from affectkit.learning.processes import NoMemory
from affectkit.plugins import Epoch, Monitor, Units
from affectkit.tasks import Task
from affectkit.training import blocks, loop, losses, precision
from affectkit.training import loop as loop_module
from affectkit.training.loop import Pass
from affectkit.training.losses import LossFunction
from affectkit.training.parallel import World
from affectkit.training.resume import Run, State, identify
from affectkit.types import Floats


@dataclass(frozen=True, repr=False)
class Objective:
    """Units with the labels of a task, its loss, and which columns of the scores are its own.

    `mass` says how much labels weigh in the loss, where a batch can be taken in parts (`_losses.mass`).
    """

    task: Task
    units: Units
    loss: LossFunction
    mass: Callable[[Tensor], Tensor] | None
    columns: slice
    device: str
    weight: float = 1.0

    def truth(self, which: Indices) -> Tensor:
        """Labels of the scores of these units [B,L,K], NaN where there are none; of a clip-level task [B,1,K]."""
        targets = self._targets(which)
        known = np.where((targets >= 0)[..., None], self.units.labels[targets], np.nan)
        return torch.from_numpy(known).to(self.device, torch.float32, non_blocking=True)

    def scores(self, found: Tensor, which: Indices) -> Tensor:
        """This task's columns of what the network says of these units [B,L,K], in float32; of a clip-level task the
        mean over those of a unit's scores that are about the clip [B,1,K]."""
        own = found[..., self.columns].float()
        if self.task.level == "time" or own.shape[1] == 1:
            return own
        there = torch.from_numpy(self.units.targets[which] >= 0).to(own.device).unsqueeze(-1)
        return (own * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp_min(1)

    def _targets(self, which: Indices) -> Indices:
        targets = self.units.targets[which]
        return targets if self.task.level == "time" else targets.max(axis=1, keepdims=True)


def objectives(
    options: TuningOptions, tasks: Sequence[Task], units: Sequence[Units], device: str
) -> list[Objective]:  # fmt: skip
    """One for each task; the first is the network's own, and the options of losses are about that one."""
    found, first = [], 0
    for number, (task, own) in enumerate(zip(tasks, units, strict=True)):
        chosen = options.model_copy(update={"loss": "auto", "label_smoothing": 0.0}) if number else options
        seen = own.labels[np.unique(own.targets[own.targets >= 0])]
        loss, mass = (make(chosen, task, seen, device) for make in (losses.build, losses.mass))
        columns = slice(first, first + task.outputs)
        weight = options.auxiliary_weight if number else 1.0
        found.append(Objective(task, own, loss, mass, columns, device, weight))  # type: ignore[arg-type]
        first = columns.stop
    return found


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
    scaler = precision.scaler(options.precision)
    optimiser = loop_module.optimiser(groups, options, scaled=scaler is not None)
    run = Run(tuning.module, optimiser, np.random.default_rng(tuning.seed), world.device, scaler=scaler)
    kept = None if state is None else State(state, _identity(tuning))
    if kept is not None:
        kept.restore(run)
    if not world.agree([epoch.epoch for epoch in run.history]):
        raise AffectkitError("the processes find different states: the cache must be one folder that all of them see")
    trainer = _Trainer(tuning, run, shares)
    try:
        with precision.exact(world.device):
            return loop.train(
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
        rates = loop_module.rates(self.run.history, self.steps, metric, options, _ends(options))
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


def _ends(options: TuningOptions) -> loop_module.Ends:
    peak = options.learning_rate
    return loop_module.Ends(options.warmup_rate or peak / PEAK_TO_FIRST, options.final_rate or peak / PEAK_TO_LAST)


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


Indices = NDArray[np.int64]


class Part(NamedTuple):
    """A batch: which units it has in this process, and in all of them, and what `Units.load` gave of the former."""

    own: Indices
    all: Indices
    batch: Tensor


class Stepper:
    """Takes steps with a network: `module` is `run.network`, wrapped for the processes."""

    def __init__(self, module: nn.Module, run: Run, options: TuningOptions, world: World) -> None:
        self.module, self.run, self.options, self.world = module, run, options, world

    def step(self, objective: Objective, parts: Sequence[Part]) -> Tensor:
        """Take one; its loss over all processes, without the objective's weight."""
        self.run.optimiser.zero_grad(set_to_none=True)
        in_parts = len(parts) > 1 and objective.mass is not None
        loss = self._in_parts(objective, parts) if in_parts else self._together(objective, parts)
        self._descend()
        return loss

    def _in_parts(self, objective: Objective, parts: Sequence[Part]) -> Tensor:
        """The parts' losses, each by its share of what the labels of all parts and processes weigh."""
        assert objective.mass is not None
        whole = torch.stack([objective.mass(objective.truth(part.all)) for part in parts]).sum().clamp_min(1e-8)
        total = torch.zeros((), device=self.world.device)
        for number, part in enumerate(parts):
            truth = objective.truth(part.own)
            share = objective.mass(truth) / whole
            with self._shared(number == len(parts) - 1):
                scores = self._scores(objective, part)
                loss, gradient = _gradient(objective, scores, truth)
                self._backward(scores, gradient * share)
            total += loss * share
        return self.world.summed(total)

    def _together(self, objective: Objective, parts: Sequence[Part]) -> Tensor:
        """The loss of all scores at once, and back through each part."""
        truth = torch.cat([objective.truth(part.all) for part in parts])
        live = self._scores(objective, parts[0]) if len(parts) == 1 else None
        found = self._look(objective, parts) if live is None else [live.detach()]
        whole = torch.cat([self.world.gathered(scores) for scores in found])
        loss, gradient = _gradient(objective, whole, truth)
        size = len(parts[0].own)
        own = gradient.unflatten(0, (len(parts), self.world.size, size))[:, self.world.rank]
        for number, part in enumerate(parts):
            with self._shared(number == len(parts) - 1):
                self._backward(self._scores(objective, part) if live is None else live, own[number])
        return loss

    def _scores(self, objective: Objective, part: Part) -> Tensor:
        batch = part.batch.to(self.world.device, non_blocking=True)
        with precision.forward(self.options.precision, self.world.device):
            found = self.module(batch)
        return objective.scores(found, part.own)

    @torch.no_grad()
    def _look(self, objective: Objective, parts: Sequence[Part]) -> list[Tensor]:
        with unnoticed(self.run.network):
            return [self._scores(objective, part) for part in parts]

    def _backward(self, scores: Tensor, gradient: Tensor) -> None:
        """What is to be added up over the processes is averaged by torch: it is so much larger here."""
        gradient = gradient * self.world.size
        scores.backward(gradient if self.run.scaler is None else self.run.scaler.scale(gradient))

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


def _gradient(objective: Objective, scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of these scores, and how the weighed loss changes with each."""
    leaf = scores.detach().requires_grad_()
    loss = objective.loss(leaf, truth)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient * objective.weight


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


def row_scores(
    network: nn.Module, units: Units, which: Indices, outputs: int, options: TuningOptions, world: World, workers: int
) -> Floats:
    """Raw scores [R,outputs] of the rows of the label table that the chosen units are about, NaN for the others: the
    mean of a row's scores, taken on the CPU in the order of the units.

    Each process scores its share of the units. The network is left in eval mode.
    """
    found = world.gathered(_share(network, units, which, outputs, options, world, workers)).cpu()
    return row_means(found[: len(which)], units.targets[which], len(units.labels))


def row_means(scores: Tensor, targets: Indices, rows: int) -> Floats:
    """The mean [R,K] of the scores [U,L,K] that are about each row; targets [U,L], -1 for none.

    >>> row_means(torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]]]), np.array([[0, 1], [1, -1]]), 3).ravel()
    array([ 1.,  3., nan], dtype=float32)
    """
    there = torch.from_numpy(targets >= 0)
    about = torch.from_numpy(targets)[there]
    summed = torch.zeros(rows, scores.shape[-1]).index_add_(0, about, scores[there])
    count = torch.zeros(rows).index_add_(0, about, torch.ones(len(about)))
    return np.asarray((summed / count[:, None]).numpy())  # 0 / 0 is NaN


@torch.inference_mode()
def _share(
    network: nn.Module, units: Units, which: Indices, outputs: int, options: TuningOptions, world: World, workers: int
) -> Tensor:
    """Scores [U/P,L,outputs] of this process's share, the last of which are of units that stand in for none."""
    network.eval()
    each = -(-len(which) // world.size)
    own = np.resize(which, each * world.size)[world.rank * each : (world.rank + 1) * each]
    parts = []
    for _, batch in batches(units, own, options.batch_size, seed=(), augmented=False, workers=workers):
        with precision.forward(options.precision, world.device):
            parts.append(network(batch.to(world.device, non_blocking=True))[..., :outputs].float())
    return torch.cat(parts)
