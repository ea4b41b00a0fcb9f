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

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from affectkit.config import Config
from affectkit.learning.options import Seconds, TrainingOptions
from affectkit.learning.temporal_head import TemporalHead
from affectkit.learning.windows import Indices, Plan, Windows, slide

if TYPE_CHECKING:
    from torch import nn

Scale = int | Literal["clip"]
MOST_SCALES = 32
LONGEST_STRIDE = 1_000_000
WIDE, PROJECTED = 512, 256
"""Features wider than the paper's are not learnt from as they are: training at the shared rate is not stable there."""
TLHN: Mapping[str, Any] = {
    "optimiser": "sgd", "learning_rate": 5e-4, "weight_decay": 1e-5, "clip_norm": 0.0, "schedule": "step",
    "step_epochs": 5, "step_factor": 0.9, "batch_size": 90, "epochs": 50, "patience": 50, "class_weights": "none",
    "width": None,
}  # fmt: skip


class Layout(Config):
    """Of the pyramid, on features or on crops."""

    preset: Literal["none", "tlhn"] = Field(
        "none", description="tlhn: trained as the paper's code does; options that are given win"
    )
    window: Seconds | Literal["auto", "clip"] = Field(
        "auto", description="seconds that the scale `clip` reads about a window's place (auto or clip: the whole clip)"
    )
    stride: Seconds | None = Field(
        None,
        description="seconds between windows (default: half the finest sequence); of time-level tasks, between those"
        " that are trained on (default: half of `window`, auto: 2 s)",
    )
    strides: str = Field(
        "2,4,clip", max_length=256, coerce_numbers_to_str=True,
        description="scales, as rows from step to step; clip: evenly spaced over the clip",
    )  # fmt: skip
    steps: int = Field(15, ge=1, le=1000, description="rows that each scale reads")
    layers: int = Field(1, ge=1, le=48, description="encoder layers, shared by the scales")
    heads: int = Field(8, ge=1, le=128, description="attention heads")
    width: int | None = Field(
        None, ge=1, le=16_384, description="project the features to this width first (default: as they are)"
    )
    joint: int = Field(256, ge=1, le=16_384, description="width of the layer before the outputs")
    output_layer: Literal["shared", "per-scale"] = Field("shared", description="one for all scales, or one for each")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout rate of the joint layer")
    encoder_dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate within the encoder layers")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        return {**TLHN, **given} if isinstance(given, dict) and given.get("preset") == "tlhn" else given

    @field_validator("strides")
    @classmethod
    def _are_scales(cls, strides: str) -> str:
        parts = [part.strip() for part in strides.split(",")]
        if not all(part == "clip" or (part.isdecimal() and 1 <= int(part) <= LONGEST_STRIDE) for part in parts):
            raise ValueError(f"strides={strides}: give numbers of rows from 1 to {LONGEST_STRIDE}, and clip: 2,4,clip")
        parts = [part if part == "clip" else str(int(part)) for part in parts]
        if len(set(parts)) < len(parts) or len(parts) > MOST_SCALES:
            raise ValueError(f"strides={strides}: give each scale once, at most {MOST_SCALES}")
        return ",".join(parts)

    def projection(self, inputs: int) -> int | None:
        """The width that features of `inputs` dimensions are projected to; None: as they are."""
        return self.width

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The strides as numbers of rows, or "clip"."""
        return tuple("clip" if part == "clip" else int(part) for part in self.strides.split(","))


class Options(Layout, TrainingOptions):
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

    def windows(self, offsets: Indices, plan: Plan) -> Windows:
        """One window a row (time level), or some along each clip; all of scales x steps rows, about row `target`."""
        limit = plan.steps if isinstance(self.options.window, float) else None
        if self.task.level == "time":
            return pyramid(offsets, np.arange(offsets[-1]), self.options, limit, inside=False)
        places = along(offsets, self.options, limit, plan.stride if self.options.stride else None)
        return pyramid(offsets, places, self.options, limit, inside=True)

    def training_windows(self, windows: Windows, plan: Plan) -> Windows:
        """Time level: the first labelled window of every `plan.stride` rows; neighbours say almost the same."""
        if self.task.level == "clip" or windows.target is None:
            return windows
        block = np.stack([windows.clip, windows.target // plan.stride])
        return windows.where(np.append(True, (np.diff(block) != 0).any(axis=0))[: len(windows)])


def pyramid(offsets: Indices, places: Indices, options: Options, limit: int | None, inside: bool) -> Windows:
    """A window about each of the rows `places`; clip c has the rows offsets[c]:offsets[c+1].

    A scale is centred on the place: step `steps // 2` is the place itself, unless `inside` moves the sequence into the
    clip. Steps outside the clip read its first or last row. The scale clip reads the middles of `steps` equal parts of
    the clip, or of its `limit` rows about the place.

    >>> chosen = Options(strides="2,clip", steps=3)
    >>> at_edges = pyramid(np.array([0, 9]), np.array([0, 7]), chosen, limit=None, inside=False)
    >>> at_edges.rows.reshape(2, 2, 3).tolist()
    [[[0, 0, 2], [1, 4, 7]], [[5, 7, 8], [1, 4, 7]]]
    >>> pyramid(np.array([0, 9]), np.array([0, 7]), chosen, limit=6, inside=True).rows.reshape(2, 2, 3).tolist()
    [[[0, 2, 4], [1, 3, 5]], [[4, 6, 8], [4, 6, 8]]]
    """
    clip = np.searchsorted(offsets, places, side="right") - 1
    first, count = offsets[clip], np.diff(offsets)[clip]
    rows = np.empty((len(places), len(options.scales), options.steps), np.int64)
    for number, scale in enumerate(options.scales):
        rows[:, number] = _sequence(scale, options.steps, places - first, count, limit, inside)
    rows += first[:, None, None]
    length = len(options.scales) * options.steps
    return Windows(clip, rows.reshape(-1), np.arange(len(places) + 1) * length, places)


def _sequence(scale: Scale, steps: int, place: Indices, count: Indices, limit: int | None, inside: bool) -> Indices:
    """[W,steps] rows of one scale, counted within clips of `count` [W] rows, about the rows `place` [W]."""
    step = np.arange(steps)
    if scale == "clip":
        size = count if limit is None else np.minimum(limit, count)
        start = np.clip(place - size // 2, 0, count - size)
        return start[:, None] + (2 * step + 1) * size[:, None] // (2 * steps)
    start = place - scale * (steps // 2)
    if inside:
        start = np.clip(start, 0, np.maximum(count - _span(scale, steps), 0))
    return np.clip(start[:, None] + scale * step, 0, count[:, None] - 1)


def along(offsets: Indices, options: Options, limit: int | None, hop: int | None) -> Indices:
    """Rows along each clip about which windows are placed, so that the finest sequence reaches both ends, `hop` rows
    apart (default: half that sequence). A clip no longer than it has one; a clip without rows none.

    >>> along(np.array([0, 9, 9, 13]), Options(strides="2", steps=3), limit=None, hop=None).tolist()
    [2, 4, 6, 11]
    """
    finest = min((scale for scale in options.scales if scale != "clip"), default=None)
    span = limit if finest is None else _span(finest, options.steps)
    before = (limit or 0) // 2 if finest is None else finest * (options.steps // 2)
    found = slide(offsets, span, hop or max(1, (span or 1) // 2))
    length = found.lengths
    return found.rows[found.offsets[:-1] + np.where(length == span, before, length // 2)]


def _span(stride: int, steps: int) -> int:
    return stride * (steps - 1) + 1


PLUGIN = Pyramid
