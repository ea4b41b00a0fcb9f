"""Picture files of any depth and colour model as upright 8-bit RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError
from affectkit.media.picture import Image, on_black

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PIXELS = 2**26
"""Pictures that declare more pixels (8192 x 8192) are refused before memory is taken for them."""

_DEEP = 65535
"""White of 16 bits."""


@contextmanager
def read_picture(
    file: Path | BinaryIO,
    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP", "TIFF"),
    max_side: int | None = None,
) -> Iterator[Picture]:
    """A picture of an accepted format and size, opened; pixels are decoded when they are asked for.

    Raises ClipError for others, and for whatever PIL has against a damaged one inside of the `with`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is looked at here
            picture = Image.open(file, formats=formats)
        with picture:
            width, height = picture.size
            if width * height > MAX_PIXELS or max(width, height) > (max_side or MAX_PIXELS):
                most = f"{max_side} x {max_side}" if max_side else f"{MAX_PIXELS:,}"
                raise ClipError(f"a picture of {width} x {height} pixels: {most} at most are read")
            yield picture
    except UnidentifiedImageError:
        raise ClipError(f"not a picture that can be read (accepted: {', '.join(formats)} of 8 or 16 bits)") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ClipError(f"not a picture that can be read: {error}") from None


def is_plain(picture: Picture) -> bool:
    """Whether a picture's stored pixels are what `upright_rgb` gives: 8 bits, opaque and upright."""
    orientation = picture.getexif().get(0x0112, 1)
    return picture.mode in ("RGB", "L") and not picture.has_transparency_data and orientation in (0, 1)


def upright_rgb(picture: Picture) -> Image:
    """uint8 [H,W,3] RGB of an opened picture (of an animation: its present frame), turned as its EXIF orientation asks.

    Grey of more than 8 bits is scaled to its whole range: 16 bits from 0..65535, floats from 0..1 (or 0..255, where
    they are larger). Transparent pixels are composited onto black, as those of videos are. Raises ClipError for
    numbers beyond these ranges, and what PIL raises for damaged files.
    """
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(picture)
    if turned.mode == "F" or turned.mode.startswith("I"):
        grey = _grey(np.asarray(turned))
        return np.repeat(grey[..., None], 3, axis=2)
    if turned.has_transparency_data:
        return on_black(np.asarray(turned.convert("RGBA")))
    return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"))


def _grey(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey levels [H,W] of more than 8 bits as 8 bits."""
    levels = values.astype(np.float64)
    low, high = float(levels.min()), float(levels.max())
    white = (1.0 if high <= 1 else 255.0) if values.dtype.kind == "f" else float(_DEEP)
    if not (low >= 0 and high <= white):  # not a number, too
        raise ClipError(
            f"grey levels from {low:g} to {high:g}: integers from 0 to {_DEEP} and floats from 0 to 1 or to 255 are "
            "understood; convert the picture to 8 or 16 bits"
        )
    return np.asarray(np.rint(levels * (255 / white)), np.uint8)
