"""Boxes of successive frames linked into tracks, one a face: by overlap first, then by centre distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.types import Bools, Detections, Floats

# Velocity is trusted only between frames this close (s): a face sampled once a second does not move in a line.
_STEADY = 0.5
# A missing face is taken to move on for at most this long (s), then to stay where it is.
_COAST = 1.0
# Weight of the newest step in a track's velocity: a detector's jitter of a pixel must not become a drift.
_VELOCITY_WEIGHT = 0.3
# Boxes whose sides differ by more than this factor are not linked by distance.
_SIZE_RATIO = 2.0


class LinkConfig(Config):
    """How boxes of different frames become one track."""

    max_gap: float = Field(default=2.0, ge=0, le=600, description="seconds a face may be missing before its track ends")
    min_iou: float = Field(default=0.3, gt=0, le=1, description="overlap (IoU) from which two boxes are the same face")
    max_distance: float = Field(
        default=1.0, ge=0, le=10, description="else: how far a face may move in half a second, in box sides"
    )
    min_length: int = Field(default=3, ge=1, description="--face all: frames that a track must have")


@dataclass(eq=False, repr=False)
class Track:
    """One linked face: an entry for each frame that shows it.

    rows: numbers of the sampled frames; boxes: [4] each; scores; landmarks: [5,2] each.
    """

    rows: list[int] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    landmarks: list[Floats] = field(default_factory=list)
    seen: float = 0.0
    _velocity: Floats | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        span = f", rows {self.rows[0]}-{self.rows[-1]}" if self.rows else ""
        return f"Track({len(self)} frames{span})"

    def append(self, row: int, time: float, box: Floats, score: float, landmarks: Floats) -> None:
        """The face as frame `row`, at `time` (s), shows it."""
        step = time - self.seen
        if self.rows and 0 < step <= _STEADY:
            moved = (_centres(box[None])[0] - _centres(self.boxes[-1][None])[0]) / step
            old = moved if self._velocity is None else self._velocity
            self._velocity = old + _VELOCITY_WEIGHT * (moved - old)
        elif self.rows:
            self._velocity = None
        self.rows.append(row)
        self.boxes.append(box)
        self.scores.append(float(score))
        self.landmarks.append(landmarks)
        self.seen = time

    def expected(self, time: float) -> Floats:
        """[4] where the box should be at `time`, moving on as it did: faces that pass each other keep apart."""
        if self._velocity is None:
            return self.boxes[-1]
        shift = self._velocity * min(time - self.seen, _COAST)
        return np.asarray(self.boxes[-1] + np.tile(shift, 2))


class Linker:
    """Links the detections of a clip, frame by frame, into tracks. The same detections give the same tracks.

    A detection continues the live track whose expected box it overlaps best; of what is left, the track whose centre
    is nearest, if it is near enough and of similar size; and starts a new track otherwise. Where several pairs
    compete, the assignment is optimal as a whole (Hungarian method). A track lives while the previous sampled frame
    shows it or it has been missing for no more than `max_gap` seconds, so sparse sampling alone does not end one.

    >>> linker = Linker(LinkConfig())
    >>> for x in (10, 12, 14):
    ...     box = np.array([[x, 5, x + 40, 45]], np.float32)
    ...     _ = linker.update(x / 50, Detections(box, np.ones(1), np.zeros((1, 5, 2))))
    >>> linker.tracks
    [Track(3 frames, rows 0-2)]
    """

    def __init__(self, config: LinkConfig) -> None:
        self.config = config
        self.tracks: list[Track] = []  # by first appearance, then from left to right
        self.rows = 0
        self._time = 0.0

    def update(self, time: float, detections: Detections) -> list[Track]:
        """The next sampled frame, at `time` (s): the track of each of its K detections."""
        live = [track for track in self.tracks if self._lives(track, time)]
        found: dict[int, Track] = {}
        if live and len(detections):
            expected = np.stack([track.expected(time) for track in live])
            elapsed = np.array([time - track.seen for track in live])
            found = {j: live[i] for i, j in match(expected, detections.boxes, elapsed, self.config)}
        for j in np.argsort(detections.boxes[:, 0], kind="stable").tolist():
            if j not in found:
                found[j] = Track()
                self.tracks.append(found[j])
        for j, track in found.items():
            track.append(self.rows, time, detections.boxes[j], detections.scores[j], detections.landmarks[j])
        self.rows += 1
        return [found[j] for j in range(len(detections))]

    def _lives(self, track: Track, time: float) -> bool:
        return track.rows[-1] == self.rows - 1 or time - track.seen <= self.config.max_gap


def match(known: Floats, found: Floats, elapsed: Floats, config: LinkConfig) -> list[tuple[int, int]]:
    """Pairs (i, j) of `known` boxes [A,4], last seen `elapsed` [A] seconds ago, and `found` boxes [B,4]."""
    overlap = iou(known, found)
    pairs = assign(1 - overlap, overlap >= config.min_iou)
    a = np.setdiff1d(np.arange(len(known)), [i for i, _ in pairs])
    b = np.setdiff1d(np.arange(len(found)), [j for _, j in pairs])
    if len(a) and len(b):
        distance, ratio = _distances(known[a], found[b])
        reach = config.max_distance * np.clip(elapsed[a] / _STEADY, 0.25, 1)
        near = (distance <= reach[:, None]) & (ratio <= _SIZE_RATIO)
        pairs += [(int(a[i]), int(b[j])) for i, j in assign(distance, near)]
    return pairs


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes [A,4] and [B,4]: [A,B]; 0 for boxes without an area.

    >>> float(iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]]))[0, 0]).__round__(4)
    0.3333
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    union = areas(a)[:, None] + areas(b)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def assign(cost: Floats, allowed: Bools) -> list[tuple[int, int]]:
    """One-to-one pairs (i, j) among the `allowed` [A,B]: as many as possible, of the least total cost [A,B]."""
    if (allowed.sum(axis=0) <= 1).all() and (allowed.sum(axis=1) <= 1).all():
        rows, columns = np.nonzero(allowed)  # nobody competes: the usual frame
    else:
        from scipy.optimize import linear_sum_assignment

        forbidden = 1 + 2 * min(cost.shape) * float(cost[allowed].max())
        rows, columns = linear_sum_assignment(np.where(allowed, cost, forbidden))
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if allowed[i, j]]


def areas(boxes: Floats | Sequence[Floats]) -> Floats:
    """[N] areas of boxes [N,4], in square pixels."""
    sides = np.maximum(np.asarray(boxes)[:, 2:] - np.asarray(boxes)[:, :2], 0)
    return np.asarray(sides.prod(axis=1))


def _centres(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)


def _distances(a: Floats, b: Floats) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Centre distance over the mean side, and how many times larger one side is: [A,B] each."""
    side_a, side_b = np.sqrt(areas(a))[:, None], np.sqrt(areas(b))[None]
    gap = np.linalg.norm(_centres(a)[:, None] - _centres(b)[None], axis=2)
    small = np.maximum(np.minimum(side_a, side_b), 1e-6)
    return gap / np.maximum((side_a + side_b) / 2, 1e-6), np.maximum(side_a, side_b) / small
