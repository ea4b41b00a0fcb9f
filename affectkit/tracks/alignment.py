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
    matrix = similarities(np.asarray(source)[None], target)[0]
    return matrix if np.isfinite(matrix).all() else None


def similarities(source: Floats, target: Floats) -> Floats:
    """[N,2,3] the matrices of `similarity` from each of N sets of points `source` [N,P,2] to `target` [P,2]; NaN where
    there is none."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre, goal = source.mean(axis=1, keepdims=True), target.mean(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        away = source - centre
        spread = (away**2).sum(axis=(1, 2)) / source.shape[1]
    fine = np.isfinite(spread) & (spread >= 1e-6) & np.isfinite(target).all()
    matrices = np.full((len(source), 2, 3), np.nan)
    away, centre, spread = away[fine], centre[fine], spread[fine]
    u, singular, vt = np.linalg.svd((target - goal).T @ away / source.shape[1])
    signs = np.ones((len(away), 2))
    signs[:, 1] = np.where(np.linalg.det(u) * np.linalg.det(vt) > 0, 1.0, -1.0)
    linear = (u * signs[:, None]) @ vt * ((singular * signs).sum(axis=1) / spread)[:, None, None]
    matrices[fine] = np.concatenate([linear, (goal - centre @ linear.transpose(0, 2, 1)).transpose(0, 2, 1)], axis=2)
    return matrices


def crop_to_frame(landmarks: Floats, size: int) -> Floats | None:
    """[2,3] matrix from points of an aligned crop of `size` to points of the frame with `landmarks` [5,2].

    None if the landmarks fix no such crop.
    """
    matrix = crops_to_frame(np.asarray(landmarks)[None], size)[0]
    return matrix if np.isfinite(matrix).all() else None


def crops_to_frame(landmarks: Floats, size: int) -> Floats:
    """[N,2,3] the matrices of `crop_to_frame` for `landmarks` [N,5,2]; NaN where they fix no crop."""
    return inverted(similarities(landmarks, ARCFACE * (size / ARCFACE_SIDE)))


def inverted(matrices: Floats) -> Floats:
    """[N,2,3] what takes the results of `matrices` [N,2,3] back; NaN where there is no way back."""
    with np.errstate(invalid="ignore"):
        fine = np.abs(np.linalg.det(matrices[:, :, :2])) >= 1e-9
    back = np.full(matrices.shape, np.nan)
    back[fine, :, :2] = np.linalg.inv(matrices[fine, :, :2])
    back[fine, :, 2:] = -back[fine, :, :2] @ matrices[fine, :, 2:]
    return back
