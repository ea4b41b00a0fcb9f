"""Whether frames are numbered from 0 or from 1: what is said, held against the frames of the videos."""

from __future__ import annotations

from dataclasses import dataclass, field

from affectkit.errors import ClipError, listed


@dataclass(repr=False)
class FrameNumbers:
    """The numbers of clips whose videos have been counted: clips that end one frame late or early of them."""

    first_frame: int
    clips: int = 0
    late: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    from_zero: list[str] = field(default_factory=list)

    def zero(self, clip: str) -> ClipError:
        """Note a clip that has a frame 0 where counting begins at 1; what it fails with."""
        self.from_zero.append(clip)
        return ClipError(f"there is a frame 0, and frames are counted from {self.first_frame}: give --first-frame 0")

    def add(self, clip: str, lowest: int, highest: int, frames: int) -> None:
        """Note the lowest and highest number of a clip, and the frames of its video."""
        self.clips += 1
        last = self.first_frame + frames - 1
        if self.first_frame == 0 and lowest > 0 and highest == last + 1:
            self.late.append(clip)
        if self.first_frame == 1 and highest == last - 1:
            self.early.append(clip)

    def notices(self) -> list[str]:
        """What speaks for another first number than the one that was taken."""
        lines = []
        if self.from_zero:
            lines.append(
                f"clips with a frame 0, which failed: {listed(self.from_zero)}; if all are numbered from 0, the others "
                "are one frame late: give --first-frame 0"
            )
        if self.late:
            lines.append(
                f"frames numbered up to the number of the video's frames, where counting begins at 0: "
                f"{listed(self.late, 'clips')}; if they are counted from 1, all are one frame early: --first-frame 1"
            )
        if self.early and len(self.early) == self.clips:
            lines.append(
                f"the highest frame number is one below the number of the video's frames in all of "
                f"{listed(self.early, 'clips')}; if frames are counted from 0, give --first-frame 0"
            )
        return lines
