"""From points of a crop back to points of the frame that it was cut from."""

from __future__ import annotations

import numpy as np

from affectkit.tracks.alignment import crop_to_frame
from affectkit.tracks.crops import CropConfig
from affectkit.types import Floats


def in_frame(points: Floats, box: Floats, landmarks: Floats, config: CropConfig) -> Floats:
    """Points [P,2] of a crop, as parts of its side (0 to 1), in pixels of the frame; the crop was cut by `box` [4] or
    `landmarks` [5,2] as the config says. NaN where no crop could be.

    >>> config = CropConfig(margin="0", shape="square", size=64)
    >>> in_frame(np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([10.0, 20, 50, 60]), np.zeros((5, 2)), config).tolist()
    [[10.0, 20.0], [30.0, 40.0]]
    """
    points = np.asarray(points, np.float64)
    if config.align:
        matrix = crop_to_frame(landmarks, config.size)
        if matrix is None:
            return np.full(points.shape, np.nan)
        return np.asarray(points * config.size @ matrix[:, :2].T + matrix[:, 2])
    x0, y0, x1, y1 = config.grown(box)
    side = max(x1 - x0, y1 - y0)
    corner = np.array([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2])
    return corner + points * side
