"""A picture as a clip of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affectkit.errors import ClipError
from affectkit.media.container import regular_file
from affectkit.media.decode import MAX_PIXELS
from affectkit.media.reader import Frame

STILL_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp"])
SHOWN = 1.0
"""Seconds that a picture is said to be shown, since it does not say itself."""


class StillReader:
    """Iterates over the one frame of a picture, as `VideoReader` does over those of a video. Raises ClipError."""

    partial = False
    problem: str | None = None
    origin = 0.0

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        regular_file(self.path)

    def __iter__(self) -> Iterator[Frame]:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(self.path, formats=["JPEG", "PNG", "BMP", "WEBP"]) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise ClipError(
                        f"a picture of {picture.width} x {picture.height} pixels: {MAX_PIXELS} at most are read"
                    )
                upright = ImageOps.exif_transpose(picture).convert("RGB")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ClipError(f"not a picture that can be read: {error}") from None
        yield Frame(np.array(upright), 0.0, SHOWN, 0)
