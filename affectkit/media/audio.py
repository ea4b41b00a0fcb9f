"""The sound of one clip: mono float32 at one rate, on the clock that the video's rows share."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from affectkit.errors import ClipError
from affectkit.media.container import open_media
from affectkit.media.decode import Findings
from affectkit.media.index import scan
from affectkit.media.layout import layout
from affectkit.media.resample import Samples, joined
from affectkit.media.stretch import Stretch

if TYPE_CHECKING:
    from av.container import InputContainer


@dataclass(frozen=True, repr=False, eq=False)
class Waveform:
    """Sound of a clip: samples float32 [S], mono, at `sampling_rate` Hz.

    Sample k is heard at `offset` + k / sampling_rate seconds on the clip's own clock, whose zero is that of the rows of
    its video; `origin` is that zero on the file's clock (s). `offset` is never negative; it is more than a sample where
    the sound begins after the picture. `problem`: what is wrong with the sound, None if nothing is.
    """

    samples: Samples
    sampling_rate: int
    offset: float
    origin: float
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def duration(self) -> float:
        """Length of the sound (s)."""
        return len(self.samples) / self.sampling_rate

    @property
    def end(self) -> float:
        """When the last sample is over, on the clip's clock (s)."""
        return self.offset + self.duration

    def __repr__(self) -> str:
        return f"Waveform({self.offset:.3f} to {self.end:.3f} s, {self.sampling_rate} Hz)"


def read_audio(
    path: Path | str,
    *,
    start: float | None = None,
    end: float | None = None,
    sampling_rate: int = 16000,
    on_truncated: Literal["keep", "fail"] = "keep",
) -> Waveform:
    """Decodes the main audio stream of a clip, mixes it down to the mean of its channels and resamples it.

    `start` and `end` (s, as `VideoReader` counts: from the file's first video frame; in a file without video, from its
    first audio sample) cut the clip: the samples in [start, end). Time zero is `start`, or that first frame. Sound from
    before is left out. The samples lie on one grid of the file, which begins at its first audio sample, so that a cut
    is exactly a part of the whole.

    Presentation times place the sound: see `sound.Line`. Long files are entered near the clip where that gives the same
    samples (`audio_entry.FrameGrid`). Delays of encoders and edit lists are FFmpeg's business.
    Damaged files give what decodes, and `problem` says what is wrong; with `on_truncated="fail"` that is a ClipError.

    Raises ClipError: cannot be opened, no audio stream, nothing decodes, no sound in [start, end), absurd rates, too
    many channels, too long.
    """
    path = Path(path)
    begin = 0.0 if start is None else float(start)
    if not 0 <= begin < (inf if end is None else end):
        raise ClipError(f"a clip from {start} to {end} s is empty")
    fail = on_truncated == "fail"
    waveform = _read(path, begin, end, sampling_rate, fail=fail, enter=True)
    return waveform or _read(path, begin, end, sampling_rate, fail=fail, enter=False)  # type: ignore[return-value]


def _read(
    path: Path, start: float, end: float | None, sampling_rate: int, *, fail: bool, enter: bool
) -> Waveform | None:
    """The clip; None if the file could not be entered near it."""
    findings = Findings((), assumed_times=False, fail=fail)
    with open_media(path) as container:
        zero = _video_zero(path, container, findings)
        stretch = Stretch(container, findings, zero, start, end, sampling_rate)
        if enter and not stretch.enter(path):
            return None
        samples = joined(stretch.samples())
    if stretch.ended and (missing := layout(path).missing):
        findings.report(f"cut off: the file ends {missing:,} bytes early")
    for problem in stretch.line.problems():
        findings.report(problem)
    if not len(samples):
        raise ClipError(stretch.nothing() + (f"; {findings}" if findings else ""))
    return Waveform(samples, sampling_rate, stretch.offset, stretch.zero, str(findings) or None)


def _video_zero(path: Path, container: InputContainer, findings: Findings) -> float | None:
    """When the first video frame is shown (s, the file's clock); None in a file without video."""
    from av.stream import Disposition

    stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic or not container.streams.audio:
        return None
    try:
        return scan(path).origin
    except ClipError as error:
        findings.report(f"times count from the first audio sample, because of the video: {error}")
        return None
