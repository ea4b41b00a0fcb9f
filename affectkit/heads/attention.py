"""attention: cross-modal attention over embeddings of several modalities, aligned in time.

Each input is one modality, with rows of its own rate: faces, speech, sound. Rows are those of the first input; the
others are read at their middles. In each layer the steps of a modality attend to those of the others (as in Tsai et al.
2019, arXiv 1906.00295), then to each other in a post-norm encoder layer; learnt gates, one for each dimension, weigh
the modalities at every step for a linear output, of the mean over the steps for clip-level tasks.

Where a modality is missing (no face, no speech) nothing attends to it and its gate is shut. `modality_dropout` takes
modalities from whole windows of training, so that the others learn to do without. With one input this is a
transformer encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from affectkit.learning.modalities import Dims, ModalityOptions
from affectkit.training.temporal_head import TemporalHead

if TYPE_CHECKING:
    from torch import nn


class Options(ModalityOptions):
    """Of the network; the others are shared."""

    width: int = Field(64, ge=1, le=16_384, description="each modality is projected to this width")
    layers: int = Field(2, ge=1, le=48, description="layers of cross-modal attention and of attention within")
    heads: int = Field(4, ge=1, le=128, description="attention heads")
    modality_dropout: float = Field(
        0.1, ge=0, lt=1, description="training: rate at which a modality is taken from a window, never the last one"
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Options:
        if self.width % self.heads:
            near = max(1, round(self.width / self.heads)) * self.heads
            raise ValueError(f"width={self.width} cannot be shared by {self.heads} attention heads: set width={near}")
        return self


class Attention(TemporalHead):
    """Modalities that attend to each other over time."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        return self.fusion((inputs,), outputs)

    def fusion(self, dims: Dims, outputs: int) -> nn.Module:
        """See `TemporalHead.fusion`."""
        from affectkit.nets.modalities import CrossModal

        chosen: Options = self.options
        return CrossModal(
            dims, outputs, width=chosen.width, layers=chosen.layers, heads=chosen.heads, dropout=chosen.dropout,
            modality_dropout=chosen.modality_dropout, pool=self.task.level == "clip",
        )  # fmt: skip


PLUGIN = Attention
