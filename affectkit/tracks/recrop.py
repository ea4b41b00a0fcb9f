"""From a stored crop to the one that a network must be given, cut again from the stored pixels.

A crop's pixels come from the frame by an affine map that follows from its box, its landmarks and how it was cut. The
crop that is wanted has such a map too, so that one goes to the other without the frame: exactly, where the stored crop
shows all of what is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from affectkit.errors import ClipError
from affectkit.tracks.alignment import crops_to_frame, inverted
from affectkit.tracks.crops import CropConfig, Frame, Rect, drawn_places, resampled, warped
from affectkit.types import Bools, Contract, Floats, Indices

if TYPE_CHECKING:
    from PIL.Image import Image

OVERHANG = 0.5
"""Pixels of the stored crop that what is wanted may lie beyond it: boxes are stored in float32, and a letterbox goes to
whole pixels."""
_NOT_ALL = "the stored crop does not show all of the one that is wanted"
_LEAST = 1.0  # pixels of the stored crop that a wanted crop is made of, a side


class Recrop:
    """What turns crops that were cut as `stored` says into those of a contract.

    >>> stored = CropConfig(margin="0.20", size=224)
    >>> Recrop(stored, Contract(margin="0.2", shape="square", size=48)).is_needed
    False
    >>> cuts = Recrop(stored, Contract(margin="0", shape="square", size=64)).cuts(
    ...     np.array([[10.0, 10, 60, 60]]), np.zeros((1, 5, 2)))
    >>> cuts.covered.tolist(), cuts.enlarged.round(2).tolist(), cuts[0](np.full((224, 224, 3), 9, np.uint8)).shape
    ([True], [1.28], (64, 64, 3))
    """

    def __init__(self, stored: CropConfig, contract: Contract) -> None:
        self.stored = stored
        self.wanted = CropConfig(
            margin=contract.margin, shape=contract.shape, align=contract.align, size=contract.size
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Recrop({described(self.stored)} -> {described(self.wanted)})"

    @property
    def is_needed(self) -> bool:
        """Whether the wanted crop shows something else than the stored one; another size alone does not."""
        return _geometry(self.stored) != _geometry(self.wanted)

    def cuts(self, boxes: Floats, landmarks: Floats) -> Recuts:
        """How to cut each of N stored crops again; `boxes` [N,4] and `landmarks` [N,5,2] are those that it was cut
        by."""
        boxes, landmarks = np.asarray(boxes, np.float64), np.asarray(landmarks, np.float64)
        return Recuts(_Maps(self.stored, boxes, landmarks), _Maps(self.wanted, boxes, landmarks))


@dataclass(frozen=True)
class Recut:
    """One crop out of another: the `region` of the stored one that goes to `place` in a square of `size`; or, where one
    of the two is aligned, the `matrix` [2,3] from points of the one to those of the stored, `place` being what is not
    left black."""

    region: Rect
    place: tuple[int, int, int, int]
    matrix: Floats | None
    size: int
    covered: bool = True

    def __call__(self, picture: Frame | Image) -> Frame:
        """uint8 [S,S,3], or a picture of that size -> uint8 [size,size,3]. Raises ClipError where the stored crop
        doesn't show all of it."""
        if not self.covered:
            raise ClipError(_NOT_ALL)
        if self.matrix is None:
            image = resampled(picture, self.region, self.place, self.size)
        else:
            image = warped(picture, self.matrix, self.size)
        if image is None:
            raise ClipError(_NOT_ALL)
        cut = np.asarray(image)
        left, top, right, bottom = self.place
        if self.matrix is not None and (right - left, bottom - top) != (self.size, self.size):
            boxed = np.zeros_like(cut)
            boxed[top:bottom, left:right] = cut[top:bottom, left:right]
            return boxed
        return cut


class Recuts:
    """How N stored crops are cut again, and what is to be known of each.

    covered [N]: whether the stored crop shows all of the wanted one, but for `OVERHANG`; enlarged [N]: wanted pixels,
    along a side, a pixel that was both filmed and stored: above 1 they are made up; lost [N]: how many times more
    pixels, along a side, the video had than are stored, as far as the wanted size can hold them (1: none were lost).
    """

    def __init__(self, stored: _Maps, wanted: _Maps) -> None:
        self._stored, self._wanted = stored, wanted
        self._region = np.concatenate([stored.seen(wanted.region[:, :2]), stored.seen(wanted.region[:, 2:])], axis=1)
        shown = stored.place.astype(np.float64)
        with np.errstate(all="ignore"):
            corners = np.stack([stored.seen(corner) for corner in wanted.corners], axis=1)
            inside = (corners >= shown[:, None, :2] - OVERHANG) & (corners <= shown[:, None, 2:] + OVERHANG)
            self.enlarged: Floats = wanted.scale / np.minimum(stored.scale, 1)
            self.lost: Floats = np.maximum(np.minimum(wanted.scale, 1) / stored.scale, 1)
            large = wanted.config.size * stored.scale / wanted.scale >= _LEAST
        self.covered: Bools = inside.all(axis=(1, 2)) & large
        self._region = np.clip(self._region, np.tile(shown[:, :2], 2), np.tile(shown[:, 2:], 2))

    def __len__(self) -> int:
        return len(self.covered)

    def __getitem__(self, row: int) -> Recut:
        left, top, right, bottom = self._wanted.place[row].tolist()
        x0, y0, x1, y1 = self._region[row].tolist()
        matrix = self._matrices[row] if self._is_turned else None
        size, covered = self._wanted.config.size, bool(self.covered[row])
        return Recut((x0, y0, x1, y1), (left, top, right, bottom), matrix, size, covered)

    def take(self, rows: Indices) -> list[Recut]:
        """Those of some rows."""
        return [self[row] for row in rows.tolist()]

    @property
    def _is_turned(self) -> bool:
        return self._stored.config.align or self._wanted.config.align

    @cached_property
    def _matrices(self) -> Floats:
        """[N,2,3] from points of the wanted crops to those of the stored ones."""
        first, then = inverted(self._wanted.matrices), self._stored.matrices
        turn = then[:, :, :2] @ first[:, :, :2]
        shift = then[:, :, :2] @ first[:, :, 2:] + then[:, :, 2:]
        return np.concatenate([turn, shift], axis=2)


class _Maps:
    """Where N crops of one config show their frames: `matrices` [N,2,3] from points of the frame to the crop's, `place`
    [N,4] what of the crop shows anything, `region` [N,4] the frame's part that goes there (zeros where aligned),
    `scale` [N] pixels of the crop a pixel of the frame."""

    def __init__(self, config: CropConfig, boxes: Floats, landmarks: Floats) -> None:
        self.config = config
        whole = np.tile(np.array([0, 0, config.size, config.size]), (len(boxes), 1))
        with np.errstate(all="ignore"):
            if config.align:
                self.place = whole
                self.region: Floats = np.zeros((len(boxes), 4))
                self.matrices = inverted(crops_to_frame(landmarks, config.size))
            else:
                self.region = config.regions(boxes)
                sides = self.region[:, 2:] - self.region[:, :2]
                self.region[~(np.isfinite(self.region).all(axis=1) & (sides > 0).all(axis=1))] = np.nan
                self.place = whole
                if config.shape == "letterbox":
                    fine = np.isfinite(self.region).all(axis=1)
                    self.place[fine] = drawn_places(self.region[fine], config.size)
                factors = (self.place[:, 2:] - self.place[:, :2]) / (self.region[:, 2:] - self.region[:, :2])
                self.matrices = np.zeros((len(boxes), 2, 3))
                self.matrices[:, 0, 0], self.matrices[:, 1, 1] = factors.T
                self.matrices[:, :, 2] = self.place[:, :2] - self.region[:, :2] * factors
            self.scale: Floats = np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))

    @property
    def corners(self) -> list[Floats]:
        """Four times [N,2]: the corners of what shows anything, in the frame."""
        place = self.place.astype(np.float64)
        back = inverted(self.matrices)
        return [_moved(back, place[:, [x, y]]) for x in (0, 2) for y in (1, 3)]

    def seen(self, points: Floats) -> Floats:
        """[N,2] where points of the frame [N,2] are in the crops."""
        return _moved(self.matrices, points)


def described(config: CropConfig) -> str:
    """How crops are cut, in words.

    >>> described(CropConfig(margin="10px", shape="letterbox", size=112))
    'margin 10px, letterbox'
    """
    return "aligned" if config.align else f"margin {config.margin}, {config.shape}"


def _geometry(config: CropConfig) -> tuple[str, ...]:
    """What a crop shows: equal for configs that cut the same."""
    return ("aligned",) if config.align else ("0" if config.margin == "0px" else config.margin, config.shape)


def _moved(matrices: Floats, points: Floats) -> Floats:
    return np.asarray((matrices[:, :, :2] @ points[:, :, None])[:, :, 0] + matrices[:, :, 2])
