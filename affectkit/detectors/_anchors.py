"""RetinaFace's anchors: prior boxes over three strides, and what its regressions mean relative to them.

Source: Deng et al., RetinaFace, arXiv 1905.00641, with the sizes of the public PyTorch checkpoints.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Floats

STRIDES = (8, 16, 32)
SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)


@lru_cache(maxsize=8)
def priors(width: int, height: int) -> NDArray[np.float32]:
    """Prior boxes [P,4] of an image size: centre x, centre y, width, height in pixels.

    Ordered as the network's outputs are: by stride, row, column, size.

    >>> priors(32, 32)[:3].tolist()
    [[4.0, 4.0, 16.0, 16.0], [4.0, 4.0, 32.0, 32.0], [12.0, 4.0, 16.0, 16.0]]
    """
    levels = []
    for stride, sizes in zip(STRIDES, SIZES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, size = np.meshgrid(np.arange(rows), np.arange(columns), np.array(sizes), indexing="ij")
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, size, size], axis=-1).reshape(-1, 4))
    found = np.concatenate(levels).astype(np.float32)
    found.flags.writeable = False  # it is cached
    return found


def decode_boxes(offsets: Floats, anchors: Floats) -> Floats:
    """Regressions [M,4] at anchors [M,4] -> boxes [M,4] (x0, y0, x1, y1 in pixels)."""
    centre = anchors[:, :2] + offsets[:, :2] * VARIANCES[0] * anchors[:, 2:]
    with np.errstate(over="ignore"):  # boxes that are not finite are dropped later
        size = anchors[:, 2:] * np.exp(offsets[:, 2:] * VARIANCES[1])
    low = centre - size / 2
    return np.concatenate([low, low + size], axis=1)


def decode_landmarks(offsets: Floats, anchors: Floats) -> Floats:
    """Regressions [M,10] at anchors [M,4] -> points [M,5,2] (x, y in pixels)."""
    return anchors[:, None, :2] + offsets.reshape(-1, 5, 2) * VARIANCES[0] * anchors[:, None, 2:]
