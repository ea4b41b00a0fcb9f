"""Crops of many clips through a backbone in one fixed batch shape, and the rows back to their clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affectkit.config import Runtime
from affectkit.errors import ClipError, listed, named
from affectkit.plugins import AudioBackbone
from affectkit.prefetch import ahead, worker_count
from affectkit.speech.windows import Windowing, touches
from affectkit.stages.crop_contracts import CropMatch
from affectkit.stages.sink import Sink, checked
from affectkit.store import Artifact
from affectkit.tracks import decode_crops
from affectkit.tracks.recrop import Recut
from affectkit.types import Bools, Floats


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
    cuts: list[Recut]
    faces: list[tuple[str, Any]]  # of each span its clip, and the rows whose crops are in the batch


def embed_crops(
    crops: Artifact, clips: list[str], backbone: Any, size: int, runtime: Runtime, dtype: str, sink: Sink,
    match: CropMatch | None = None,
) -> None:  # fmt: skip
    """Send all rows of all clips through the backbone, `size` crops at a time, and their values to the sink; where
    `match` says so, crops are cut again on the way."""
    stored = int(crops.stage.inputs["config"]["size"])
    again = match if match is not None and match.is_cut_again else None
    side = stored if again is None else again.contract.size
    outputs, reads = outputs_of(backbone), getattr(backbone, "reads", ())
    failed: set[str] = set()
    with ThreadPoolExecutor(worker_count(runtime)) as pool:
        for batch, (images, broken) in ahead(
            _batches(crops, clips, size, again), lambda b: _decode(b, size, side, stored, pool)
        ):
            values = backbone(images, **_beside(crops, batch, reads, size)) if batch.images else {}
            values = values if isinstance(values, Mapping) else {"values": values}
            at = 0
            for span in batch.spans:
                at = _emit(crops, span, values, at, broken, dtype, failed, sink, outputs)


def outputs_of(backbone: Any) -> Mapping[str, int]:
    """The results of an image backbone and their dimensions: `values`, where it does not name several."""
    return getattr(backbone, "outputs", None) or {"values": backbone.dim}


def _batches(crops: Artifact, clips: Iterable[str], size: int, again: CropMatch | None = None) -> Iterator[_Batch]:
    """All rows of all clips in order, ended where `size` crops are together."""
    spans: list[_Span] = []
    images: list[Any] = []
    cuts: list[Recut] = []
    rows: list[tuple[str, Any]] = []
    for clip in clips:
        valid = np.asarray(crops.column(clip, "valid"))
        encoded = crops.column(clip, "image")
        of_clip = None if again is None else again.cuts(clip)
        total, first = len(valid), 0
        faces = np.flatnonzero(valid)
        while True:
            done = int(np.searchsorted(faces, first))
            room = faces[done : done + size - len(images)]
            is_end = done + len(room) == len(faces)
            last = total if is_end else int(room[-1]) + 1
            images += [encoded[row] for row in room]
            cuts += [] if of_clip is None else of_clip.take(room)
            rows.append((clip, room))
            spans.append(_Span(clip, first, last, is_end))
            if len(images) == size:
                yield _Batch(spans, images, cuts, rows)
                spans, images, cuts, rows = [], [], [], []
            if is_end:
                break
            first = last
    if spans:
        yield _Batch(spans, images, cuts, rows)


def _beside(crops: Artifact, batch: _Batch, reads: Sequence[str], size: int) -> dict[str, Any]:
    """What else the backbone reads of the crops' rows, by column, zeros where the batch is filled up."""
    columns = {name: [np.asarray(crops.column(clip, name))[rows] for clip, rows in batch.faces] for name in reads}
    return {
        name: np.concatenate([*parts, np.zeros((size - len(batch.images), *parts[0].shape[1:]), parts[0].dtype)])
        for name, parts in columns.items()
    }


def _decode(batch: _Batch, size: int, side: int, stored: int, pool: ThreadPoolExecutor) -> tuple[Any, dict[int, str]]:
    """uint8 [size,3,side,side] in the fixed batch shape, and the images that could not be decoded; `stored` is the side
    of those."""
    images = np.zeros((size, side, side, 3), np.uint8)
    broken = decode_crops(batch.images, images[: len(batch.images)], pool, cuts=batch.cuts, size=(stored, stored))
    return images.transpose(0, 3, 1, 2), broken


def _emit(
    crops: Artifact, span: _Span, values: Mapping[str, Any], at: int, broken: dict[int, str], dtype: str,
    failed: set[str], sink: Sink, outputs: Mapping[str, int],
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
            sink.append(rows | {
                name: scatter(values[name][at : at + count] if count else np.zeros((0, dim)), rows["valid"], dtype)
                for name, dim in outputs.items()
            })  # fmt: skip
            if span.is_end:
                sink.end(span.clip, status=crops.status(span.clip))
        except ClipError as error:
            failed.add(span.clip)
            sink.fail(span.clip, str(error))
    return at + count


@dataclass(frozen=True, repr=False)
class Rows:
    """The rows of one window: start, end [R] (s, on the clip's clock), valid [R], and which frames [R] they are."""

    start: Floats
    end: Floats
    valid: Bools
    frames: np.ndarray


def rows_of(
    windows: list[slice], number: int, offset: float, speech: Floats, windowing: Windowing, backbone: AudioBackbone
) -> Rows:
    """The rows that window `number` of a clip gives; `speech` [K,2] (s) are the stretches of speech.

    Several frames a window: windows that overlap would give each moment twice, so a frame counts where it is nearest
    to the middle of its window. A row is valid where it touches speech, however short a clip's only window is.
    """
    rate, own = backbone.sampling_rate, windows[number]
    first, real = own.start / rate, (own.stop - own.start) / rate
    begin, end = backbone.frames(windowing.heard(own.stop - own.start, rate))
    frames = np.flatnonzero(np.asarray(begin) < real)
    if len(begin) > 1:
        middle = (np.asarray(begin) + np.asarray(end)) / 2
        overlap = (windowing.window - windowing.hop) / 2
        low = overlap if number else -np.inf
        high = windowing.hop + overlap if number + 1 < len(windows) else real
        frames = np.flatnonzero((middle >= low) & (middle < high))
    start = offset + first + np.asarray(begin)[frames]
    stop = offset + first + np.minimum(np.asarray(end)[frames], real)
    return Rows(start, stop, touches(start, stop, speech), frames)


@dataclass(frozen=True, repr=False)
class Lengths:
    """How many samples each of some clips of an audio artifact has, at `sampling_rate` (Hz)."""

    samples: Mapping[str, int]
    sampling_rate: int

    @staticmethod
    def of(audio: Artifact, clips: Iterable[str]) -> Lengths:
        """Those of an artifact."""
        lengths = {clip: len(audio.column(clip, "samples")) for clip in clips}
        return Lengths(lengths, int(audio.stage.inputs["config"]["sampling_rate"]))

    def short(self, windowing: Windowing) -> list[str]:
        """The clips whose only window holds less than the least."""
        return [clip for clip, samples in self.samples.items() if windowing.is_short(samples, self.sampling_rate)]

    def notices(self, windowing: Windowing) -> list[str]:
        """A line for clips whose only window is short, and one for those that end with sound in no window."""
        lines, least = [], f"shorter than the least window of {windowing.shortest:g} s"
        if short := self.short(windowing):
            are = "is" if len(short) == 1 else "are"
            how = f"padded with zeros to {windowing.window:g} s" if windowing.padded else "as short as it is"
            count = f"{len(short)} of {len(self.samples)} clips {are}"
            lines.append(f"{count} {least}: the only window is kept, {how} ({named(short)})")
        rest = {clip: windowing.unheard(samples, self.sampling_rate) for clip, samples in self.samples.items()}
        if cut := [clip for clip, samples in rest.items() if samples]:
            longest = max(rest.values()) / self.sampling_rate
            lines.append(f"{listed(cut, 'clips')} end with up to {longest:.3g} s of sound in no window, being {least}")
        return lines


Found = Mapping[str, Any]


@dataclass(eq=False)
class _Window:
    """One window on its way: its rows, its samples (None where no row is valid), and what the backbone gave."""

    clip: str
    rows: Rows
    samples: slice | None
    is_end: bool
    windows: int = 0  # of the clip; said of its first one
    found: Found | None = None

    @property
    def is_ready(self) -> bool:
        return self.samples is None or self.found is not None


@dataclass
class _SoundBatch:
    """Windows that are heard together, all of `length` samples, and the number of rows of the batch shape."""

    length: int
    size: int
    windows: list[_Window] = field(default_factory=list)


def embed_windows(
    audio: Artifact, clips: list[str], backbone: AudioBackbone, windowing: Windowing, size: int, dtype: str, sink: Sink
) -> None:
    """Send all windows with speech through the backbone, and their rows to the sink, clip by clip.

    Full windows run `size` at a time, the last batch filled up with silence; a window of another length (a short one
    that is not padded, a whole clip) runs alone, so that no result depends on what else there is.
    """
    line: deque[_Window] = deque()
    emit = _Emitter(audio, backbone, dtype, sink)
    batches = _sound_batches(_windows(audio, clips, backbone, windowing), line, backbone.sampling_rate, windowing, size)
    for batch, heard in ahead(batches, lambda batch: _heard(audio, batch)):
        found = backbone(heard)
        for place, window in enumerate(batch.windows):
            window.found = {name: values[place] for name, values in found.items()}
        while line and line[0].is_ready:
            emit(line.popleft())
    while line:
        emit(line.popleft())


def _windows(audio: Artifact, clips: list[str], backbone: AudioBackbone, windowing: Windowing) -> Iterator[_Window]:
    for clip in clips:
        rate, samples = backbone.sampling_rate, len(audio.column(clip, "samples"))
        speech = np.stack([audio.column(clip, "start"), audio.column(clip, "end")], axis=1)
        offset = float(audio.column(clip, "offset"))
        slices = windowing.cut(samples, rate)
        for number, own in enumerate(slices):
            rows = rows_of(slices, number, offset, speech, windowing, backbone)
            yield _Window(clip, rows, own if rows.valid.any() else None, number + 1 == len(slices),
                          0 if number else len(slices))  # fmt: skip
        if not slices:
            nothing = np.zeros(0)
            yield _Window(clip, Rows(nothing, nothing, nothing.astype(bool), nothing.astype(int)), None, True)


def _sound_batches(
    windows: Iterator[_Window], line: deque[_Window], rate: int, windowing: Windowing, size: int
) -> Iterator[_SoundBatch]:
    """Batches in which every window is heard; all windows stand in `line`, in the order of their rows."""
    full = windowing.full(rate)
    filling = _SoundBatch(full or 0, size)
    for window in windows:
        line.append(window)
        if window.samples is None:
            continue
        length = windowing.heard(window.samples.stop - window.samples.start, rate)
        if length != full:
            yield _SoundBatch(length, 1, [window])
            continue
        filling.windows.append(window)
        if len(filling.windows) == size:
            yield filling
            filling = _SoundBatch(length, size)
    if filling.windows:
        yield filling


def _heard(audio: Artifact, batch: _SoundBatch) -> np.ndarray:
    """float32 [N,S] in the fixed batch shape."""
    heard = np.zeros((batch.size, batch.length), np.float32)
    for place, window in enumerate(batch.windows):
        assert window.samples is not None
        samples = audio.column(window.clip, "samples")[window.samples]
        heard[place, : len(samples)] = samples
    return heard


class _Emitter:
    """Rows of windows, in order, to the sink."""

    def __init__(self, audio: Artifact, backbone: AudioBackbone, dtype: str, sink: Sink) -> None:
        self._audio, self._backbone, self._dtype, self._sink = audio, backbone, dtype, sink
        self._clip = self._failed = ""

    def __call__(self, window: _Window) -> None:
        if window.clip != self._clip:
            self._clip = window.clip
            if not checked(self._sink, window.clip, self._audio):
                self._failed = window.clip
        if window.clip == self._failed:
            return
        if window.windows:
            self._sink.expect(window.windows * len(window.rows.start))
        try:
            self._sink.append(self._columns(window))
            self._sink.count(len(window.rows.start))
            if window.is_end:
                self._sink.end(window.clip, status=self._audio.status(window.clip))
        except ClipError as error:
            self._failed = window.clip
            self._sink.fail(window.clip, str(error))

    def _columns(self, window: _Window) -> dict[str, Any]:
        rows, found = window.rows, window.found or {}
        columns: dict[str, Any] = {"start": rows.start, "end": rows.end, "valid": rows.valid}
        chosen = rows.frames[rows.valid]
        for name, dim in self._backbone.outputs.items():
            values = np.asarray(found[name])[chosen] if found else np.zeros((0, dim), np.float32)
            columns[name] = scatter(values, rows.valid, self._dtype)
        if self._backbone.images:
            pictures = iter(found["image"][frame] for frame in chosen)
            columns["image"] = [next(pictures) if valid else b"" for valid in rows.valid]
        return columns


def scatter(values: np.ndarray, valid: Bools, dtype: str) -> np.ndarray:
    """Values of the valid rows among zeros, checked before they are narrowed. Raises ClipError."""
    if not np.isfinite(values).all():
        raise ClipError("the backbone gave values that are not finite")
    if dtype == "float16" and values.size and np.abs(values).max() > np.finfo(np.float16).max:
        raise ClipError("a value is beyond float16: repeat with --dtype float32")
    rows = np.zeros((len(valid), values.shape[1]), dtype)
    rows[np.asarray(valid, bool)] = values
    return rows
