"""A photographed face that can be animated: the picture source of every synthetic clip.

The face is the public-domain NASA portrait of the astronaut Eileen Collins that scikit-image ships. Every pixel of a
picture is traced back into the photograph through a chain of smooth maps (camera, head, features) and read there
once, bilinearly. Positions are in the photograph's pixels (x right, y down).

The pictures are synthetic: one person, and expressions that are drawn, not hers. They exercise the pipeline; they are
no benchmark of anything.
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
from affectkit.practice.face_features import FACE_X, FACE_Y, Expression, Grid, bump, move_features, smoothstep
from affectkit.practice.looks import AS_PHOTOGRAPHED, Look
from affectkit.practice.portable import exp, settled

PHOTO_SHA256 = "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
ENLARGED = 2  # a good filter enlarges the photograph once, so that a bilinear read stays sharp
PICTURE_WIDTH = 192.0  # photograph pixels across a picture at zoom 1

HEAD, HEAD_RADII = (226.0, 98.0), (78.0, 86.0)

Frame = NDArray[np.uint8]
Colour = tuple[float, float, float]


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


def render(expression: Expression, view: View, size: int, look: Look = AS_PHOTOGRAPHED) -> Frame:
    """A picture of the face: uint8 [size,size,3]. The same arguments give the same bytes on every processor."""
    room = _camera(view, size)
    gain = _light(*room, view)
    x, y, wall = _head(*room, view)
    if look != AS_PHOTOGRAPHED:
        x, y = look.reshape(x, y)
    face = _window(x, y)
    x[face], y[face], mouth = move_features(x[face], y[face], expression)
    picture = _read(x, y)
    for channel, plane in enumerate(picture):
        plane[face] += mouth.opacity * (mouth.colour(channel) - plane[face])
    if look != AS_PHOTOGRAPHED:
        look.paint(picture, *room, wall)
    for channel, plane in enumerate(picture):
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
    radians = np.deg2rad(np.float64(degrees))
    return float(settled(np.cos(radians))), float(settled(np.sin(radians)))


def _light(x: Grid, y: Grid, view: View) -> Grid:
    ramp = view.light[0] * (x - HEAD[0]) + view.light[1] * (y - HEAD[1])
    return view.exposure * exp(ramp / 100)


def _head(x: Grid, y: Grid, view: View) -> tuple[Grid, Grid, Grid]:
    """Moves the head against shoulders and background. Also: how far a pixel belongs to the background."""
    dx, dy = x - HEAD[0], y - HEAD[1]
    radius = np.sqrt((dx / HEAD_RADII[0]) ** 2 + (dy / HEAD_RADII[1]) ** 2)
    hold = smoothstep((1.75 - radius) / 0.75)  # 1 on the head, 0 well outside
    c, s = _turned(-view.roll)
    px, py = dx - view.shift[0], dy - view.shift[1]
    px, py = (c * px - s * py) / view.lean, (s * px + c * py) / view.lean
    bulge = bump(dx, dy, 46, 60)
    x = x + hold * (px - view.turn[0] * bulge - dx)
    y = y + hold * (py - view.turn[1] * bulge - dy)
    return x, y, smoothstep((radius - 0.95) / 0.25)


def _window(x: Grid, y: Grid) -> tuple[slice, slice]:
    """The smallest rows and columns of the picture that hold the face."""
    face = (x > FACE_X[0]) & (x < FACE_X[1]) & (y > FACE_Y[0]) & (y < FACE_Y[1])
    rows, columns = np.flatnonzero(face.any(axis=1)), np.flatnonzero(face.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


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
