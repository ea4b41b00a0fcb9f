"""What extracted clips hold, in a line: frames with a face, seconds of speech; clips that hold nothing are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import listed
from affectkit.stages._map import Outcome
from affectkit.store import Artifact

_PEEK = 64


def with_notices(done: Outcome, notices: Iterable[str]) -> Outcome:
    """The outcome with more notices."""
    return replace(done, notices=(*done.notices, *notices))


def face_notices(artifact: Artifact, clips: Iterable[str], what: str = "a face") -> tuple[str, ...]:
    """In how many of their frames the finished clips show `what`, and which show it nowhere; with several faces to a
    clip, frames that show any of them."""
    frames = seen = 0
    without = []
    for clip, names in _finished(artifact, clips):
        valid = np.any([artifact.column(name, "valid") for name in names], axis=0)
        frames, seen = frames + len(valid), seen + int(valid.sum())
        if not valid.any():
            without.append(clip)
    if not frames:
        return ()
    return (f"{what} in {seen:,} of {frames:,} frames{_named(without, f'without {what.split()[-1]}s')}",)


def sound_notices(artifact: Artifact, clips: Iterable[str], *, speech: bool) -> tuple[str, ...]:
    """The finished clips whose sound is one constant value (muted); with `speech`, how many seconds of them are speech,
    and which have none."""
    heard = spoken = 0.0
    without, muted = [], []
    for clip, _ in _finished(artifact, clips):
        samples = artifact.column(clip, "samples")
        talk = float(np.sum(artifact.column(clip, "end") - artifact.column(clip, "start")))
        heard, spoken = heard + len(samples) / float(artifact.column(clip, "sampling_rate")), spoken + talk
        if not talk:
            without.append(clip)
        if _is_constant(samples):
            muted.append(clip)
    told = []
    if speech and heard:
        told.append(f"speech in {spoken:,.1f} of {heard:,.1f} s of sound{_named(without, 'without speech')}")
    if muted:
        told.append(f"nothing is to be heard in {_clips(muted)}: the sound is constant")
    return tuple(told)


def _finished(artifact: Artifact, clips: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The finished clips, and the names of each one's face tracks: its own, or numbered."""
    for clip in () if artifact.dry else clips:
        if clip in artifact:
            yield clip, [clip]
        elif f"{clip}#0" in artifact:
            names = [f"{clip}#0"]
            while (name := f"{clip}#{len(names)}") in artifact and artifact.source(name) == artifact.source(names[0]):
                names.append(name)
            yield clip, names


def _is_constant(samples: NDArray[np.float32]) -> bool:
    """Whether all samples are equal; looks at a few before it reads them all."""
    if not len(samples):
        return True
    few = samples[:: max(1, len(samples) // _PEEK)]
    return bool((few == samples[0]).all() and (samples == samples[0]).all())


def _named(clips: list[str], how: str) -> str:
    return f"; {_clips(clips)} {how}" if clips else ""


def _clips(clips: list[str]) -> str:
    return listed(clips, "clip" if len(clips) == 1 else "clips")
