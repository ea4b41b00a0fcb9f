"""Windows of sound through a backbone, in one fixed batch shape a length, and the rows back to their clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affectkit.errors import ClipError
from affectkit.plugins import AudioBackbone
from affectkit.prefetch import ahead
from affectkit.speech.windows import Windowing
from affectkit.stages._map import Sink, checked
from affectkit.stages._sound_windows import Rows, rows_of
from affectkit.stages._values import scatter
from affectkit.store import Artifact

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
class _Batch:
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
    batches = _batches(_windows(audio, clips, backbone, windowing), line, backbone.sampling_rate, windowing, size)
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


def _batches(
    windows: Iterator[_Window], line: deque[_Window], rate: int, windowing: Windowing, size: int
) -> Iterator[_Batch]:
    """Batches in which every window is heard; all windows stand in `line`, in the order of their rows."""
    full = windowing.full(rate)
    filling = _Batch(full or 0, size)
    for window in windows:
        line.append(window)
        if window.samples is None:
            continue
        length = windowing.heard(window.samples.stop - window.samples.start, rate)
        if length != full:
            yield _Batch(length, 1, [window])
            continue
        filling.windows.append(window)
        if len(filling.windows) == size:
            yield filling
            filling = _Batch(length, size)
    if filling.windows:
        yield filling


def _heard(audio: Artifact, batch: _Batch) -> np.ndarray:
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
