"""pyramid: the temporal pyramid of TLHN (arXiv 2407.12973).

A window is several sequences of 15 rows about one place of a clip: at strides 2 and 4 (in feature rows: at 5 fps,
stride 2 is 0.4 s and its 15 steps span 5.8 s), and evenly spaced over the whole clip. One transformer encoder, the mean
over the steps and a 256-d joint layer read each sequence; the scales' logits are summed. Any number of scales.

Clip level: of a clip longer than the finest sequence come several windows, half of that sequence apart; sequences are
moved to lie within the clip. Predictions are the mean over them. Time level: one window a row, its sequences centred on
the row and read at that step instead of the mean, but for the clip's; training takes the first labelled row of every
`stride` seconds. Where a sequence reaches past the clip, the clip's first or last row is repeated: no step is ever
masked, and every scale weighs the same in any clip.

Published: the scales, their sum, the joint layer, dropout 0.5. Ours: what is said above about places and edges, the
width and number of the encoder's layers, and one output layer for all scales (`output_layer=per-scale` has its own for
each). TLHN's valence and arousal are tasks learnt along (`--aux`): `valence-2` and `arousal-2` for two classes each,
`va` for numbers. Not here: the coarse-to-fine use of labels, which the paper names without the details that would fix
it.

Its training is `preset=tlhn`: SGD of 5e-4 with momentum 0.9 and weight decay 1e-5, times 0.9 every 5 epochs, 50 epochs
of batches of 90. All of them are run and the best by validation is kept; that no class is weighed and no gradient
clipped is our reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from affectkit.learning import pyramid
from affectkit.learning.options import TrainingOptions
from affectkit.learning.windows import WindowPlan, Windows
from affectkit.training.temporal_head import TemporalHead
from affectkit.types import Indices

if TYPE_CHECKING:
    from torch import nn

WIDE, PROJECTED = 512, 256
"""Features wider than the paper's are not learnt from as they are: training at the shared rate is not stable there."""


class Options(pyramid.Layout, TrainingOptions):
    """Of the pyramid; the others are shared."""

    width: Annotated[int, Field(ge=1, le=16_384)] | Literal["auto"] | None = Field(  # type: ignore[assignment]
        "auto",
        description=f"project the features to this width first (auto: as they are, to {PROJECTED} where they are wider "
        f"than {WIDE}; preset tlhn: as they are)",
    )

    def projection(self, inputs: int) -> int | None:
        """See `Layout.projection`."""
        if self.width == "auto":
            return PROJECTED if inputs > WIDE else None
        return self.width


class Pyramid(TemporalHead):
    """Sequences of one clip at several time scales through one encoder, their logits summed."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from affectkit.nets.pyramid import Scales

        return Scales(inputs, outputs, self.options, centred=self.task.level == "time")

    def windows(self, offsets: Indices, plan: WindowPlan) -> Windows:
        """See `learning.pyramid.lay`."""
        return pyramid.lay(offsets, self.options, self.task.level, plan)

    def training_windows(self, windows: Windows, plan: WindowPlan) -> Windows:
        """See `learning.pyramid.thinned`."""
        return pyramid.thinned(windows, self.task.level, plan)


PLUGIN = Pyramid
