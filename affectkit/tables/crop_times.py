"""When numbered frames are shown: by the video that they are of, or at a rate that is assumed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from affectkit.digests import sha256_lines
from affectkit.errors import ClipError
from affectkit.media import VIDEO_SUFFIXES
from affectkit.store import UNREADABLE
from affectkit.tables.frame_rates import FrameRates, Rates, common_rate, rate_of
from affectkit.tables.media_names import file_named, video_names
from affectkit.types import Clip


@dataclass(frozen=True)
class CropTimes:
    """Where the times of numbered frames come from: the video of each clip, or a rate that is assumed, for all clips
    or by a table; `first_frame` is the number of a clip's first frame, 1 or 0."""

    videos: Path | None = None
    source_fps: Rates | None = None
    first_frame: int = 1

    @property
    def are_given(self) -> bool:
        """Whether there are videos, or a rate."""
        return self.videos is not None or self.source_fps is not None

    @property
    def assumed(self) -> float | str | None:
        """The rate that all clips have, as the fingerprint takes it; `table` where a table has several."""
        return None if self.source_fps is None else common_rate(self.source_fps) or "table"

    def rate_of(self, clip: str) -> float | None:
        """The rate that is assumed for a clip. Raises ClipError where a table has none."""
        return None if self.source_fps is None else rate_of(self.source_fps, clip)

    def source_of(self, clip: str, digest: str) -> str:
        """The digest of what a clip is made from with its own rate in it, where clips have several."""
        if not isinstance(self.source_fps, FrameRates) or self.source_fps.common is not None or digest == UNREADABLE:
            return digest
        return sha256_lines([digest, f"{self.rate_of(clip)!r} fps"])

    def notices(self, clips: Collection[str]) -> list[str]:
        """A line for rates that no clip needs. Raises UsageError for clips that a table does not have."""
        return self.source_fps.notices(clips) if isinstance(self.source_fps, FrameRates) else []

    def video_of(self, clip: Clip) -> Path:
        """The clip's video: its id, without Aff-Wild2's `_left` or `_right`, and a video suffix. Raises ClipError."""
        assert self.videos is not None
        names = video_names(clip.id)
        for name in names:
            if (path := file_named(self.videos, name, VIDEO_SUFFIXES)) is not None:
                return path
        raise ClipError(f"no video {names[-1]} ({', '.join(sorted(VIDEO_SUFFIXES))}) in {self.videos}")
