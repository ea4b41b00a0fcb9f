"""Frames of many clips from one background thread: the next clip is decoded while the last one is finished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from affectkit.errors import AffectkitError, ClipError
from affectkit.media import STILL_SUFFIXES, Frame, Sampling, StillReader, VideoReader
from affectkit.types import Clip


@dataclass(frozen=True)
class Decoded:
    """One step of a clip's decoding: the begin (with the number of frames that are expected), a frame, the end (with
    its reader), or the error that ended it."""

    clip: str
    expected: int | None = None
    frame: Frame | None = None
    reader: VideoReader | StillReader | None = None
    error: ClipError | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the picture."""
        return 0 if self.frame is None else self.frame.image.nbytes


def decode_all(
    clips: Iterable[Clip], sampling: Sampling, threads: int, on_truncated: Literal["keep", "fail"]
) -> Iterator[Decoded]:
    """All sampled frames of all clips, in order; a clip that cannot be decoded ends with its error."""
    for clip in clips:
        try:
            reader = _open(clip, sampling, threads, on_truncated)
            yield Decoded(clip.id, expected=reader.expected)
            for frame in reader:
                yield Decoded(clip.id, frame=frame)
            yield Decoded(clip.id, reader=reader)
        except AffectkitError:
            raise
        except Exception as error:  # whatever a damaged file provokes ends that clip only
            yield Decoded(clip.id, error=clip_error(error, clip.path))


def _open(
    clip: Clip, sampling: Sampling, threads: int, on_truncated: Literal["keep", "fail"]
) -> VideoReader | StillReader:
    if clip.path.suffix.lower() in STILL_SUFFIXES:
        return StillReader(clip.path, sampling, start=clip.start, end=clip.end)
    return VideoReader(clip.path, sampling, start=clip.start, end=clip.end, threads=threads, on_truncated=on_truncated)


def clip_error(error: Exception, path: Path) -> ClipError:
    """What ended the reading of one file, as that clip's error."""
    if isinstance(error, ClipError):
        return error
    if isinstance(error, OSError):
        return ClipError(f"{path} cannot be read: {error.strerror or error}")
    return ClipError(f"cannot be read: {type(error).__name__}{': ' if str(error) else ''}{error}")
