"""concat: the audio-visual model of ERI (arXiv 2303.10741): an LSTM for each modality and a fusion layer over all.

Each input is one modality, with rows of its own rate. It is projected to the hidden width and read by its LSTM; the
last states, or those of each step for time-level tasks, go side by side through a ReLU layer with dropout to a linear
output. Sizes are those of `lstm`, which this is for a single input.

Rows are those of the first input; the others are read at their middles. Ours: where a modality is missing, a learnt
vector stands for it; `modality_dropout` trains for that, and is off as published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from affectkit.learning.modalities import Dims, ModalityOptions
from affectkit.training.temporal_head import TemporalHead

if TYPE_CHECKING:
    from torch import nn


class Options(ModalityOptions):
    """Of the network; the others are shared."""

    hidden: int = Field(64, ge=1, le=8192, description="width of each LSTM and of the layers around it")
    layers: int = Field(1, ge=1, le=8, description="layers of each LSTM (ERI: 1 to 3)")
    bidirectional: bool = Field(False, description="read the window in both directions")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout rate before the output")
    layer_dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate between LSTM layers")


class Concat(TemporalHead):
    """One LSTM a modality, fused by a layer over their states."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        return self.fusion((inputs,), outputs)

    def fusion(self, dims: Dims, outputs: int) -> nn.Module:
        """See `TemporalHead.fusion`."""
        from affectkit.nets.modalities import ConcatNet as Network

        chosen: Options = self.options
        return Network(
            dims, outputs, width=chosen.hidden, layers=chosen.layers, bidirectional=chosen.bidirectional,
            dropout=chosen.dropout, layer_dropout=chosen.layer_dropout, modality_dropout=chosen.modality_dropout,
            pool=self.task.level == "clip",
        )  # fmt: skip


PLUGIN = Concat
