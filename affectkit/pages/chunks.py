"""The rows of one clip beside a page: every number as it is stored, in a script that registers itself, for a page that
opens from a file system cannot fetch."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affectkit.pages.texts import all_shown, script_json
from affectkit.types import Floats

CALL = "affectkitClip"
"""The function of the page that a script of a clip calls, with its key and its content."""


@dataclass(frozen=True, repr=False)
class PackedRows:
    """Rows of one prediction set, or of labels: start, end [T] (s), scores [T,K]; `set`: its place in the page's list,
    None for labels."""

    start: Floats
    end: Floats
    scores: Floats
    set: int | None

    def packed(self) -> dict[str, Any]:
        """As the page reads it: float64 times and float32 scores, little-endian, base64."""
        return {
            "set": self.set, "rows": len(self.start), "columns": int(self.scores.shape[1]),
            "start": _base64(self.start, "<f8"), "end": _base64(self.end, "<f8"), "scores": _base64(self.scores, "<f4"),
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class TimedPicture:
    """A picture at a moment of the clip (s): the bytes of a JPEG."""

    time: float
    jpeg: bytes


@dataclass(frozen=True, repr=False)
class ClipChunk:
    """What the page shows of one clip.

    duration: s; sets, labels: its rows; unseen, speech: stretches (start, end) in s; unseen_is: what was not seen;
    crops, frames: pictures; video: the URL of its video as seen from the page, empty for none; offset: what is added to
    a time of the clip for the video's own; is_audio: whether it is sound alone; notes: lines about it.
    """

    id: str
    duration: float
    sets: Sequence[PackedRows]
    labels: PackedRows | None = None
    unseen: Sequence[tuple[float, float]] = ()
    unseen_is: str = "no face"
    speech: Sequence[tuple[float, float]] | None = None
    crops: Sequence[TimedPicture] = ()
    frames: Sequence[TimedPicture] = ()
    video: str = ""
    offset: float = 0.0
    is_audio: bool = False
    notes: Sequence[str] = field(default_factory=tuple)

    def content(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **all_shown({"id": self.id, "notes": list(self.notes)}),
            "duration": self.duration, "offset": self.offset, "video": self.video, "isAudio": self.is_audio,
            "sets": [rows.packed() for rows in self.sets],
            "labels": None if self.labels is None else self.labels.packed(),
            "unseenIs": self.unseen_is, "unseen": [list(pair) for pair in self.unseen],
            "speech": None if self.speech is None else [list(pair) for pair in self.speech],
            "crops": _pictures(self.crops), "frames": _pictures(self.frames),
        }  # fmt: skip

    def script(self, key: str) -> str:
        """The file beside the page."""
        return f"{CALL}({script_json(key)},{script_json(self.content())});\n"


def _base64(values: Any, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _pictures(pictures: Sequence[TimedPicture]) -> list[dict[str, Any]]:
    return [
        {"t": each.time, "src": "data:image/jpeg;base64," + base64.b64encode(each.jpeg).decode("ascii")}
        for each in pictures
    ]
