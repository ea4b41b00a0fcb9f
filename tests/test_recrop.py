"""A stored crop cut again is the crop that the frame itself would give, where the stored one shows all of it."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from PIL import Image, ImageFilter

from affectkit.errors import ClipError
from affectkit.tracks import ARCFACE, CropConfig, FaceTracker, cut, decode_crop
from affectkit.tracks.recrop import Recrop
from affectkit.types import Contract, Detections

BOX = np.array([250.0, 130, 360, 275], np.float32)
PLACES = ARCFACE - ARCFACE.mean(axis=0)


def landmarks_of(box: np.ndarray, degrees: float = 12.0) -> np.ndarray:
    """Five points of a face in a box, turned."""
    a = np.deg2rad(degrees)
    turned = PLACES @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return np.asarray((box[:2] + box[2:]) / 2 + turned * (box[3] - box[1]) / 150, np.float32)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """uint8 [400,600,3] with details of about six pixels."""
    noise = np.random.default_rng(3).integers(0, 256, (400, 600, 3)).astype(np.uint8)
    soft = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)), np.float64)
    return np.clip((soft - soft.mean()) * 5 + 120, 0, 255).astype(np.uint8)


def both(frame, box, landmarks, stored: CropConfig, wanted: CropConfig) -> tuple[np.ndarray, np.ndarray]:
    """The crop that is wanted, cut from the stored one and from the frame: float [S,S,3]."""
    contract = Contract(margin=wanted.margin, shape=wanted.shape, align=wanted.align, size=wanted.size)
    cuts = Recrop(stored, contract).cuts(box[None], landmarks[None])
    assert cuts.covered.tolist() == [True]
    kept = decode_crop(cut(frame, box, landmarks, stored))
    return cuts[0](kept).astype(float), decode_crop(cut(frame, box, landmarks, wanted)).astype(float)


STORED = {
    "square": CropConfig(margin="0.5", size=320, quality=95),
    "square, pixels": CropConfig(margin="60px", size=320),
    "letterbox": CropConfig(margin="0.6", shape="letterbox", size=320),
    "letterbox, pixels": CropConfig(margin="80px", shape="letterbox", size=320),
    "aligned": CropConfig(align=True, size=256),
}
WANTED = {
    "square": CropConfig(margin="0", size=96, format="png"),
    "square, fraction": CropConfig(margin="0.125", size=96, format="png"),
    "square, pixels": CropConfig(margin="7px", size=96, format="png"),
    "letterbox": CropConfig(margin="0.1", shape="letterbox", size=96, format="png"),
    "letterbox, pixels": CropConfig(margin="10px", shape="letterbox", size=96, format="png"),
    "aligned": CropConfig(align=True, size=96, format="png"),
}
SMALL = np.array([285.0, 165, 325, 210], np.float32)
"""A box that the aligned crop of BOX's landmarks shows, with the margins above."""


@pytest.mark.parametrize(("stored", "wanted"), list(itertools.product(STORED, WANTED)))
def test_all_pairs(frame, stored: str, wanted: str) -> None:
    """Mean difference below 2.5 grey levels, of a picture whose neighbouring crops differ by 20 and more."""
    box = SMALL if stored == "aligned" and wanted != "aligned" else BOX
    again, afresh = both(frame, box, landmarks_of(BOX), STORED[stored], WANTED[wanted])
    difference = np.abs(again - afresh)
    assert difference.mean() < 2.5
    assert np.quantile(difference, 0.99) < 9
    assert np.abs(np.roll(again, 4, axis=1) - afresh).mean() > 10  # the test can see a shift


@pytest.mark.parametrize("box", [[-30, 60, 80, 200], [520, 300, 640, 430], [-50, -50, 700, 500]])
def test_outside_of_the_frame_both_are_black(frame, box: list[float]) -> None:
    """But for the pixels along the frame's edge, which the stored crop has once only."""
    box = np.array(box, np.float32)
    again, afresh = both(frame, box, landmarks_of(box), CropConfig(margin="0.3", size=320), WANTED["square, fraction"])
    difference = np.abs(again - afresh).mean(axis=2)
    assert (again[afresh.max(axis=2) == 0].mean() if (afresh.max(axis=2) == 0).any() else 0) < 3
    assert (difference > 12).mean() < 0.03
    assert np.median(difference) < 2.5


def test_pictures_that_change_their_size(frame) -> None:
    """The box that is stored is that of the row's own picture, where the crop was cut."""
    tracker = FaceTracker("nearest", STORED["square"])
    small = np.asarray(Image.fromarray(frame).resize((300, 200)))
    faces = Detections(BOX[None], np.ones(1, np.float32), landmarks_of(BOX)[None])
    for number, picture in enumerate((frame, small, frame)):
        tracker.add(number, number + 1, number, picture, faces)
    (track,) = tracker.finish()
    contract = Contract(margin="0", shape="square", size=96)
    cuts = Recrop(STORED["square"], contract).cuts(track.boxes, track.landmarks)
    for row, picture in enumerate((frame, small, frame)):
        box = BOX / 2 if row == 1 else BOX
        afresh = decode_crop(cut(picture, box, landmarks_of(box), WANTED["square"])).astype(float)
        assert np.abs(cuts[row](decode_crop(track.crops[row])) - afresh).mean() < 2.5
    assert cuts.enlarged.round(2).tolist() == [0.66, 1.32, 0.66]


@pytest.mark.parametrize("stored", STORED)
def test_what_is_not_stored_is_not_covered(stored: str) -> None:
    """Nor are boxes that are none: they come from a file."""
    boxes = np.array([[*BOX], [0, 0, 0, 0], [np.nan] * 4, [np.inf, 0, 1, 1], [1e30, 1e30, 2e30, 2e30]])
    landmarks = np.stack([landmarks_of(BOX), *[np.zeros((5, 2))] * 4])
    for contract in (Contract("0.9", "square", 64), Contract("100px", "letterbox", 64)):
        cuts = Recrop(STORED[stored], contract).cuts(boxes, landmarks)
        assert not cuts.covered[:4].any()
        with pytest.raises(ClipError, match="does not show all"):
            cuts[2](np.zeros((STORED[stored].size,) * 2 + (3,), np.uint8))
    cuts = Recrop(STORED[stored], Contract("0", "square", 64, align=True)).cuts(boxes, landmarks)
    assert not cuts.covered[1:].any()


def test_many_are_looked_at_at_once() -> None:
    boxes = np.tile(BOX, (200_000, 1))
    landmarks = np.tile(landmarks_of(BOX), (200_000, 1, 1))
    begin = time.perf_counter()
    assert Recrop(STORED["square"], Contract("0", "square", 64)).cuts(boxes, landmarks).covered.all()
    assert time.perf_counter() - begin < 5
