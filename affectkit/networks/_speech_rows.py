"""Windows of sound as units, and the label steps that they are about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError
from affectkit.manifest.alignment import align
from affectkit.plugins import Units
from affectkit.speech.windows import Windowing, touches
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats

if TYPE_CHECKING:
    from torch import Tensor

    from affectkit.networks._sound import WaveTable

Indices = NDArray[np.int64]
RATES = {"regression": 5.0, "multiclass": 1.0, "multilabel": 5.0}


@dataclass(frozen=True)
class Steps:
    """The L label steps of a window: how many, `rate` a second (None: the one is the whole window), and how many lie
    between the beginnings of two windows."""

    count: int
    rate: float | None
    hop: int

    @staticmethod
    def of(windowing: Windowing, rate: float | None, task: Task) -> Steps:
        """Raises UsageError where windows do not begin and end with a step.

        >>> from affectkit import tasks
        >>> Steps.of(Windowing(4, 2, 2, True), None, tasks.get("va"))
        Steps(count=20, rate=5.0, hop=10)
        """
        if task.level == "clip":
            return Steps(1, None, 0)
        rate = rate or RATES[task.kind]
        counts = [seconds * rate for seconds in (windowing.window, windowing.hop)]
        if any(abs(count - round(count)) > 1e-6 or round(count) < 1 for count in counts):
            raise UsageError(
                f"rate={rate:g}: a window of {windowing.window:g} s every {windowing.hop:g} s has no whole number of "
                "label steps: change rate, window or hop"
            )
        return Steps(round(counts[0]), rate, round(counts[1]))


@dataclass(frozen=True, repr=False)
class SpeechUnits:
    """The windows over waveforms, and a table of label steps: clip c has those of its sound, from its beginning on."""

    table: WaveTable
    windowing: Windowing
    steps: Steps
    least: int

    def of(self, labels: Mapping[str, ClipLabels] | None, task: Task, pooling: str, augment: float) -> Units:
        """The units: windows that touch speech. A clip's only window is one of them however short it is, but for sound
        of less than `least` samples, too little for a frame."""
        first, length, targets = self._windows
        samples = round(self.windowing.window * self.table.sampling_rate)

        def load(which: Indices, rng: np.random.Generator | None) -> Tensor:
            waves = self.table.load(first[which], samples, rng, augment)
            for wave, end in zip(waves, length[which].tolist(), strict=True):
                wave[end:] = np.nan
            return waves

        known = self._labels(labels or {}, task, pooling)
        offsets = self._offsets if self.steps.rate else np.arange(len(self.table.clips) + 1)
        return Units(self.table.clips, offsets, *self._times, known, targets, load)

    @cached_property
    def _offsets(self) -> Indices:
        """[C+1] the label steps of each clip: those whose middle lies in its sound, at least one."""
        seconds = np.diff(self.table.offsets) / self.table.sampling_rate
        counts = np.ceil(seconds * (self.steps.rate or 1) - 0.5 - 1e-6).astype(np.int64)
        return np.concatenate([[0], np.cumsum(np.where(seconds > 0, np.maximum(counts, 1), 0))]).astype(np.int64)

    @cached_property
    def _times(self) -> tuple[Floats, Floats]:
        """start, end of the rows of the label table (s, on each clip's clock)."""
        seconds = np.diff(self.table.offsets) / self.table.sampling_rate
        if self.steps.rate is None:
            return self.table.begin.copy(), self.table.begin + seconds
        counts = np.diff(self._offsets)
        number = np.arange(self._offsets[-1]) - np.repeat(self._offsets[:-1], counts)
        begin = np.repeat(self.table.begin, counts)
        ends = np.minimum((number + 1) / self.steps.rate, np.repeat(seconds, counts))
        return begin + number / self.steps.rate, begin + ends

    @cached_property
    def _windows(self) -> tuple[Indices, Indices, Indices]:
        """Of each window: its first sample [U], how many are real [U], and targets [U,L]."""
        rate = self.table.sampling_rate
        found = []
        for clip, begin in enumerate(self.table.offsets[:-1].tolist()):
            size = int(self.table.offsets[clip + 1]) - begin
            for number, own in enumerate(self.windowing.cut(size, rate)):
                about = self._about(clip, number, own.stop - own.start)
                if own.stop - own.start >= self.least and (about >= 0).any():
                    found.append((begin + own.start, own.stop - own.start, about))
        first, length = (np.array([one[k] for one in found], np.int64) for k in range(2))
        targets = np.array([one[2] for one in found], np.int64).reshape(len(found), self.steps.count)
        return first, length, targets

    def _about(self, clip: int, number: int, samples: int) -> Indices:
        """[L] the rows that window `number` of a clip is about; -1 past its end and where nobody speaks."""
        speech, start, end = self.table.stretches[clip], *self._times
        if self.steps.rate is None:
            begin = self.table.begin[clip] + number * self.windowing.hop
            heard = touches(np.array([begin]), np.array([begin + samples / self.table.sampling_rate]), speech)
            return np.where(heard, clip, -1)
        step = np.arange(self.steps.count)
        rows = self._offsets[clip] + number * self.steps.hop + step
        inside = (step + 0.5) / self.steps.rate <= samples / self.table.sampling_rate
        inside[0] |= number == 0  # the one step of a clip that is shorter than half a step
        inside &= rows < self._offsets[clip + 1]
        rows = np.where(inside, rows, 0)
        return np.where(inside & touches(start[rows], end[rows], speech), rows, -1)

    def _labels(self, labels: Mapping[str, ClipLabels], task: Task, pooling: Any) -> Floats:
        """[R,K] or [C,K]."""
        rows = len(self.table.clips) if self.steps.rate is None else int(self._offsets[-1])
        known = np.full((rows, len(task.label_columns)), np.nan)
        start, end = self._times
        for c, clip in enumerate(self.table.clips):
            if clip not in labels or not len(labels[clip]):
                continue
            if self.steps.rate is None:
                known[c] = labels[clip].values[0]
            else:
                own = slice(int(self._offsets[c]), int(self._offsets[c + 1]))
                known[own] = align(labels[clip], start[own], end[own], pooling)
        return known
