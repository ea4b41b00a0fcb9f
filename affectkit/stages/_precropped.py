"""Folders of crops as face tracks: file i is frame i, a gap is a frame without a face."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from affectkit.errors import ClipError
from affectkit.manifest.crops import crop_frames
from affectkit.media import Sampling, is_plain, read_picture, scan, upright_rgb
from affectkit.stages._frame_numbers import FrameNumbers
from affectkit.stages._map import Sink
from affectkit.stages.sources import CropTimes
from affectkit.tracks import CropConfig
from affectkit.tracks.decoding import MAX_SIDE
from affectkit.types import Clip, Floats

_ROWS_AT_ONCE = 256
_LARGEST_FILE = 64 << 20


def add_crops(
    clip: Clip, config: CropConfig, sampling: Sampling, times: CropTimes, numbers: FrameNumbers, sink: Sink
) -> None:
    """Append one folder's sampled rows. Boxes are the whole crop, landmarks unknown (zeros), scores 1.

    Frames beyond the last of the video are dropped and the clip is marked partial. Raises ClipError.
    """
    crops = crop_frames(clip.path, times.first_frame)
    files = dict(zip(crops.numbers.tolist(), crops.paths, strict=True))
    starts, ends, origin = _times(clip, crops.frames, times)
    if times.videos is not None:
        lowest, highest = (int(crops.numbers[place]) + times.first_frame - 1 for place in (0, -1))
        numbers.add(clip.id, lowest, highest, len(starts))
    rows = sampling.pick(starts, float(ends[-1]))
    sink.expect(len(rows))
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        frames = rows[first : first + _ROWS_AT_ONCE]
        _append(sink, [files.get(int(frame) + 1) for frame in frames], starts[frames], ends[frames], frames, config)
    dropped = int(np.sum(crops.numbers > len(starts)))
    if dropped:
        sink.damage(clip.id, f"{dropped} crops are beyond the {len(starts)} frames of the video: left out")
    sink.end(clip.id, {"origin": origin}, "partial" if dropped else "ok")


def _times(clip: Clip, frames: int, times: CropTimes) -> tuple[Floats, Floats, float]:
    """Display interval of each frame (s), and the moment of the first on the file's clock."""
    if clip.start is not None or clip.end is not None:
        raise ClipError("start and end cut media files; a folder of crops is taken whole")
    fps = times.rate_of(clip.id)
    if fps is not None:
        return np.arange(frames) / fps, (np.arange(frames) + 1) / fps, 0.0
    index = scan(times.video_of(clip))
    return index.times, np.append(index.times[1:], index.duration), index.origin


def _append(
    sink: Sink, files: list[Path | None], starts: Floats, ends: Floats, frames: np.ndarray, config: CropConfig
) -> None:
    encoded = [b"" if path is None else _encoded(path, config) for path in files]
    valid = np.array([bool(data) for data in encoded])
    size = config.size
    sink.count(len(files))
    sink.append({
        "start": starts, "end": ends, "valid": valid, "image": encoded, "frame_index": frames,
        "boxes": valid[:, None] * np.array([[0, 0, size, size]], np.float32),
        "landmarks": np.zeros((len(valid), 5, 2), np.float32), "score": valid.astype(np.float32),
    })  # fmt: skip


def _encoded(path: Path, config: CropConfig) -> bytes:
    """The file's own bytes where they have the size and format already, else upright, resized whole and encoded."""
    from PIL import Image

    if path.stat().st_size > _LARGEST_FILE:
        raise ClipError(f"{path} is larger than {_LARGEST_FILE >> 20} MB: not a face crop")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClipError(f"{path} cannot be read: {error.strerror}") from None
    wanted = (config.size, config.size)
    try:
        with read_picture(BytesIO(data), formats=("JPEG", "PNG"), max_side=MAX_SIDE) as picture:
            is_jpeg = data[:3] == b"\xff\xd8\xff"
            kept = picture.size == wanted and is_jpeg == (config.format == "jpeg") and is_plain(picture)
            pixels = upright_rgb(picture)
    except ClipError as error:
        raise ClipError(f"{path}: {error}") from None
    if kept:
        return data
    image = Image.fromarray(pixels).resize(wanted, Image.Resampling.BILINEAR, reducing_gap=3.0)
    out = BytesIO()
    image.save(out, "JPEG", quality=config.quality) if config.format == "jpeg" else image.save(out, "PNG")
    return out.getvalue()
