"""Where faces have to be hidden, and hiding them so that nobody, and no detector, finds them again.

A face is hidden from `hold` seconds before it is first found until as long after it is last found, and all the time
between, also where it was not found meanwhile. Between two rows that follow on each other its box lies on a straight
line; over longer gaps both boxes and all between them are hidden. The margin grows by half of the way that the face
goes from row to row, and with the time that it is not found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from PIL import Image as Pillow

from affectkit.moments import middles
from affectkit.overlays.colours import GROUND
from affectkit.overlays.curves import usual_step
from affectkit.overlays.faces import FaceRows
from affectkit.overlays.shapes import Picture
from affectkit.types import Floats

Hiding = Literal["blur", "box", "mesh-only"]
CELLS = 4
"""Areas of one colour across a hidden face, before they are smoothed: what is left of it."""
_FOLLOWS = 1.5  # times the usual distance between rows
_DRIFT = 0.3  # of the box's side, a second that the face is not found
_MOST_DRIFT = 1.0
_REACH = 0.3  # s that a face found in one frame is hidden before and after it


def hidden_boxes(face: FaceRows, moments: Floats, margin: float, hold: float) -> Floats:
    """[R,4] what is hidden of one face at moments that rise (s), margin included (of the box's longer side); NaN where
    nothing is."""
    hidden = np.full((len(moments), 4), np.nan)
    rows = np.flatnonzero(face.valid & np.isfinite(face.boxes).all(axis=1))
    if not len(rows):
        return hidden
    times = middles(face.start, face.end)
    step = max(usual_step(face.start, face.end), 1e-3)
    rows = rows[np.argsort(times[rows], kind="stable")]
    times, boxes = times[rows], np.asarray(face.boxes, float)[rows]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    way = np.linalg.norm(np.diff(centres, axis=0), axis=1) + np.abs(np.diff(sides))
    gap = np.diff(times)
    speed = way / np.maximum(gap, 1e-3)  # pixels a second
    hold = max(hold, step)
    for number, moment in enumerate(moments.tolist()):
        after = int(np.searchsorted(times, moment, side="right"))
        if after == 0 or after == len(times):
            end = 0 if after == 0 else len(times) - 1
            away = abs(moment - times[end])
            if away > hold + 1e-6:
                continue
            pace = float(speed[0 if after == 0 else -1]) if len(speed) else 0.0
            box, side, reach = boxes[end], sides[end], min(pace * away, sides[end])
        else:
            before = after - 1
            part = (moment - times[before]) / max(gap[before], 1e-9)
            box = boxes[before] * (1 - part) + boxes[after] * part
            side, reach, away = max(sides[before], sides[after]), 0.5 * way[before], 0.0
            if gap[before] > _FOLLOWS * step:
                away = min(moment - times[before], times[after] - moment)
                box = np.concatenate([
                    np.minimum(boxes[before], boxes[after])[:2], np.maximum(boxes[before], boxes[after])[2:]
                ])  # fmt: skip
        grown = margin * side + reach + side * min(_DRIFT * away, _MOST_DRIFT)
        hidden[number] = box + np.array([-grown, -grown, grown, grown])
    return hidden


def around_detections(detections: Iterable[tuple[float, Floats]], moments: Floats, margin: float) -> list[Floats]:
    """For each moment the boxes [K,4], margin included, of faces found in single frames (moment, boxes) near it."""
    listed = [(moment, np.asarray(boxes, float)) for moment, boxes in detections if len(boxes)]
    times = np.array([moment for moment, _ in listed])
    hidden = []
    for moment in moments.tolist():
        first, last = np.searchsorted(times, [moment - _REACH, moment + _REACH])
        boxes = np.concatenate([np.zeros((0, 4)), *(each for _, each in listed[first:last])])
        grown = margin * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)[:, None]
        hidden.append(boxes + grown * np.array([-1, -1, 1, 1]))
    return hidden


def hide(image: Picture, boxes: Floats, how: Hiding) -> None:
    """Hide what lies in the boxes [K,4]: under a plain colour, or blurred until no more than `CELLS` areas across the
    largest of them are left."""
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height])
    corners = np.asarray(boxes, float).reshape(-1, 4)
    corners = np.clip(np.concatenate([np.floor(corners[:, :2]), np.ceil(corners[:, 2:])], axis=1), 0, limits).astype(
        int
    )
    corners = corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]
    if not len(corners):
        return
    if how == "blur":
        left, top = corners[:, :2].min(axis=0).tolist()
        right, bottom = corners[:, 2:].max(axis=0).tolist()
        blurred = _blurred(image[top:bottom, left:right], int((corners[:, 2:] - corners[:, :2]).max()) / CELLS)
        for a, b, c, d in corners.tolist():
            image[b:d, a:c] = blurred[b - top : d - top, a - left : c - left]
        return
    for a, b, c, d in corners.tolist():
        image[b:d, a:c] = GROUND


def _blurred(part: Picture, cell: float) -> Picture:
    height, width = part.shape[:2]
    few = max(1, round(width / max(1.0, cell))), max(1, round(height / max(1.0, cell)))
    image = Pillow.fromarray(np.ascontiguousarray(part))
    return np.asarray(image.resize(few, Pillow.Resampling.BOX).resize((width, height), Pillow.Resampling.BILINEAR))
