"""transformer: a pre-norm encoder over windows of features projected to 256 dimensions, and SUN's networks as presets.

BatchNorm, three encoder layers of 8 heads whose feed-forward is as wide as they are, the sinusoidal position added in
every layer, a LayerNorm, and a linear output at each step (Tanh for valence and arousal). Clip-level tasks take the
mean over the valid steps first, which is ours.

The temporal models of SUN (arXiv 2403.12609) are post-norm and as wide as the features; `sun-v3` is
their best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from affectkit.learning import options
from affectkit.learning.options import TrainingOptions
from affectkit.training.temporal_head import TemporalHead

if TYPE_CHECKING:
    from torch import nn

MOST_HEADS = 128


class Options(TrainingOptions):
    """Of the network; the others are shared."""

    preset: str = Field("none", description=options.DESCRIPTION + ", ".join(options.PRESETS["transformer"]))
    layers: int = Field(3, ge=1, le=48, description="encoder layers")
    heads: str = Field(
        "8", max_length=256, coerce_numbers_to_str=True, description="attention heads, or those of each layer: 8,8,4"
    )
    norm: Literal["post", "pre"] = Field("pre", description="LayerNorm after each half of a layer, or before it")
    batch_norm: bool = Field(True, description="BatchNorm over the features first")
    width: int | None = Field(
        256, ge=1, le=16_384, description="project the features to this width first (SUN's: as they are)"
    )
    learning_rate: float = Field(5e-4, gt=0, le=10, description="peak rate (SUN's: 1e-3)")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        return options.filled("transformer", given, "none")

    @model_validator(mode="after")
    def _heads_fit_the_layers(self) -> Options:
        parts = self.heads.split(",")
        if not all(part.isdecimal() and 1 <= int(part) <= MOST_HEADS for part in parts):
            raise ValueError(f"heads={self.heads}: give a number from 1 to {MOST_HEADS}, or one for each layer: 8,8,4")
        if len(parts) not in (1, self.layers):
            raise ValueError(
                f"heads={self.heads} are for {len(parts)} layers, not {self.layers}: "
                f"set layers={len(parts)}, or heads to one number or {self.layers}"
            )
        return self

    @property
    def heads_of_layers(self) -> list[int]:
        """Attention heads of each layer."""
        heads = [int(part) for part in self.heads.split(",")]
        return heads * self.layers if len(heads) == 1 else heads


class Transformer(TemporalHead):
    """Transformer encoder over windows of features."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from torch.nn import Identity, LayerNorm, Linear

        from affectkit.nets import layers

        chosen: Options = self.options
        width = chosen.width or inputs
        pre = chosen.norm == "pre"
        return layers.Stack(
            Linear(inputs, width) if chosen.width else Identity(),
            layers.BatchNorm(width) if chosen.batch_norm else Identity(),
            *(layers.EncoderLayer(width, heads, width, chosen.dropout, pre) for heads in chosen.heads_of_layers),
            *([LayerNorm(width)] if pre else []),
            layers.MeanPool() if self.task.level == "clip" else Identity(),
            Linear(width, outputs),
        )


PLUGIN = Transformer
