"""Aff-Wild2 (ABAW challenges): valence and arousal, expressions and action units, a row of labels a frame."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.datasets._folders import checked_root, entries, files, find_folder, inside, is_folder
from affectkit.datasets._frame_rows import read_frame_rows
from affectkit.datasets._frame_times import FrameTimes, assumed, read_times
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._values import marked_invalid, served
from affectkit.errors import ClipError, UsageError, listed
from affectkit.media.sampling import Rate
from affectkit.plugins import RawLabels
from affectkit.tables.frame_rates import FrameRates, frame_rates, rate_of
from affectkit.tasks import BUILT_IN, Task
from affectkit.types import Clip, ClipLabels

_FOLDERS = {
    "va": ("VA_Estimation_Challenge",),
    "expr": ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge"),
    "au": ("AU_Detection_Challenge",),
}
_SETS = {
    "train_set": "train", "training_set": "train", "validation_set": "val", "test_set": "test",
}  # fmt: skip
_FEW = 25
_FEW_PERCENT = 5


class AffWild2Options(MediaOptions):
    """Times of the rows are those of the frames in the videos."""

    fps: Rate | str | None = Field(
        None, union_mode="left_to_right",
        description="frames a second to assume for videos that are not there, or a table clip,fps  [default: refuse]",
    )  # fmt: skip


class _LabelFile(NamedTuple):
    split: str
    path: Path


class AffWild2:
    """Aff-Wild2: `VA_Estimation_Challenge/Train_Set/<video>[_left|_right].txt` and so on, videos or cropped_aligned.

    Row i of a file is frame i of the video, and crop i + 1 (`00001.jpg` is row 0). A row is invalid where valence or
    arousal is -5, the expression -1, or an action unit -1. Rows and frames that differ in number are matched from the
    first on; rows beyond the last frame are left out. A clip `<video>_left` or `_right` is a second person in
    `<video>`, found by that face rule. Splits are a task's own: a clip can be in another one for another task. Media
    that no file is about are the test set.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = AffWild2Options
    tasks: ClassVar[tuple[str, ...]] = ("va", "expr", "au")

    def __init__(self, options: AffWild2Options, root: Path) -> None:
        self.root = checked_root(root, "VA_Estimation_Challenge/ or EXPR_Recognition_Challenge/")
        self.options = options
        self.media = MediaFolders(root, options)
        self._files: dict[str, dict[str, _LabelFile]] = {}
        self._notes: dict[str, None] = {}

    def clips(self) -> list[Clip]:
        """Every clip with media. With labels of several tasks, the split is the one that all give, else None."""
        return self.media.clips(self._labelled, self.splits())

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """Split by clip id; see the protocol. Media without labels of any task are in `test`."""
        names = self._present if task is None else (served(task, "affwild2", self.tasks),)
        found: dict[str, set[str]] = {}
        for name in names:
            for clip, file in self._label_files(name).items():
                found.setdefault(clip, set()).add(file.split)
        one = {clip: splits.pop() for clip, splits in found.items() if len(splits) == 1}
        unlabelled = (clip.id for clip in self.media.clips(self._labelled, {}) if clip.id not in self._labelled)
        return dict(sorted((one | dict.fromkeys(unlabelled, "test")).items()))

    def label_files(self, task: Task) -> list[Path]:
        """The task's text files and the table of frame rates, sorted."""
        rates = [Path(self.options.fps)] if isinstance(self.options.fps, str) else []
        return sorted(
            [*(file.path for file in self._label_files(served(task, "affwild2", self.tasks)).values()), *rates]
        )

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """Label rows by clip id; row i is frame i."""
        files = self._label_files(served(task, "affwild2", self.tasks))
        paths = [file.path for file in files.values()]
        tables = read_frame_rows(paths, task.targets, task.label_columns)
        found = {}
        for name, path, (values, line) in zip(files, paths, tables, strict=True):

            def error(row: int, message: str, where: str = f"{path}", first: int = line) -> UsageError:
                return UsageError(f"{where}:{first + row}: {message}")

            found[name] = RawLabels(marked_invalid(values, task, error), path, line)
        return found

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """Labels at the frames' display intervals; clips whose files have no row are absent."""
        raw = {clip: rows for clip, rows in self.rows(task).items() if len(rows.values)}
        files = self._label_files(served(task, "affwild2", self.tasks))
        times = self._times({clip: len(rows.values) for clip, rows in raw.items()})
        found, surplus, far = {}, {}, {}
        for clip, at in times.items():
            values = raw[clip].values
            if len(values) > len(at):
                surplus[clip] = len(values) - len(at)
            if abs(len(values) - len(at)) > max(_FEW, _FEW_PERCENT / 100 * len(at)):
                far[f"{clip}: {len(values)} rows, {len(at)} frames"] = clip
            start, end, values = at.start[: len(values)], at.end[: len(values)], values[: len(at)]
            shown = end > start
            if not shown.all():
                start, end, values = start[shown], end[shown], values[shown]
            found[clip] = ClipLabels(start, end, values, files[clip].split)
        if surplus:
            most = max(surplus.values())
            self._note(f"more label rows than frames, the surplus (up to {most}) left out: {listed(surplus)}")
        if far:
            self._note(f"label rows and frames differ by many (other videos than the labels are about?): {listed(far)}")
        return found

    def notes(self) -> list[str]:
        """What was assumed or left out."""
        return list(self._notes)

    def _note(self, line: str) -> None:
        self._notes[line] = None

    def _times(self, rows: dict[str, int]) -> dict[str, FrameTimes]:
        """Frame times of each clip that has any, by id."""
        videos = {clip: self.media.video_of(clip) for clip in rows}
        absent = [clip for clip, video in videos.items() if video is None]
        rates = frame_rates(self.options.fps) if self.options.fps is not None else None
        if absent and rates is None:
            raise UsageError(f"when the frames of {listed(absent)} are shown is not known: {self.media.missing}, or "
                             "assume a frame rate for those that are not there by --dataset-option fps=30")  # fmt: skip
        read = read_times(video for video in videos.values() if video)
        broken = {clip: str(at) for clip, video in videos.items() if video and isinstance(at := read[video], ClipError)}
        if absent and isinstance(rates, FrameRates):
            for line in rates.notices(absent, videos):
                self._note(line)
        if absent:
            said = rates.path if isinstance(rates, FrameRates) else f"{rates:g} frames a second"
            self._note(f"times assumed, {said}, no video: {listed(absent)}")
        if broken:
            self._note(f"left out, unreadable video: {listed(broken)}; the first: {next(iter(broken.values()))}")
        found = {}
        for clip, video in videos.items():
            at = read[video] if video else assumed(rows[clip], rate_of(rates or np.nan, clip))
            if isinstance(at, FrameTimes):
                found[clip] = at
        return found

    @cached_property
    def _present(self) -> list[str]:
        return [task for task, names in _FOLDERS.items() if find_folder(self.root, *names)]

    @cached_property
    def _labelled(self) -> set[str]:
        return {clip for task in self._present for clip in self._label_files(task)}

    def _label_files(self, task: str) -> dict[str, _LabelFile]:
        """The task's files by clip id, sorted."""
        if task not in self._files:
            self._files[task] = self._find(task)
        return self._files[task]

    def _find(self, task: str) -> dict[str, _LabelFile]:
        folder = find_folder(self.root, *_FOLDERS[task])
        if folder is None:
            raise UsageError(f"no folder {' or '.join(_FOLDERS[task])} in {self.root} (or two levels below): labels "
                             f"for {BUILT_IN[task].name} are read from there")  # fmt: skip
        found: dict[str, _LabelFile] = {}
        for entry in entries(self.root, folder):
            split = _SETS.get(entry.name.casefold())
            if split is None or not is_folder(entry):
                continue
            for clip, path in files(self.root, inside(self.root, folder / entry.name), {".txt"}).items():
                first = found.setdefault(clip, _LabelFile(split, path))
                if first.path != path:
                    raise UsageError(f"clip '{clip}' is in two sets, {first.path} and {path}; keep one")
        if not found:
            raise UsageError(f"{folder} holds no Train_Set/*.txt and no Validation_Set/*.txt")
        return dict(sorted(found.items()))


PLUGIN = AffWild2
