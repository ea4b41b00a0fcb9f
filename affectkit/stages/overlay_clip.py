"""One clip's video with everything drawn on it, as an MP4 with its sound; and whether a detector finds a face in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from affectkit.errors import ClipError
from affectkit.media import Frame, Sampling, VideoReader
from affectkit.media.aspect import pixel_aspect
from affectkit.media.mp4 import Mp4Writer
from affectkit.media.source_sound import SourceSound
from affectkit.overlays.canvas import OverlayCanvas, Style
from affectkit.overlays.hiding import Hiding, around_detections
from affectkit.plugins import Detector
from affectkit.stages.overlay_sources import ClipSource
from affectkit.types import Floats

_AT_ONCE = 8
"""Frames that go to a detector at once."""


@dataclass(frozen=True)
class Drawing:
    """How clips are drawn: `hide_margin` in parts of a face, `hold` in seconds."""

    style: Style
    anonymise: Hiding | None
    hide_margin: float
    hold: float
    quality: int
    sound: bool


@dataclass(frozen=True)
class Drawn:
    """What a file holds: frames, size (pixels), seconds; begin: the clip's own time of the file's time 0 (s); how the
    sound came into it ("copied", "aac", "none"); the part of the picture that is the video's; notices."""

    frames: int
    width: int
    height: int
    seconds: float
    begin: float
    sound: str
    picture: tuple[int, int]
    notices: tuple[str, ...]


class ClipTimes:
    """The frames of a clip in order: ticks [R] on the file's clock, and from when to when each is shown (s, the clip's
    own clock)."""

    def __init__(self, reader: VideoReader) -> None:
        index, plan = reader.index, reader.plan
        ticks = np.unique(index.ticks)
        first = int(np.searchsorted(ticks, plan.first))
        last = len(ticks) if plan.stop is None else int(np.searchsorted(ticks, plan.stop))
        self.ticks = ticks[first : max(last, first + 1)]
        ends = [*self.ticks[1:].tolist(), index.following(int(self.ticks[-1]))]
        self.ends = np.array(ends, np.int64)
        seconds = float(index.tick)
        self.start: Floats = (self.ticks - index.zero) * seconds - plan.start
        self.end: Floats = (self.ends - index.zero) * seconds - plan.start
        self.moments: Floats = (self.start + self.end) / 2

    def number(self, tick: int) -> int:
        """The place of the frame shown from a tick on."""
        return int(np.searchsorted(self.ticks, tick))


def draw_clip(
    source: ClipSource, drawing: Drawing, path: Path, threads: int, count: Callable[[int], None],
    detector: Detector | None = None, *, checked: bool = False, expect: Callable[[int], None],
) -> Drawn:  # fmt: skip
    """Write a clip's MP4 to a path. `count` is told of frames, `expect` of how many there will be; `detector`: what
    finds faces in every frame, to be hidden too; `checked`: the result will be looked at frame by frame as well. Raises
    ClipError."""
    reader = _reader(source, threads)
    times = ClipTimes(reader)
    passes = 1 + (detector is not None) + checked
    expect(len(times.ticks) * passes)
    detected = None
    if detector is not None and drawing.anonymise not in (None, "mesh-only"):
        detected = around_detections(_detections(reader, times, detector, count), times.moments, drawing.hide_margin)
        reader = _reader(source, threads)
    with reader:
        return _Writing(source, drawing, reader, times, detected).run(path, threads, count)


def _reader(source: ClipSource, threads: int) -> VideoReader:
    media = source.media
    return VideoReader(media.path, Sampling(fps="native"), start=media.start, end=media.end, threads=threads)


class _Writing:
    """One clip under way."""

    def __init__(
        self, source: ClipSource, drawing: Drawing, reader: VideoReader, times: ClipTimes,
        detected: list[Floats] | None,
    ) -> None:  # fmt: skip
        self._source, self._drawing, self._reader, self._times = source, drawing, reader, times
        self._detected = detected

    def run(self, path: Path, threads: int, count: Callable[[int], None]) -> Drawn:
        frames = iter(self._reader)
        first = next(frames)
        index, times = self._reader.index, self._times
        zero = int(index.ticks[first.index])
        canvas = self._canvas(first)
        sound, notices = self._sound(zero)
        height, width = first.image.shape[:2]
        written, last = 0, zero
        with Mp4Writer(
            path, canvas.width, canvas.height, index.tick, quality=self._drawing.quality,
            aspect=pixel_aspect(self._source.media.path, width, height), sound=sound, threads=threads,
        ) as writer:  # fmt: skip
            for frame in _chained(first, frames):
                tick = int(index.ticks[frame.index])
                number = times.number(tick)
                last = int(times.ends[number])
                writer.write(canvas.draw(frame.image, number), tick - zero, last - zero)
                written += 1
                count(1)
        if sound is not None and sound.problem:
            notices.append(f"sound: {sound.problem}")
        if self._reader.problem:
            notices.append(self._reader.problem)
        factor = canvas.factor
        if factor > 1:
            notices.append(f"a picture of {width} x {height} is enlarged {factor} times")
        picture = width * factor, height * factor
        begin = float(times.start[times.number(zero)])
        return Drawn(
            written, canvas.width, canvas.height, (last - zero) * float(index.tick), begin,
            "none" if sound is None else sound.how, picture, (*notices, *canvas.notices),
        )  # fmt: skip

    def _canvas(self, first: Frame) -> OverlayCanvas:
        source, drawing = self._source, self._drawing
        height, width = first.image.shape[:2]
        return OverlayCanvas(
            source.faces, source.curves, self._times.moments, float(self._times.end[-1]), width, height, drawing.style,
            hiding=drawing.anonymise, margin=drawing.hide_margin, hold=drawing.hold, detected=self._detected,
        )  # fmt: skip

    def _sound(self, zero: int) -> tuple[SourceSound | None, list[str]]:
        index, reader = self._reader.index, self._reader
        if not self._drawing.sound or not index.has_audio:
            return None, []
        origin = zero * Fraction(index.tick)
        end = None if reader.plan.stop is None else float((int(self._times.ends[-1]) - zero) * index.tick)
        try:
            return SourceSound(self._source.media.path, origin, end), []
        except ClipError as error:
            return None, [f"without sound: {error}"]


def _chained(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


def _some_at_once(reader: VideoReader) -> Iterator[list[Frame]]:
    frames = iter(reader)
    while some := list(islice(frames, _AT_ONCE)):
        yield some


def _detections(
    reader: VideoReader, times: ClipTimes, detector: Detector, count: Callable[[int], None]
) -> Iterator[tuple[float, Floats]]:
    """The moment and the boxes of every frame's faces, in pixels of the first frame."""
    shape: tuple[int, ...] = ()
    for frames in _some_at_once(reader):
        count(len(frames))
        for size, alike in groupby(frames, key=lambda frame: frame.image.shape):
            shape = shape or size
            some = list(alike)
            scale = np.array([shape[1] / size[1], shape[0] / size[0]] * 2)
            for frame, faces in zip(some, detector(np.stack([each.image for each in some])), strict=True):
                moment = times.moments[times.number(int(reader.index.ticks[frame.index]))]
                yield float(moment), np.asarray(faces.boxes, float) * scale


def faces_left(
    path: Path,
    picture: tuple[int, int],
    detector: Detector,
    threads: int,
    count: Callable[[int], None] = lambda frames: None,
) -> list[tuple[float, int]]:
    """(moment in s, number of faces) of each frame of a result in which the detector finds any, within the video's part
    of the picture (width, height)."""
    width, height = picture
    left = []
    with VideoReader(path, Sampling(fps="native"), threads=threads) as reader:
        for frames in _some_at_once(reader):
            count(len(frames))
            images = np.stack([frame.image[:height, :width] for frame in frames])
            for frame, faces in zip(frames, detector(images), strict=True):
                if len(faces):
                    left.append((frame.start, len(faces)))
    return left
