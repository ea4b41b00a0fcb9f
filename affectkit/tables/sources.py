"""SOURCE arguments of a command, as clips: files, directories, folders of crops, manifests, paths on stdin."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from affectkit.config import canonical_json
from affectkit.digests import Digests
from affectkit.errors import ClipError, Notice, UsageError, listed
from affectkit.media import VIDEO_SUFFIXES
from affectkit.store import UNREADABLE, is_artifact, open_artifact
from affectkit.store.kinds import MAKES
from affectkit.tables.crops import crop_frames, is_crop_name
from affectkit.tables.csv import CsvTable, read_table
from affectkit.tables.frame_rates import FrameRates, Rates, common_rate, rate_of
from affectkit.tables.ids import split_name
from affectkit.tables.media_names import file_named, id_of, video_names
from affectkit.types import Clip, is_face


def sources(
    items: Sequence[str], *, media_suffixes: Collection[str], stdin: TextIO | None = None, allow_outside: bool = False
) -> list[Clip]:
    """The clips that the SOURCE arguments name, each once, in the order given (a directory's sorted by id).

    - A file is one clip, whatever its suffix; its id is its name without the suffix.
    - A directory gives the files below it that have a media suffix, hidden ones left out; ids are paths relative to
      it, without suffix. Directories that hold images and no media are folders of crops: one clip each, whose `path`
      is the folder. Links are followed.
      Pictures beside media are left out, and a notice counts them.
    - `*.csv` is a manifest (`read_manifest`, which says what `allow_outside` is).
    - `-` reads one path a line from `stdin`; each counts as if it were given directly.

    A file given twice is one clip. Raises UsageError for a path that does not exist, an id with two files, an id that
    `clip_id` refuses, a directory or a command without clips.
    """
    suffixes = frozenset(suffix.lower() for suffix in media_suffixes)
    found: dict[str, Clip] = {}
    for item in _expand(items, stdin):
        for clip in _clips_of(item, suffixes, allow_outside):
            first = found.setdefault(clip.id, clip)
            if first is not clip and not _same(first, clip):
                raise UsageError(_clash(first, clip))
    if not found:
        raise UsageError("no clips given: name media files, a directory, a manifest CSV, or - for paths on stdin")
    return list(found.values())


def _expand(items: Iterable[str], stdin: TextIO | None) -> Iterator[str]:
    for item in items:
        if item == "-":
            yield from (line.rstrip("\r\n") for line in (stdin or sys.stdin) if line.strip())
        else:
            yield item


def _clips_of(item: str, suffixes: frozenset[str], allow_outside: bool) -> list[Clip]:
    path = Path(item)
    try:
        if not item.strip() or not path.exists():
            raise UsageError(f"no such file or directory: '{item}'")
        if path.is_dir():
            return _directory(path, suffixes)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or item}: {error.strerror}") from None
    if path.suffix.lower() == ".csv":
        return read_manifest(path, allow_outside=allow_outside)
    return [Clip(_id_of(path.stem, path), path)]


def _directory(root: Path, suffixes: frozenset[str]) -> list[Clip]:
    """Clips below a directory, sorted by id. Raises OSError for directories that cannot be read."""
    clips, pictures = [], []
    for folder in _folders(root):
        names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and not entry.is_dir()]
        media = [name for name in names if Path(name).suffix.lower() in suffixes]
        if media:
            clips += [_below(root, folder / name, (folder / name).with_suffix("")) for name in media]
            pictures += [name for name in names if is_crop_name(name) and name not in media]
        elif any(is_crop_name(name) for name in names):
            clips.append(_below(root, folder, folder))
    if pictures:
        told = f"{root}: {listed(pictures, 'pictures')} beside media are left out; give them as files to take them"
        warnings.warn(told, Notice, stacklevel=2)
    if not clips:
        accepted = ", ".join(sorted(suffixes))
        raise UsageError(f"{root} holds no media files ({accepted}) and no folders of crops (.jpg, .jpeg, .png)")
    return sorted(clips, key=lambda clip: clip.id)


def _folders(root: Path) -> Iterator[Path]:
    """Directories below `root`, itself first. A link is followed once, and not to where the walk comes anyway."""
    inside, linked = root.resolve(), set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        yield folder
        below = []
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_dir()]
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                target = Path(entry.path).resolve()
                if target.is_relative_to(inside) or target in linked:
                    continue
                linked.add(target)
            below.append(folder / entry.name)
        waiting += reversed(below)


def _below(root: Path, path: Path, named: Path) -> Clip:
    relative = named.relative_to(root)
    name = relative.as_posix() if relative.parts else root.resolve().name
    return Clip(_id_of(name, path), path)


def _id_of(name: str, path: Path) -> str:
    try:
        return id_of(name)
    except UsageError as error:
        raise UsageError(f"{ascii(str(path))[1:-1]}: {error}") from None


def _same(first: Clip, second: Clip) -> bool:
    if (first.start, first.end, first.split, first.subject, first.face) != (
        second.start, second.end, second.split, second.subject, second.face,
    ):  # fmt: skip
        return False
    return first.path == second.path or (
        first.path.exists() and second.path.exists() and first.path.samefile(second.path)
    )


def _clash(first: Clip, second: Clip) -> str:
    given = f"clip '{first.id}' has two contents"
    if first.path == second.path:
        return f"{given}: {first.path} with different times, split, subject or face rule; give each part its own id"
    if first.path.parent == second.path.parent:
        what_to_do = "give the one that is meant, rename one of them,"
    else:
        what_to_do = "give their common directory,"
    return f"{given}: {first.path} and {second.path}; {what_to_do} or ids of your own in a manifest CSV"


_OPTIONAL = ("start", "end", "split", "subject", "face")


def read_manifest(path: Path, *, allow_outside: bool = False) -> list[Clip]:
    """The clips of a manifest, in its order.

    Paths are relative to the manifest's directory and stay inside it, absolute ones too: a manifest may come with a
    download, and must not make a command read files of its choice. Media kept elsewhere are reached by a symbolic link
    in that directory, by listing the files on stdin, or with `allow_outside`, where paths may lead anywhere. A file
    that is missing is still a clip (it fails on its own, later).

    Raises UsageError with file and line: wrong columns, ids, times or splits, paths that lead outside, an id with two
    contents.
    """
    table = read_table(
        path,
        "manifests",
        text=("clip", "path", "split", "subject", "face"),
        numbers=("start", "end"),
        optional=_OPTIONAL,
    )
    table.intervals()
    ids = table.clips()
    paths = table.words("path", lambda text: str(_reached(path.parent, text, allow_outside)))
    splits = _optional(table, "split", split_name)
    subjects, faces = _optional(table, "subject", str), _optional(table, "face", str)
    starts, ends = _times(table, "start"), _times(table, "end")
    seen: dict[str, tuple[int, Clip]] = {}
    for row in range(len(table)):
        clip = Clip(ids[row], Path(paths[row]), starts[row], ends[row], splits[row], subjects[row], faces[row])
        line, first = seen.setdefault(clip.id, (row, clip))
        if first != clip:
            raise table.error(
                row, f"clip '{clip.id}' is on line {table.line(line)} with another content; ids are unique"
            )
    return [clip for _, clip in seen.values()]


def _reached(folder: Path, text: str, allow_outside: bool) -> Path:
    """`text` below `folder`, in normal form; lexically, so links in the folder may lead where their owner wants."""
    if not text:
        raise UsageError("the path is empty")
    root = os.path.abspath(folder)  # noqa: PTH100
    full = os.path.normpath(os.path.join(root, text))  # noqa: PTH118
    relative = os.path.relpath(full, root)
    if relative == ".." or relative.startswith("../"):
        if allow_outside:
            return Path(full)
        raise UsageError(
            f"path '{text}' leads outside the manifest's directory {root}: allow it by --allow-outside if you "
            "trust the manifest, move it above the media, or link their directory into it"
        )
    return folder / relative


def _optional(table: CsvTable, column: str, parse: Callable[[str], str]) -> list[str | None]:
    """A text column that may be absent or empty."""
    if column not in table.text:
        return [None] * len(table)
    words = table.words(column, lambda text: parse(text) if text else "")
    return [words[row] or None for row in range(len(table))]


def _times(table: CsvTable, column: str) -> list[float | None]:
    cells = table.numbers.get(column)
    if cells is None:
        return [None] * len(table)
    return [float(value) if np.isfinite(value) else None for value in cells]


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
        names = video_names(clip.id)
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
        if is_face(clip.id):
            raise UsageError(
                f"clip id '{clip.id}' ({clip.path}) ends in # and a number, as --face all names the faces of a clip: "
                "rename the file, or give it another id in a manifest CSV"
            )
    return clips


def are_crops(clips: Sequence[Clip]) -> bool:
    """Whether the clips are folders of crops. Raises UsageError for a mixture with media."""
    folders = [clip for clip in clips if os.path.isdir(clip.path)]  # noqa: PTH112
    if folders and len(folders) < len(clips):
        media = next(clip for clip in clips if not os.path.isdir(clip.path))  # noqa: PTH112
        raise UsageError(f"media ({media.path}) and folders of crops ({folders[0].path}) in one command: use two")
    return bool(folders)


def media_sources(clips: Iterable[Clip], digests: Digests) -> dict[str, str]:
    """Digest of what each clip is: its file's bytes and how it is cut from it."""
    listed = list(clips)
    readable = {clip.path for clip in listed if os.path.isfile(clip.path)}  # noqa: PTH113
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
