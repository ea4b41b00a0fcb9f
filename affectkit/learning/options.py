"""Options that every head trained by gradient descent shares. A head's own `Options` extends them.

SUN's temporal networks by name (arXiv 2403.12609), as defaults for the options of the head that each one is.

`none` is what a head does by itself. A SUN network of `transformer` is post-norm and as wide as the features; at the
shared learning rate that collapses on wide ones (1280 dimensions: constant scores from some epoch on), so the head's
own settings are others.

Published: 6 encoder layers with 8,8,8,8,4,4 heads (v1), BatchNorm and 3 layers of 8 (v3), a 2-layer GRU with dropout
0.1 (v4), 1 layer (v5); for sound a 2-layer GRU from 1024 to 256 with dropout 0.5 (V1) and two encoder layers of 32 and
16 heads (V2, V3). Not found, so ours: all of v2, which is v1 after the BatchNorm of v3; v5's 8 heads; v4's width; and
what sets the audio V3 apart from V2: here they are the same network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from affectkit.config import Config, Precision
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


_SUN_TRANSFORMER: Mapping[str, Any] = {"norm": "post", "width": None, "learning_rate": 1e-3}

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "transformer": {
        "none": {},
        "sun-v1": {"layers": 6, "heads": "8,8,8,8,4,4", "batch_norm": False, **_SUN_TRANSFORMER},
        "sun-v2": {"layers": 6, "heads": "8,8,8,8,4,4", "batch_norm": True, **_SUN_TRANSFORMER},
        "sun-v3": {"layers": 3, "heads": "8", "batch_norm": True, **_SUN_TRANSFORMER},
        "sun-v5": {"layers": 1, "heads": "8", "batch_norm": False, **_SUN_TRANSFORMER},
        "sun-audio-v2": {"layers": 2, "heads": "32,16", "batch_norm": False, **_SUN_TRANSFORMER},
        "sun-audio-v3": {"layers": 2, "heads": "32,16", "batch_norm": False, **_SUN_TRANSFORMER},
    },
    "gru": {
        "sun-v4": {"layers": 2, "hidden": 256, "dropout": 0.1},
        "sun-audio-v1": {"layers": 2, "hidden": 256, "dropout": 0.5},
    },
}
DESCRIPTION = "a network of SUN, with or without `sun-` (none: this head's own); options that are given win: "


def filled(head: str, given: Any, default: str) -> Any:
    """Options as given, with the preset's values for those that were not. Raises ValueError for a preset that is not
    this head's, and says whose it is.

    >>> filled("gru", {"preset": "audio-v1", "layers": 1}, "sun-v4")
    {'layers': 1, 'hidden': 256, 'dropout': 0.5, 'preset': 'sun-audio-v1'}
    """
    if not isinstance(given, dict):
        return given
    name = _full(given.get("preset", default))
    own = PRESETS[head]
    if name not in own:
        for other, presets in PRESETS.items():
            if name in presets:
                raise ValueError(f"preset={given['preset']} is a {other}: --head {other} -o preset={name}")
        raise ValueError(f"preset={given['preset']} is none of {', '.join(own)}")
    return {**own[name], **given, "preset": name}


def _full(name: Any) -> str:
    return name if name == "none" or str(name).startswith("sun-") else f"sun-{name}"
