"""mlp: the baseline that sees one step at a time, for what a temporal model must beat.

ReLU layers with dropout at every step, and a linear output; clip-level tasks take the mean over the valid steps. The
order of the steps cannot matter to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from affectkit.learning.options import TrainingOptions
from affectkit.training.temporal_head import TemporalHead

if TYPE_CHECKING:
    from torch import nn


class Options(TrainingOptions):
    """Of the network; the others are shared."""

    hidden: int = Field(128, ge=1, le=8192, description="width of the hidden layers")
    layers: int = Field(2, ge=1, le=8, description="hidden layers")


class Mlp(TemporalHead):
    """Multilayer perceptron over single steps: no context."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from torch.nn import Dropout, Identity, Linear, ReLU

        from affectkit.nets import layers

        chosen: Options = self.options
        blocks: list[nn.Module] = []
        for width in (inputs, *[chosen.hidden] * (chosen.layers - 1)):
            blocks += [Linear(width, chosen.hidden), ReLU(), Dropout(chosen.dropout)]
        return layers.Stack(
            *blocks,
            layers.MeanPool() if self.task.level == "clip" else Identity(),
            Linear(chosen.hidden, outputs),
        )


PLUGIN = Mlp
