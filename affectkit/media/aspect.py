"""The shape of a video's pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from affectkit.media.container import open_media
from affectkit.media.packets import video_stream

_WIDEST = 10


def pixel_aspect(path: Path, width: int, height: int) -> Fraction:
    """A pixel's width over its height in the upright picture of `width` x `height`; 1 where the file says nothing that
    makes sense. Raises ClipError."""
    with open_media(path) as container:
        stream = video_stream(container)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        is_turned = width != height and (stream.codec_context.width, stream.codec_context.height) == (height, width)
    if not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        return Fraction(1)
    return 1 / aspect if is_turned else aspect
