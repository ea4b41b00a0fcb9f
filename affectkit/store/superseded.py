"""Segments from before there were selections: of several rows of one id, the later one counts."""

from __future__ import annotations

from collections.abc import Iterable

from affectkit.store.segment import Segment
from affectkit.store.selection import Key
from affectkit.types import without_face


def living(segments: Iterable[Segment], stage: str) -> list[Key]:
    """The rows (id, source digest) of such segments, oldest first, that no later one of them replaced."""
    keys = [key for segment in segments if not segment.has_content for key in segment.rows]
    sources = dict(keys)
    if stage == "faces":
        # All faces of a clip have one source; what differs is left from an earlier version of it, which had more faces,
        # or another face rule (`name` beside `name#0`).
        latest = {without_face(name): source for name, source in keys}
        sources = {name: source for name, source in sources.items() if latest[without_face(name)] == source}
    return list(sources.items())
