"""Options that every network shares. A network's own `Options` extends them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from affectkit.config import Config, Precision
from affectkit.heads._options import Output
from affectkit.tasks import Loss


class TuningOptions(Config):
    """How a network is trained. The schedule's defaults are SUN's (arXiv 2403.12609: 1e-5, 5e-3, 1e-4) but
    for the peak."""

    epochs: int = Field(100, ge=1, le=10_000, description="passes over the training units, at most")
    patience: int = Field(10, ge=1, description="epochs without a better validation score before training stops")
    batch_size: int = Field(32, ge=1, le=65_536, description="units in a step (on each GPU)")
    accumulate: int = Field(1, ge=1, le=1024, description="batches whose gradients are summed before a step")
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd: with momentum 0.9")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak rate, that of the head")
    weight_decay: float = Field(1e-4, ge=0, le=10, description="of the optimiser")
    schedule: Literal["cosine", "plateau", "step", "constant"] = Field("cosine", description="of the learning rate")
    warmup_steps: int = Field(100, ge=0, description="cosine: linear warm-up before it, at most a tenth of all steps")
    warmup_rate: float | None = Field(
        None, gt=0, le=10, description="cosine: the rate that the warm-up begins at  [default: a 500th of the peak]"
    )
    final_rate: float | None = Field(
        None, gt=0, le=10, description="cosine: the rate that it ends at  [default: a 50th of the peak]"
    )
    plateau_patience: int = Field(
        5, ge=0, description="plateau: epochs without a better validation score that pass before the rate is halved"
    )
    step_epochs: int = Field(5, ge=1, description="step: epochs between two changes of the rate")
    step_factor: float = Field(0.9, gt=0, le=1, description="step: what the rate is multiplied by")
    clip_norm: float = Field(1.0, ge=0, description="largest gradient norm (0: no clipping)")
    layer_decay: float = Field(1.0, gt=0, le=1, description="rate of each block as a share of the one above it")
    trainable_blocks: int | None = Field(
        None, ge=0, description="train only so many of the backbone's last blocks, and the head  [default: all]"
    )
    unfreeze_epochs: int = Field(
        0,
        ge=0,
        description="unfreeze gradually: first the head, then a block more every so many epochs (0: all at once)",
    )
    balanced: bool = Field(False, description="draw units so that classes are seen equally often")
    augment: float = Field(0.05, ge=0, le=1, description="probability of each augmentation (0: none)")
    output: Output = Field("auto", description="last activation (auto: by the range of the training labels)")
    loss: Loss = Field("auto", description="training loss (auto: the task's)")
    class_weights: Literal["none", "balanced", "max"] = Field(
        "balanced", description="weigh rare classes up: by 1 / count with sum 1, or (max) by largest count / count"
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="how little the focal loss counts what is known well")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label spread over all classes")
    auxiliary_weight: float = Field(1.0, gt=0, le=1000, description="weight of the loss of tasks learnt along (--aux)")
    precision: Precision = Field("float32", description="arithmetic of the forward pass (float16: on CUDA only)")
    checkpointing: bool = Field(False, description="compute activations again in the backward pass, to save memory")
