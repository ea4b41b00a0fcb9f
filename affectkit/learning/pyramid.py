"""Windows of the temporal pyramid: sequences of one clip at several time scales about one of its rows.

Laid over rows of features or of crops alike; what reads them is in `nets.pyramid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from affectkit.config import Config
from affectkit.learning.options import Seconds
from affectkit.learning.windows import WindowPlan, Windows, slide
from affectkit.tasks import Level
from affectkit.types import Indices

Scale = int | Literal["clip"]
MOST_SCALES = 32
LONGEST_STRIDE = 1_000_000
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


def lay(offsets: Indices, layout: Layout, level: Level, plan: WindowPlan) -> Windows:
    """One window a row (time level), or some along each clip; all of scales x steps rows, about row `target`.

    Clip c has the rows offsets[c]:offsets[c+1].
    """
    limit = plan.steps if isinstance(layout.window, float) else None
    if level == "time":
        return windows_about(offsets, np.arange(offsets[-1]), layout, limit, inside=False)
    centres = centres_along(offsets, layout, limit, plan.stride if layout.stride else None)
    return windows_about(offsets, centres, layout, limit, inside=True)


def thinned(windows: Windows, level: Level, plan: WindowPlan) -> Windows:
    """The windows to train on: at time level the first of every `plan.stride` rows, since neighbours say almost the
    same; else all of them."""
    if level == "clip" or windows.target is None:
        return windows
    block = np.stack([windows.clip, windows.target // plan.stride])
    return windows.where(np.append(True, (np.diff(block) != 0).any(axis=0))[: len(windows)])


def windows_about(offsets: Indices, centres: Indices, layout: Layout, limit: int | None, inside: bool) -> Windows:
    """A window about each of the rows `centres`; clip c has the rows offsets[c]:offsets[c+1].

    A scale is centred on the row: step `steps // 2` is the row itself, unless `inside` moves the sequence into the
    clip. Steps outside the clip read its first or last row. The scale clip reads the middles of `steps` equal parts of
    the clip, or of its `limit` rows about the centre.

    >>> layout = Layout(strides="2,clip", steps=3)
    >>> at_edges = windows_about(np.array([0, 9]), np.array([0, 7]), layout, limit=None, inside=False)
    >>> at_edges.rows.reshape(2, 2, 3).tolist()
    [[[0, 0, 2], [1, 4, 7]], [[5, 7, 8], [1, 4, 7]]]
    >>> windows_about(np.array([0, 9]), np.array([0, 7]), layout, limit=6, inside=True).rows.reshape(2, 2, 3).tolist()
    [[[0, 2, 4], [1, 3, 5]], [[4, 6, 8], [4, 6, 8]]]
    """
    clip = np.searchsorted(offsets, centres, side="right") - 1
    first, count = offsets[clip], np.diff(offsets)[clip]
    rows = np.empty((len(centres), len(layout.scales), layout.steps), np.int64)
    for number, scale in enumerate(layout.scales):
        rows[:, number] = _sequence(scale, layout.steps, centres - first, count, limit, inside)
    rows += first[:, None, None]
    length = len(layout.scales) * layout.steps
    return Windows(clip, rows.reshape(-1), np.arange(len(centres) + 1) * length, centres)


def _sequence(scale: Scale, steps: int, centre: Indices, count: Indices, limit: int | None, inside: bool) -> Indices:
    """[W,steps] rows of one scale, counted within clips of `count` [W] rows, about the rows `centre` [W]."""
    step = np.arange(steps)
    if scale == "clip":
        size = count if limit is None else np.minimum(limit, count)
        start = np.clip(centre - size // 2, 0, count - size)
        return start[:, None] + (2 * step + 1) * size[:, None] // (2 * steps)
    start = centre - scale * (steps // 2)
    if inside:
        start = np.clip(start, 0, np.maximum(count - _span(scale, steps), 0))
    return np.clip(start[:, None] + scale * step, 0, count[:, None] - 1)


def centres_along(offsets: Indices, layout: Layout, limit: int | None, hop: int | None) -> Indices:
    """Rows along each clip about which windows are placed, so that the finest sequence reaches both ends, `hop` rows
    apart (default: half that sequence). A clip no longer than it has one; a clip without rows none.

    >>> centres_along(np.array([0, 9, 9, 13]), Layout(strides="2", steps=3), limit=None, hop=None).tolist()
    [2, 4, 6, 11]
    """
    finest = min((scale for scale in layout.scales if scale != "clip"), default=None)
    span = limit if finest is None else _span(finest, layout.steps)
    before = (limit or 0) // 2 if finest is None else finest * (layout.steps // 2)
    finest_windows = slide(offsets, span, hop or max(1, (span or 1) // 2))
    length = finest_windows.lengths
    return finest_windows.rows[finest_windows.offsets[:-1] + np.where(length == span, before, length // 2)]


def _span(stride: int, steps: int) -> int:
    return stride * (steps - 1) + 1
