"""The mean colour of each cell of an 8 x 8 grid: no network, the least that a learnt embedding has to beat.

It costs next to nothing, which makes it the backbone to measure the embed stage itself with.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.weights import WeightsFile

GRID = 8


class MeanPixelOptions(Config):
    """Nothing to choose."""


class MeanPixel:
    """3 x 8 x 8 = 192 mean values in 0..1, channel by channel, row by row."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    Options: ClassVar[type[Config]] = MeanPixelOptions
    dim = 3 * GRID * GRID

    @classmethod
    def weights(cls, options: MeanPixelOptions, choice: str) -> WeightsFile:
        """There are none: `auto` and `random` mean the same. Raises UsageError for a path."""
        if choice not in ("auto", "random"):
            raise UsageError(f"mean-pixel has no weights (given {choice}): leave out --weights")
        return WeightsFile("mean-pixel", None, "none", "Apache-2.0", "no weights")

    def __init__(self, options: MeanPixelOptions, weights: WeightsFile, numerics: Numerics) -> None:
        pass

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] of at least 8 x 8 pixels -> float32 [N,192]. Sums of integers: exact, whatever the batch."""
        images = batch if isinstance(batch, np.ndarray) else batch.cpu().numpy()
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < GRID:
            raise ValueError(f"images are uint8 [N,3,H,W], H and W >= {GRID}, not {images.dtype} {list(images.shape)}")
        rows, columns = (np.arange(GRID + 1) * side // GRID for side in images.shape[2:])
        bands = [images[:, :, top:end].sum(axis=2, dtype=np.uint32) for top, end in pairwise(rows)]  # [N,3,W] each
        cells = np.add.reduceat(np.stack(bands, axis=2), columns[:-1], axis=3)
        area = np.diff(rows)[:, None] * np.diff(columns)
        means: NDArray[np.float32] = (cells / (255 * area)).astype(np.float32)
        return means.reshape(len(images), self.dim)


PLUGIN = MeanPixel
