"""Cached face crops of many clips as one table of rows, decoded as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError, UsageError
from affectkit.store import Artifact
from affectkit.store.kinds import wrong_kind
from affectkit.tables.pooling import align
from affectkit.tasks import Task
from affectkit.tracks import decode_crop
from affectkit.types import Bools, ClipLabels, Floats

if TYPE_CHECKING:
    from torch import Tensor

Indices = NDArray[np.int64]


class BrokenRow(UsageError):
    """A cached crop that cannot be decoded: `clip`, its `row` in the clip, the `cause`."""

    def __init__(self, artifact: Artifact, clip: str, row: int, cause: str) -> None:
        super().__init__(
            f"{artifact.path}: clip '{clip}', row {row}: {cause} (extract the clip again, or leave it out)"
        )
        self.clip, self.row, self.cause = clip, row, cause


class CropTable:
    """All rows of these clips of a faces artifact, one clip after another; clip c has offsets[c]:offsets[c+1].

    offsets [C+1], start, end [R] (s), valid [R], `side` the crops' height and width. Images stay encoded in the
    memory-mapped artifact until `load`, which may be called from several threads. Raises UsageError for an artifact of
    another stage.
    """

    def __init__(self, upstream: Artifact, clips: Sequence[str]) -> None:
        if upstream.stage.stage != "faces":
            raise wrong_kind(upstream.path, upstream.stage.stage, "faces")
        self.clips = tuple(clips)
        self.side = int(upstream.stage.inputs["config"]["size"])
        self._artifact = upstream
        held = [upstream.clip_rows(clip) for clip in self.clips]
        self._segments = [rows.segment for rows in held]
        self._first = np.array([rows.segment.arrays["offsets"][rows.row] for rows in held], np.int64)
        self.offsets: Indices = np.concatenate([[0], np.cumsum([len(self._column(c, "start")) for c in self.clips])])
        self.offsets = self.offsets.astype(np.int64)
        self.start: Floats = self._joined("start", np.float64)
        self.end: Floats = self._joined("end", np.float64)
        self.valid: Bools = self._joined("valid", np.bool_)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __repr__(self) -> str:
        return f"CropTable({len(self)} rows of {len(self.clips)} clips)"

    def labels(self, labels: Mapping[str, ClipLabels] | None, task: Task, pooling: str) -> Floats:
        """[R,K] (time level: at the rows' times) or [C,K] (clip level); NaN where there are none."""
        is_clips = task.level == "clip"
        found = np.full((len(self.clips) if is_clips else len(self), len(task.label_columns)), np.nan)
        for c, clip in enumerate(self.clips):
            own = (labels or {}).get(clip)
            if own is None or not len(own):
                continue
            if is_clips:
                found[c] = own.values[0]
            else:
                rows = slice(int(self.offsets[c]), int(self.offsets[c + 1]))
                found[rows] = align(own, self.start[rows], self.end[rows], pooling)  # type: ignore[arg-type]
        return found

    def load(self, rows: Indices, rng: np.random.Generator | None = None, probability: float = 0.0) -> Tensor:
        """rows [B,I] -> uint8 [B,I,3,side,side]; black for row -1 and for a row without a face.

        With a generator each unit of I images is augmented, all alike. Raises BrokenRow.
        """
        import torch

        rows = np.asarray(rows)
        distinct, places = np.unique(rows, return_inverse=True)
        decoded = np.zeros((len(distinct), 3, self.side, self.side), np.uint8)
        for pixels, row in zip(decoded, distinct.tolist(), strict=True):
            if row >= 0:
                self._decode(row, pixels)
        images = torch.from_numpy(decoded[places.reshape(rows.shape)])
        if rng is not None and probability > 0:
            from affectkit.nets.augment import augment

            for unit in images:
                changed = augment(unit, rng, probability)
                if changed is not unit:
                    unit.copy_(changed)
        return images

    def _decode(self, row: int, pixels: NDArray[np.uint8]) -> None:
        clip = int(np.searchsorted(self.offsets, row, side="right")) - 1
        number = row - int(self.offsets[clip])
        arrays, stored = self._segments[clip].arrays, int(self._first[clip]) + number
        begin, end = arrays["image_offsets"][stored : stored + 2].tolist()
        if begin == end:
            return
        try:
            pixels[...] = decode_crop(arrays["image"][begin:end], (self.side, self.side)).transpose(2, 0, 1)
        except ClipError as error:
            raise BrokenRow(self._artifact, self.clips[clip], number, str(error)) from None

    def _column(self, clip: str, name: str) -> Floats:
        return np.asarray(self._artifact.column(clip, name))

    def _joined(self, name: str, dtype: type) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, dtype), *(self._column(clip, name).astype(dtype) for clip in self.clips)])


def whole(offsets: NDArray[np.int64], start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """start, end [C] (s) of clips whose rows are offsets[c]:offsets[c+1]; 0 for a clip without rows.

    >>> whole(np.array([0, 2, 2]), np.array([0.5, 1.0]), np.array([1.0, 1.5]))
    (array([0.5, 0. ]), array([1.5, 0. ]))
    """
    filled = np.diff(offsets) > 0
    begin, stop = np.zeros(len(filled)), np.zeros(len(filled))
    begin[filled], stop[filled] = start[offsets[:-1][filled]], end[offsets[1:][filled] - 1]
    return begin, stop
