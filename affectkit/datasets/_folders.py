"""Folders and files below a data set's root. What came with a download is untrusted: no link may lead out of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from affectkit.errors import UsageError
from affectkit.tables.ids import clip_id

_CROPS = "cropped"


def checked_root(root: Path, name: str) -> Path:
    """`root`, if it is a directory. Raises UsageError."""
    if not root.is_dir():
        raise UsageError(f"--root '{root}' is not a directory; give the folder that holds {name}")
    return root


def inside(root: Path, path: Path) -> Path:
    """`path` itself, if it stays below `root` once its links are followed. Raises UsageError."""
    try:
        kept = path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not kept:
        raise UsageError(f"{path} is a link that leads outside {root}; put the files inside, or name their folder by "
                         "an option (affectkit list datasets NAME)")  # fmt: skip
    return path


def entries(root: Path, folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted by name, without hidden entries and what archives of macOS leave behind."""
    try:
        with os.scandir(inside(root, folder)) as found:
            kept = [entry for entry in found if not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}") from None
    return sorted(kept, key=lambda entry: entry.name)


def files(root: Path, folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Files with one of the (lower-case) suffixes, by clip id, sorted. Raises UsageError for one id with two files."""
    found: dict[str, Path] = {}
    for entry in entries(root, folder):
        path = folder / entry.name
        if path.suffix.lower() not in suffixes or is_folder(entry):
            continue
        if entry.is_symlink():
            inside(root, path)
        name = identified(path.stem, path)
        first = found.setdefault(name, path)
        if first != path:
            raise UsageError(f"clip '{name}' has two files, {first} and {path.name}; keep one")
    return dict(sorted(found.items()))


def named_by_suffix(root: Path, folder: Path, suffix: str) -> dict[str, Path]:
    """Files called `<clip id><suffix>`, by clip id."""
    found = {}
    for entry in entries(root, folder):
        if entry.name.endswith(suffix):
            path = folder / entry.name
            found[identified(entry.name.removesuffix(suffix), path)] = (
                inside(root, path) if entry.is_symlink() else path
            )
    return found


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory, or a link to one; a loop of links is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def identified(text: str, path: Path) -> str:
    """`text` as a clip id; a UsageError names the file otherwise."""
    if text.isascii() and text.isalnum():  # hundreds of thousands of them
        return text
    try:
        return clip_id(text)
    except UsageError as error:
        raise UsageError(f"{ascii(str(path))[1:-1]}: {error}") from None


def folders(root: Path, depth: int | None = None) -> Iterator[Path]:
    """`root` and the directories below it, nearest first, down to `depth` levels.

    Links to directories and folders of crops (`cropped...`) are named but not entered: a link's target is met anyway if
    it is inside, and crops are millions of files.
    """
    level = [root]
    while level:
        yield from level
        if depth == 0:
            return
        depth = None if depth is None else depth - 1
        level = [
            folder / entry.name
            for folder in level
            if is_entered(root, folder)
            for entry in entries(root, folder)
            if is_folder(entry)
        ]


def is_entered(root: Path, folder: Path) -> bool:
    """Whether `folders` looks into a directory that it names."""
    return folder == root or not (folder.name.lower().startswith(_CROPS) or folder.is_symlink())


def find_folder(root: Path, *names: str, depth: int = 2) -> Path | None:
    """The directory called one of `names` (any letter case), `root` itself or at most `depth` levels below.

    Raises UsageError where there are several (which one is meant cannot be guessed), and for a link that leads out.
    """
    wanted = {name.casefold() for name in names}
    return _only(root, [folder for folder in folders(root, depth) if folder.name.casefold() in wanted])


def find_file(root: Path, *names: str, depth: int = 2) -> Path | None:
    """The file called one of `names` (any letter case), in `root` or at most `depth` levels below.

    Raises UsageError where there are several, and for a link that leads out.
    """
    wanted = {name.casefold() for name in names}
    return _only(root, [
        folder / entry.name
        for folder in folders(root, depth)
        if is_entered(root, folder)
        for entry in entries(root, folder)
        if entry.name.casefold() in wanted and not is_folder(entry)
    ])  # fmt: skip


def _only(root: Path, found: list[Path]) -> Path | None:
    """The one that was found, however many links lead to it."""
    distinct = {inside(root, path).resolve(): path for path in reversed(found)}
    if len(distinct) > 1:
        first, second = list(reversed(distinct.values()))[:2]
        raise UsageError(f"{first} and {second} are both there; keep one, or give the folder above it as --root")
    return found[0] if found else None
