"""Decoded frames as RGB: colour matrix and range, alpha, and the rotation that the file asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame

Image = NDArray[np.uint8]


class Converter:
    """Turns frames into uint8 [H,W,3] RGB, upright.

    The frame's own colour matrix and range are used (BT.601 and limited where it names none, as FFmpeg does) by
    libswscale's fast path: within 3 of 255 of the exact values. HDR is not tone-mapped; pixels that are not square are
    not stretched. Transparent pixels are composited onto black: a viewer does not see what hides under them.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        # One for all frames: a new one each time costs more than the conversion. So would its threads.
        self._reformatter = VideoReformatter()
        self._has_alpha: dict[str, bool] = {}

    def __call__(self, frame: VideoFrame) -> Image:
        from av.sidedata.sidedata import SideData

        image = on_black(self._pixels(frame, "rgba")) if self._alpha(frame) else self._pixels(frame, "rgb24")
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if isinstance(matrix, SideData):
            image = upright(image, np.frombuffer(bytes(matrix), np.int32))
        return np.ascontiguousarray(image)

    def _pixels(self, frame: VideoFrame, form: str) -> Image:
        return np.asarray(self._reformatter.reformat(frame, format=form, threads=1).to_ndarray(), np.uint8)

    def _alpha(self, frame: VideoFrame) -> bool:
        name = frame.format.name
        if name not in self._has_alpha:
            parts = frame.format.components
            self._has_alpha[name] = frame.format.has_palette or any(part.is_alpha for part in parts)
        return self._has_alpha[name]


def on_black(rgba: Image) -> Image:
    """[H,W,4] with straight alpha -> [H,W,3] over black."""
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:]
    return ((colour * alpha + 127) // 255).astype(np.uint8)


def upright(image: Image, matrix: NDArray[np.int32]) -> Image:
    """[H,W,3] as a display matrix (FFmpeg's, 9 integers) shows it: quarter turns and mirrorings.

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y), with a, b, c, d its elements 0, 1, 3, 4. Other angles are
    shown as the nearest quarter turn.
    """
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return image.transpose(1, 0, 2)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
