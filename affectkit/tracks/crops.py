"""A face cut out of a frame: margin, shape or alignment, resampled without aliasing and encoded.

Coordinates are continuous: pixel i covers [i, i + 1), so a box of x0 = 0, x1 = W is the frame's whole width.
"""

from __future__ import annotations

import re
from io import BytesIO
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from affectkit.config import Config
from affectkit.tracks.alignment import crop_to_frame
from affectkit.types import Detections, Floats

if TYPE_CHECKING:
    from PIL.Image import Image

Frame = NDArray[np.uint8]
Rect = tuple[float, float, float, float]  # x0, y0, x1, y1
Place = tuple[int, int, int, int]

# A box with a shorter side (pixels) shows no face.
MIN_SIDE = 2.0
# From a threefold reduction on, average areas down to 1.5 to 3 times the crop first, then filter: nearly twice as fast,
# and less than half a grey level off on average.
_REDUCING_GAP = 1.5
_MARGIN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(px)?")
_MAX_FRACTION, _MAX_PIXELS = 5.0, 4096.0


class CropConfig(Config):
    """How a face is cut out and stored. SUN: margin 10px, shape letterbox, no alignment."""

    margin: str = Field(
        default="0.2", description="added on each side: a fraction of the box's side (0.2), or pixels (10px)"
    )
    shape: Literal["square", "letterbox"] = Field(
        default="square", description="square: the box grown to a square; letterbox: the box itself, padded with black"
    )
    align: bool = Field(
        default=False, description="rotate and scale eyes, nose and mouth to ArcFace's places (margin and shape unused)"
    )
    size: int = Field(default=224, ge=16, le=1024, description="side of the crop in pixels")
    format: Literal["jpeg", "png"] = Field(
        default="jpeg", description="encoding of the crops; png is lossless and slow"
    )
    quality: int = Field(default=95, ge=1, le=100, description="JPEG quality")

    @field_validator("margin", mode="before")
    @classmethod
    def _canonical_margin(cls, value: Any) -> str:
        """One spelling for one margin, because the text enters the fingerprint."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        found = _MARGIN.fullmatch(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError("a fraction of the box's side such as 0.2, or pixels such as 10px")
        amount, unit = float(found[1]), found[2] or ""
        if amount > (_MAX_PIXELS if unit else _MAX_FRACTION):
            raise ValueError(f"at most {_MAX_FRACTION:g} (times the box's side) or {_MAX_PIXELS:g}px")
        return f"{amount:g}{unit}"

    def grown(self, box: Floats) -> Rect:
        """The region to cut: `box` [4] with the margin, grown to a square about its centre if that is the shape.

        >>> CropConfig(margin="10px").grown(np.array([0, 0, 40, 80]))
        (-30.0, -10.0, 70.0, 90.0)
        """
        x0, y0, x1, y1 = self.regions(np.asarray(box)[None])[0].tolist()
        return x0, y0, x1, y1

    def regions(self, boxes: Floats) -> Floats:
        """[N,4] the regions to cut of `boxes` [N,4], see `grown`."""
        boxes = np.asarray(boxes, np.float64)
        sides = boxes[:, 2:] - boxes[:, :2]
        if self.margin.endswith("px"):
            sides = sides + 2 * float(self.margin.removesuffix("px"))
        else:
            sides = sides * (1 + 2 * float(self.margin))
        if self.shape == "square":
            sides = np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)


def croppable(detections: Detections, height: int, width: int) -> Detections:
    """The detections that a crop can be made of: finite, both sides `MIN_SIDE` pixels or more, also of what the
    frame shows of the box."""
    boxes = np.asarray(detections.boxes, np.float64)
    inside = np.clip(boxes, 0, [width, height, width, height])
    with np.errstate(invalid="ignore"):
        large = ((inside[:, 2:] - inside[:, :2]) >= MIN_SIDE).all(axis=1)
    fine = large & np.isfinite(boxes).all(axis=1) & np.isfinite(detections.scores)
    if fine.all():
        return detections
    return Detections(detections.boxes[fine], detections.scores[fine], detections.landmarks[fine])


def cut(frame: Frame, box: Floats, landmarks: Floats, config: CropConfig) -> bytes:
    """The face of `box` [4] and `landmarks` [5,2] in `frame` uint8 [H,W,3] RGB, encoded; black outside the frame.

    Empty where no crop can be made: the box is not croppable, or alignment is asked for and the landmarks are not
    five distinct, finite points of a face in the frame.
    """
    image = crop_image(frame, box, landmarks, config)
    if image is None:
        return b""
    encoded = BytesIO()
    if config.format == "jpeg":
        image.save(encoded, "JPEG", quality=config.quality)
    else:
        image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def crop_image(frame: Frame, box: Floats, landmarks: Floats, config: CropConfig) -> Image | None:
    """As `cut`, before encoding: RGB, `config.size` square."""
    height, width = frame.shape[:2]
    one = Detections(np.asarray(box)[None], np.zeros(1), np.asarray(landmarks)[None])
    if not len(croppable(one, height, width)):
        return None
    if config.align:
        return _aligned(frame, landmarks, config.size)
    region = config.grown(box)
    left, top, right, bottom = drawn_places(np.array([region]), config.size)[0].tolist()
    return resampled(frame, region, (left, top, right, bottom), config.size)


def drawn_places(regions: Floats, size: int) -> NDArray[np.int64]:
    """[N,4] where in a crop of `size` pixels the regions [N,4] go: all of it if square, else centred with the aspect
    kept."""
    sides = regions[:, 2:] - regions[:, :2]
    scale = size / sides.max(axis=1, keepdims=True)
    drawn = np.maximum(1, np.rint(sides * scale)).astype(np.int64)
    corner = (size - drawn) // 2
    return np.concatenate([corner, corner + drawn], axis=1)


def resampled(frame: Frame | Image, region: Rect, place: Place, size: int) -> Image | None:
    """`region` of the frame drawn into `place` of a black square. Only the pixels wholly inside the frame are drawn,
    so nothing larger than what the frame shows of the region is ever made."""
    from PIL import Image

    width, height = _size(frame)
    u0, u1, x0, x1 = _visible(region[0], region[2], place[0], place[2], width)
    v0, v1, y0, y1 = _visible(region[1], region[3], place[1], place[3], height)
    if u1 <= u0 or v1 <= v0:
        return None
    # The filter reads one step of the crop beyond the region: the patch must have it.
    reach_x, reach_y = ceil((x1 - x0) / (u1 - u0)) + 1, ceil((y1 - y0) / (v1 - v0)) + 1
    left, top = max(0, floor(x0) - reach_x), max(0, floor(y0) - reach_y)
    patch = _patch(frame, left, top, min(width, ceil(x1) + reach_x), min(height, ceil(y1) + reach_y))
    box = (x0 - left, y0 - top, min(x1 - left, patch.width), min(y1 - top, patch.height))
    drawn = patch.resize((u1 - u0, v1 - v0), Image.Resampling.BILINEAR, box=box, reducing_gap=_REDUCING_GAP)
    if drawn.size == (size, size):
        return drawn
    canvas = Image.new("RGB", (size, size))
    canvas.paste(drawn, (u0, v0))
    return canvas


def _size(frame: Frame | Image) -> tuple[int, int]:
    return (frame.shape[1], frame.shape[0]) if isinstance(frame, np.ndarray) else frame.size


def _patch(frame: Frame | Image, left: int, top: int, right: int, bottom: int) -> Image:
    """A part of the frame, without a copy of all the rest."""
    from PIL import Image

    if isinstance(frame, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(frame[top:bottom, left:right]))
    return frame if frame.size == (right, bottom) and not (left or top) else frame.crop((left, top, right, bottom))


def _visible(low: float, high: float, first: int, last: int, limit: int) -> tuple[int, int, float, float]:
    """Along one axis, [low, high) of the frame goes to pixels [first, last) of the crop: the pixels whose source lies
    in [0, limit), and that source."""
    step = (high - low) / (last - first)
    a = max(first, ceil(first - low / step - 1e-6))
    b = min(last, floor(first + (limit - low) / step + 1e-6))
    return a, b, max(0.0, low + (a - first) * step), min(float(limit), low + (b - first) * step)


def _aligned(frame: Frame, landmarks: Floats, size: int) -> Image | None:
    matrix = crop_to_frame(landmarks, size)
    return None if matrix is None else warped(frame, matrix, size)


def warped(frame: Frame | Image, matrix: Floats, size: int) -> Image | None:
    """What a crop of `size` pixels shows of the frame, black outside it; `matrix` [2,3] takes its points to those of
    the frame, by a rotation, one scale and a shift. None where that is less than `MIN_SIDE` pixels."""
    from PIL import Image

    width, height = _size(frame)
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))  # frame pixels a crop pixel
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ matrix[:, :2].T + matrix[:, 2]
    reach = 2 * max(step, 1.0)
    x0, y0 = np.floor(np.clip(corners.min(axis=0) - reach, 0, [width, height])).astype(int)
    x1, y1 = np.ceil(np.clip(corners.max(axis=0) + reach, 0, [width, height])).astype(int)
    if x1 - x0 < MIN_SIDE or y1 - y0 < MIN_SIDE:
        return None
    patch = _patch(frame, int(x0), int(y0), int(x1), int(y1))
    if step > 1:  # an affine transform reads single pixels: bring the patch to the crop's resolution first
        small = max(1, round(patch.width / step)), max(1, round(patch.height / step))
        patch = patch.resize(small, Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    scale = np.array([patch.width / (x1 - x0), patch.height / (y1 - y0)])
    to_patch = np.column_stack([matrix[:, :2], matrix[:, 2] - [x0, y0]]) * scale[:, None]
    return patch.transform((size, size), Image.Transform.AFFINE, to_patch.ravel().tolist(), Image.Resampling.BILINEAR)
