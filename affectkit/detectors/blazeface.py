"""BlazeFace by ai-edge-litert (extra `mesh`): the fastest detector here, for faces that are not small in the frame.

Source: Bazarevsky et al., BlazeFace, arXiv 1907.05047, and MediaPipe's graphs of its networks (anchors, strides, limit
of the scores, weighted suppression). Input is RGB, scaled to -1..1: the whole frame in the middle of a square, black
around it.

The square has 192 pixels a side (short range 128, back 256): a face whose box is narrower than about a tenth of the
frame's longer side is lost, and a close-up that the frame cuts into may be. retinaface finds those.

The networks' own boxes are squares from the brows to the chin. Here a box is what the other detectors mean, which were
trained on WIDER FACE: forehead to chin, upright in the frame. It follows from the six key points alone (`face_boxes`),
and so do the corners of the mouth (`five_points`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config
from affectkit.detectors._boxes import SMALLEST, require_frames
from affectkit.learning.tflite import TfliteNetwork, interpreter, require_runtime
from affectkit.types import Detections, Floats
from affectkit.weights import WeightsFile

NAME = "detector blazeface"
POINTS = 6
"""Key points of the network: the eyes (left and right in the image), nose, middle of the mouth, the ears."""

log = logging.getLogger(__name__)

_SCORE_LIMIT = 80.0  # of raw scores: the sigmoid of more cannot be told from 1

# A face's box by its key points; d: from the eyes' line to the mouth, e: between the ears, along the eyes' line.
_WIDTH_D, _WIDTH_E = 0.6, 0.7
_HEIGHT_D, _HEIGHT_E = 1.8, 0.5
_DOWN_D = 0.25  # the box's middle, below that of the eyes
_ASIDE = 0.4  # from the middle of the eyes towards that of the ears: where the head is when it is turned

# The corners of the mouth, in distances between the eyes.
_MOUTH_WIDTH = 0.85
_CORNERS_UP = 0.12  # above the mouth's middle


class BlazeNetwork(NamedTuple):
    """One published network: its entry in the table of weights, the side of its input, its grids of anchors as
    (stride in input pixels, anchors a cell), and the score that faces have and drawn letters have not."""

    weights: str
    side: int
    grids: tuple[tuple[int, int], ...]
    threshold: float


NETWORKS = {
    "full": BlazeNetwork("blazeface-full", 192, ((4, 1),), 0.7),
    "short": BlazeNetwork("blazeface-short", 128, ((8, 2), (16, 6)), 0.7),
    "back": BlazeNetwork("blazeface-back", 256, ((16, 2), (32, 6)), 0.85),
}


@lru_cache
def anchors(network: BlazeNetwork) -> NDArray[np.float32]:
    """[A,2] centres (x, y) of the anchors in input pixels, in the network's order: the middles of its cells."""
    centres = []
    for stride, repeats in network.grids:
        middles = (np.arange(network.side // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(middles, middles, indexing="ij")
        centres.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(centres)


def decode(raw: Floats, logits: Floats, network: BlazeNetwork, threshold: float) -> tuple[Floats, Floats, Floats]:
    """Regressions [A,16] and logits [A,1] -> boxes [K,4], scores [K], points [K,6,2] of the K anchors whose score is
    above `threshold`, in input pixels, in the order of the anchors.

    Score = sigmoid(logit). A regression is the box's centre from the anchor, its size, then the points from the anchor.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -_SCORE_LIMIT, _SCORE_LIMIT)))
    chosen = np.flatnonzero(scores > threshold)
    values = raw[chosen].reshape(-1, 2 + POINTS, 2)
    centre, half = values[:, 0] + anchors(network)[chosen], values[:, 1] / 2
    points = values[:, 2:] + anchors(network)[chosen][:, None]
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    sound = (half > 0).all(axis=1) & np.isfinite(boxes).all(axis=1) & np.isfinite(points).all(axis=(1, 2))
    return boxes[sound], scores[chosen][sound], points[sound]


def blended(boxes: Floats, scores: Floats, points: Floats, threshold: float) -> tuple[Floats, Floats, Floats]:
    """Weighted non-maximum suppression: of the boxes [K,4] whose IoU with the best one is above `threshold`, that one
    included, the mean by score, of the points [K,6,2] too; then of those that are left. Best score first."""
    rest = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept, best = [], []
    while len(rest):
        first = rest[0]
        low = np.maximum(boxes[first, :2], boxes[rest, :2])
        high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        inter = np.prod(np.maximum(high - low, 0), axis=1)
        near = inter > threshold * (area[first] + area[rest] - inter)
        near[0] = True
        alike = rest[near]
        weight = scores[alike, None] / scores[alike].sum()
        kept.append((np.concatenate([boxes[alike], points[alike].reshape(-1, 2 * POINTS)], axis=1) * weight).sum(0))
        best.append(scores[first])
        rest = rest[~near]
    merged = np.array(kept, np.float32).reshape(-1, 4 + 2 * POINTS)
    return merged[:, :4], np.array(best, np.float32), merged[:, 4:].reshape(-1, POINTS, 2)


def face_boxes(points: Floats) -> Floats:
    """Boxes [K,4] in WIDER FACE's sense of faces with these key points [K,6,2].

    With d from the eyes' line to the mouth and e between the ears along that line, a face is an ellipse 0.6 d + 0.7 e
    wide and 1.8 d + 0.5 e high, its middle 0.25 d below that of the eyes and 0.4 of the way aside to that of the ears,
    upright to the eyes' line; its box encloses the ellipse. The six numbers were fitted to the
    boxes of retinaface-mobilenet on 21 faces of 12 pictures, upright and turned by 20 and 40 degrees, by all three
    networks: mean IoU by the full range .85 (the same on a picture left out of the fit), short .88, back .87;
    centerface's boxes of these faces have .86.
    """
    eyes, ears = points[:, :2].mean(axis=1), points[:, 4:].mean(axis=1)
    across = _units(points[:, 1] - points[:, 0])
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    d = np.abs(_dot(points[:, 3] - eyes, down))
    e = np.abs(_dot(points[:, 5] - points[:, 4], across))
    width, height = _WIDTH_D * d + _WIDTH_E * e, _HEIGHT_D * d + _HEIGHT_E * e
    aside = _ASIDE * _dot(ears - eyes, across)
    centre = eyes + _DOWN_D * d[:, None] * down + aside[:, None] * across
    # Half sides of the upright box around an ellipse whose axes lie along `across` and `down`.
    half = np.hypot(across * width[:, None], down * height[:, None]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def five_points(points: Floats) -> Floats:
    """Eyes, nose and corners of the mouth [K,5,2] of faces with these key points [K,6,2], which have only its middle.

    Assumed: the corners lie along the eyes' line, .85 of the eyes' distance apart (the median of retinaface-mobilenet's
    landmarks, and of centerface's) and .12 of it above the middle of the mouth (that of retinaface-mobilenet's). Smiles
    were up to 1.02 apart, so these corners do not tell a smile.
    """
    between = points[:, 1] - points[:, 0]
    middle = points[:, 3] + _CORNERS_UP * np.stack([between[:, 1], -between[:, 0]], axis=1)
    corners = np.stack([middle - _MOUTH_WIDTH / 2 * between, middle + _MOUTH_WIDTH / 2 * between], axis=1)
    return np.concatenate([points[:, :3], corners], axis=1)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(axis=1))


def _units(vectors: Floats) -> Floats:
    """[K,2] of length 1; of points in one place, along x."""
    length = np.hypot(vectors[:, 0], vectors[:, 1])[:, None]
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), np.array([1, 0], vectors.dtype))


class BlazeFaceOptions(Config):
    """A face's box must be about a tenth of the frame's longer side or wider."""

    range: Literal["full", "short", "back"] = Field(
        "full", description="full: 192 pixels a side; short: 128, close faces, three times as fast; back: 256, smaller "
        "faces, a third as fast"
    )  # fmt: skip
    threshold: float | None = Field(
        None, ge=0, le=1, description="a face's score must be above this  [default: 0.7; back 0.85]"
    )
    nms: float = Field(0.3, ge=0, le=1, description="two boxes with a larger IoU are one face: their mean by score")


class BlazeFace:
    """Faces by BlazeFace. Frames go through the network one by one, several at a time on as many cores."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = BlazeFaceOptions
    concurrent: ClassVar[bool] = True

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """auto: the network of the range that is asked for; else the path of a TFLite file. Raises UsageError, and
        MissingExtra without ai-edge-litert."""
        require_runtime(NAME)
        if choice == "auto":
            return weight_files.of_wheel(NETWORKS[options.range].weights)
        return weight_files.local(Path(choice), "blazeface")

    def __init__(self, options: BlazeFaceOptions, weights: WeightsFile, device: str) -> None:
        if device != "cpu":
            log.warning("blazeface runs on the CPU: ai-edge-litert has no other device here")
        assert weights.path is not None, "a detector never runs on random weights"
        cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        self._runners: SimpleQueue[_Runner] = SimpleQueue()
        for _ in range(cores):
            self._runners.put(_Runner(weights.path, options))
        self._pool = ThreadPoolExecutor(cores, "blazeface") if cores > 1 else None

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        require_frames(frames)
        if self._pool is None or len(frames) < 2:
            return [self._detect(frame) for frame in frames]
        return list(self._pool.map(self._detect, frames))

    def _detect(self, frame: NDArray[np.uint8]) -> Detections:
        with self._runner() as runner:
            return runner(frame)

    @contextmanager
    def _runner(self) -> Iterator[_Runner]:
        """A network that nobody else uses meanwhile."""
        runner = self._runners.get()
        try:
            yield runner
        finally:
            self._runners.put(runner)


class _Runner:
    """The network on one thread, with its input."""

    def __init__(self, path: Path, options: BlazeFaceOptions) -> None:
        self._nms = options.nms
        self._network = NETWORKS[options.range]
        self._threshold = self._network.threshold if options.threshold is None else options.threshold
        side, count = self._network.side, len(anchors(self._network))
        self._run: TfliteNetwork = interpreter(
            path, what=f"{NAME} (range {options.range})", input_shape=(1, side, side, 3),
            output_shapes=((1, count, 2 * (2 + POINTS)), (1, count, 1)),
        )  # fmt: skip
        self._input = np.empty((1, side, side, 3), np.float32)
        self._inside: Inside | None = None

    def __call__(self, frame: NDArray[np.uint8]) -> Detections:
        height, width = frame.shape[:2]
        inside = fit_inside(width, height, self._network.side)
        raw, logits = self._run(self._filled(frame, inside))
        boxes, scores, points = decode(raw[0], logits[0], self._network, self._threshold)
        _, scores, points = blended(boxes, scores, points, self._nms)
        points = (points - inside.corner) * inside.scale
        corners = np.clip(face_boxes(points).reshape(-1, 2, 2), 0, np.array([width, height]))
        large = (corners[:, 1] - corners[:, 0] >= SMALLEST).all(axis=1)
        return Detections(
            corners[large].reshape(-1, 4).astype(np.float32),
            scores[large],
            five_points(points[large]).astype(np.float32),
        )

    def _filled(self, frame: NDArray[np.uint8], inside: Inside) -> NDArray[np.float32]:
        """uint8 [H,W,3] -> float32 [1,side,side,3] in -1..1, black around the frame."""
        if inside != self._inside:
            self._input.fill(-1)
            self._inside = inside
        target = self._input[0, inside.top : inside.top + inside.height, inside.left : inside.left + inside.width]
        np.multiply(_resized(frame, inside), np.float32(2 / 255), out=target, dtype=np.float32)
        target -= 1
        return self._input


class Inside(NamedTuple):
    """Where frames of one size lie in the network's square: resized to `width` x `height`, `left` and `top` pixels from
    its corner. `scale_x`, `scale_y`: frame pixels to one of its own."""

    left: int
    top: int
    width: int
    height: int
    scale_x: float
    scale_y: float

    @property
    def corner(self) -> NDArray[np.float32]:
        return np.array([self.left, self.top], np.float32)

    @property
    def scale(self) -> NDArray[np.float32]:
        return np.array([self.scale_x, self.scale_y], np.float32)


def fit_inside(width: int, height: int, side: int) -> Inside:
    """How frames of this size fill a square, their aspect kept up to rounding.

    >>> fit_inside(640, 360, 192)
    Inside(left=0, top=42, width=192, height=108, scale_x=3.3333333333333335, scale_y=3.3333333333333335)
    """
    ratio = side / max(width, height)
    inner_width, inner_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = (side - inner_width) // 2, (side - inner_height) // 2
    return Inside(left, top, inner_width, inner_height, width / inner_width, height / inner_height)


def _resized(frame: NDArray[np.uint8], inside: Inside) -> NDArray[np.uint8]:
    from PIL import Image

    size = (inside.width, inside.height)
    if size == (frame.shape[1], frame.shape[0]):
        return frame
    # The gap: whole factors by averaging first, which is several times faster.
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))


PLUGIN = BlazeFace
