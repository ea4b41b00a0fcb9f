"""What there is to say of the columns of files that an import took: those left out, and those that are odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from affectkit.errors import listed
from affectkit.stages._feature_files import FeatureFile
from affectkit.stages._frame_numbers import FrameNumbers

_NO_FEATURES = frozenset({
    "id", "index", "row", "face_id", "faceid", "face", "person_id", "confidence", "success", "detected",
    "time", "times", "seconds", "sec", "ms", "t", "frametime", "frame_time", "time_ms", "timestamp_ms",
    "frameindex", "frame_index", "frameid", "frame_id", "frame_number", "framenumber", "frame_nr", "frameno",
    "label", "split", "subject",
})  # fmt: skip


@dataclass(repr=False)
class Taken:
    """Counts over the files that were taken now."""

    numbers: FrameNumbers
    unnamed: dict[str, list[str]] = field(default_factory=dict)
    timed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, clip: str, one: FeatureFile, *, by_frame: bool) -> None:
        """Count a file; `by_frame`: its rows are by numbers of frames, its own times unused."""
        if one.unnamed:
            self.unnamed.setdefault(", ".join(name or "a blank header" for name in one.unnamed), []).append(clip)
        if by_frame and one.timed:
            self.timed.setdefault(", ".join(one.timed), []).append(clip)

    def notices(self, names: Sequence[str] | None) -> list[str]:
        """A line for each thing to know; `names` of the features, where they have any."""
        odd = [name for name in names or () if name.casefold() in _NO_FEATURES]
        found = []
        if odd:
            found.append(f"taken as features: {', '.join(odd)}; leave out what is none by --leave-out")
        found += [
            f"columns without a name left out ({name}): {listed(clips, 'clips')}"
            for name, clips in self.unnamed.items()
        ]
        found += [
            f"times are those of the numbered frames, not of {name}: {listed(clips, 'clips')}"
            for name, clips in self.timed.items()
        ]
        return found + self.numbers.notices()
