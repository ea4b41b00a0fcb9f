"""When each frame of a video is shown: the times of labels that have a row a frame.

They come from the packets, as those of `extract faces` do, and are bit-equal to them. Reading the packets means
reading the file, so the times are remembered in the user's cache by the video's path, size and time of change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError
from affectkit.media import PacketIndex, decoder_version, scan
from affectkit.types import Floats
from affectkit.weights import user_dir

_VERSION = 2
_WORKERS = 8


@dataclass(frozen=True, repr=False)
class FrameTimes:
    """start, end [F] (s, from the first video frame) of frames 0 to F-1; a frame that is never shown, because another
    has its presentation time, has end = start."""

    start: Floats
    end: Floats

    def __len__(self) -> int:
        return len(self.start)


def of_index(index: PacketIndex) -> FrameTimes:
    """The display interval of each frame, as VideoReader gives it: until the next frame with another time."""
    ticks = index.ticks
    shown = np.unique(ticks)
    ends = np.append(shown[1:], max(index.stop, int(shown[-1]) + 1))
    following = ends[np.searchsorted(shown, ticks)]
    repeated = np.append(False, ticks[1:] == ticks[:-1])
    return FrameTimes(_seconds(np.where(repeated, following, ticks), index), _seconds(following, index))


def _seconds(ticks: NDArray[np.int64], index: PacketIndex) -> Floats:
    """As PacketIndex.seconds, to the last bit: one multiplication of integers, one division."""
    return np.asarray((ticks - index.zero) * index.tick.numerator / index.tick.denominator)


def assumed(rows: int, fps: float) -> FrameTimes:
    """Frames at a constant rate."""
    numbers = np.arange(rows + 1) / fps
    return FrameTimes(numbers[:-1], numbers[1:])


def read_times(videos: Iterable[Path]) -> dict[Path, FrameTimes | ClipError]:
    """The times of each video, or why it has none; several are read at once."""
    paths = list(dict.fromkeys(videos))
    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(_times_or_error, paths), strict=True))


def _times_or_error(video: Path) -> FrameTimes | ClipError:
    try:
        return _times(video)
    except ClipError as error:
        return error


def _times(video: Path) -> FrameTimes:
    memo = _memo(video)
    known = _remembered(memo)
    if known is not None:
        return known
    times = of_index(scan(video))
    _remember(memo, times)
    return times


def _memo(video: Path) -> Path:
    """Where the times of a video in its present state are remembered."""
    try:
        status = video.stat()
    except OSError as error:
        raise ClipError(f"{video} cannot be read: {error.strerror}") from None
    key = f"{_VERSION} {decoder_version()} {video.resolve()} {status.st_size} {status.st_mtime_ns}"
    return user_dir() / "frame-times" / f"{sha256(os.fsencode(key)).hexdigest()}.npy"


def _remembered(memo: Path) -> FrameTimes | None:
    try:
        table = np.load(memo, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(table, np.ndarray) or table.ndim != 2 or len(table) != 2 or table.dtype != np.float64:
        return None
    return FrameTimes(table[0], table[1])


def _remember(memo: Path, times: FrameTimes) -> None:
    """A folder that cannot be written to only costs time."""
    data = BytesIO()
    np.save(data, np.stack([times.start, times.end]), allow_pickle=False)
    part = memo.with_suffix(f".{os.getpid()}.{id(times)}.part")
    with suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data.getvalue())
        part.replace(memo)
