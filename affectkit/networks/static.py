"""static: SUN's static visual model (arXiv 2403.12609): one crop in, one answer out.

A timm backbone -> Dropout 0.1 -> Linear(256) -> BatchNorm -> Tanh -> Linear, for regression with a last activation by
the range of the labels (Tanh for valence and arousal). What the last layer reads, 256 numbers, is the embedding that
`affectkit embed --weights` gives and that SUN's temporal heads are trained on.

Published: the layers; EfficientNet-B1 and B4 (pooled features, 1280-d and 1792-d) and ViT-B/16, of which the 1000
logits are read (`layer=logits`); ImageNet mean and deviation; every 5th frame (`every=5` for crops of every frame).
`preset=sun` is the paper's training: AdamW with weight decay 1e-4, the rate from 1e-5 up to 5e-3 in 100 steps, then
along a cosine down to 1e-4, 100 epochs with patience 10, and for classes the soft focal loss with gamma 2 and weights
by the inverse frequency of the classes. Its batch size we have not found.

Whole crops are resized to the input size; nothing is cut off (see `learning.image_backbone`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from affectkit import plugins
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.learning.crop_table import whole
from affectkit.learning.options import ImageOptions
from affectkit.learning.timm_names import LITE0
from affectkit.plugins import Outputs, Units
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Indices
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectkit.learning.crop_table import CropTable
    from affectkit.nets.static import StaticModule
EFFICIENTNET = "tf_efficientnet_b1.in1k"
SUN = {
    "optimiser": "adamw", "weight_decay": 1e-4, "schedule": "cosine", "learning_rate": 5e-3, "warmup_steps": 100,
    "warmup_rate": 1e-5, "final_rate": 1e-4, "epochs": 100, "patience": 10, "dropout": 0.1, "width": 256,
    "focal_gamma": 2.0, "class_weights": "balanced", "pixels": "imagenet",
}  # fmt: skip


class StaticNetworkOptions(ImageOptions):
    """Of the backbone and the layers on it; the others are shared."""

    preset: Literal["none", "sun"] = Field("none", description="sun: trained as the paper says; options given win")
    backbone: str = Field(
        EFFICIENTNET, pattern=r"^[A-Za-z0-9_.-]+$",
        description="timm model, with its tag after a dot to pin the weights, or efficientnet-lite0",
    )  # fmt: skip
    layer: Literal["pooled", "logits"] = Field("pooled", description="what is read of the backbone")
    input_size: int | None = Field(None, ge=16, le=1024, description="pixels a side  [default: the model's own]")
    pixels: Literal["model", "imagenet"] = Field(
        "model", description="mean and deviation that pixels are normalised by: the model's own, or ImageNet's"
    )
    width: int = Field(256, ge=1, le=16_384, description="of the embedding")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate of the backbone's features")
    every: int = Field(1, ge=1, le=10_000, description="train on every so many-th crop of a clip; all are validated on")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        return {**SUN, **given} if isinstance(given, dict) and given.get("preset") == "sun" else given


class Static:
    """A timm backbone and an answer for each crop."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image", "audio"]] = "image"
    Options: ClassVar[type[Config]] = StaticNetworkOptions

    @classmethod
    def weights(cls, options: StaticNetworkOptions, choice: str) -> WeightsFile:
        """As for `embed --backbone` (auto, random or a file). Raises UsageError."""
        given = options.backbone
        if given != LITE0 and (given in plugins.names("backbones") or plugins.names_model(given)):
            raise UsageError(f"backbone {given} cannot be trained: take a timm model, or {LITE0}")
        size = [] if options.input_size is None else [f"input_size={options.input_size}"]
        _, plugin, chosen = plugins.backbone(given, [f"layer={options.layer}", *size])
        found: WeightsFile = plugin.weights(chosen, choice)
        return found

    def __init__(self, options: StaticNetworkOptions, task: Task) -> None:
        focal = options.preset == "sun" and options.loss == "auto" and task.kind == "multiclass"
        self.options = options.model_copy(update={"loss": "focal"}) if focal else options
        self.task = task
        self.architecture: dict[str, Any] = {}
        self.dim = options.width

    def build(self, weights: WeightsFile | None, outputs: Sequence[Outputs]) -> StaticModule:
        """From uint8 [B,1,3,h,w] to scores [B,1,K]. Raises UsageError for weights that do not fit."""
        from affectkit.nets import trunk
        from affectkit.nets.static import StaticModule

        chosen = self.options
        encoder, self.architecture = trunk.build(
            chosen.backbone, chosen.input_size, weights, self.architecture, chosen.checkpointing, chosen.layer,
            imagenet=chosen.pixels == "imagenet", channels_last=chosen.channels_last,
        )  # fmt: skip
        return StaticModule(encoder, chosen.width, chosen.dropout, outputs)

    def blocks(self, module: StaticModule) -> list[list[nn.Parameter]]:
        """timm's own groups of the backbone, then the layers on it."""
        from affectkit.nets import trunk

        return [*trunk.blocks(module.encoder), [*module.neck.parameters(), *module.scores.parameters()]]

    def units(
        self, upstream: Any, clips: Sequence[str], labels: Mapping[str, ClipLabels] | None, pooling: str, training: bool
    ) -> Units:
        """Every crop with a face, in training every `every`-th of each clip. Of a clip-level task all crops of a clip
        are about its one label."""
        from affectkit.learning.crop_table import CropTable

        table = CropTable(upstream, clips)
        faces = [first + np.flatnonzero(table.valid[first:last]) for first, last in pairwise(table.offsets.tolist())]
        step = self.options.every if training else 1
        rows = np.concatenate([np.zeros(0, np.int64), *(own[::step] for own in faces)])

        def load(which: Indices, rng: np.random.Generator | None) -> Tensor:
            return read(table, rows[which][:, None], rng, self.options.augment)

        known = table.labels(labels, self.task, pooling)
        if self.task.level == "time":
            return Units(table.clips, table.offsets, table.start, table.end, known, rows[:, None], load)
        clip = np.searchsorted(table.offsets, rows, side="right") - 1
        start, end = whole(table.offsets, table.start, table.end)
        return Units(table.clips, np.arange(len(clips) + 1), start, end, known, clip[:, None], load)

    def embed(self, module: StaticModule, batch: Tensor) -> Tensor:
        """[B,width], after the Tanh."""
        return module.embed(batch)


def read(table: CropTable, rows: Indices, rng: np.random.Generator | None, probability: float) -> Tensor:
    """uint8 [B,I,3,side,side] the crops of rows [B,I], each unit augmented where there is a generator. Raises
    BrokenRow."""
    images = table.load(rows)
    if rng is not None and probability > 0:
        from affectkit.nets.augment import augment_units

        augment_units(images, rng, probability)
    return images


PLUGIN = Static
