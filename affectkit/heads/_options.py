"""Options that every head trained by gradient descent shares. A head's own `Options` extends them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from affectkit.config import Config
from affectkit.tasks import Loss

Normalise = Literal["none", "min-max", "standard", "per-clip-min-max", "per-clip-standard"]
Missing = Literal["skip", "hold", "interpolate", "zero"]
Output = Literal["auto", "tanh", "sigmoid", "linear"]
Combine = Literal["weights", "concat", "sweep"]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class LearningOptions(Config):
    """How anything is learnt by gradient descent: heads on features, and networks whole."""

    epochs: int = Field(100, ge=1, le=10_000, description="passes over the training windows, at most")
    patience: int = Field(25, ge=1, description="epochs without a better validation score before training stops")
    batch_size: int = Field(16, ge=1, le=65_536, description="windows in a step")
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd: with momentum 0.9")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak rate")
    weight_decay: float = Field(1e-4, ge=0, le=10, description="of the optimiser")
    schedule: Literal["cosine", "plateau", "step", "constant"] = Field("cosine", description="of the learning rate")
    warmup_steps: int = Field(50, ge=0, description="cosine: linear warm-up before it, at most a tenth of all steps")
    plateau_patience: int = Field(
        5, ge=0, description="plateau: epochs without a better validation score that pass before the rate is halved"
    )
    step_epochs: int = Field(5, ge=1, description="step: epochs between two changes of the rate")
    step_factor: float = Field(0.9, gt=0, le=1, description="step: what the rate is multiplied by")
    clip_norm: float = Field(1.0, ge=0, description="largest gradient norm (0: no clipping)")
    output: Output = Field("auto", description="last activation (auto: by the range of the training labels)")
    loss: Loss = Field("auto", description="training loss (auto: the task's)")
    class_weights: Literal["none", "balanced", "max"] = Field(
        "balanced", description="weigh rare classes up: by 1 / count with sum 1, or (max) by largest count / count"
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="how little the focal loss counts what is known well")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label spread over all classes")
    auxiliary_weight: float = Field(1.0, gt=0, le=1000, description="weight of the loss of tasks learnt along (--aux)")


class TrainingOptions(LearningOptions):
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
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate")
    combine: Combine | None = Field(
        None, description="several inputs: weights (learnt, of layers of one model), concat, or sweep (the best alone)"
    )
