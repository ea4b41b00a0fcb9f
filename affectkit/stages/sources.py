"""SOURCE arguments as clips, and what each clip is made from."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from affectkit.config import canonical_json
from affectkit.digests import Digests
from affectkit.errors import ClipError, UsageError
from affectkit.manifest.crops import crop_frames
from affectkit.manifest.frame_rates import FrameRates, Rates, common_rate, rate_of
from affectkit.manifest.media_names import file_named
from affectkit.manifest.source_paths import sources
from affectkit.media import VIDEO_SUFFIXES
from affectkit.store import UNREADABLE, is_artifact, open_artifact
from affectkit.store.kinds import MAKES
from affectkit.types import Clip, without_face

_PERSONS = ("_left", "_right")


@dataclass(frozen=True)
class CropTimes:
    """Where the times of numbered frames come from: the video of each clip, or a rate that is assumed, for all clips
    or by a table; `first_frame` is the number of a clip's first frame, 1 or 0."""

    videos: Path | None = None
    source_fps: Rates | None = None
    first_frame: int = 1

    @property
    def are_given(self) -> bool:
        """Whether there are videos, or a rate."""
        return self.videos is not None or self.source_fps is not None

    @property
    def assumed(self) -> float | str | None:
        """The rate that all clips have, as the fingerprint takes it; `table` where a table has several."""
        return None if self.source_fps is None else common_rate(self.source_fps) or "table"

    def rate_of(self, clip: str) -> float | None:
        """The rate that is assumed for a clip. Raises ClipError where a table has none."""
        return None if self.source_fps is None else rate_of(self.source_fps, clip)

    def source_of(self, clip: str, digest: str) -> str:
        """The digest of what a clip is made from with its own rate in it, where clips have several."""
        if not isinstance(self.source_fps, FrameRates) or self.source_fps.common is not None or digest == UNREADABLE:
            return digest
        return _sha([digest, f"{self.rate_of(clip)!r} fps"])

    def notices(self, clips: Collection[str]) -> list[str]:
        """A line for rates that no clip needs. Raises UsageError for clips that a table does not have."""
        return self.source_fps.notices(clips) if isinstance(self.source_fps, FrameRates) else []

    def video_of(self, clip: Clip) -> Path:
        """The clip's video: its id, without Aff-Wild2's `_left` or `_right`, and a video suffix. Raises ClipError."""
        assert self.videos is not None
        names = [clip.id, *(clip.id.removesuffix(person) for person in _PERSONS if clip.id.endswith(person))]
        for name in names:
            if (path := file_named(self.videos, name, VIDEO_SUFFIXES)) is not None:
                return path
        raise ClipError(f"no video {names[-1]} ({', '.join(sorted(VIDEO_SUFFIXES))}) in {self.videos}")


def clips_of(
    items: Sequence[str], suffixes: Collection[str] = VIDEO_SUFFIXES, *, allow_outside: bool = False
) -> list[Clip]:
    """The clips that SOURCE arguments name; of a directory, the files with one of the `suffixes`. `allow_outside`: a
    manifest may name media outside its directory.

    Raises UsageError for none, unknown paths, ids with two contents, ids that look like those of faces.
    """
    for item in items:
        if is_artifact(Path(item)):
            noun, command = MAKES.get(stage := open_artifact(item).stage.stage, ("something else", stage))
            raise UsageError(f"{item} holds {noun}, made by {command}; needed are media: files, a folder or a manifest")
    clips = sources(items, media_suffixes=suffixes, allow_outside=allow_outside)
    for clip in clips:
        if without_face(clip.id) != clip.id:
            raise UsageError(
                f"clip id '{clip.id}' ({clip.path}) ends in # and a number, as --face all names the faces of a clip: "
                "rename the file, or give it another id in a manifest CSV"
            )
    return clips


def are_crops(clips: Sequence[Clip]) -> bool:
    """Whether the clips are folders of crops. Raises UsageError for a mixture with media."""
    folders = [clip for clip in clips if os.path.isdir(clip.path)]  # noqa: PTH112  (no error for long names)
    if folders and len(folders) < len(clips):
        media = next(clip for clip in clips if not os.path.isdir(clip.path))  # noqa: PTH112
        raise UsageError(f"media ({media.path}) and folders of crops ({folders[0].path}) in one command: use two")
    return bool(folders)


def media_sources(clips: Iterable[Clip], digests: Digests) -> dict[str, str]:
    """Digest of what each clip is: its file's bytes and how it is cut from it."""
    listed = list(clips)
    readable = {clip.path for clip in listed if os.path.isfile(clip.path)}  # noqa: PTH113  (no error for long names)
    found = _many(digests, readable)
    return {clip.id: _of(found.get(clip.path, UNREADABLE), clip) for clip in listed}


def sound_sources(clips: Iterable[Clip], digests: Digests, joined: Mapping[str, str]) -> dict[str, str]:
    """The same, with what else the sound of a clip is cut by (id -> digest)."""
    found = media_sources(clips, digests)
    return {clip: _sha([digest, joined[clip]]) if clip in joined else digest for clip, digest in found.items()}


def crop_sources(clips: Iterable[Clip], digests: Digests, times: CropTimes) -> dict[str, str]:
    """Digest of each folder of crops: names and bytes of its images, and of the video its times come from."""
    found = {}
    for clip in clips:
        try:
            crops = crop_frames(clip.path, times.first_frame)
            files = list(crops.paths)
            listing = [f"{path.name} {digest}" for path, digest in _many(digests, files).items()]
            if not files[0].stem.isdecimal() and crops.frames > len(files):  # gaps between names with words
                listing.append(f"frames {crops.numbers.tolist()}")
            video = _many(digests, [times.video_of(clip)]) if times.videos else {}
            found[clip.id] = times.source_of(clip.id, _of(_sha(listing + list(video.values())), clip))
        except ClipError:
            found[clip.id] = UNREADABLE
    return found


def clip_entries(clips: Iterable[Clip]) -> dict[str, dict[str, Any]]:
    """What the user said of each clip, for the artifact's clip table."""
    return {
        clip.id: {"path": os.fsencode(clip.path).decode(errors="backslashreplace"), "split": clip.split,
                  "subject": clip.subject, "start": clip.start, "end": clip.end}
        for clip in clips
    }  # fmt: skip


def _of(content: str, clip: Clip) -> str:
    if content == UNREADABLE or (clip.start, clip.end, clip.face) == (None, None, None):
        return content
    return _sha([canonical_json([content, clip.start, clip.end, clip.face])])


def _many(digests: Digests, paths: Iterable[Path]) -> dict[Path, str]:
    """Digests of the files that can be read."""
    listed = list(paths)
    try:
        return digests.many(listed)
    except OSError:
        found = {}
        for path in listed:
            try:
                found[path] = digests(path)
            except OSError:
                continue
        return found


def _sha(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()
