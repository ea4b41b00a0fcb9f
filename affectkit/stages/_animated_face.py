"""A photographed face that can be animated: the picture source of `affectkit demo`.

The face is the public-domain NASA portrait of the astronaut Eileen Collins that scikit-image ships. Every pixel of a
picture is traced back into the photograph through a chain of smooth maps (camera, head, brows and cheeks, eyes,
mouth) and read there once, bilinearly. All positions were measured on the photograph, in its pixels (x right, y down).

The pictures are synthetic and show one person. They exercise the pipeline; they are no benchmark of anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import MissingExtra, UsageError

PHOTO_SHA256 = "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
ENLARGED = 2  # a good filter enlarges the photograph once, so that a bilinear read stays sharp
PICTURE_WIDTH = 192.0  # photograph pixels across a picture at zoom 1

HEAD, HEAD_RADII = (226.0, 98.0), (78.0, 86.0)
FACE_X, FACE_Y = (170.0, 280.0), (72.0, 206.0)  # nothing outside moves with the expression
EYES = ((203.5, 101.5), (247.0, 103.5))
BROWS = ((201.0, 90.0), (251.0, 93.5))
INNER_BROWS = ((213.0, 92.5), (238.0, 93.5))
CHEEKS = ((199.0, 122.0), (251.0, 124.0))
CORNERS = ((202.5, 139.8), (245.5, 140.6))
MOUTH_X, MOUTH_Y, MOUTH_HALF_WIDTH = 224.0, 146.0, 21.5
NOSE_Y, CHIN_Y, NECK_Y = 131.0, 177.0, 206.0
CAVITY, TONGUE = (44.0, 12.0, 14.0), (122.0, 52.0, 52.0)

Grid = NDArray[np.float32]
Frame = NDArray[np.uint8]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Expression:
    """What the face does. `smile` -1 (corners down) to 1, `jaw` 0 (shut) to 1 (wide open), `brows` -1 (lowered) to 1
    (raised), `eyes` -1 (nearly shut) to 1 (wide), `frown` 0 to 1 (inner brows drawn down), `blink` 0 to 1."""

    smile: float = 0.0
    jaw: float = 0.0
    brows: float = 0.0
    eyes: float = 0.0
    frown: float = 0.0
    blink: float = 0.0


@dataclass(frozen=True)
class View:
    """What has nothing to do with the expression: pose of the head, camera, light.

    `shift` and `turn` (how far the nose moves against the ears) in photograph pixels, `roll` and `camera_roll` in
    degrees, `lean` and `zoom` > 1 are nearer, `centre` is the photograph's point in the middle. `light` is the
    logarithmic gain towards right and bottom over 100 pixels; `cast` multiplies the channels, `wall` those of the
    background alone.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    lean: float = 1.0
    centre: tuple[float, float] = (226.0, 110.0)
    camera_roll: float = 0.0
    zoom: float = 1.0
    mirror: bool = False
    exposure: float = 1.0
    light: tuple[float, float] = (0.0, 0.0)
    cast: Colour = (1.0, 1.0, 1.0)
    wall: Colour = (1.0, 1.0, 1.0)


@cache
def photograph() -> NDArray[np.float32]:
    """The portrait, enlarged: [3,H,W], 0 to 255. Read from scikit-image's files; nothing is downloaded.

    Raises MissingExtra without scikit-image, UsageError if its portrait is not the one that was measured.
    """
    from PIL import Image

    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingExtra("scikit-image", "demo", "the demo's face")
    path = Path(spec.origin).parent / "data" / "astronaut.png"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != PHOTO_SHA256:
        raise UsageError(f"{path} is not the portrait that the demo animates: reinstall scikit-image")
    with Image.open(path) as image:
        size = (image.width * ENLARGED, image.height * ENLARGED)
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def render(expression: Expression, view: View, size: int) -> Frame:
    """A picture of the face: uint8 [size,size,3]. The same arguments give the same bytes."""
    x, y = _camera(view, size)
    gain = _light(x, y, view)
    x, y, wall = _head(x, y, view)
    face = _window(x, y)
    x[face], y[face], cavity, depth = _features(x[face], y[face], expression)
    picture = _read(x, y)
    for channel, plane in enumerate(picture):
        inside = CAVITY[channel] + (TONGUE[channel] - CAVITY[channel]) * depth
        plane[face] += cavity * (inside - plane[face])
        plane *= gain * (view.cast[channel] * (1 + (view.wall[channel] - 1) * wall))
    picture += 0.5
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8).transpose(1, 2, 0)


def _camera(view: View, size: int) -> tuple[Grid, Grid]:
    """Photograph coordinates [size,size] of every pixel."""
    scale = PICTURE_WIDTH / (size * view.zoom)
    row = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * scale
    column = -row if view.mirror else row
    c, s = _turned(view.camera_roll)
    x = view.centre[0] + c * column[None, :] - s * row[:, None]
    y = view.centre[1] + s * column[None, :] + c * row[:, None]
    return x, y


def _turned(degrees: float) -> tuple[float, float]:
    return float(np.cos(np.deg2rad(degrees))), float(np.sin(np.deg2rad(degrees)))


def _light(x: Grid, y: Grid, view: View) -> Grid:
    ramp = view.light[0] * (x - HEAD[0]) + view.light[1] * (y - HEAD[1])
    return view.exposure * np.exp(ramp / 100)


def _head(x: Grid, y: Grid, view: View) -> tuple[Grid, Grid, Grid]:
    """Moves the head against shoulders and background. Also: how far a pixel belongs to the background."""
    dx, dy = x - HEAD[0], y - HEAD[1]
    radius = np.hypot(dx / HEAD_RADII[0], dy / HEAD_RADII[1])
    hold = _smoothstep((1.75 - radius) / 0.75)  # 1 on the head, 0 well outside
    c, s = _turned(-view.roll)
    px, py = dx - view.shift[0], dy - view.shift[1]
    px, py = (c * px - s * py) / view.lean, (s * px + c * py) / view.lean
    bulge = _bump(dx, dy, 46, 60)
    x = x + hold * (px - view.turn[0] * bulge - dx)
    y = y + hold * (py - view.turn[1] * bulge - dy)
    return x, y, _smoothstep((radius - 1) / 0.3)


def _smoothstep(t: Grid) -> Grid:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(dx: Grid, dy: Grid, width: float, height: float) -> Grid:
    """A Gaussian with standard deviations `width` and `height`."""
    return np.exp(-0.5 * ((dx / width) ** 2 + (dy / height) ** 2))


def _window(x: Grid, y: Grid) -> tuple[slice, slice]:
    """The smallest rows and columns of the picture that hold the face."""
    face = (x > FACE_X[0]) & (x < FACE_X[1]) & (y > FACE_Y[0]) & (y < FACE_Y[1])
    rows, columns = np.flatnonzero(face.any(axis=1)), np.flatnonzero(face.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _features(x: Grid, y: Grid, e: Expression) -> tuple[Grid, Grid, Grid, Grid]:
    return _mouth(*_eyes(*_brows_and_cheeks(x, y, e), e), e)


def _brows_and_cheeks(x: Grid, y: Grid, e: Expression) -> tuple[Grid, Grid]:
    """Moves brows, cheeks and mouth corners; widens a smiling mouth."""
    rise = np.zeros_like(y)  # how far what is seen here has moved up
    lift = 5.6 * (e.smile - 0.7)
    for brow, inner, cheek, corner in zip(BROWS, INNER_BROWS, CHEEKS, CORNERS, strict=True):
        rise += 3.6 * e.brows * _bump(x - brow[0], y - brow[1] + 1.5 * e.brows, 13, 5)
        rise -= 2.6 * e.frown * _bump(x - inner[0], y - inner[1], 6, 5)
        rise += 1.5 * (e.smile - 0.6) * _bump(x - cheek[0], y - cheek[1], 13, 10)
        rise += lift * _bump(x - corner[0], y - corner[1] + lift, 10, 11)
    if e.smile < 0:
        rise -= 2.5 * e.smile * _bump(x - MOUTH_X, y - MOUTH_Y, 9, 11)
    narrow = 0.10 * (0.7 - e.smile) + 0.06 * e.jaw
    return x + narrow * (x - MOUTH_X) * _bump(x - MOUTH_X, y - MOUTH_Y, 20, 13), y + rise


def _eyes(x: Grid, y: Grid, e: Expression) -> tuple[Grid, Grid]:
    """Widens or narrows the eyes: the photograph is stretched vertically around each."""
    squeeze = -0.42 * e.eyes if e.eyes > 0 else -0.75 * e.eyes
    squeeze += e.blink * (2.0 - squeeze)
    for ex, ey in EYES:
        dy = y - ey
        y = y + squeeze * dy * _bump(x - ex, dy, 9.5, 6)
    return x, y


def _mouth(x: Grid, y: Grid, e: Expression) -> tuple[Grid, Grid, Grid, Grid]:
    """Closes the photograph's smiling lips, or drops the jaw. Also: opacity of the mouth's cavity, and depth in it.

    In each column the map is piecewise linear and increasing, from knots as they are now to knots of the photograph.
    """
    arch = np.clip(1 - ((x - MOUTH_X) / MOUTH_HALF_WIDTH) ** 2, 0, 1)
    corner = 140.0 + 0.02 * (x - MOUTH_X)
    teeth = 6.0 * arch
    shut = min(max(0.75 - 0.9 * e.smile, 0.0), 1.0) * (1 - 0.45 * e.jaw)
    gap = 13.0 * e.jaw * np.sqrt(arch) * (0.4 + 0.6 * arch)
    drop = 11.0 * e.jaw * np.exp(-0.5 * ((x - MOUTH_X) / 24) ** 2)
    lip = corner + 4 * arch
    lip_now = lip + 0.4 * shut * teeth
    teeth_now = lip_now + (1 - shut) * teeth
    fixed = corner + 0.8 * arch
    photo = [NOSE_Y, fixed, lip, lip + teeth, lip + teeth + 5.5, CHIN_Y, NECK_Y]
    thicker = 5.5 + 0.25 * shut * teeth
    now = [NOSE_Y, fixed, lip_now, teeth_now + gap, teeth_now + gap + thicker, CHIN_Y + drop, NECK_Y]
    below = y - teeth_now
    opacity = np.clip(below + 0.5, 0, 1) * np.clip(gap - below + 0.5, 0, 1) * np.clip(gap - 0.5, 0, 1)
    depth = 0.8 * _smoothstep((below / 13 - 0.35) * 1.8)
    return x, _piecewise(y, now, photo), opacity, depth


def _piecewise(y: Grid, now: list[Grid | float], photo: list[Grid | float]) -> Grid:
    """Where `y` lies in the photograph if the knots `photo` have moved to `now`, both increasing."""
    moved = y.copy()
    for k in range(len(now) - 1):
        length = np.maximum(np.float32(1e-3), now[k + 1] - now[k])
        slope = (photo[k + 1] - photo[k]) / length
        moved += np.clip(y - now[k], 0, length) * (slope - 1)
    return moved


def _read(x: Grid, y: Grid) -> NDArray[np.float32]:
    """Bilinear reading of the photograph at x, y [H,W] (its own pixels): [3,H,W]."""
    photo = photograph()
    height, width = photo.shape[1:]
    u = np.clip(x * ENLARGED + (ENLARGED - 1) / 2, 0, width - 1.001)
    v = np.clip(y * ENLARGED + (ENLARGED - 1) / 2, 0, height - 1.001)
    column, row = u.astype(np.int32), v.astype(np.int32)
    right, down = u - column.astype(np.float32), v - row.astype(np.float32)
    corner = row * width + column
    picture = np.empty((3, *x.shape), np.float32)
    for plane, pixels in zip(picture, photo.reshape(3, -1), strict=True):
        top, bottom = pixels.take(corner), pixels.take(corner + width)
        top += right * (pixels.take(corner + 1) - top)
        bottom += right * (pixels.take(corner + width + 1) - bottom)
        plane[:] = top + down * (bottom - top)
    return picture
