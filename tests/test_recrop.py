"""A stored crop cut again is the crop that the frame itself would give, where the stored one shows all of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from affectkit.tracks import ARCFACE, CropConfig, cut, decode_crop
from affectkit.tracks.recrop import Recrop
from affectkit.types import Contract

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
