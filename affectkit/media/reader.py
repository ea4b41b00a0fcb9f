"""Sampled frames of one clip with their exact display intervals, decoded lazily in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from affectkit.errors import ClipError
from affectkit.media.decode import Findings, decoded
from affectkit.media.index import scan
from affectkit.media.picture import Converter, Image
from affectkit.media.plan import plan_clip
from affectkit.media.sampling import Picker, Sampling

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True, repr=False)
class Frame:
    """image [H,W,3] uint8 RGB, upright; shown from `start` to `end` (s, from the clip's start); `index`: its number in
    the file, from 0, in order of presentation."""

    image: Image
    start: float
    end: float
    index: int

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.index}, {self.start:.3f} to {self.end:.3f} s, {width}x{height})"


class VideoReader:
    """Iterates over the sampled frames of a clip; each iteration decodes anew.

    `start` and `end` (s, from the file's first video frame) cut the clip: the frames first shown in [start, end), or
    the one on show at `start` if there is none. Time zero of the rows is the clip's own start: `start`, or the
    presentation time of the file's first video frame; `origin` is that moment on the file's clock, which audio
    shares. A row's [start, end) is its frame's own display interval, up to the next decoded frame (the last one: its
    duration, else the median interval), also where that outlasts the clip. Frames of one presentation time count
    once, the first. `threads`: decoding threads, 0 = one per core.

    `duration` (s) and `expected`, the number of frames that the clip gives if it is whole, are known before decoding.
    After an iteration `partial` says whether anything is missing or damaged, and `problem` what. With
    `on_truncated="fail"` any such thing is a ClipError instead. `assumed_times`: the file lacks presentation times,
    and neighbours' were filled in.

    A pass over the packets first finds which frames are wanted: only they are converted to RGB, and frames on which no
    other depends are not even decoded if they are not wanted. The result is the same.

    Raises ClipError: at once where the file cannot be opened, while iterating where no frame decodes.
    """

    def __init__(
        self,
        path: Path | str,
        sampling: Sampling,
        *,
        start: float | None = None,
        end: float | None = None,
        threads: int = 0,
        on_truncated: Literal["keep", "fail"] = "keep",
    ) -> None:
        self.path = Path(path)
        self.index = scan(self.path)
        self.plan = plan_clip(self.index, sampling, start, end)
        self.threads = threads
        self.fail = on_truncated == "fail"
        self.findings = self._known_findings()
        self._running: Generator[Frame, None, None] | None = None

    @property
    def duration(self) -> float:
        return self.plan.duration

    @property
    def expected(self) -> int:
        return self.plan.expected

    @property
    def origin(self) -> float:
        return self.index.origin + self.plan.start

    @property
    def partial(self) -> bool:
        return bool(self.findings)

    @property
    def problem(self) -> str | None:
        return str(self.findings) or None

    @property
    def assumed_times(self) -> bool:
        return self.findings.assumed_times

    def _known_findings(self) -> Findings:
        reaches_end = self.plan.stop is None
        known = self.index.damage if reaches_end else ()
        return Findings(known, assumed_times=self.index.assumed_times, fail=self.fail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops a running iteration and closes the file."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def __iter__(self) -> Iterator[Frame]:
        self.close()
        self.findings = self._known_findings()
        self._running = self._sampled()
        return self._running

    def _sampled(self) -> Generator[Frame, None, None]:
        from av.error import FFmpegError

        seconds, zero = self.index.seconds, self.plan.start
        convert, picker = Converter(), Picker(self.plan.instants)
        empty = True
        for tick, frame, following, last in self._shown():
            start, end = seconds(tick) - zero, seconds(following) - zero
            if not picker.wants(start, None if last else end):
                continue
            try:
                image = convert(frame)
            except FFmpegError as error:
                self.findings.report(f"{frame.format.name} pictures cannot be converted: {error.strerror}")
                continue
            empty = False
            yield Frame(image, start, end, self.index.number(tick))
        if empty:
            raise ClipError(f"no frame decodes: {self.problem or 'the decoder gives none'}")

    def _shown(self) -> Iterator[tuple[int, VideoFrame, int, bool]]:
        """(tick, frame, the next frame's tick, whether it is the clip's last) of the clip's frames."""
        plan, held, count = self.plan, None, 0
        with closing(decoded(self.path, self.index, plan, self.threads, self.findings)) as frames:
            for tick, frame in frames:
                over = plan.stop is not None and tick >= plan.stop
                if held is not None:
                    yield *held, tick, over
                    held = None
                if over:
                    break
                if tick >= plan.first:
                    count += self._undecoded_lead(tick) if not count else 0
                    held, count = (tick, frame), count + 1
        self._tell_of_missing(count)
        if held is not None:
            yield *held, self.index.following(held[0]), True

    def _undecoded_lead(self, tick: int) -> int:
        """How many frames the clip has before its first decoded one, at `tick`, if its first sampled one is missing."""
        lead = self.index.number(tick) - self.index.number(self.plan.first) if tick > self.plan.entry else 0
        if lead > 0:
            frames = "first frame does" if lead == 1 else f"first {lead:,} frames do"
            self.findings.report(f"the {frames} not decode: the picture begins at {self.index.seconds(tick):.3f} s")
        return lead

    def _tell_of_missing(self, count: int) -> None:
        """Tells of frames that decoding left out without a word; `count`: those that it gave or was told of."""
        plan, index = self.plan, self.index
        if plan.needed is None and not index.damage and not self.findings:
            last = len(index) if plan.stop is None else index.number(plan.stop)
            missing = len(np.unique(index.ticks[index.number(plan.first) : last])) - count
            if missing > 0:
                self.findings.report(f"{missing:,} frames are not given by the decoder")
