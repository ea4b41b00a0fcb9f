"""tcn: dilated temporal convolutions in residual blocks (Bai, Kolter and Koltun 2018, arXiv 1803.01271).

Block n of L has two convolutions of dilation 2^(n-1), so that an output sees 2 (kernel - 1) (2^L - 1) steps besides its
own: 60 by default. They look both ways, or back only with `causal`, as in the paper. Its weight normalisation is
LayerNorm over the channels of each step here. Clip-level tasks take the mean over the valid steps, or the last one when
causal.
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

    channels: int = Field(64, ge=1, le=8192, description="width of the convolutions")
    layers: int = Field(4, ge=1, le=12, description="residual blocks, each of twice the dilation of the one before")
    kernel: int = Field(3, ge=2, le=63, description="steps that a convolution sees")
    causal: bool = Field(False, description="see no later steps")


class Tcn(TemporalHead):
    """Temporal convolutional network over windows of features."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from torch.nn import Identity, Linear

        from affectkit.nets import layers
        from affectkit.nets.layers import ConvBlock

        chosen: Options = self.options
        widths = [inputs] + [chosen.channels] * chosen.layers
        blocks = [
            ConvBlock(widths[n], chosen.channels, chosen.kernel, 2**n, chosen.causal, chosen.dropout)
            for n in range(chosen.layers)
        ]
        pool = layers.LastState(False) if chosen.causal else layers.MeanPool()
        return layers.Stack(
            *blocks,
            pool if self.task.level == "clip" else Identity(),
            Linear(chosen.channels, outputs),
        )


PLUGIN = Tcn
