"""Continuous traces of valence, arousal and the like: CSV files of a rater or several, a file a clip."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from affectkit.annotations.raters import Combining, Trace
from affectkit.annotations.trace_files import Clock, TraceFile, read_traces
from affectkit.config import Config
from affectkit.datasets._folders import checked_root, entries, folders, identified, inside, is_entered, is_folder
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._raters import CombinedLabels, RatedClip, agreement_of, combined
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels

_SUFFIXES = (".csv", ".tsv", ".txt")


class TracesOptions(MediaOptions):
    """Columns are found by their name, in any letter case."""

    raters: Literal["none", "columns", "folders"] = Field(
        "none",
        description="none: one rater; columns: a column a rater (valence_anna, or any column in a folder "
        "called valence); folders: a folder a rater (anna/clip.csv)",
    )
    time: str = Field("", description="column of times  [default: time, timestamp, timestamps, seconds or ms]")
    unit: Literal["s", "ms"] = Field("s", description="what times are in: seconds or milliseconds")
    fps: float | None = Field(None, gt=0, le=1e6, description="rows a second, of files without times")
    combine: Combining = Field("mean", description="several raters: mean, or ewe (evaluator-weighted mean)")


class Traces:
    """Continuous traces: `<clip>.csv` with `time` and a column a target, or `<target>/<clip>.csv` with a column of it.

    Cells are separated by commas, semicolons (RECOLA) or tabs; times are seconds or milliseconds, or rows come at a
    rate. A row holds until the next one. Several raters have a column each or a folder each, and are averaged, plainly
    or by weights (EWE); `dataset check` says how far they agree. Media lie anywhere below the root; splits come from
    `--splits`.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = TracesOptions
    tasks: ClassVar[tuple[str, ...]] = ()
    says_times: ClassVar[bool] = True

    def __init__(self, options: TracesOptions, root: Path) -> None:
        self.root = checked_root(root, "the traces")
        self.options = options
        self.media = MediaFolders(root, options)
        unit = 1000.0 if options.unit == "ms" else 1.0
        self._clock = Clock(unit, options.fps, options.time)
        self._combined: dict[str, CombinedLabels] = {}
        self._rows: dict[Path, TraceFile] = {}

    def clips(self) -> list[Clip]:
        """The media that are there."""
        return self.media.clips(filter(None, map(self._clip_with_media, self._paths)), {})

    def _clip_with_media(self, path: Path) -> str | None:
        """The id of a file's clip that there is a video of: its path, without the folders of targets and raters that
        videos are not in."""
        *above, last = path.relative_to(self.root).with_suffix("").parts
        for count in range(len(above), -1, -1):
            for kept in combinations(above, count):
                name = identified("/".join([*kept, last]), path)
                if self.media.video(name) is not None:
                    return name
        return None

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """None: the files say none."""
        return {}

    def label_files(self, task: Task) -> list[Path]:
        """The files of a task's targets."""
        return sorted({path for files in self._files(task).values() for _, _, path in files})

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """As `labels`, without their times."""
        first = {clip: files[0][2] for clip, files in self._files(task).items()}
        return {clip: RawLabels(each.values, first[clip]) for clip, each in self._known(task).labels.items()}

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """Labels by clip id, sorted, at the times of the traces."""
        return dict(self._known(task).labels)

    def agreement(self, task: Task) -> dict[str, dict[str, float]]:
        """How far the raters agree, by label column and measure; empty where there is one rater."""
        return agreement_of(self._rated(task), task)

    def notes(self) -> list[str]:
        """How raters were made one."""
        return list(dict.fromkeys(note for each in self._combined.values() for note in each.notes))

    def _known(self, task: Task) -> CombinedLabels:
        key = task.model_dump_json()
        if key not in self._combined:
            self._combined[key] = combined(self._rated(task), task, self.options.combine)
        return self._combined[key]

    @cached_property
    def _paths(self) -> list[Path]:
        """All files of traces below the root."""
        paths = []
        for folder in folders(self.root):
            for entry in entries(self.root, folder) if is_entered(self.root, folder) else ():
                path = folder / entry.name
                if path.suffix.lower() in _SUFFIXES and not is_folder(entry):
                    paths.append(inside(self.root, path))
        if not paths:
            raise UsageError(f"no traces ({', '.join(_SUFFIXES)}) in {self.root} or below")
        return sorted(paths)

    def _files(self, task: Task) -> dict[str, list[tuple[str, str, Path]]]:
        """(target, rater, path) of each file of a clip; an empty target: its columns say which, an empty rater: so do
        they, or there is one."""
        if task.level != "time":
            raise UsageError(f"traces are labels in time; {task.name} has one label a clip")
        targets = {name.casefold(): name for name in task.label_columns}
        parts = {path: path.relative_to(self.root).with_suffix("").parts for path in self._paths}
        by_target = any(part.casefold() in targets for each in parts.values() for part in each[:-1])
        clips: dict[str, list[tuple[str, str, Path]]] = defaultdict(list)
        for path, (*above, last) in parts.items():
            target = rater = ""
            if by_target:
                held = [part for part in above if part.casefold() in targets]
                if not held:
                    continue  # of another task
                target = targets[held[-1].casefold()]
                above.remove(held[-1])
            if self.options.raters == "folders":
                if not above:
                    raise UsageError(f"{path} is in no folder of a rater (raters=folders: anna/clip.csv)")
                rater = above.pop()
            clips[identified("/".join([*above, last]), path)].append((target, rater, path))
        return dict(sorted(clips.items()))

    def _rated(self, task: Task) -> dict[str, RatedClip]:
        rated = {}
        for clip, files in self._files(task).items():
            columns: dict[str, dict[str, Trace]] = {name: {} for name in task.label_columns}
            for target, rater, path in files:
                for name, who, trace in self._traces(task, target, rater, path):
                    if columns[name].setdefault(who, trace) is not trace:
                        raise UsageError(f"{path}: clip '{clip}' has two traces of {name}{f' by {who}' if who else ''}")
            rated[clip] = RatedClip(files[0][2], tuple(columns.values()))
        return rated

    def _traces(self, task: Task, target: str, rater: str, path: Path) -> list[tuple[str, str, Trace]]:
        """(target, rater, trace) of the columns of a file."""
        if path not in self._rows:
            self._rows[path] = read_traces(path, self._clock)
        file = self._rows[path]
        traces = [
            (*named, _said(file, values))
            for column, values in file.columns.items()
            if (named := self._named(task, target, rater, column)) is not None
        ]
        if target and self.options.raters != "columns" and len(file.columns) > 1:
            names = ", ".join(file.columns)
            said = f"{len(file.columns)} columns of {target} ({names[:200]})"
            raise UsageError(f"{path}:1: {said}: of several raters? Then --dataset-option raters=columns")
        if not traces:
            raise UsageError(
                f"{path}:1: no column {' or '.join(task.label_columns)} among {', '.join(file.columns)[:200]}"
            )
        return traces

    def _named(self, task: Task, target: str, rater: str, column: str) -> tuple[str, str] | None:
        """The target and the rater that a column is of; None where it is of no target."""
        has_raters = self.options.raters == "columns"
        if target:
            return target, column if has_raters else rater
        for name in task.label_columns:
            if column.casefold() == name.casefold():
                return name, rater
            rest = column[len(name) :]
            if has_raters and column.casefold().startswith(name.casefold()) and rest[0] in "_.@- " and rest[1:].strip():
                return name, rest[1:].strip()
        return None


def _said(file: TraceFile, values: np.ndarray) -> Trace:
    """The rows of a column that hold a value."""
    held = np.isfinite(values)
    return Trace(file.start[held], file.end[held], values[held])


PLUGIN = Traces
