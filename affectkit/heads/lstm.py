"""lstm: the recurrent model of ERI (arXiv 2303.10741), sized as the MuSe-2022 baseline, since the paper does not say.

Linear to the hidden width, an LSTM, its last state, a ReLU layer with dropout, and a linear output (Sigmoid for
intensities in 0..1). Time-level tasks read the state at every step instead of the last one.
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

    hidden: int = Field(64, ge=1, le=8192, description="width of the LSTM and of the layers around it")
    layers: int = Field(1, ge=1, le=8, description="LSTM layers (ERI: 1 to 3)")
    bidirectional: bool = Field(False, description="read the window in both directions")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout rate before the output")
    layer_dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate between LSTM layers")


class Lstm(TemporalHead):
    """LSTM over windows of features."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from torch.nn import Dropout, Identity, Linear, ReLU

        from affectkit.nets import layers

        chosen: Options = self.options
        lstm = layers.Recurrent(
            "lstm", chosen.hidden, chosen.hidden, chosen.layers, chosen.bidirectional, chosen.layer_dropout
        )
        return layers.Stack(
            Linear(inputs, chosen.hidden),
            lstm,
            layers.LastState(chosen.bidirectional) if self.task.level == "clip" else Identity(),
            Linear(lstm.width, chosen.hidden),
            ReLU(),
            Dropout(chosen.dropout),
            Linear(chosen.hidden, outputs),
        )


PLUGIN = Lstm
