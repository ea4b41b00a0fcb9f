"""Options that every network shares. A network's own `Options` extends them."""

from __future__ import annotations

from pydantic import Field

from affectkit.config import Precision
from affectkit.heads._options import LearningOptions


class TuningOptions(LearningOptions):
    """How a network is trained. The schedule's defaults are SUN's (arXiv 2403.12609: 1e-5, 5e-3, 1e-4) but
    for the peak."""

    epochs: int = Field(100, ge=1, le=10_000, description="passes over the training units, at most")
    patience: int = Field(10, ge=1, description="epochs without a better validation score before training stops")
    batch_size: int = Field(32, ge=1, le=65_536, description="units in a step (on each GPU)")
    accumulate: int = Field(1, ge=1, le=1024, description="batches whose gradients are summed before a step")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak rate, that of the head")
    warmup_steps: int = Field(100, ge=0, description="cosine: linear warm-up before it, at most a tenth of all steps")
    warmup_rate: float | None = Field(
        None, gt=0, le=10, description="cosine: the rate that the warm-up begins at  [default: a 500th of the peak]"
    )
    final_rate: float | None = Field(
        None, gt=0, le=10, description="cosine: the rate that it ends at  [default: a 50th of the peak]"
    )
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
    precision: Precision = Field("float32", description="arithmetic of the forward pass (float16: on CUDA only)")
    checkpointing: bool = Field(False, description="compute activations again in the backward pass, to save memory")


class ImageOptions(TuningOptions):
    """How a network over images is trained."""

    channels_last: bool = Field(
        False, description="NHWC memory format of the backbone: faster for most CNNs, other last digits"
    )
