"""Events as BORIS exports them: one row a behaviour, with its start and stop."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from affectkit.annotations.tiers import COVERED, Tier

HEADER = (
    "Observation id", "Media file", "Subject", "Behavior", "Behavior type", "Start (s)", "Stop (s)", "Duration (s)",
    "Mean",
)  # fmt: skip


def boris_text(tiers: Sequence[Tier], clip: str, media: str, subject: str) -> str:
    """A whole file: state events in order of time; `Mean` is that of the scores behind an event, empty for labels."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    events = [
        (each.start, each.end, each.text, f"{each.value:.4f}" if each.has_mean else "")
        for tier in tiers
        if tier.name != COVERED
        for each in tier.annotations
    ]
    for start, end, behaviour, mean in sorted(events):
        times = (f"{start:.3f}", f"{end:.3f}", f"{end - start:.3f}")
        writer.writerow([clip, media, subject or "No focal subject", behaviour, "STATE", *times, mean])
    return file.getvalue()
