"""WebVTT (https://www.w3.org/TR/webvtt1/): a read-out of all tiers under the playing picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from affectkit.annotations.tiers import COVERED, Annotation, Tier

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": " ", "\n": " ", "\0": "\N{REPLACEMENT CHARACTER}"}
)
_NOTHING = 5e-4  # s: shorter cues have no time in milliseconds


def webvtt_text(tiers: Sequence[Tier]) -> str:
    """A whole file: a cue for each stretch in which the same annotations hold, a line a tier."""
    cues = [f"{_clock(start)} --> {_clock(end)}\n{text}\n" for start, end, text in _cues(tiers)]
    return "\n".join(["WEBVTT\n", *cues])


def _cues(tiers: Sequence[Tier]) -> Iterator[tuple[float, float, str]]:
    """start, end (s) and escaped text of each stretch with anything in it."""
    shown = [tier for tier in tiers if tier.name != COVERED]
    borders = sorted({moment for tier in shown for each in tier.annotations for moment in (each.start, each.end)})
    next_of = [0] * len(shown)
    for start, end in pairwise(borders):
        lines = []
        for number, tier in enumerate(shown):
            while next_of[number] < len(tier.annotations) and tier.annotations[next_of[number]].end <= start:
                next_of[number] += 1
            if next_of[number] < len(tier.annotations) and tier.annotations[next_of[number]].start <= start:
                lines.append(_line(tier, tier.annotations[next_of[number]]))
        if lines and end - start > _NOTHING:
            yield start, end, "\n".join(lines)


def _line(tier: Tier, annotation: Annotation) -> str:
    text = f"{tier.name} {annotation.value:.2f}" if tier.numeric else tier.shown(annotation)
    return text.translate(_ESCAPES) or "-"


def _clock(seconds: float) -> str:
    """Hours, minutes, seconds and milliseconds.

    >>> _clock(3723.0045)
    '01:02:03.004'
    """
    whole = round(seconds * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
