"""speech: SUN's models of sound (arXiv 2403.12609): a speech transformer whose last blocks are trained, and a tail.

Windows of 4 s every 2 s, at least 2 s but for a clip's only one, lie on speech as `affectkit embed` lays them; each is
normalised to zero mean and unit variance (where the model wants that) over the sound that it holds, and filled with
zeros that nothing looks at: a short window gives what it would give alone. The convolutions at the bottom are never
trained, of the transformer the last `trainable_blocks`. The tail reads the hidden states: a 2-layer GRU to 256 with
dropout 0.5 (V1), or two encoder layers of 32 and 16 heads (V2, V3). Its states are averaged within each label step (one
a second for classes, five for regression) and a linear layer scores the steps; steps of windows that overlap are
averaged. A clip-level task takes the mean over the window. The embedding of a window is the mean of the tail's states.

`model` is `pdem` (SUN's), a wav2vec 2.0, HuBERT, WavLM or data2vec-audio model as for backbone `wav2vec2`, or `tiny`: a
wav2vec 2.0 of 0.2 million parameters for trials, of which there are only random weights (`--weights random`).

`preset=sun`: Adam at 1e-4 in batches of 16; cross entropy with class weights max / count and label smoothing 0.2 for
classes, CCC for valence and arousal; each window inverted, with white noise or fainter. Ours: that the rate is
constant, averaging within steps, and that SpecAugment and layer drop, which such models have in training, are off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from affectkit.backbones.wav2vec2 import Wav2Vec2, Wav2Vec2Options
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.learning import speech_files as files
from affectkit.learning.options import TuningOptions
from affectkit.models.pdem import Pdem, PdemOptions
from affectkit.plugins import Outputs, Units
from affectkit.speech.windows import Windowing, touches
from affectkit.tables.pooling import align
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats, Indices
from affectkit.weights import WeightsFile, random

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectkit.learning.wave_table import WaveTable
    from affectkit.nets.speech import SpeechModule

PDEM, TINY = "pdem", "tiny"
MOST_HEADS = 128
FRAME = 0.025  # s that the convolutions of all known models see for one frame
SUN: Mapping[str, Any] = {
    "optimiser": "adam", "learning_rate": 1e-4, "weight_decay": 0.0, "schedule": "constant", "batch_size": 16,
    "class_weights": "max", "label_smoothing": 0.2, "augment": 1.0,
}  # fmt: skip
DROPOUT = {"gru": 0.5, "transformer": 0.1}


class SpeechOptions(TuningOptions):
    """Of the speech transformer, the windows and the tail; the others are shared."""

    preset: Literal["none", "sun"] = Field("none", description="sun: trained as the paper says; options given win")
    model: str = Field(
        PDEM, min_length=1, max_length=4096,
        description="pdem; a hub repository or a folder, as for backbone wav2vec2; or tiny",
    )  # fmt: skip
    revision: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="commit, tag or branch of the repository, to pin it"
    )
    window: float = Field(4.0, ge=0.5, le=60, description="seconds that are heard at once")
    hop: float | None = Field(None, gt=0, le=60, description="seconds between windows  [default: half]")
    min_window: float | None = Field(
        None, ge=0.1, le=60, description="the least sound that a window may hold  [default: half a window]"
    )
    rate: float | None = Field(
        None, gt=0, le=10, description="label steps a second  [default: 1 for classes, 5 for regression]"
    )
    tail: Literal["gru", "transformer"] = Field("gru", description="what reads the hidden states")
    hidden: int = Field(256, ge=1, le=8192, description="gru: its width")
    layers: int = Field(2, ge=1, le=8, description="gru: its layers")
    heads: str = Field(
        "32,16", max_length=64, coerce_numbers_to_str=True, pattern=r"^\d{1,3}(,\d{1,3})*$",
        description="transformer: attention heads of each layer",
    )  # fmt: skip
    dropout: float | None = Field(None, ge=0, lt=1, description="of the tail  [default: gru 0.5, transformer 0.1]")
    trainable_blocks: int | None = Field(
        4, ge=0, description="train only so many of the transformer's last blocks, and the tail (SUN: 2 or 4)"
    )
    batch_size: int = Field(16, ge=1, le=65_536, description="windows in a step (on each GPU)")
    learning_rate: float = Field(1e-4, gt=0, le=10, description="peak rate, that of the tail")
    augment: float = Field(0.5, ge=0, le=1, description="probability that a window is inverted, noisier or fainter")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        return {**SUN, **given} if isinstance(given, dict) and given.get("preset") == "sun" else given

    @model_validator(mode="after")
    def _windows_fit(self) -> SpeechOptions:
        for name in ("hop", "min_window"):
            if (getattr(self, name) or 0) > self.window:
                raise ValueError(f"{name}={getattr(self, name):g} is longer than window={self.window:g}")
        if not all(1 <= heads <= MOST_HEADS for heads in self.heads_of_layers):
            raise ValueError(f"heads={self.heads}: give a number from 1 to {MOST_HEADS} for each layer")
        return self

    @property
    def heads_of_layers(self) -> list[int]:
        """Attention heads of each layer of a transformer tail."""
        return [int(part) for part in self.heads.split(",")]

    @property
    def windowing(self) -> Windowing:
        """Where windows lie."""
        return Windowing(self.window, self.hop or self.window / 2, self.min_window or self.window / 2, padded=True)


class Speech:
    """A speech transformer and a recurrent or attentive tail."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image", "audio"]] = "audio"
    Options: ClassVar[type[Config]] = SpeechOptions

    @classmethod
    def weights(cls, options: SpeechOptions, choice: str) -> WeightsFile:
        """Those of backbone pdem or wav2vec2 (auto, random or a folder). Raises UsageError."""
        if options.model == TINY:
            if choice != "random":
                raise UsageError("model=tiny has random weights only: give --weights random")
            return random(TINY)
        if options.model == PDEM:
            return Pdem.weights(PdemOptions(revision=options.revision), choice)
        return Wav2Vec2.weights(Wav2Vec2Options(model=options.model, revision=options.revision), choice)

    def __init__(self, options: SpeechOptions, task: Task) -> None:
        unsmoothed = options.preset == "sun" and task.kind == "regression"
        self.options = options.model_copy(update={"label_smoothing": 0.0}) if unsmoothed else options
        self.task = task
        self.architecture: dict[str, Any] = {}
        self.dim = 0
        self.sampling_rate = 0
        self._steps = Steps.of(self.options.windowing, options.rate, task)
        self._described: files.SpeechArchitecture | None = None

    def build(self, weights: WeightsFile | None, outputs: Sequence[Outputs]) -> SpeechModule:
        """From float32 [B,S], NaN after a window's end, to scores [B,L,K]. Raises UsageError for weights that do not
        fit."""
        from affectkit.nets.speech import SpeechModule, Tail, again, begin

        chosen = self.options
        start = begin(chosen.model, weights) if weights is not None else again(self.architecture)
        self.architecture, self._described = start.saved_architecture, start.architecture
        self._heard(start.sampling_rate)
        dropout = DROPOUT[chosen.tail] if chosen.dropout is None else chosen.dropout
        tail = Tail(chosen.tail, chosen.hidden, chosen.layers, chosen.heads_of_layers, dropout)
        module = SpeechModule(start, tail, self._steps.count, self._steps.rate, outputs, chosen.checkpointing)
        self.dim = module.dim
        return module

    def blocks(self, module: SpeechModule) -> list[list[nn.Parameter]]:
        """What lies between the convolutions and the transformer, its layers, and the tail."""
        return module.blocks()

    def units(
        self, upstream: Any, clips: Sequence[str], labels: Mapping[str, ClipLabels] | None, pooling: str, training: bool
    ) -> Units:
        """Every window with speech. Rows are label steps from the beginning of each clip's sound."""
        from affectkit.learning.wave_table import WaveTable

        table = WaveTable(upstream, clips)
        self._heard(table.sampling_rate)
        least = self._described.receptive_field if self._described else round(FRAME * table.sampling_rate)
        units = SpeechUnits(table, self.options.windowing, self._steps, least)
        return units.of(labels, self.task, pooling, self.options.augment)

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for a window of so many samples, or none where it is too short for a frame."""
        assert self._described is not None, "build the network first"
        return self._described.rows(samples, self.sampling_rate, pooled=True)

    def embed(self, module: SpeechModule, batch: Tensor) -> Tensor:
        """[B,dim], the mean of the tail's states."""
        return module.embed(batch)

    def _heard(self, sampling_rate: int) -> None:
        """The model and the waveforms must agree. Raises UsageError."""
        if self.sampling_rate not in (0, sampling_rate):
            raise UsageError(
                f"model={self.options.model} and the waveforms differ in sampling rate ({sampling_rate} Hz and "
                f"{self.sampling_rate} Hz): extract audio --sampling-rate as the model hears"
            )
        self.sampling_rate = sampling_rate


PLUGIN = Speech


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
