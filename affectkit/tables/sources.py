"""Media arguments of a command, as clips: files, directories, folders of crops, manifests, paths on stdin."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from affectkit.errors import Notice, UsageError, listed, named
from affectkit.media import VIDEO_SUFFIXES
from affectkit.store import is_artifact, open_artifact
from affectkit.store.kinds import MAKES
from affectkit.store.result_folder import is_results
from affectkit.tables.crops import is_crop_name
from affectkit.tables.manifests import read_manifest
from affectkit.tables.media_names import id_of
from affectkit.types import Clip, is_face


def sources(
    items: Sequence[str], *, media_suffixes: Collection[str], stdin: TextIO | None = None, allow_outside: bool = False
) -> list[Clip]:
    """The clips that the media arguments name, each once, in the order given (a directory's sorted by id).

    - A file is one clip, whatever its suffix; its id is its name without the suffix.
    - A directory gives the files below it that have a media suffix, hidden ones left out; ids are paths relative to
      it, without suffix. Directories that hold images and no media are folders of crops: one clip each, whose `path`
      is the folder. Links are followed.
      Pictures beside media are left out, and a notice counts them; so are folders that `analyze` wrote.
    - `*.csv` is a manifest (`read_manifest`, which says what `allow_outside` is).
    - `-` reads one path a line from `stdin`; each counts as if it were given directly.

    A file given twice is one clip. Raises UsageError for a path that does not exist, an id with two files, an id that
    `clip_id` refuses, a directory or a command without clips.
    """
    suffixes = frozenset(suffix.lower() for suffix in media_suffixes)
    clips: dict[str, Clip] = {}
    for item in _expand(items, stdin):
        for clip in _clips_of(item, suffixes, allow_outside):
            first = clips.setdefault(clip.id, clip)
            if first is not clip and not _same(first, clip):
                raise UsageError(_clash(first, clip))
    if not clips:
        raise UsageError("no clips given: name media files, a directory, a manifest CSV, or - for paths on stdin")
    return list(clips.values())


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
    clips, pictures, results = [], [], []
    for folder in _folders(root):
        if folder != root and is_results(folder):
            results.append(folder.relative_to(root))
        if any(folder.is_relative_to(root / each) for each in results):
            continue
        names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and not entry.is_dir()]
        media = [name for name in names if Path(name).suffix.lower() in suffixes]
        if media:
            clips += [_below(root, folder / name, (folder / name).with_suffix("")) for name in media]
            pictures += [name for name in names if is_crop_name(name) and name not in media]
        elif any(is_crop_name(name) for name in names):
            clips.append(_below(root, folder, folder))
    if results:
        told = f"{root}: results of an analysis are left out ({named([str(path) for path in results])})"
        warnings.warn(told, Notice, stacklevel=2)
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
    clash = f"clip '{first.id}' has two contents"
    if first.path == second.path:
        return f"{clash}: {first.path} with different times, split, subject or face rule; give each part its own id"
    if first.path.parent == second.path.parent:
        what_to_do = "give the one that is meant, rename one of them,"
    else:
        what_to_do = "give their common directory,"
    return f"{clash}: {first.path} and {second.path}; {what_to_do} or ids of your own in a manifest CSV"


def clips_of(
    items: Sequence[str], suffixes: Collection[str] = VIDEO_SUFFIXES, *, allow_outside: bool = False
) -> list[Clip]:
    """The clips that media arguments name; of a directory, the files with one of the `suffixes`. `allow_outside`: a
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
