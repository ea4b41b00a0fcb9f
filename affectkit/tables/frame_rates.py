"""Frames a second that are assumed where media do not say them: one rate for all clips, or a table of rates."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectkit.errors import ClipError, UsageError, listed
from affectkit.tables.csv import read_table
from affectkit.tables.media_names import video_names
from affectkit.types import without_face

HIGHEST_RATE = 1000.0
_ACCEPTED = f"above 0 and {HIGHEST_RATE:g} at most is accepted"


@dataclass(frozen=True, repr=False)
class FrameRates:
    """Frames a second, by clip id, of a table `clip,fps`."""

    path: Path
    by_clip: Mapping[str, float]

    @property
    def common(self) -> float | None:
        """The rate of all clips of the table, where it is the same."""
        values = set(self.by_clip.values())
        return values.pop() if len(values) == 1 else None

    def named(self, clip: str) -> str | None:
        """The table's name of a clip: its id, without the number of a face, else without Aff-Wild2's `_left` or
        `_right`; None where it has none of these."""
        return next((name for name in (clip, *video_names(without_face(clip))) if name in self.by_clip), None)

    def of(self, clip: str) -> float:
        """A clip's rate. Raises ClipError where the table has none."""
        name = self.named(clip)
        if name is None:
            raise ClipError(f"{self.path} has no fps of clip '{clip}'")
        return self.by_clip[name]

    def notices(self, clips: Collection[str], beside: Collection[str] = ()) -> list[str]:
        """A line where rows of the table are of no clip, `beside` those that need no rate included. Raises UsageError
        for clips that the table does not have."""
        absent = [clip for clip in clips if self.named(clip) is None]
        if absent:
            raise UsageError(
                f"{self.path} has no fps of {len(absent)} of {len(clips)} clips, the first: '{absent[0]}' "
                f"(the table has clips such as '{next(iter(self.by_clip))}'); add a row clip,fps for each"
            )
        unused = sorted(set(self.by_clip) - {self.named(clip) for clip in (*clips, *beside)})
        return [f"{self.path}: rows of clips that are not here: {listed(unused)}"] if unused else []


Rates = float | FrameRates


def frame_rates(fps: float | str | Path, option: str = "--fps") -> Rates:
    """A rate, or the table of a path: columns `clip` and `fps`, a row a clip. Raises UsageError, which names the
    `option`, for anything else."""
    try:
        rate = float(str(fps))
    except ValueError:
        return _read(Path(str(fps)), option)
    if not 0 < rate <= HIGHEST_RATE:
        raise UsageError(f"{option} {rate:g} is not a rate: {_ACCEPTED}, or a table clip,fps")
    return rate


def rate_of(rates: Rates, clip: str) -> float:
    """The rate of one clip. Raises ClipError where a table has none."""
    return rates.of(clip) if isinstance(rates, FrameRates) else rates


def common_rate(rates: Rates) -> float | None:
    """The rate that all clips have; None where a table has several."""
    return rates.common if isinstance(rates, FrameRates) else rates


def _read(path: Path, option: str) -> FrameRates:
    if not os.path.exists(path):  # noqa: PTH110
        raise UsageError(f"{option} {path} is neither a rate ({_ACCEPTED}) nor a table clip,fps that is there")
    table = read_table(path, "frame rates", text=("clip",), numbers=("fps",))
    fps, clips = table.numbers["fps"], table.clips()
    refused = ~((fps > 0) & (fps <= HIGHEST_RATE))
    if refused.any():
        row = int(np.argmax(refused))
        raise table.error(row, f"fps of clip '{clips[row]}' is {fps[row]:g}: {_ACCEPTED}")
    by_clip: dict[str, float] = {}
    for row in range(len(table)):
        if by_clip.setdefault(clips[row], float(fps[row])) != fps[row]:
            raise table.error(row, f"clip '{clips[row]}' has two rates, {by_clip[clips[row]]:g} and {fps[row]:g}")
    return FrameRates(path, by_clip)
