"""Crops of many clips through a backbone in one fixed batch shape, and the rows back to their clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectkit.config import Runtime
from affectkit.errors import ClipError
from affectkit.prefetch import ahead, worker_count
from affectkit.stages._map import Sink, checked
from affectkit.stages._values import scatter
from affectkit.store import Artifact
from affectkit.tracks import decode_crops


@dataclass(frozen=True)
class _Span:
    """Rows [first, last) of one clip whose crops are images [at, at + valid rows) of a batch."""

    clip: str
    first: int
    last: int
    is_end: bool


@dataclass(frozen=True)
class _Batch:
    spans: list[_Span]
    images: list[Any]


def embed_crops(
    crops: Artifact, clips: list[str], backbone: Any, size: int, runtime: Runtime, dtype: str, sink: Sink
) -> None:
    """Send all rows of all clips through the backbone, `size` crops at a time, and their values to the sink."""
    side = int(crops.stage.inputs["config"]["size"])
    failed: set[str] = set()
    with ThreadPoolExecutor(worker_count(runtime)) as pool:
        for batch, (images, broken) in ahead(_batches(crops, clips, size), lambda b: _decode(b, size, side, pool)):
            values = backbone(images) if batch.images else np.zeros((0, backbone.dim), np.float32)
            at = 0
            for span in batch.spans:
                at = _emit(crops, span, values, at, broken, dtype, failed, sink)


def _batches(crops: Artifact, clips: Iterable[str], size: int) -> Iterator[_Batch]:
    """All rows of all clips in order, cut where `size` crops are together."""
    spans: list[_Span] = []
    images: list[Any] = []
    for clip in clips:
        valid = np.asarray(crops.column(clip, "valid"))
        encoded = crops.column(clip, "image")
        total, first = len(valid), 0
        faces = np.flatnonzero(valid)
        while True:
            done = int(np.searchsorted(faces, first))
            room = faces[done : done + size - len(images)]
            is_end = done + len(room) == len(faces)
            last = total if is_end else int(room[-1]) + 1
            images += [encoded[row] for row in room]
            spans.append(_Span(clip, first, last, is_end))
            if len(images) == size:
                yield _Batch(spans, images)
                spans, images = [], []
            if is_end:
                break
            first = last
    if spans:
        yield _Batch(spans, images)


def _decode(batch: _Batch, size: int, side: int, pool: ThreadPoolExecutor) -> tuple[Any, dict[int, str]]:
    """uint8 [size,3,side,side] in the fixed batch shape, and the images that could not be decoded."""
    images = np.zeros((size, side, side, 3), np.uint8)
    broken = decode_crops(batch.images, images[: len(batch.images)], pool)
    return images.transpose(0, 3, 1, 2), broken


def _emit(
    crops: Artifact, span: _Span, values: np.ndarray, at: int, broken: dict[int, str], dtype: str,
    failed: set[str], sink: Sink,
) -> int:  # fmt: skip
    rows = {name: crops.column(span.clip, name)[span.first : span.last] for name in ("start", "end", "valid")}
    count = int(np.count_nonzero(rows["valid"]))
    if span.first == 0 and not checked(sink, span.clip, crops):
        failed.add(span.clip)
    if span.clip not in failed:
        try:
            for index, row in enumerate(span.first + np.flatnonzero(rows["valid"]), at):
                if index in broken:
                    raise ClipError(f"crop of row {row} cannot be read: {broken[index]}")
            sink.count(len(rows["start"]))
            sink.append(rows | {"values": scatter(values[at : at + count], rows["valid"], dtype)})
            if span.is_end:
                sink.end(span.clip, status=crops.status(span.clip))
        except ClipError as error:
            failed.add(span.clip)
            sink.fail(span.clip, str(error))
    return at + count
