"""What a video's packets say before anything is decoded: when each frame is shown, and whether the file is whole."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError
from affectkit.media.container import open_media, regular_file
from affectkit.media.fields import FieldPairs
from affectkit.media.layout import layout
from affectkit.media.packets import Stamp, nominal_step, presentation_ticks, read_packets, video_stream
from affectkit.moments import TICK
from affectkit.types import Floats

if TYPE_CHECKING:
    from av import Packet

LONGEST = 30 * 24 * 3600.0
"""Clips said to last longer than this (s) are refused: their presentation times are garbage."""


@dataclass(frozen=True, repr=False, eq=False)
class PacketIndex:
    """Presentation times of a file's video frames, from one pass over its packets.

    ticks [T]: sorted, one a frame, in units of `tick` seconds; `stop`: when the last one stops being shown;
    `step`: the median interval. `lead`: frames that come in the file before its first key frame. `assumed_times`:
    packets carry no (true) presentation times; `decoding_times`: they carry those of decoding instead. `damage`: what
    is wrong with the file, as far as its packets tell.
    """

    container: str
    codec: str
    ticks: NDArray[np.int64]
    stop: int
    step: int
    tick: Fraction
    independent: bool
    droppable: bool
    has_audio: bool
    assumed_times: bool
    damage: tuple[str, ...]
    lead: int = 0
    decoding_times: bool = False

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def zero(self) -> int:
        return int(self.ticks[0])

    @property
    def origin(self) -> float:
        """Presentation time of the first video frame on the file's own clock (s), which audio shares."""
        return float(self.zero * self.tick)

    @property
    def duration(self) -> float:
        """From the first frame's appearance to the end of the last one's (s)."""
        return self.seconds(self.stop)

    def seconds(self, ticks: int) -> float:
        """Ticks as seconds from the first video frame."""
        return (ticks - self.zero) * self.tick.numerator / self.tick.denominator

    @property
    def times(self) -> Floats:
        """[T] presentation times in seconds from the first video frame."""
        times: Floats = (self.ticks - self.zero) * (self.tick.numerator / self.tick.denominator)
        return times

    def number(self, ticks: int) -> int:
        """The number of the frame shown at `ticks`, counted from 0 in order of presentation."""
        return bisect_left(self.ticks, ticks)

    def following(self, ticks: int) -> int:
        """When the frame after the one at `ticks` is shown, or the last one ends."""
        after = bisect_right(self.ticks, ticks)
        return int(self.ticks[after]) if after < len(self.ticks) else max(self.stop, ticks + 1)

    def cut(self, start: float, end: float | None) -> tuple[int, int]:
        """Numbers [first, last) of the frames with start <= time < end (None: all to the last); if there is none, of
        the one on show at `start`. Raises ClipError where the video has ended by then."""
        if start > self.duration - TICK:
            raise ClipError(f"the clip starts at {start:g} s, but the video ends at {self.duration:g} s")
        first = int(np.searchsorted(self.times, start - TICK))
        last = len(self) if end is None else int(np.searchsorted(self.times, end - TICK))
        return (first, last) if first < last else (max(first - 1, 0), max(first, 1))

    def __repr__(self) -> str:
        return f"PacketIndex({len(self)} frames, {self.duration:g} s, {self.codec})"


def scan(path: Path) -> PacketIndex:
    """The index of a file's best video stream (cover pictures apart). Demuxes all of it, decodes nothing.

    Raises ClipError: unreadable, refused, no video stream, no packet. The last few indices are remembered, because
    segments of one long file are often read one after the other.
    """
    path = Path(path).absolute()
    return _scan(path, *regular_file(path))


@lru_cache(maxsize=4)
def _scan(path: Path, size: int, mtime_ns: int) -> PacketIndex:
    with open_media(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        damage: list[str] = []
        if missing := layout(path).missing:
            damage.append(f"cut off: the file ends {missing:,} bytes early")
        packets = read_packets(container, stream, damage.append)
        guessed = container.format.name == "avi" and context.has_b_frames
        pairs = FieldPairs(context.extradata) if context.codec.canonical_name == "h264" else None
        stamps = _Stamps(packets, pairs)
        ticks, stop, step, assumed = presentation_ticks(stamps, nominal_step(stream), guessed=guessed)
        tick = Fraction(stream.time_base or 0)
        if tick <= 0 or (stop - int(ticks[0])) * tick > LONGEST:
            raise ClipError(f"presentation times make no sense: {len(ticks)} frames, {float(stop * tick):g} s")
        return PacketIndex(
            container=container.format.name,
            codec=context.codec.canonical_name,
            ticks=ticks,
            stop=stop,
            step=step,
            lead=stamps.lead,
            tick=tick,
            independent=context.codec.intra_only,
            droppable=pairs is not None and not pairs.interlaced and context.field_order in (0, 1),
            has_audio=bool(container.streams.audio),
            assumed_times=assumed,
            decoding_times=assumed and guessed,
            damage=tuple(damage),
        )


class _Stamps:
    """(pts, dts, duration) of each frame, from the packet that begins it; a field's duration is not its frame's: none.

    `lead`: frames met so far before the first key frame.
    """

    def __init__(self, packets: Iterable[Packet], pairs: FieldPairs | None) -> None:
        self._packets, self._pairs = packets, pairs
        self.lead = 0

    def __iter__(self) -> Iterator[Stamp]:
        pairs, waiting = self._pairs, True
        for packet in self._packets:
            begins = pairs is None or pairs.begun(packet)
            waiting &= not packet.is_keyframe
            if begins and not packet.is_discard:
                self.lead += waiting
                yield packet.pts, packet.dts, None if pairs is not None and pairs.in_fields else packet.duration
