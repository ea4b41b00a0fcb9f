"""Detection on every k-th frame: faces in between are interpolated, or detected after all where a track breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from affectkit.errors import ClipError
from affectkit.tracks.linking import assign, iou
from affectkit.tracks.selection import FaceRule, Nearest
from affectkit.types import Detections, Floats

T = TypeVar("T")
Detect = Callable[[list[T]], Sequence[Detections]]


def detect_every(
    frames: Iterable[T],
    detect: Detect[T],
    every: int = 1,
    *,
    time: Callable[[T], float],
    buffer: int = 16,
    nbytes: Callable[[T], int] | None = None,
    most_bytes: int = 100 << 20,
    rule: FaceRule = "largest",
    min_iou: float = 0.5,
) -> Iterator[tuple[T, Detections]]:
    """Each frame with its faces, in order; `detect` is asked for every `every`-th frame and the last one.

    The frames between two detections are interpolated if each face of one is a face of the other (IoU of `min_iou`
    or more), and are detected as well if not. Which faces must agree: under `nearest` the one it follows, else all,
    because those rules choose at the end of the clip. A face that comes and goes between two detections without any
    face is missed.

    `frames` are opaque: `time` gives the moment of one (s), `detect` the faces of a list of them. No more than
    max(`buffer`, `every`) frames are held at once or passed to one call. With `every` = 1 all frames are detected,
    `buffer` at a time. `nbytes`: memory of a frame; fewer are held where they would take more than `most_bytes`, and a
    ClipError says where `every` frames do. If `frames` raises, the frames held at that moment are lost: a source that
    may break off in the middle, such as a truncated file, must end instead.
    """
    if every < 1 or buffer < 1:
        raise ValueError(f"every ({every}) and buffer ({buffer}) are at least 1")
    source = iter(frames)
    keys = max(1, buffer // every)
    follower = Nearest() if rule == "nearest" else None
    last: tuple[float, Detections] | None = None
    taken = _Window(source, every, nbytes or (lambda frame: 0), most_bytes)
    window = taken(1, (keys - 1) * every)
    while window:
        marks = _marks(len(window), 0 if last is None else every - 1, every)
        done = 0
        for mark, faces in zip(marks, detect([window[i] for i in marks]), strict=True):
            ahead = (time(window[mark]), faces)
            gap = window[done:mark]
            between = _between(gap, last, ahead, detect, time, follower, min_iou) if last and gap else []
            for frame, found in zip([*gap, window[mark]], [*between, faces], strict=True):
                if follower:
                    follower.pick(found)
                yield frame, found
            last, done = ahead, mark + 1
            del gap, frame
        window.clear()  # before the next frames are decoded: they need the memory
        window = taken(every, (keys - 1) * every)


class _Window(Generic[T]):
    """Takes frames from a source while they fit into the memory, so that the last one is to be detected."""

    def __init__(self, source: Iterator[T], every: int, nbytes: Callable[[T], int], most_bytes: int) -> None:
        self._source, self._every = source, every
        self._nbytes, self._most_bytes = nbytes, most_bytes

    def __call__(self, first: int, more: int) -> list[T]:
        """`first` frames, and up to `more`, `every` at a time; fewer at the source's end. Raises ClipError."""
        frames: list[T] = []
        held = largest = 0
        for step in [first, *[self._every] * (more // self._every)]:
            if frames and held + step * largest > self._most_bytes:
                break
            before, others = len(frames), held
            for frame in islice(self._source, step):
                frames.append(frame)
                size = self._nbytes(frame)
                held, largest = held + size, max(largest, size)
                if held - others > max(self._most_bytes, size):
                    raise ClipError(
                        f"{self._every} pictures of {size >> 20} MB each between two detections do not fit into "
                        f"{self._most_bytes >> 20} MB: give --detect-every {max(1, self._most_bytes // size)} or less"
                    )
            if len(frames) < before + step:
                break
        return frames


def bridge(
    before: tuple[float, Detections], after: tuple[float, Detections], times: Sequence[float], min_iou: float = 0.5
) -> list[Detections] | None:
    """Faces at `times`, linear in time between two detected frames (each: time in s, faces); boxes, landmarks, scores.

    None where a track breaks: a face of one frame has no counterpart of at least `min_iou` in the other. Two frames
    without faces have none in between.

    >>> a = Detections(np.array([[0, 0, 10, 10.0]]), np.ones(1), np.zeros((1, 5, 2)))
    >>> b = Detections(np.array([[4, 0, 14, 10.0]]), np.ones(1), np.zeros((1, 5, 2)))
    >>> middle, = bridge((0.0, a), (2.0, b), [0.5], 0.4)
    >>> middle.boxes.tolist()
    [[1.0, 0.0, 11.0, 10.0]]
    >>> bridge((0.0, a), (2.0, Detections.none()), [0.5]) is None
    True
    """
    (t0, a), (t1, b) = before, after
    if len(a) != len(b):
        return None
    overlap = iou(a.boxes, b.boxes)
    pairs = assign(1 - overlap, overlap >= min_iou)
    if len(pairs) < len(a):
        return None
    i, j = np.array(pairs, int).reshape(-1, 2).T
    parts = [np.clip((t - t0) / (t1 - t0), 0, 1) if t1 > t0 else 0.0 for t in times]
    return [_mixture(a, b, i, j, float(part)) for part in parts]


def _marks(length: int, first: int, every: int) -> list[int]:
    """Positions to detect in a window: every `every`-th, and the last (which differs only where the clip ends)."""
    return sorted({*range(first, length, every), length - 1})


def _between(
    gap: list[T],
    last: tuple[float, Detections],
    ahead: tuple[float, Detections],
    detect: Detect[T],
    time: Callable[[T], float],
    follower: Nearest | None,
    min_iou: float,
) -> Sequence[Detections]:
    (t0, a), (t1, b) = last, ahead
    if follower:
        a, b = follower.narrow(a, b)
    made = bridge((t0, a), (t1, b), [time(frame) for frame in gap], min_iou)
    return detect(gap) if made is None else made


def _mixture(a: Detections, b: Detections, i: Floats, j: Floats, part: float) -> Detections:
    def mix(x: Floats, y: Floats) -> Floats:
        return np.asarray((1 - part) * x[i] + part * y[j], x.dtype)

    boxes, scores, landmarks = (
        mix(a.boxes, b.boxes),
        mix(a.scores, b.scores),
        mix(a.landmarks, b.landmarks),
    )
    best = np.argsort(-scores, kind="stable")
    return Detections(boxes[best], scores[best], landmarks[best])
