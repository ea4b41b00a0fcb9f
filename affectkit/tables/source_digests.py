"""What clips are made from, by content: digests of media, sound and folders of crops, and how each clip is cut."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from affectkit.config import canonical_json
from affectkit.digests import Digests, sha256_lines
from affectkit.errors import ClipError
from affectkit.store import UNREADABLE
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.crops import crop_frames
from affectkit.types import Clip


def media_sources(clips: Iterable[Clip], digests: Digests) -> dict[str, str]:
    """Digest of what each clip is: its file's bytes and how it is cut from it."""
    listed = list(clips)
    regular = {clip.path for clip in listed if os.path.isfile(clip.path)}  # noqa: PTH113
    contents = _readable(digests, regular)
    return {clip.id: _as_cut(contents.get(clip.path, UNREADABLE), clip) for clip in listed}


def sound_sources(clips: Iterable[Clip], digests: Digests, joined: Mapping[str, str]) -> dict[str, str]:
    """Digest of what each clip is, with what else its sound is cut by (id -> digest)."""
    media = media_sources(clips, digests)
    return {clip: sha256_lines([digest, joined[clip]]) if clip in joined else digest for clip, digest in media.items()}


def crop_sources(clips: Iterable[Clip], digests: Digests, times: CropTimes) -> dict[str, str]:
    """Digest of each folder of crops: names and bytes of its images, and of the video its times come from."""
    sources = {}
    for clip in clips:
        try:
            crops = crop_frames(clip.path, times.first_frame)
            files = list(crops.paths)
            listing = [f"{path.name} {digest}" for path, digest in _readable(digests, files).items()]
            if not files[0].stem.isdecimal() and crops.frames > len(files):  # gaps between names with words
                listing.append(f"frames {crops.numbers.tolist()}")
            video = _readable(digests, [times.video_of(clip)]) if times.videos else {}
            sources[clip.id] = times.source_of(clip.id, _as_cut(sha256_lines(listing + list(video.values())), clip))
        except ClipError:
            sources[clip.id] = UNREADABLE
    return sources


def clip_entries(clips: Iterable[Clip]) -> dict[str, dict[str, Any]]:
    """What the user said of each clip, for the artifact's clip table."""
    return {
        clip.id: {"path": os.fsencode(clip.path).decode(errors="backslashreplace"), "split": clip.split,
                  "subject": clip.subject, "start": clip.start, "end": clip.end}
        for clip in clips
    }  # fmt: skip


def _as_cut(content: str, clip: Clip) -> str:
    """The digest of a file's content, with how a clip is cut from it."""
    if content == UNREADABLE or (clip.start, clip.end, clip.face) == (None, None, None):
        return content
    return sha256_lines([canonical_json([content, clip.start, clip.end, clip.face])])


def _readable(digests: Digests, paths: Iterable[Path]) -> dict[Path, str]:
    """Digests of the files that can be read."""
    listed = list(paths)
    try:
        return digests.many(listed)
    except OSError:
        contents = {}
        for path in listed:
            with suppress(OSError):
                contents[path] = digests(path)
        return contents
