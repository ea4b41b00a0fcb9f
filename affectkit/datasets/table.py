"""Any table of labels, CSV or Parquet, whatever its columns are called."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from affectkit.config import Config
from affectkit.datasets._folders import checked_root, entries, inside, is_folder
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._parquet import read_parquet
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.tables.csv import CsvTable, read_table
from affectkit.tables.ids import split_name
from affectkit.tables.label_tables import labels_of, of_clip
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels

_SUFFIXES = (".csv", ".parquet")


class TableOptions(MediaOptions):
    """Columns are found by their name, in any letter case."""

    file: str | None = Field(None, description="the table, relative to the root  [default: the only one in it]")
    clip: str = Field("clip", description="column of the clip ids")
    start: str = Field("start", description="column where an interval begins (s)")
    end: str = Field("end", description="column where an interval ends (s)")
    split: str = Field("split", description="column of the split")
    subject: str = Field("subject", description="column of the subject")
    label: str = Field("label", description="column of the class, for multiclass tasks")


class LabelTable:
    """A CSV or Parquet file below the root: `clip[,start,end][,split][,subject],<targets>`, columns renamed by options.

    Cells mean what they mean in a labels CSV: a column a target, or `label` (a class name or its index), nothing where
    it is invalid, no times where a label holds for the whole clip. Any task fits whose columns are there. Media are
    videos below the root named like the clips, or folders of crops.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = TableOptions
    tasks: ClassVar[tuple[str, ...]] = ()
    says_times: ClassVar[bool] = True

    def __init__(self, options: TableOptions, root: Path) -> None:
        self.root = checked_root(root, "the table")
        self.options = options
        self.media = MediaFolders(root, options)
        self._labels: dict[str, dict[str, ClipLabels]] = {}

    def clips(self) -> list[Clip]:
        """The clips whose media are below the root, with the table's splits and subjects."""
        table = self._read()
        ids = table.clips()
        subjects = of_clip(table, "subject", ids, str)
        return [replace(clip, subject=subjects.get(clip.id)) for clip in self.media.clips(ids.values, self.splits())]

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """Split by clip id, of the column `split`; empty without it."""
        table = self._read()
        return dict(sorted(of_clip(table, "split", table.clips(), split_name).items()))

    def label_files(self, task: Task) -> list[Path]:
        """The table."""
        return [self._path]

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """As `labels`, without their times."""
        return {clip: RawLabels(at.values, self._path) for clip, at in self._known(task).items()}

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """Labels by clip id, sorted; intervals of a clip sorted by time."""
        return dict(self._known(task))

    def _known(self, task: Task) -> dict[str, ClipLabels]:
        key = task.model_dump_json()
        if key not in self._labels:
            self._labels[key] = labels_of(self._read(task), task)
        return self._labels[key]

    def notes(self) -> list[str]:
        """Nothing is assumed."""
        return []

    @cached_property
    def _path(self) -> Path:
        if self.options.file is not None:
            return inside(self.root, self.root / self.options.file)
        found = [self.root / entry.name for entry in entries(self.root, self.root)
                 if Path(entry.name).suffix.lower() in _SUFFIXES and not is_folder(entry)]  # fmt: skip
        if len(found) != 1:
            names = ", ".join(path.name for path in found[:5]) or "none"
            raise UsageError(f"{self.root} has {len(found)} tables ({names}); name one by --dataset-option file=NAME")
        return inside(self.root, found[0])

    def _read(self, task: Task | None = None) -> CsvTable:
        """The columns of ids, splits and subjects, and what a task's labels need, under the names that we give them."""
        given = self.options
        classes = task is not None and task.kind == "multiclass"
        text = {"clip": given.clip, "split": given.split, "subject": given.subject}
        text |= {"label": given.label} if classes else {}
        numbers = {"start": given.start, "end": given.end} if task else {}
        numbers |= {name: name for name in task.targets} if task and not classes else {}
        read = read_parquet if self._path.suffix.lower() == ".parquet" else read_table
        table = read(
            self._path,
            f"labels for {task.name}" if task else "labels",
            text=tuple(text.values()),
            numbers=tuple(numbers.values()),
            optional=(given.start, given.end, given.split, given.subject),
        )
        if (given.start in table.numbers) != (given.end in table.numbers):
            raise UsageError(f"{self._path}: {given.start} and {given.end} come together (or neither)")
        return replace(
            table,
            text={name: table.text[column] for name, column in text.items() if column in table.text},
            numbers={name: table.numbers[column] for name, column in numbers.items() if column in table.numbers},
        )


PLUGIN = LabelTable
