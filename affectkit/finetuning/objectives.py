"""What is learnt of one task. Imports torch: import this module inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.heads import _losses
from affectkit.heads._losses import LossFunction
from affectkit.networks._options import TuningOptions
from affectkit.plugins import Units
from affectkit.tasks import Task

Indices = NDArray[np.int64]


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
        loss, mass = (make(chosen, task, seen, device) for make in (_losses.build, _losses.mass))
        columns = slice(first, first + task.outputs)
        weight = options.auxiliary_weight if number else 1.0
        found.append(Objective(task, own, loss, mass, columns, device, weight))  # type: ignore[arg-type]
        first = columns.stop
    return found
