"""Entering a long file's sound near a clip, where that gives the same samples as decoding from the beginning.

One thing differs: noise that AAC leaves to the decoder (ISO/IEC 14496-3, perceptual noise substitution) comes from
random numbers, which depend on where decoding began. The same cut of the same file gives the same samples every time.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.media.container import open_media, regular_file
from affectkit.media.packets import read_packets
from affectkit.media.sound import audio_stream

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
LEAD = 1.0
"""Sound (s) that is decoded before it is needed: decoders remember up to 0.3 s (MP3's bit reservoir)."""
WORTHWHILE = 20.0
"""From so far (s) into a file on it is entered."""
HEAD = 4
"""Frames from the file's beginning that tell how many samples a frame has."""


@dataclass(frozen=True)
class FrameGrid:
    """Where every frame of a file begins: frame k after the first at sample `skipped` + k * `step`, and its
    presentation time is `time` + k * step / rate (s), to a tick."""

    skipped: int
    step: int
    time: float
    rate: int

    def position(self, time: float) -> int:
        """The sample with which the frame of that presentation time begins."""
        return self.skipped + round((time - self.time) * self.rate / self.step) * self.step


def grid_of(path: Path, head: Sequence[AudioFrame]) -> FrameGrid | None:
    """The grid that the file's first frames, and then the times of all its packets, lie on; None if there is none.

    Times are rounded in many containers (to a millisecond in matroska), so a frame's time alone does not say which
    sample it begins with. Frames of varying length, gaps and edits have no grid.
    """
    lengths = {frame.samples for frame in head[1:]}
    if len(head) < HEAD or len(lengths) != 1 or head[1].time is None or head[1].pts is None:
        return None
    grid = FrameGrid(head[0].samples, lengths.pop(), head[1].time, head[0].sample_rate)
    ticks, tick = _ticks(path.absolute(), *regular_file(path))
    times = ticks[np.searchsorted(ticks, head[1].pts) :] * float(tick)
    expected = grid.time + np.arange(len(times)) * (grid.step / grid.rate)
    regular = len(times) and tick * grid.rate < grid.step and np.abs(times - expected).max() <= 1.01 * float(tick)
    return grid if regular else None


@lru_cache(maxsize=4)
def _ticks(path: Path, size: int, mtime_ns: int) -> tuple[NDArray[np.int64], Fraction]:
    """Presentation times of a file's audio packets, sorted, without those that an edit list cuts out, and the unit (s).

    No times at all where a packet lacks its own."""
    ticks = array("q")
    with open_media(path) as container:
        stream = audio_stream(container)
        tick = Fraction(stream.time_base or 1)
        for packet in read_packets(container, stream, lambda problem: None):
            if packet.pts is None:
                return np.zeros(0, np.int64), tick
            if not packet.is_discard:
                ticks.append(packet.pts)
    return np.sort(np.frombuffer(ticks, np.int64)), tick


def seek(container: InputContainer, stream: AudioStream, time: float) -> bool:
    """Go to `LEAD` before `time` (s, the file's clock); whether that was possible."""
    from av.error import FFmpegError

    try:
        container.seek(int((time - LEAD) / stream.time_base), stream=stream)  # type: ignore[operator]
    except FFmpegError:
        return False
    return True
