"""The feature rows that windows over a clip's waveform give, and what is to be told of the windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from affectkit.errors import listed, named
from affectkit.plugins import AudioBackbone
from affectkit.speech.windows import Windowing, touches
from affectkit.store import Artifact
from affectkit.types import Bools, Floats


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
