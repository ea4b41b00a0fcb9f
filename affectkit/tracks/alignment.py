"""Five landmarks brought to fixed places by rotation, uniform scale and shift."""

from __future__ import annotations

import numpy as np

from affectkit.types import Floats

# Left eye, right eye, nose, left and right mouth corner in ArcFace's 112 x 112 crop (arXiv 1801.07698; the values
# are those of its published code).
ARCFACE_SIDE = 112
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def similarity(source: Floats, target: Floats) -> Floats | None:
    """[2,3] matrix of the rotation, scale and shift that brings points `source` [P,2] closest to `target` [P,2].

    Least squares in closed form, never a reflection: Umeyama, "Least-squares estimation of transformation parameters
    between two point patterns", IEEE TPAMI 13(4), 1991, equations 40-43. None if the points of `source` coincide or
    are not finite.

    >>> square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    >>> similarity(square, 2 * square + 3).round(6).tolist()
    [[2.0, 0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        return None
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    spread = ((source - centre) ** 2).sum() / len(source)
    if spread < 1e-6:
        return None
    u, singular, vt = np.linalg.svd((target - goal).T @ (source - centre) / len(source))
    signs = np.array([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    linear = (u * signs) @ vt * ((singular * signs).sum() / spread)
    return np.column_stack([linear, goal - linear @ centre])


def crop_to_frame(landmarks: Floats, size: int) -> Floats | None:
    """[2,3] matrix from points of an aligned crop of `size` to points of the frame with `landmarks` [5,2].

    None if the landmarks fix no such crop.
    """
    to_crop = similarity(landmarks, ARCFACE * (size / ARCFACE_SIDE))
    if to_crop is None or abs(np.linalg.det(to_crop[:, :2])) < 1e-9:
        return None
    back = np.linalg.inv(to_crop[:, :2])
    return np.column_stack([back, -back @ to_crop[:, 2]])
