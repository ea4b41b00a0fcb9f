"""C-EXPR-DB as ABAW gives it: clips to classify into seven compound expressions, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from affectkit.config import Config
from affectkit.datasets._folders import checked_root
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._values import served
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.tables.label_tables import read_labels
from affectkit.tasks import BUILT_IN, Task
from affectkit.types import Clip, ClipLabels


class CExprOptions(MediaOptions):
    """Labels are not part of the data."""

    labels: Path | None = Field(None, description="CSV of labels of your own (clip[,split][,subject],label)")


class CExpr:
    """C-EXPR-DB: videos or cropped_aligned, unlabelled; every clip is in `test`.

    The classes are those of the task `compound`, in its order: 0 Fearfully_Surprised, 1 Happily_Surprised, 2
    Sadly_Surprised, 3 Disgustedly_Surprised, 4 Angrily_Surprised, 5 Sadly_Fearful, 6 Sadly_Angry. The option `labels`
    gives labels of your own, with a split each where the table has that column.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = CExprOptions
    tasks: ClassVar[tuple[str, ...]] = ("compound",)

    def __init__(self, options: CExprOptions, root: Path) -> None:
        self.root = checked_root(root, "the videos or cropped_aligned/")
        if options.labels is not None and not options.labels.is_file():
            raise UsageError(f"labels {options.labels} is not a file: C-EXPR-DB comes without labels, the option "
                             "labels names a table of your own (clip[,split][,subject],label)")  # fmt: skip
        self.options = options
        self.media = MediaFolders(root, options)

    def clips(self) -> list[Clip]:
        """The clips whose media are below the root."""
        splits = self.splits()
        return self.media.clips(splits, splits)

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """Split by clip id, of the labels' table; `test` for clips without."""
        if task is not None:
            served(task, "cexpr", self.tasks)
        labelled = {clip: labels.split or "test" for clip, labels in self._labels().items()}
        return dict(sorted((dict.fromkeys((clip.id for clip in self.media.clips([], {})), "test") | labelled).items()))

    def label_files(self, task: Task) -> list[Path]:
        """The labels' table, if one is given."""
        served(task, "cexpr", self.tasks)
        return [self.options.labels] if self.options.labels else []

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """The rows of the labels' table."""
        served(task, "cexpr", self.tasks)
        path = self.options.labels
        return {clip: RawLabels(labels.values, path) for clip, labels in self._labels(task).items()} if path else {}

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """Empty without the option `labels`."""
        served(task, "cexpr", self.tasks)
        return self._labels(task)

    def notes(self) -> list[str]:
        """Nothing is assumed."""
        return []

    def _labels(self, task: Task | None = None) -> dict[str, ClipLabels]:
        return read_labels(self.options.labels, task or BUILT_IN["compound"]) if self.options.labels else {}


PLUGIN = CExpr
