"""Where the media of a data set are: videos anywhere below the root, or folders of crops."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from affectkit.config import Config
from affectkit.datasets._folders import entries, find_folder, folders, identified, inside, is_entered, is_folder
from affectkit.errors import UsageError
from affectkit.media import VIDEO_SUFFIXES
from affectkit.tables.ids import of_width
from affectkit.tables.media_names import PERSONS, video_names
from affectkit.types import Clip


class MediaOptions(Config):
    """Options of data sets made of videos."""

    media: Literal["auto", "videos", "crops"] = Field(
        "auto", description="what clips are: videos, folders of crops, or auto: videos if there are any, else crops"
    )
    videos: Path | None = Field(None, description="folder of the videos  [default: anywhere below the root]")
    crops: Path | None = Field(
        None, description="folder of the crops  [default: cropped_aligned (DFEW: single_label/data) below the root]"
    )


class MediaFolders:
    """The videos and folders of crops, by name. Nothing is looked for before it is asked for.

    `crops`: the folder that folders of crops lie in, with `prefer` it is what auto means where it is there. `digits`:
    names that are whole numbers have so many at least.
    """

    def __init__(
        self, root: Path, options: MediaOptions, *, crops: str = "cropped_aligned",
        prefer: Literal["videos", "crops"] = "videos", digits: int = 0,
    ) -> None:  # fmt: skip
        self.root, self.options, self._crop_folder = root, options, crops
        self._prefer, self._digits = prefer, digits
        for folder in (options.videos, options.crops):
            if folder is not None and not folder.is_dir():
                raise UsageError(f"'{folder}' is not a directory; the options videos and crops name folders")

    @cached_property
    def _videos(self) -> dict[str, list[Path]]:
        root = self.options.videos or self.root
        found: dict[str, list[Path]] = defaultdict(list)
        for folder in folders(root):
            if not is_entered(root, folder):
                continue
            for entry in entries(root, folder):
                stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122
                if suffix.lower() in VIDEO_SUFFIXES and not is_folder(entry):
                    path = folder / entry.name
                    found[self._name(stem, path)].append(inside(root, path) if entry.is_symlink() else path)
        return found

    @cached_property
    def _by_path(self) -> dict[str, Path]:
        root = self.options.videos or self.root
        paths = sorted(path for same in self._videos.values() for path in same)
        return {identified(path.relative_to(root).with_suffix("").as_posix(), path): path for path in paths}

    @cached_property
    def crops(self) -> dict[str, Path]:
        """Folders of crops by clip id, sorted."""
        folder = self.options.crops or self._below_root()
        if folder is None:
            return {}
        root = self.options.crops or self.root
        found = {}
        for entry in entries(root, folder):
            if is_folder(entry):
                path = folder / entry.name
                found[self._name(entry.name, path)] = inside(root, path) if entry.is_symlink() else path
        return dict(sorted(found.items()))

    def _below_root(self) -> Path | None:
        """The folder of crops, where it is in the usual place."""
        parent, _, name = self._crop_folder.rpartition("/")
        if not parent:
            return find_folder(self.root, name)
        above = find_folder(self.root, parent)
        return inside(self.root, above / name) if above and (above / name).is_dir() else None

    def _name(self, text: str, path: Path) -> str:
        name = identified(text, path)
        return of_width(name, self._digits)

    @property
    def _are_crops(self) -> bool:
        if self.options.media != "auto":
            return self.options.media == "crops"
        return bool(self.crops) if self._prefer == "crops" else not self._videos

    def video(self, clip: str) -> tuple[Path, str | None] | None:
        """The video that a clip is in, and the face rule of a second person (`_left`, `_right`) in it; None: not here.

        An id with folders in it is a path relative to the root (or the option videos), without suffix; any other is
        the name of a video in whatever folder. Raises UsageError where two videos have the name.
        """
        if "/" in clip:
            return (self._by_path[clip], None) if clip in self._by_path else None
        if clip in self._videos:
            return self._only(clip), None
        for suffix, rule in PERSONS.items():
            name = clip.removesuffix(suffix)
            if name != clip and name in self._videos:
                return self._only(name), rule
        return None

    def video_of(self, clip: str) -> Path | None:
        """The video alone."""
        found = self.video(clip)
        return found[0] if found else None

    def _only(self, name: str) -> Path:
        paths = self._videos[name]
        distinct = {path.resolve() for path in paths} if len(paths) > 1 else {paths[0]}
        if len(distinct) > 1:
            raise UsageError(f"two videos are called {name}: {paths[0]} and {paths[1]}; keep one, or give the folder "
                             "that is meant by --dataset-option videos=DIR")  # fmt: skip
        return paths[0]

    def clips(self, labelled: Iterable[str], splits: dict[str, str]) -> list[Clip]:
        """The labelled clips that are here and the media that no label is about, sorted by id."""
        names = set(labelled)
        if self._are_crops:
            names |= set(self.crops)
            return [Clip(name, self.crops[name], split=splits.get(name)) for name in sorted(names & set(self.crops))]
        used = {name for clip in names for name in video_names(clip.rpartition("/")[2])}
        names |= set(self._videos) - used
        found = ((name, self.video(name)) for name in sorted(names))
        return [Clip(name, at[0], split=splits.get(name), face=at[1]) for name, at in found if at]

    @property
    def missing(self) -> str:
        """What to do about a video that is not there, for messages."""
        return (f"no such video below {self.options.videos or self.root}; put the videos there, or give their folder "
                "by --dataset-option videos=DIR (links to folders are not followed)")  # fmt: skip
