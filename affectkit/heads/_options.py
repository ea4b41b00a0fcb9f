"""Options that every head trained by gradient descent shares. A head's own `Options` extends them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from affectkit.config import Config
from affectkit.tasks import Loss

Normalise = Literal["none", "min-max", "standard", "per-clip-min-max", "per-clip-standard"]
Missing = Literal["skip", "hold", "interpolate", "zero"]
Output = Literal["auto", "tanh", "sigmoid", "linear"]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class TrainingOptions(Config):
    """How features are read, windowed and learnt from.

    Times become steps by the median hop between the rows of the training clips: a 4 s window over features at 5 fps is
    20 steps.
    """

    window: Seconds | Literal["auto", "clip"] = Field(
        "auto", description="window in seconds, or clip: the whole clip (auto: 4 s for time-level tasks, else clip)"
    )
    stride: Seconds | None = Field(None, description="seconds between windows (default: half a window)")
    normalise: Normalise = Field("standard", description="scaling of the features, fitted on the training split")
    missing: Missing = Field("hold", description="what stands for rows without a face or speech")
    output: Output = Field("auto", description="last activation (auto: by the range of the training labels)")
    loss: Loss = Field("auto", description="training loss (auto: the task's)")
    class_weights: Literal["none", "balanced"] = Field("balanced", description="weigh rare classes up")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label spread over all classes")
    epochs: int = Field(100, ge=1, le=10_000, description="passes over the training windows, at most")
    batch_size: int = Field(16, ge=1, le=65_536, description="windows in a step")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak rate of AdamW")
    weight_decay: float = Field(1e-4, ge=0, le=10, description="of AdamW")
    warmup_steps: int = Field(50, ge=0, description="linear warm-up, at most a tenth of all steps; then cosine")
    clip_norm: float = Field(1.0, ge=0, description="largest gradient norm (0: no clipping)")
    patience: int = Field(25, ge=1, description="epochs without a better validation score before training stops")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate")
