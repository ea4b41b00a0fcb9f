"""One clip's faces, frame by frame: linked, cut while the frame is at hand, chosen at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol, overload

import numpy as np

from affectkit.tracks.crops import CropConfig, Frame, croppable, cut
from affectkit.tracks.linking import LinkConfig, Linker, Track
from affectkit.tracks.selection import FaceRule, Nearest, choose
from affectkit.types import Detections, FaceTrack, Floats

# Frames whose crops may still be in the making: each keeps its whole frame in memory, so large ones are fewer.
_PENDING, _PENDING_BYTES = 4, 128 << 20


class Spool(Protocol):
    """Where encoded crops wait for the end of the clip. A list will do; a temporary file for long clips."""

    def append(self, data: bytes, /) -> None: ...

    def __getitem__(self, index: int, /) -> bytes: ...

    def __len__(self) -> int: ...


class FaceTracker:
    """Builds the `FaceTrack`s of one clip in one pass, holding no frames.

    The size of the pictures may change: faces are given, linked and chosen in pixels of the first one, while boxes and
    landmarks of a row are in pixels of its own frame.

    A rule that looks at whole tracks is decided only at the end, so every face of a frame is cut at once and its
    encoded crop kept in `spool` (by default in memory); `nearest` is decided at once and cuts one face a frame. With
    a `pool`, crops are cut in its threads; the result is the same.

    >>> tracker = FaceTracker("largest", CropConfig(size=32))
    >>> face = Detections(np.array([[8, 8, 40, 48]], np.float32), np.ones(1), np.zeros((1, 5, 2)))
    >>> for index, found in enumerate([face, Detections.none(), face]):
    ...     tracker.add(index / 5, (index + 1) / 5, 6 * index, np.zeros((64, 64, 3), np.uint8), found)
    >>> tracker.finish()
    [FaceTrack(3 frames, 2 with a face)]
    """

    def __init__(
        self,
        rule: FaceRule,
        crop: CropConfig,
        link: LinkConfig | None = None,
        *,
        pool: Executor | None = None,
        spool: Spool | None = None,
    ) -> None:
        self.rule = rule
        self.crop = crop
        self.link = link or LinkConfig()
        self._linker = Linker(self.link)
        self._followed = Track()
        self._nearest = Nearest()
        self._pool = pool
        self._spool = spool
        self._kept: Spool = [] if spool is None else spool
        self._where: dict[Track, dict[int, int]] = {}  # row -> place in the spool
        self._pending: deque[tuple[Track, int, Future[bytes]]] = deque()
        self._times: list[tuple[float, float, int]] = []
        self._size: tuple[int, ...] = ()
        self._scales: list[Floats] = []  # [2] of each row: its pixels (x, y) in one of the first frame

    def __len__(self) -> int:
        return len(self._times)

    def add(self, start: float, end: float, frame_index: int, frame: Frame, detections: Detections) -> None:
        """The next sampled frame, uint8 [H,W,3] RGB, shown from `start` to `end` (s), and its faces, in pixels of the
        clip's first frame."""
        row = len(self._times)
        self._times.append((start, end, frame_index))
        self._size = self._size or frame.shape[:2]
        scale = pixels_in(frame.shape, self._size)
        self._scales.append(scale)
        faces = croppable(rescaled(detections, scale), *frame.shape[:2])
        for index, track in self._assigned(start, rescaled(faces, 1 / scale)):
            self._where.setdefault(track, {})
            box, landmarks = faces.boxes[index], faces.landmarks[index]
            if self._pool:
                self._pending.append((track, row, self._pool.submit(cut, frame, box, landmarks, self.crop)))
            else:
                self._keep(track, row, cut(frame, box, landmarks, self.crop))
        self._drain(row - min(_PENDING, _PENDING_BYTES // frame.nbytes))

    def finish(self) -> list[FaceTrack]:
        """The face tracks of the clip, one unless the rule is `all`: a row for each frame that was added.

        Rows without a face, or whose face could not be cut, are zeros with valid = 0 and an empty crop; a clip without
        faces is one such track. Crops are read from a given `spool` only when they are asked for.
        """
        self._drain(len(self._times))
        if self.rule == "nearest":
            chosen = [self._followed]
        else:
            chosen = choose(self._linker.tracks, self.rule, min_length=min(self.link.min_length, len(self)))
        return [self._face_track(track) for track in chosen or [Track()]]

    def _assigned(self, time: float, faces: Detections) -> list[tuple[int, Track]]:
        """The faces to cut and the track of each."""
        if self.rule != "nearest":
            return list(enumerate(self._linker.update(time, faces)))
        chosen = self._nearest.pick(faces)
        if chosen is None:
            return []
        self._followed.append(len(self) - 1, time, faces.boxes[chosen], faces.scores[chosen], faces.landmarks[chosen])
        return [(chosen, self._followed)]

    def _drain(self, row: int) -> None:
        """Wait for the crops of frames up to `row`."""
        while self._pending and self._pending[0][1] <= row:
            track, cut_row, future = self._pending.popleft()
            self._keep(track, cut_row, future.result())

    def _keep(self, track: Track, row: int, data: bytes) -> None:
        if data:
            self._where[track][row] = len(self._kept)
            self._kept.append(data)

    def _face_track(self, track: Track) -> FaceTrack:
        where = self._where.get(track, {})
        held = [i for i, row in enumerate(track.rows) if row in where]
        rows = [track.rows[i] for i in held]
        total = len(self._times)
        start, end, index = np.array(self._times, np.float64).reshape(-1, 3).T
        boxes, landmarks = np.zeros((total, 4), np.float32), np.zeros((total, 5, 2), np.float32)
        score, valid = np.zeros(total, np.float32), np.zeros(total, bool)
        valid[rows] = True
        if rows:
            scales = np.stack([self._scales[row] for row in rows])
            boxes[rows] = np.stack([track.boxes[i] for i in held]) * np.tile(scales, 2)
            landmarks[rows] = np.stack([track.landmarks[i] for i in held]) * scales[:, None]
            score[rows] = [track.scores[i] for i in held]
        crops = SpooledCrops(self._kept, [where.get(row, -1) for row in range(total)])
        return FaceTrack(
            start=start, end=end, boxes=boxes, landmarks=landmarks, score=score, valid=valid,
            crops=crops if self._spool is not None else tuple(crops), frame_index=index.astype(np.int64),
        )  # fmt: skip


def pixels_in(shape: Sequence[int], other: Sequence[int]) -> Floats:
    """[2] pixels (x, y) of a picture of `shape` (height, width, ...) to one pixel of another that shows the same."""
    return np.array([shape[1] / other[1], shape[0] / other[0]])


def rescaled(faces: Detections, factors: Floats) -> Detections:
    """The faces with their coordinates x and y times `factors` [2]."""
    if (factors == 1).all():
        return faces
    boxes = np.asarray(faces.boxes * np.tile(factors, 2), faces.boxes.dtype)
    return Detections(boxes, faces.scores, np.asarray(faces.landmarks * factors, faces.landmarks.dtype))


class SpooledCrops(Sequence[bytes]):
    """Crops of one track, read from the spool one at a time; empty where there is none."""

    def __init__(self, spool: Spool, places: Sequence[int]) -> None:
        self._spool = spool
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> SpooledCrops: ...

    def __getitem__(self, index: int | slice) -> bytes | SpooledCrops:
        if isinstance(index, slice):
            return SpooledCrops(self._spool, self._places[index])
        place = self._places[index]
        return b"" if place < 0 else self._spool[place]

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))
