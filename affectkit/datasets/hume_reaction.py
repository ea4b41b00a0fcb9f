"""Hume-Reaction (MuSe-2022, ABAW5): the intensity of seven emotional reactions in a clip."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from affectkit.config import Config
from affectkit.datasets._clip_labels import whole_clips
from affectkit.datasets._folders import checked_root, entries, files, find_file, find_folder, is_folder
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._values import marked_invalid, served
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.tables.csv import SmallTable, read_small_table
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels, Floats


class HumeReactionOptions(MediaOptions):
    """Labels hold for whole clips."""


class _Tables(NamedTuple):
    labels: SmallTable
    partition: SmallTable


class HumeReaction:
    """Hume-Reaction: `labels.csv` and `partition.csv` (MuSe-2022), or `data_info.csv` (ABAW5).

    Ids are written `12345` or `[12345]`; both mean 12345, and `12345.mp4` may lie anywhere below the root. Emotions
    are found by name, in any order. A clip is invalid where an intensity is empty; a clip of partition.csv without
    labels is one of the unlabelled test set. `features()` lists the features that come with the data.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = HumeReactionOptions
    tasks: ClassVar[tuple[str, ...]] = ("eri",)

    def __init__(self, options: HumeReactionOptions, root: Path) -> None:
        self.root = checked_root(root, "labels.csv and partition.csv, or data_info.csv")
        self.media = MediaFolders(root, options)

    def clips(self) -> list[Clip]:
        """Clips of the tables whose media are here, and media that no table names."""
        splits = self.splits()
        return self.media.clips(splits, splits)

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """Split by clip id: train, val (devel) and test."""
        if task is not None:
            served(task, "hume-reaction", self.tasks)
        table = self._tables.partition
        place = table.needed("Split") if table is self._tables.labels else 1
        return dict(sorted(zip(table.ids(_id_place(table)), table.splits(place), strict=True)))

    def label_files(self, task: Task) -> list[Path]:
        """labels.csv and partition.csv, or data_info.csv."""
        served(task, "hume-reaction", self.tasks)
        return sorted({table.path for table in self._tables})

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """One row a clip."""
        served(task, "hume-reaction", self.tasks)
        table = self._tables.labels
        lines = [line for line, _ in table.rows]
        places = [table.needed(name) for name in task.targets]
        values: Floats = np.array(table.numbers(places), np.float64).reshape(-1, len(places))
        values = marked_invalid(values, task, lambda row, message: table.error(lines[row], message))
        found = {
            clip: RawLabels(values[row : row + 1], table.path, lines[row])
            for row, clip in enumerate(table.ids(_id_place(table)))
        }
        return dict(sorted(found.items()))

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """One row a clip, 0 to infinity."""
        splits = self.splits()
        if stray := [clip for clip in self.rows(task) if clip not in splits]:
            raise UsageError(f"{self._tables.partition.path}: clip '{stray[0]}' has labels and no split")
        return whole_clips(self.rows(task), splits)

    def features(self) -> dict[str, dict[str, Path]]:
        """The CSV files of `feats/<name>/<clip>.csv` by name and clip id; their first two columns are metadata."""
        folder = find_folder(self.root, "feats", "features")
        if folder is None:
            return {}
        names = [entry.name for entry in entries(self.root, folder) if is_folder(entry)]
        return {name: files(self.root, folder / name, {".csv"}) for name in names}

    def notes(self) -> list[str]:
        """Nothing is assumed."""
        return []

    @cached_property
    def _tables(self) -> _Tables:
        info = find_file(self.root, "data_info.csv")
        labels = find_file(self.root, "labels.csv")
        if info and labels:
            raise UsageError(f"{info} and {labels} are both there; keep one, or give the folder of one as --root")
        if info:
            table = read_small_table(info)
            return _Tables(table, table)
        if labels is None:
            raise UsageError(f"neither data_info.csv nor labels.csv in {self.root} (or two levels below)")
        partition = find_file(self.root, "partition.csv")
        if partition is None:
            raise UsageError(f"no partition.csv in {self.root} (or two levels below), which says each clip's split")
        split = read_small_table(partition)
        if len(split.header) < 2:
            raise UsageError(f"{partition}: the columns are {', '.join(split.header)}, needed are an id and a split")
        return _Tables(read_small_table(labels), split)


def _id_place(table: SmallTable) -> int:
    """The column of ids: by its name, else the first."""
    place = table.place("File_ID", "ID")
    return 0 if place is None else place


PLUGIN = HumeReaction
