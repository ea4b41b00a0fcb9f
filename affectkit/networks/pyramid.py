"""pyramid: TLHN (arXiv 2407.12973) from pixels: a timm backbone and the temporal pyramid over it, trained together.

A unit is a window of head `pyramid`, of crops: 15 at stride 2, 15 at stride 4 and 15 over the whole clip, about one
place of it (that head says which places; `learning.pyramid` lays the windows of both). Each crop goes through one
backbone and Dropout 0.5; one transformer encoder, a 256-d joint layer and one output layer read each sequence, and the
logits of the sequences are summed. A row without a face shows the one before it or, at the beginning of a clip, the
first there is; a clip without any has no unit. Seconds become rows by the median hop of each clip.

Published: ResNet18 at 224 pixels (512-d a frame), the scales and their sum, dropout 0.5, 256-d. Ours: what head
`pyramid` says, and that dropout acts on the features of each frame and on the joint layer.

`preset=tlhn` is the training of the paper's code: SGD of 5e-4 with momentum 0.9 and weight decay 1e-5, times 0.9 every
5 epochs, 50 epochs of batches of 90. All epochs are run and the best by validation is kept; that no class is weighed
and no gradient clipped is our reading. Tasks learnt along (valence and arousal) take turns with the task itself, batch
by batch. 90 units are 4050 crops: where a GPU cannot hold them, take a smaller `batch_size` with `accumulate`, or
`checkpointing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.learning import pyramid
from affectkit.learning.crop_table import whole
from affectkit.learning.options import ImageOptions, Seconds
from affectkit.learning.windows import WindowPlan, Windows, plan
from affectkit.networks.static import Static, StaticNetworkOptions, read
from affectkit.plugins import Outputs, Units
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, FeatureSequence, Floats, Indices
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectkit.nets.crop_pyramid import CropPyramid
RESNET = "resnet18.tv_in1k"


class PyramidOptions(pyramid.Layout, ImageOptions):
    """Of the pyramid and its backbone; the others are shared."""

    backbone: str = Field(
        RESNET, pattern=r"^[A-Za-z0-9_.-]+$", description="timm model, with its tag after a dot, or efficientnet-lite0"
    )
    input_size: int = Field(224, ge=16, le=1024, description="pixels a side")
    stride: Seconds | None = Field(
        None,
        description="seconds between units (default: half the finest sequence); of time-level tasks, between those"
        " that are trained on (default: half of `window`, auto: 2 s)",
    )
    steps: int = Field(15, ge=1, le=100, description="crops that each scale reads")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout rate of a crop's features and of the joint layer")


class PyramidNetwork:
    """A timm backbone under the temporal pyramid."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image", "audio"]] = "image"
    Options: ClassVar[type[Config]] = PyramidOptions

    @classmethod
    def weights(cls, options: PyramidOptions, choice: str) -> WeightsFile:
        """As for `embed --backbone` (auto, random or a file). Raises UsageError."""
        return Static.weights(StaticNetworkOptions(backbone=options.backbone, input_size=options.input_size), choice)

    def __init__(self, options: PyramidOptions, task: Task) -> None:
        self.options = options
        self.task = task
        self.architecture: dict[str, Any] = {}
        self.dim = 0

    def build(self, weights: WeightsFile | None, outputs: Sequence[Outputs]) -> CropPyramid:
        """From uint8 [B,I,3,h,w] to scores [B,1,K]. Raises UsageError for weights that do not fit."""
        from affectkit.nets import trunk
        from affectkit.nets.crop_pyramid import CropPyramid

        chosen = self.options
        encoder, self.architecture = trunk.build(
            chosen.backbone, chosen.input_size, weights, self.architecture, chosen.checkpointing,
            channels_last=chosen.channels_last,
        )  # fmt: skip
        self.dim = encoder.dim
        return CropPyramid(encoder, chosen, self.task.level == "time", outputs)

    def blocks(self, module: CropPyramid) -> list[list[nn.Parameter]]:
        """timm's own groups of the backbone, then the pyramid."""
        from affectkit.nets import trunk

        return [*trunk.blocks(module.encoder), list(chain(module.scales.parameters(), module.output.parameters()))]

    def units(
        self, upstream: Any, clips: Sequence[str], labels: Mapping[str, ClipLabels] | None, pooling: str, training: bool
    ) -> Units:
        """Windows of crops; of time-level tasks one a row or, in training, every `stride` seconds a labelled one."""
        from affectkit.learning.crop_table import CropTable

        table = CropTable(upstream, clips)
        known = table.labels(labels, self.task, pooling)
        is_clips = self.task.level == "clip"
        there = np.asarray(np.isfinite(known).all(axis=1)) if training and not is_clips else None
        rows, targets = self._read(table.offsets, table.start, table.end, table.valid, there)

        def load(which: Indices, rng: np.random.Generator | None) -> Tensor:
            return read(table, rows[which], rng, self.options.augment)

        if not is_clips:
            return Units(table.clips, table.offsets, table.start, table.end, known, targets, load)
        start, end = whole(table.offsets, table.start, table.end)
        return Units(table.clips, np.arange(len(clips) + 1), start, end, known, targets, load)

    def embed(self, module: CropPyramid, batch: Tensor) -> Tensor:
        """Mean over a unit's crops of what the backbone makes of them [B,dim]."""
        return module.features(batch).mean(dim=1)

    def _read(
        self, offsets: Indices, start: Floats, end: Floats, valid: Bools, labelled: Bools | None
    ) -> tuple[Indices, Indices]:
        """rows [U,I] that each unit reads, and what it is about, targets [U,1]. Every clip is looked at by itself."""
        found: list[tuple[Indices, Indices]] = []
        for clip, (first, last) in enumerate(pairwise(offsets.tolist())):
            if not valid[first:last].any():
                continue
            windows, planned = self._windows(start[first:last], end[first:last])
            if labelled is not None:
                windows = windows.where(labelled[first:last][windows.target])
                windows = pyramid.thinned(windows, self.task.level, planned)
            read = first + held(valid[first:last])[windows.rows]
            about = np.full(len(windows), clip) if self.task.level == "clip" else first + windows.target
            found.append((read.reshape(len(windows), -1), about[:, None]))
        images = len(self.options.scales) * self.options.steps
        nothing = (np.zeros((0, images), np.int64), np.zeros((0, 1), np.int64))
        rows, targets = (np.concatenate(parts) for parts in zip(nothing, *found, strict=True))
        return rows, targets

    def _windows(self, start: Floats, end: Floats) -> tuple[Windows, WindowPlan]:
        times = FeatureSequence(start, end, np.zeros((len(start), 0)), np.ones(len(start), bool))
        planned = plan(self.options, self.task.level, [times])
        return pyramid.lay(np.array([0, len(start)]), self.options, self.task.level, planned), planned


def held(valid: Bools) -> Indices:
    """The row [T] whose crop stands for each row of a clip: itself, the last valid one before it, or the first.

    >>> held(np.array([False, True, False, False, True])).tolist()
    [1, 1, 1, 1, 4]
    """
    rows = np.where(valid, np.arange(len(valid)), -1)
    return np.asarray(np.where((last := np.maximum.accumulate(rows)) < 0, np.argmax(valid), last))


PLUGIN = PyramidNetwork
