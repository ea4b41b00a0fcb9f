"""DFEW: seven expressions of clips from films, in five folds."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.datasets._clip_labels import whole_clips
from affectkit.datasets._folders import checked_root, find_folder, inside
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._values import served
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.tables.csv import SmallTable, read_small_table
from affectkit.tasks import BUILT_IN, Task
from affectkit.types import Clip, ClipLabels, Floats

EXPRESSIONS = BUILT_IN["dfew"].targets

_DIGITS = 5
_SIDES = {
    "valence-2": {"Happy": 1, "Sad": 0, "Angry": 0, "Disgust": 0, "Fear": 0},
    "arousal-2": {"Happy": 1, "Sad": 0, "Neutral": 0, "Angry": 1, "Surprise": 1, "Fear": 1},
}
"""On which side of the circumplex (Russell 1980) an expression lies; one that is not named lies on neither."""


class DfewOptions(MediaOptions):
    """The folds are the authors'."""

    fold: int = Field(1, ge=1, le=5, description="the fold whose clips are the test set")


class Dfew:
    """DFEW: `label/single_{train,test}set_N.csv`, or `EmoLabel_DataSplit/{train,test}(single-labeled)/set_N.csv`.

    Classes are written 1 Happy, 2 Sad, 3 Neutral, 4 Angry, 5 Surprise, 6 Disgust, 7 Fear; the task `dfew` has them in
    that order, from 0. Ids have five digits, as the folders of frames have (`single_label/data/00001`), however the
    table writes them. A fold has a train and a test split and no validation: draw one with --val-fraction.

    The tasks `valence-2` and `arousal-2` (negative or positive, low or high) follow from the expression by its place on
    the circumplex, as coarse labels to learn along: DFEW itself has none of valence and arousal.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = DfewOptions
    tasks: ClassVar[tuple[str, ...]] = ("dfew", *_SIDES)

    def __init__(self, options: DfewOptions, root: Path) -> None:
        self.root = checked_root(root, "label/ or EmoLabel_DataSplit/")
        self.fold = options.fold
        self.media = MediaFolders(root, options, crops="single_label/data", prefer="crops", digits=_DIGITS)

    def clips(self) -> list[Clip]:
        """Clips of the fold's tables that are here, and others."""
        splits = self.splits()
        return self.media.clips(splits, splits)

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """train and test of the fold."""
        if task is not None:
            served(task, "dfew", self.tasks)
        found: dict[str, str] = {}
        for split, table in self._tables.items():
            for clip in _ids(table):
                if found.setdefault(clip, split) != split:
                    raise UsageError(f"clip '{clip}' of fold {self.fold} is in {self._tables['train'].path} and in "
                                     f"{table.path}")  # fmt: skip
        return dict(sorted(found.items()))

    def label_files(self, task: Task) -> list[Path]:
        """The fold's two tables."""
        served(task, "dfew", self.tasks)
        return sorted(table.path for table in self._tables.values())

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """One row a clip: the class index from 0."""
        name = served(task, "dfew", self.tasks)
        found = {}
        for table in self._tables.values():
            values = _sides(_classes(table), name)
            for row, clip in enumerate(_ids(table)):
                found[clip] = RawLabels(values[row : row + 1], table.path, table.rows[row][0])
        return dict(sorted(found.items()))

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """One row a clip, 0 to infinity."""
        return whole_clips(self.rows(task), self.splits())

    def notes(self) -> list[str]:
        """Nothing is assumed."""
        return []

    @cached_property
    def _tables(self) -> dict[str, SmallTable]:
        return {split: read_small_table(self._table(split)) for split in ("train", "test")}

    def _table(self, split: str) -> Path:
        names = (("label", f"single_{split}set_{self.fold}.csv"),
                 (f"{split}(single-labeled)", f"set_{self.fold}.csv"))  # fmt: skip
        found = [
            folder / name for parent, name in names
            if (folder := find_folder(self.root, parent)) and (folder / name).exists()
        ]  # fmt: skip
        if len(found) != 1:
            both = f"{found[0]} and {found[1]} are both there; keep one" if found else (
                f"neither {names[0][0]}/{names[0][1]} nor EmoLabel_DataSplit/{names[1][0]}/{names[1][1]} in {self.root}"
            )  # fmt: skip
            raise UsageError(both)
        return inside(self.root, found[0])


def _ids(table: SmallTable) -> list[str]:
    return table.ids(1 if table.needed("label") == 0 else 0, _DIGITS)


def _sides(classes: Floats, task: str) -> Floats:
    """[N,1] classes of `task` for those of the expressions; NaN where an expression has none."""
    if task not in _SIDES:
        return classes
    of_class = np.array([_SIDES[task].get(name, np.nan) for name in EXPRESSIONS] + [np.nan])
    return np.asarray(of_class[np.where(np.isnan(classes), len(EXPRESSIONS), classes).astype(int)])


def _classes(table: SmallTable) -> Floats:
    """[N,1] class indices from 0 of classes written from 1."""
    if len(table.header) < 2:
        raise UsageError(f"{table.path}: the columns are {', '.join(table.header)}, needed are an id and label")
    values = np.array(table.numbers([table.needed("label")]), np.float64).reshape(-1, 1)
    wrong = ~(np.isnan(values) | np.isin(values, range(1, len(EXPRESSIONS) + 1)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise table.error(table.rows[row][0], f"label is {values[row, 0]:g}, needed is 1 to {len(EXPRESSIONS)}")
    return values - 1


PLUGIN = Dfew
