"""Faces of a clip at the moments of its frames: boxes, points of the mesh, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from affectkit.overlays import letters
from affectkit.overlays.colours import GROUND, Colour, of_face
from affectkit.overlays.curves import between_rows
from affectkit.overlays.shapes import Picture, dot, fill, frame, segments
from affectkit.types import Bools, Floats

_LONG_EDGE = 2.5  # times the usual one: across the mesh's hollows


@dataclass(frozen=True, repr=False, eq=False)
class FaceRows:
    """One face's rows: start, end [T] (s), boxes [T,4], landmarks [T,5,2], valid [T]; mesh [T,P,2] where there is one,
    NaN where not. In pixels of the video's first frame. number: the face's, None where only one is known."""

    start: Floats
    end: Floats
    boxes: Floats
    landmarks: Floats
    valid: Bools
    number: int | None = None
    mesh: Floats | None = None

    @property
    def colour(self) -> Colour:
        """What it is drawn in."""
        return of_face(self.number or 0)

    @property
    def label(self) -> str:
        """What it is called in the picture; nothing where there is only one."""
        return "" if self.number is None else f"#{self.number}"

    def boxes_at(self, moments: Floats) -> Floats:
        """[R,4] at these moments (s), NaN where the face is not seen."""
        return self._at(self.boxes, moments)

    def landmarks_at(self, moments: Floats) -> Floats:
        """[R,5,2], NaN where the face is not seen."""
        return self._at(self.landmarks, moments)

    def mesh_at(self, moments: Floats) -> Floats:
        """[R,P,2], NaN where the face is not seen; P = 0 without a mesh."""
        if self.mesh is None:
            return np.zeros((len(moments), 0, 2))
        return self._at(self.mesh, moments)

    def _at(self, values: Floats, moments: Floats) -> Floats:
        if not len(self.start):
            return np.full((len(moments), *values.shape[1:]), np.nan)
        flat = np.where(self.valid[:, None], np.asarray(values, float).reshape(len(values), -1), np.nan)
        return between_rows(self.start, self.end, flat, moments).reshape(len(moments), *values.shape[1:])

    @cached_property
    def edges(self) -> NDArray[np.intp]:
        """[E,2] pairs of points of the mesh that are joined: of its triangles in the row that looks ahead most."""
        if self.mesh is None:
            return np.zeros((0, 2), np.intp)
        from scipy.spatial import Delaunay

        whole = np.isfinite(self.mesh).all(axis=(1, 2)) & self.valid
        if not whole.any():
            return np.zeros((0, 2), np.intp)
        meshes = self.mesh[whole]
        spread = np.ptp(meshes, axis=1)
        frontal = meshes[int(np.argmax(spread[:, 0] / np.maximum(spread[:, 1], 1e-6)))]
        triangles = Delaunay(frontal, qhull_options="QJ").simplices
        pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]]), axis=1)
        pairs = np.unique(pairs, axis=0)
        length = np.linalg.norm(frontal[pairs[:, 0]] - frontal[pairs[:, 1]], axis=1)
        return np.asarray(pairs[length <= _LONG_EDGE * np.percentile(length, 75)], np.intp)


def draw_box(image: Picture, box: Floats, colour: Colour, label: str, unit: float) -> None:
    """A face's box, with what is said of it above, or below where there is no room."""
    x0, y0, x1, y1 = (float(value) for value in box)
    frame(image, x0, y0, x1, y1, colour, max(1, round(2 * unit)))
    if not label:
        return
    size, pad = max(10, round(13 * unit)), max(1, round(3 * unit))
    label = letters.fitted(label, size, image.shape[1] - 2 * pad)
    wide, high = letters.width(label, size) + 2 * pad, letters.height(size)
    reach = max(2, round(3 * unit))
    y = y0 - high - reach
    if y < 0:
        y = y1 + reach if y1 + reach + high <= image.shape[0] else max(0.0, y0 + reach)
    x = min(max(0.0, x0 - reach // 2), max(0.0, image.shape[1] - wide))
    fill(image, x, y, x + wide, y + high, GROUND, 0.75)
    letters.write(image, label, x + pad, y, size, colour)


def draw_mesh(image: Picture, points: Floats, edges: NDArray[np.intp], colour: Colour, unit: float) -> None:
    """A mesh [P,2]: its edges."""
    span = float(np.ptp(points[:, 0]))
    thick = max(0.6, 0.8 * unit) if span > 60 else 0.5
    segments(image, points[edges], colour, thick, 0.65)


def draw_points(image: Picture, points: Floats, colour: Colour, unit: float) -> None:
    """The five landmarks [5,2]."""
    for x, y in points:
        dot(image, float(x), float(y), max(2.0, 3.2 * unit), (0, 0, 0))
        dot(image, float(x), float(y), max(1.0, 2.2 * unit), colour)
