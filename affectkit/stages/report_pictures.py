"""Pictures of a report: frames of a video, faces that were cut out of it, and where its media lie, seen from a page."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from affectkit.errors import ClipError
from affectkit.media import VIDEO_SUFFIXES, Sampling, VideoReader, open_media, scan
from affectkit.media.picture import Converter
from affectkit.pages.chunks import TimedPicture
from affectkit.store.segment import ClipRows
from affectkit.types import Floats

FRAMES, FRAME_WIDTH = 24, 320
"""Pictures of a video that are kept, and how wide each is (pixels)."""
CROPS, CROP_SIZE = 24, 72
_MOST_PIXELS = 1 << 24
_FAR = 2.5
"""Times the usual step between rows, from which on a row does not stand up to the next."""
_LONG = 60.0  # s: of longer videos key frames alone are decoded
_QUALITY = 72


def frames_of(path: Path, start: float | None, end: float | None) -> list[TimedPicture]:
    """Pictures of a video through the clip, at the times that they are shown. Raises ClipError."""
    if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
        return []
    reader = VideoReader(path, Sampling(frames=FRAMES), start=start, end=end, threads=1)
    if reader.duration > _LONG and (keys := _key_frames(path, reader.origin, reader.duration)):
        return keys
    return [TimedPicture(round(float(frame.start), 4), _jpeg(frame.image, FRAME_WIDTH)) for frame in reader]


def _key_frames(path: Path, origin: float, duration: float) -> list[TimedPicture]:
    """Key frames spread over a long clip, which decode without their neighbours; none where a file has too few."""
    pictures: dict[float, TimedPicture] = {}
    convert = Converter()
    with open_media(path) as container:
        if not container.streams.video:
            return []
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        for instant in (np.arange(FRAMES) + 0.5) * duration / FRAMES:
            with suppress(Exception):  # a damaged stretch costs its pictures alone
                container.seek(int((origin + instant) * 1_000_000), backward=True)
                frame = next(container.decode(stream))
                time = round(float(frame.time) - origin, 4)
                if 0 <= time <= duration and time not in pictures:
                    pictures[time] = TimedPicture(time, _jpeg(convert(frame), FRAME_WIDTH))
    return [pictures[time] for time in sorted(pictures)] if len(pictures) >= FRAMES // 3 else []


def crops_of(rows: ClipRows) -> list[TimedPicture]:
    """Face crops through a clip, evenly spread over the rows that have one; those that are no picture are left out."""
    images = rows.column("image")
    start, end = (np.asarray(rows.column(name), float) for name in ("start", "end"))
    seen = [place for place, image in enumerate(images) if len(image)]
    picked = np.unique(np.linspace(0, len(seen) - 1, min(CROPS, len(seen))).round().astype(int))
    crops = []
    for place in (seen[number] for number in picked.tolist()):
        if (jpeg := _small(bytes(images[place]))) is not None:
            crops.append(TimedPicture(round(float(start[place] + end[place]) / 2, 4), jpeg))
    return crops


def _small(image: bytes) -> bytes | None:
    """A picture of a stranger, encoded anew and small; None for what is none, or has too many pixels."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(image), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            return _jpeg(np.asarray(picture.convert("RGB")), CROP_SIZE)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None


def _jpeg(image: Any, width: int) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    if picture.width > width:
        picture = picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.BOX)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def zero_of(path: Path, start: float | None) -> float:
    """Where a clip's time zero lies on its file's clock (s), which is the one that browsers show: of a video its first
    frame, or `start` seconds after that. 0 for sound alone, and where the file cannot be read."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return start or 0.0
    try:
        return scan(path).origin + (start or 0.0)
    except ClipError:
        return start or 0.0


def link_to(path: Path, folder: Path) -> str:
    """A relative URL of a file as seen from a page in a folder."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return "./" + quote(Path(relative).as_posix(), safe="/", errors="surrogateescape")


def standing(start: Any, end: Any) -> Floats:
    """[T] until when each row stands (s): up to the next one, which begins where a sampled frame's own interval may be
    long over; up to its own end where that is farther than usual.

    >>> standing([0.0, 0.2, 0.4, 3.0], [0.04, 0.24, 0.44, 3.04]).tolist()
    [0.2, 0.4, 0.44, 3.04]
    """
    start, end = np.asarray(start, float), np.array(end, float)
    if len(start) < 2:
        return end
    steps = np.diff(start)
    is_near = steps <= _FAR * np.median(steps)
    end[:-1] = np.where(is_near, np.maximum(end[:-1], start[1:]), end[:-1])
    return end


def stretches(start: Any, end: Any, flags: Any) -> list[tuple[float, float]]:
    """(start, end) of the runs of rows that are flagged, s; rows that touch are one stretch."""
    runs: list[tuple[float, float]] = []
    for a, b in _pairs(start, end, flags):
        if runs and a <= runs[-1][1] + 1e-6:
            runs[-1] = (runs[-1][0], max(b, runs[-1][1]))
        else:
            runs.append((a, b))
    return [(round(a, 4), round(b, 4)) for a, b in runs]


def _pairs(start: Any, end: Any, flags: Any) -> Sequence[tuple[float, float]]:
    kept = np.asarray(flags, bool) & np.isfinite(np.asarray(end, float))
    return list(zip(np.asarray(start, float)[kept].tolist(), np.asarray(end, float)[kept].tolist(), strict=True))
