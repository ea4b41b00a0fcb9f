"""One clip's pictures with all that is drawn on, beside and below them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image as Pillow

from affectkit.overlays import letters
from affectkit.overlays.colours import GROUND, TEXT
from affectkit.overlays.curves import AFFECT, ScoreCurves
from affectkit.overlays.faces import FaceRows, draw_box, draw_mesh, draw_points
from affectkit.overlays.hiding import Hiding, hidden_boxes, hide
from affectkit.overlays.readouts import TRAIL, ReadoutPanel
from affectkit.overlays.shapes import Picture, fill
from affectkit.overlays.strip import MOST_LANES, CurveStrip
from affectkit.types import Floats

Style = Literal["boxes", "mesh", "bars", "circumplex"]
SMALLEST = 192
"""Pixels of a picture's shorter side, below which it is enlarged by a whole factor: no letters fit into it."""
_REFERENCE = 360  # of the shorter side, where a unit is one pixel
_LEAST_UNIT = 0.75
_MESHES = 64  # frames whose meshes are made at once


class OverlayCanvas:
    """What is drawn of a clip, for each of its frames.

    faces and curves: of this clip; moments [R] (s, rising): the middles of the times that its frames are shown;
    duration (s); width, height: of its first frame (pixels); hiding, margin, hold: as `hidden_boxes` has them, None
    where faces are shown; detected: more boxes to hide [K,4], a moment each.
    """

    def __init__(
        self, faces: Sequence[FaceRows], curves: Sequence[ScoreCurves], moments: Floats, duration: float,
        width: int, height: int, style: Style, *, hiding: Hiding | None = None, margin: float = 0.4,
        hold: float = 1.0, detected: Sequence[Floats] | None = None,
    ) -> None:  # fmt: skip
        self._faces, self._curves, self._style = list(faces), list(curves), style
        self._moments, self._hiding, self._detected = moments, hiding, detected
        self.factor = max(1, -(-SMALLEST // min(width, height)))
        self._shape = (height, width)
        self._unit = max(_LEAST_UNIT, min(width, height) * self.factor / _REFERENCE)
        self._boxes = [face.boxes_at(moments) for face in self._faces]
        self._landmarks = [face.landmarks_at(moments) for face in self._faces]
        self._meshes: tuple[int, list[Floats]] = (-1, [])
        self._scores = [each.at(moments) for each in self._curves]
        shown = hiding in ("blur", "box")
        self._hidden = [hidden_boxes(face, moments, margin, hold) for face in self._faces] if shown else []
        self._lay_out(width * self.factor, height * self.factor, duration)

    def _lay_out(self, width: int, height: int, duration: float) -> None:
        """Where the panel and the strip go; sizes are made even."""
        self._picture = (height, width)
        self._panel: ReadoutPanel | None = None
        self._panel_at = (0, 0)
        full, below = width, height
        if self._style in ("bars", "circumplex") and self._curves:
            if width >= height:
                wide = round(max(0.36 * width, 170 * self._unit))
                self._panel = ReadoutPanel(self._panel_curves, self._style, wide, height, self._unit)
                self._panel_at, full = (0, width), width + wide
            else:
                high = round(max(0.3 * height, 180 * self._unit))
                self._panel = ReadoutPanel(self._panel_curves, self._style, width, high, self._unit)
                self._panel_at, below = (height, 0), height + high
        self._strip = CurveStrip(self._curves, duration, full, self._unit)
        self.width, self.height = full + full % 2, below + self._strip.height
        self.height += self.height % 2
        self._strip_at, self._full = below, full

    @cached_property
    def _in_panel(self) -> list[int]:
        """Which curves the panel reads out."""
        return [place for place, each in enumerate(self._curves) if self._style == "bars" or each.is_affect]

    @property
    def _panel_curves(self) -> list[ScoreCurves]:
        return [self._curves[place] for place in self._in_panel]

    @property
    def notices(self) -> list[str]:
        """What has no room."""
        told = []
        if len(self._curves) > MOST_LANES:
            told.append(f"{MOST_LANES} of {len(self._curves)} curves of models and faces have room")
        if self._panel is not None and self._panel.left_out:
            count = len(self._panel_curves)
            told.append(f"{count - self._panel.left_out} of {count} read-outs have room")
        return told

    def draw(self, frame: Picture, number: int) -> Picture:
        """The frame with this number (of `moments`) as it is shown, uint8 [height,width,3]."""
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        canvas[...] = GROUND
        height, width = self._picture
        picture = canvas[:height, :width]
        if self._hiding != "mesh-only":
            picture[...] = self._prepared(frame, number)
            if width == self._full and self.width > width:
                canvas[:height, width:] = picture[:, -1:]
            if self._strip.height == 0 and self._panel is None and self.height > height:
                canvas[height:] = canvas[height - 1 : height]
        self._draw_faces(picture, number)
        if self._panel is not None:
            y, x = self._panel_at
            part = canvas[y : y + self._panel.height, x : x + self._panel.width]
            shown = self._in_panel
            self._panel.draw(
                part, [self._scores[place][number] for place in shown], [self._trail(place, number) for place in shown]
            )
        if self._strip.height:
            part = canvas[self._strip_at : self._strip_at + self._strip.height, : self._full]
            self._strip.draw(part, float(self._moments[number]))
        return canvas

    def _prepared(self, frame: Picture, number: int) -> Picture:
        """The frame at the size of the first one, with its faces hidden, enlarged."""
        if frame.shape[:2] != self._shape:
            size = self._shape[1], self._shape[0]
            frame = np.asarray(Pillow.fromarray(frame).resize(size, Pillow.Resampling.BILINEAR))
        if self._hiding is not None:
            frame = frame.copy()
            boxes = [each[number] for each in self._hidden if np.isfinite(each[number]).all()]
            if self._detected is not None:
                boxes += list(self._detected[number])
            hide(frame, np.array(boxes).reshape(-1, 4), self._hiding)
        if self.factor > 1:
            frame = frame.repeat(self.factor, axis=0).repeat(self.factor, axis=1)
        return frame

    def _draw_faces(self, picture: Picture, number: int) -> None:
        is_seen = False
        for place, face in enumerate(self._faces):
            box = self._boxes[place][number] * self.factor
            if not np.isfinite(box).all():
                continue
            is_seen = True
            mesh = self._mesh(place, number) * self.factor
            has_mesh = len(mesh) > 0 and bool(np.isfinite(mesh).all())
            if (self._style == "mesh" and has_mesh) or (self._hiding == "mesh-only" and has_mesh):
                draw_mesh(picture, mesh, face.edges, face.colour, self._unit)
            elif self._hiding == "mesh-only":
                landmarks = self._landmarks[place][number] * self.factor
                if landmarks.any():
                    draw_points(picture, landmarks, face.colour, self._unit)
            if self._style in ("boxes", "mesh"):
                draw_box(picture, box, face.colour, self._label(face, number), self._unit)
            else:
                draw_box(picture, box, face.colour, face.label, self._unit)
        if self._faces and not is_seen:
            self._say_no_face(picture)

    def _mesh(self, place: int, number: int) -> Floats:
        """A face's mesh in a frame; those of some frames at once, for of a long clip they do not fit into memory."""
        block, row = divmod(number, _MESHES)
        if self._meshes[0] != block:
            moments = self._moments[block * _MESHES : (block + 1) * _MESHES]
            self._meshes = block, [face.mesh_at(moments) for face in self._faces]
        return self._meshes[1][place][row]

    def _say_no_face(self, picture: Picture) -> None:
        size, pad = max(10, round(13 * self._unit)), max(2, round(5 * self._unit))
        fill(picture, 0, 0, letters.width("no face", size) + 3 * pad, letters.height(size) + pad, GROUND, 0.75)
        letters.write(picture, "no face", pad, pad / 2, size, TEXT)

    def _label(self, face: FaceRows, number: int) -> str:
        """The face's number and what the first model says of it in this frame."""
        for place, each in enumerate(self._curves):
            if each.face == face.number and each.unseen == "no face":
                said = readout(each, self._scores[place][number])
                return f"{face.label} {said}".strip()
        return face.label

    def _trail(self, place: int, number: int) -> Floats:
        """Scores [P,K] of the last `TRAIL` seconds before a frame, a tenth of a second apart."""
        now = float(self._moments[number])
        wanted = np.arange(max(0.0, now - TRAIL), now, TRAIL / 24)
        first = np.searchsorted(self._moments[: number + 1], wanted)
        return self._scores[place][np.unique(np.minimum(first, number))]


def readout(curves: ScoreCurves, values: Floats) -> str:
    """What a model says, in a few letters; nothing where it says nothing.

    >>> curves = ScoreCurves("m", ("happy", "sad"), np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    >>> readout(curves, np.array([0.9, 0.1]))
    'happy 0.90'
    """
    if not np.isfinite(values).all():
        return ""
    if curves.is_affect:
        valence, arousal = (float(values[curves.names.index(name)]) for name in AFFECT)
        return f"V {valence:+.2f} A {arousal:+.2f}"
    best = int(np.argmax(values))
    return f"{curves.names[best]} {float(values[best]):.2f}"
