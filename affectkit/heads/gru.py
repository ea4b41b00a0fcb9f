"""gru: the recurrent models of SUN (arXiv 2403.12609), version 4 and the first one for sound.

A GRU over the features as they are, with dropout between its layers, and a linear output at each step. Clip-level tasks
read the last state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from affectkit.learning import options
from affectkit.learning.options import TrainingOptions
from affectkit.training.temporal_head import TemporalHead

if TYPE_CHECKING:
    from torch import nn


class Options(TrainingOptions):
    """Of the network; the others are shared."""

    preset: str = Field("sun-v4", description=options.DESCRIPTION + ", ".join(options.PRESETS["gru"]))
    hidden: int = Field(256, ge=1, le=8192, description="width of the GRU")
    layers: int = Field(2, ge=1, le=8, description="GRU layers")
    bidirectional: bool = Field(False, description="read the window in both directions")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate between the layers")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        return options.filled("gru", given, "sun-v4")


class Gru(TemporalHead):
    """GRU over windows of features."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from torch.nn import Identity, Linear

        from affectkit.nets import layers

        chosen: Options = self.options
        gru = layers.Recurrent("gru", inputs, chosen.hidden, chosen.layers, chosen.bidirectional, chosen.dropout)
        return layers.Stack(
            gru,
            layers.LastState(chosen.bidirectional) if self.task.level == "clip" else Identity(),
            Linear(gru.width, outputs),
        )


PLUGIN = Gru
