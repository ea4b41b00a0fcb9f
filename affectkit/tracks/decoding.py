"""Stored crops back to pixels. They may come from anybody: size and format are checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Encoded = bytes | bytearray | memoryview

FORMATS = ("JPEG", "PNG")
MAX_SIDE = 4096
_CHUNK = 8  # crops a thread decodes at a time


def decode_crop(data: Encoded, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """uint8 [H,W,3] RGB of a JPEG or PNG. Raises ClipError, see `decode_picture`."""
    return np.asarray(decode_picture(data, size))


def decode_picture(data: Encoded, size: tuple[int, int] | None = None) -> Picture:
    """The RGB picture of a JPEG or PNG, decoded.

    Raises ClipError if the data are anything else or damaged, or if the header declares other than `size` (height,
    width), or without `size` a side of more than `MAX_SIDE` pixels; pixels are decoded only after that.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        width, height = image.size
        if size and (height, width) != tuple(size):
            raise ClipError(f"crop declares {width} x {height} pixels, not {size[1]} x {size[0]}")
        if max(width, height) > MAX_SIDE:
            raise ClipError(f"crop declares {width} x {height} pixels; the limit is {MAX_SIDE}")
        if image.mode != "RGB":
            return image.convert("RGB")
        image.load()
        return image
    except UnidentifiedImageError:
        raise ClipError("crop is neither JPEG nor PNG") from None
    except Image.DecompressionBombError as error:
        raise ClipError(f"crop declares too many pixels: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises on damaged data
        raise ClipError(f"crop is damaged: {error}") from None


def decode_crops(
    crops: Sequence[Encoded], out: NDArray[np.uint8], pool: Executor | None = None, *,
    cuts: Sequence[Callable[[Picture], NDArray[np.uint8]]] = (), size: tuple[int, int] | None = None,
) -> dict[int, str]:  # fmt: skip
    """Decode N crops into `out`, uint8 [N,H,W,3] or [N,3,H,W] (also a view of a larger array), in the threads of
    `pool` if given. Every crop must have the size of `out`; with `cuts`, one a crop, `size` (height, width), and what
    the cut makes of its picture goes to `out`.

    Returns the causes of those that could not be decoded, by index; their pixels are zeros.
    """
    if out.ndim != 4 or len(out) != len(crops) or out.dtype != np.uint8 or 3 not in (out.shape[1], out.shape[3]):
        raise ValueError(f"out is uint8 [{len(crops)},H,W,3] or [{len(crops)},3,H,W], not {out.dtype} {out.shape}")
    images = out if out.shape[3] == 3 else out.transpose(0, 2, 3, 1)
    starts = range(0, len(crops), _CHUNK)

    def chunk(start: int) -> dict[int, str]:
        broken = {}
        for index in range(start, min(start + _CHUNK, len(crops))):
            try:
                picture = decode_picture(crops[index], size or images.shape[1:3])
                images[index] = cuts[index](picture) if cuts else np.asarray(picture)
            except ClipError as error:
                images[index] = 0
                broken[index] = str(error)
        return broken

    merged: dict[int, str] = {}
    for broken in pool.map(chunk, starts) if pool and len(starts) > 1 else map(chunk, starts):
        merged |= broken
    return merged
