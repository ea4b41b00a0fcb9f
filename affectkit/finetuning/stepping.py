"""One step of the optimiser. Imports torch: import this module inside functions only.

A step is about all units of its batches together, in whatever parts and processes they are read: its gradient is that
of the loss of all of them at once. Most losses are means, and the parts' losses add up by what their labels weigh,
which is known beforehand. CCC and the root of a mean are not: then all scores are found first, without a gradient, the
loss of all of them says how it changes with each, and the parts are run again for their gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affectkit.finetuning import arithmetic
from affectkit.finetuning.objectives import Objective
from affectkit.finetuning.parallel import World
from affectkit.heads._resume import Run
from affectkit.networks._options import TuningOptions

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
        with arithmetic.forward(self.options.precision, self.world.device):
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
