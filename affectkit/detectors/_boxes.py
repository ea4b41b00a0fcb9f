"""From frame to network pixels and back: sizes, non-maximum suppression, clipping. Shared by the detectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.types import Detections, Floats

MAX_CANDIDATES = 5000
"""Candidates of one frame that take part in non-maximum suppression, best first."""

SMALLEST = 1.0
"""Boxes narrower or lower than this many pixels after clipping are dropped: nothing can be cropped there."""


class DetectorOptions(Config):
    """What every detector here lets a user choose; each sets its own defaults."""

    threshold: float = Field(0.5, ge=0, le=1, description="a face's score must be above this")
    nms: float = Field(0.4, ge=0, le=1, description="of two boxes with a larger IoU, the better one stays")
    max_size: int = Field(640, ge=32, le=4096, description="longest side of the frame as the network sees it")
    upscale: bool = Field(False, description="also enlarge smaller frames to max_size (for small faces)")


@dataclass(frozen=True)
class Fit:
    """How frames of one size enter a network: resized to `width` x `height` (aspect kept up to rounding), then
    padded at the right and the bottom to `padded_width` x `padded_height`, multiples of the largest stride."""

    frame_width: int
    frame_height: int
    width: int
    height: int
    padded_width: int
    padded_height: int

    @property
    def resized(self) -> bool:
        return (self.width, self.height) != (self.frame_width, self.frame_height)

    @property
    def scale(self) -> NDArray[np.float32]:
        """[2] frame pixels a network pixel, in x and y."""
        return np.array([self.frame_width / self.width, self.frame_height / self.height], np.float32)


def fit(width: int, height: int, max_size: int, upscale: bool = False, stride: int = 32) -> Fit:
    """The `Fit` of a frame size: the longest side at most `max_size`; smaller frames keep their size unless `upscale`.

    >>> fit(1920, 1080, 640)
    Fit(frame_width=1920, frame_height=1080, width=640, height=360, padded_width=640, padded_height=384)
    """
    ratio = max_size / max(width, height)
    if ratio > 1 and not upscale:
        ratio = 1.0
    inner = [max(1, round(side * ratio)) for side in (width, height)]
    padded = [-(-side // stride) * stride for side in inner]
    return Fit(width, height, *inner, *padded)


def nms(boxes: Floats, scores: Floats, threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes [K,4] that stay, best score [K] first (ties: first index).

    A box goes when its IoU with a better one that stays is above `threshold`. At most `MAX_CANDIDATES` take part.

    >>> nms(np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10.0]]), np.array([0.8, 0.9, 0.7]), 0.4)
    array([1, 2])
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        inter = np.prod(np.maximum(high - low, 0), axis=1)
        order = order[inter <= threshold * (area[best] + area[order] - inter)]
    return np.array(keep, np.intp)


def detections(boxes: Floats, scores: Floats, landmarks: Floats, where: Fit, threshold: float) -> Detections:
    """Candidates in network pixels (boxes [K,4], scores [K], landmarks [K,5,2]) as the frame's `Detections`.

    Suppresses overlaps above `threshold`, scales to frame pixels and clips boxes to the frame; landmarks may lie
    outside. Boxes that are not finite, or lie in the padding, are dropped.
    """
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2)) & np.isfinite(scores)
    boxes, scores, landmarks = boxes[finite], scores[finite], landmarks[finite]
    keep = nms(boxes, scores, threshold)
    corners = boxes[keep].reshape(-1, 2, 2) * where.scale
    corners = np.clip(corners, 0, np.array([where.frame_width, where.frame_height]))
    inside = (corners[:, 1] - corners[:, 0] >= SMALLEST).all(axis=1)
    return Detections(
        corners[inside].reshape(-1, 4).astype(np.float32),
        scores[keep][inside].astype(np.float32),
        (landmarks[keep][inside] * where.scale).astype(np.float32),
    )


def require_frames(frames: NDArray[np.uint8]) -> None:
    """Raise ValueError unless these are uint8 [N,H,W,3] with at least one pixel each."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape[1:3]:
        raise ValueError(f"frames are uint8 [N,H,W,3], not {frames.dtype} {list(frames.shape)}")
