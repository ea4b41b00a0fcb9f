"""What every detector keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.plugins.contracts.candidate import Candidate, Obligation, hold, refused, same
from affectkit.types import Detections

SIZES = ((64, 96), (37, 53), (20, 20), (1, 1), (150, 7), (120, 201))


def noise(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [count,height,width,3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def _frames(candidate: Candidate) -> NDArray[np.uint8]:
    return noise(5, 64, 96) if candidate.samples is None else candidate.samples


def gives_detections_in_the_frame(candidate: Candidate) -> None:
    """It gives Detections for every frame: float32, best first, scores in 0..1, boxes in the frame."""
    for height, width in SIZES:
        found = candidate.instance(noise(2, height, width))
        where = f"in frames of {height} x {width}"
        hold(isinstance(found, list) and len(found) == 2, f"{where} it gives no list of one entry a frame")
        for each in found:
            hold(isinstance(each, Detections), f"{where} it gives a {type(each).__name__}, no Detections")
            kinds = {each.boxes.dtype, each.scores.dtype, each.landmarks.dtype}
            hold(kinds == {np.dtype(np.float32)}, f"{where} it gives {sorted(map(str, kinds))}, not float32")
            hold((np.diff(each.scores) <= 0).all(), f"{where} the best is not first")
            hold(((each.scores >= 0) & (each.scores <= 1)).all(), f"{where} a score is outside 0..1")
            limits = np.array([width, height] * 2)
            hold(((each.boxes >= 0) & (each.boxes <= limits)).all(), f"{where} a box leaves the frame")
            hold((each.boxes[:, 2:] - each.boxes[:, :2] >= 1).all(), f"{where} a box is less than a pixel wide")


def takes_black_frames_and_none(candidate: Candidate) -> None:
    """Black frames are looked at, and no frames give an empty list."""
    hold(len(candidate.instance(np.zeros((3, 48, 64, 3), np.uint8))) == 3, "for 3 black frames it gives no 3 entries")
    hold(candidate.instance(np.zeros((0, 48, 64, 3), np.uint8)) == [], "for no frames it gives no empty list")


def sees_each_frame_alone(candidate: Candidate) -> None:
    """Neither the frames beside one nor those before it change a bit of what is found in it."""
    frames = _frames(candidate)
    together = candidate.instance(frames)
    candidate.instance(noise(1, 33, 200))  # of another size
    for number, one in enumerate(together):
        _alike(candidate.instance(frames[number : number + 1])[0], one, f"frame {number} alone")
    for number, one in enumerate(candidate.instance(frames[::-1])[::-1]):
        _alike(one, together[number], f"frame {number} in another order")


def refuses_what_are_no_frames(candidate: Candidate) -> None:
    """Anything but uint8 [N,H,W,3] with a pixel or more is a ValueError."""
    for shape in ((8, 8, 3), (1, 8, 8, 4), (1, 0, 8, 3), (1, 8, 0, 3)):
        what = f"frames of shape {list(shape)}"
        refused(lambda: candidate.instance(np.zeros(shape, np.uint8)), ValueError, what)  # noqa: B023
    refused(lambda: candidate.instance(np.zeros((1, 8, 8, 3), np.float32)), ValueError, "frames of float32")


def leaves_frames_alone(candidate: Candidate) -> None:
    """Frames may be read-only, and are left as they were."""
    frames = _frames(candidate).copy()
    before = frames.copy()
    frames.flags.writeable = False
    candidate.instance(frames)
    same(frames, before, "the frames, afterwards")


def _alike(found: Any, expected: Any, what: str) -> None:
    for key in ("boxes", "scores", "landmarks"):
        same(getattr(found, key), getattr(expected, key), f"{what}: {key}")


OBLIGATIONS: list[Obligation] = [
    gives_detections_in_the_frame, takes_black_frames_and_none, sees_each_frame_alone, refuses_what_are_no_frames,
    leaves_frames_alone,
]  # fmt: skip
