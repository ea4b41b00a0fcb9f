"""Stills, one a clip."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from affectkit.datasets._folders import entries, files, inside
from affectkit.manifest import IMAGE_SUFFIXES


def stills(root: Path, folder: Path) -> dict[str, Path]:
    """Images in a folder by clip id, sorted; none where there is no such folder."""
    return files(root, folder, IMAGE_SUFFIXES) if folder.is_dir() else {}


def names_in(root: Path, folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files in a folder with one of the suffixes, sorted."""
    found = [entry for entry in entries(root, folder) if Path(entry.name).suffix.lower() in suffixes]
    return [inside(root, folder / entry.name) if entry.is_symlink() else folder / entry.name for entry in found]
