"""`dataset check`: what a data set holds, and what in it would bias a result, before any training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import tasks
from affectkit.config import Config, Runtime
from affectkit.digests import Digests
from affectkit.drawing.style import require_matplotlib
from affectkit.errors import ClipError, UsageError
from affectkit.media import Sampling, VideoReader, scan
from affectkit.plugins import RawLabels
from affectkit.prefetch import worker_count
from affectkit.stages.sink import meter
from affectkit.tables.crops import crop_frames
from affectkit.tables.label_doubts import constant_targets, time_doubts, value_doubts
from affectkit.tables.labels import DatasetLabels
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels

FEW = 5  # rows and frames that differ by more do not belong together
LISTED = 5


class CheckConfig(Config):
    """What is looked at."""

    task: list[str] = Field([], description="a task (repeatable)  [default: all that the data set has labels for]")
    media: bool = Field(True, description="look at the media: their frames against the rows of labels, and duplicates")
    first_frame: int = Field(1, ge=0, le=1, description="the number of a clip's first frame in names of crops")
    decode: bool = Field(False, description="count frames by decoding all of them, not by the packets of the files")


@dataclass(frozen=True)
class Finding:
    """Something to know: what, how often, the first few; `biases`: it would make a result look better than it is, or
    mix up labels and frames."""

    what: str
    count: int
    examples: list[str]
    biases: bool = False


@dataclass
class Report:
    """What is there, task by task, and what was found."""

    dataset: str
    root: str
    media: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def biased(self) -> bool:
        """Whether something would bias a result."""
        return any(finding.biases for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"biased": self.biased}

    def add(self, what: str, examples: Iterable[str], *, biases: bool = False) -> None:
        """A finding, where there is any example of it."""
        listed = list(examples)
        if listed:
            self.findings.append(Finding(what, len(listed), listed[:LISTED], biases))


def check_dataset(source: DatasetLabels, config: CheckConfig, runtime: Runtime, digests: Digests) -> Report:
    """Read all labels and look at all media. Raises UsageError for files that cannot be read as the data set's."""
    reader = source.open()
    report = Report(source.name, str(source.root))
    chosen = _chosen(reader, source, config, report)
    clips = {clip.id: clip for clip in reader.clips()} if config.media else {}
    counted = _frames(clips, config, runtime, report) if config.media else {}
    frames = {clip: one.frames for clip, one in counted.items()}
    seconds = {clip: one.seconds for clip, one in counted.items()}
    for task in chosen:
        rows, splits = reader.rows(task), reader.splits(task)
        report.tasks[task.name] = described(task, {clip: raw.values for clip, raw in rows.items()}, splits)
        report.tasks[task.name]["constant"] = constant_splits(task, rows, splits)
        if said := getattr(reader, "agreement", dict)(task):
            report.tasks[task.name]["agreement"] = said
        report.add(f"{task.name}: labels that are not what they are taken for", doubts_of(reader, task, rows, seconds))
        report.add(f"{task.name}: labelled clips without a split", (clip for clip in rows if clip not in splits))
        report.add(
            f"{task.name}: label files without a row", (str(raw.path) for raw in rows.values() if not len(raw.values))
        )
        if config.media:
            report.add(f"{task.name}: labelled clips without media", (clip for clip in rows if clip not in clips))
            report.add(f"{task.name}: media without labels", (clip for clip in clips if clip not in rows))
            if task.level == "time":
                crops = {name for name, clip in clips.items() if clip.path.is_dir()}
                _match(task, {clip: len(raw.values) for clip, raw in rows.items()}, frames, crops, report)
    splits = reader.splits()
    _label_findings(report, chosen)
    if config.media:
        _duplicates(clips, splits, digests, report)
        _subjects(clips.values(), splits, report)
    report.notes = list(reader.notes())
    return report


def _chosen(reader: Any, source: DatasetLabels, config: CheckConfig, report: Report) -> list[Task]:
    """The tasks that were asked for, else those that there are labels of; others are a finding."""
    if config.task:
        return [tasks.get(name) for name in config.task]
    if not reader.tasks:
        raise UsageError(f"data set {source.name} takes labels of any task: say which by --task")
    found, absent = [], []
    for task in map(tasks.get, reader.tasks):
        try:
            reader.label_files(task)
            found.append(task)
        except UsageError as error:
            absent.append(f"{task.name}: {error}")
    if not found:
        raise UsageError(absent[0].partition(": ")[2])
    report.add("tasks without labels here", absent)
    return found


def draw_labels(folder: Path, report: Report) -> list[Path]:
    """Figures of the labels of every task, PNG and SVG. Raises MissingExtra without matplotlib."""
    require_matplotlib()
    from affectkit.stages.figures import draw_labels

    return draw_labels(folder, report.tasks)


def _frames(clips: Mapping[str, Clip], config: CheckConfig, runtime: Runtime, report: Report) -> dict[str, Counted]:
    """Frames of every clip, as far as its media can be read."""
    found: dict[str, Counted] = {}
    broken: list[str] = []
    damaged: list[str] = []
    with (
        meter("count frames", len(clips), "frames", runtime.progress) as counter,
        ThreadPoolExecutor(worker_count(runtime)) as pool,
    ):
        for clip, counted in zip(clips, pool.map(lambda one: _count(one, config), clips.values()), strict=True):
            counter.advance(clips=1, rows=counted.frames)
            if counted.problem:
                (damaged if counted.frames else broken).append(f"{clip}: {counted.problem}")
            if counted.frames:
                found[clip] = counted
    report.media = {
        "clips": len(clips),
        "frames": sum(one.frames for one in found.values()),
        "counted_by": "decoding" if config.decode else "packets",
    }
    report.add("media that cannot be read", broken)
    report.add("media that are damaged", damaged)
    return found


def _count(clip: Clip, config: CheckConfig) -> Counted:
    try:
        if clip.path.is_dir():
            return Counted(crop_frames(clip.path, config.first_frame).frames)
        return count_frames(clip.path, config.decode)
    except ClipError as error:
        return Counted(0, str(error))


def _match(
    task: Task, rows: Mapping[str, int], frames: Mapping[str, int], crops: Collection[str], report: Report
) -> None:
    """Rows of labels against frames of the media: matched from the start, so a few too many or too few do no harm.

    The last of a clip's crops is not its last frame where no face was found at the end: rows beyond it say nothing.
    """
    gaps = {clip: count - frames[clip] for clip, count in rows.items() if clip in frames and count != frames[clip]}
    about = report.tasks[task.name]
    about["rows_less_frames"] = {str(gap): count for gap, count in sorted(Counter(gaps.values()).items())}
    said = {clip: f"{clip}: {rows[clip]} rows, {frames[clip]} frames" for clip in gaps}
    report.add(f"{task.name}: rows and frames differ by {FEW} at most (matched from the start)",
               (said[clip] for clip, gap in gaps.items() if abs(gap) <= FEW))  # fmt: skip
    beyond = {clip for clip, gap in gaps.items() if gap > FEW and clip in crops}
    report.add(
        f"{task.name}: rows go on for more than {FEW} frames after the last crop",
        (said[clip] for clip in gaps if clip in beyond),
    )
    report.add(f"{task.name}: rows and frames differ by more than {FEW}: are they of the same video?",
               (said[clip] for clip, gap in gaps.items() if abs(gap) > FEW and clip not in beyond),
               biases=True)  # fmt: skip


def _label_findings(report: Report, chosen: Sequence[Task]) -> None:
    for task in chosen:
        report.add(f"{task.name}: every label of the split is the same (placeholders?), scores there say nothing",
                   (f"split {split}" for split in report.tasks[task.name]["constant"]), biases=True)  # fmt: skip
        for split, about in report.tasks[task.name]["splits"].items():
            counts = about.get("classes") or about.get("positive") or {}
            report.add(f"{task.name}: classes without a row in split {split}",
                       (name for name, count in counts.items() if not count and split != "none"))  # fmt: skip
            report.add(f"{task.name}: labels beyond the range in split {split}",
                       (f"{name}: {count}" for name, count in about.get("outside", {}).items() if count))  # fmt: skip


def _duplicates(clips: Mapping[str, Clip], splits: Mapping[str, str], digests: Digests, report: Report) -> None:
    """Media of equal content in several splits. Only files of equal size are read."""
    sizes: dict[int, set[Path]] = defaultdict(set)
    for clip in clips.values():
        if clip.path.is_file():
            sizes[clip.path.stat().st_size].add(clip.path)
    found = digests.many([path for paths in sizes.values() if len(paths) > 1 for path in paths])
    same: dict[str, set[str]] = defaultdict(set)
    for clip in clips.values():
        if clip.path in found:
            same[found[clip.path]].add(clip.id)
        same[str(clip.path)].add(clip.id)  # two clips of one file, such as _left and _right
    groups = {tuple(sorted(ids)) for ids in same.values() if len({splits.get(one) for one in ids} - {None}) > 1}
    report.add("equal media in several splits", (" = ".join(group) for group in sorted(groups)), biases=True)


def _subjects(clips: Iterable[Clip], splits: Mapping[str, str], report: Report) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.subject and clip.id in splits:
            places[clip.subject].add(splits[clip.id])
    several = (f"{name}: {', '.join(sorted(found))}" for name, found in sorted(places.items()) if len(found) > 1)
    report.add("subjects in several splits", several, biases=True)


@dataclass(frozen=True)
class Counted:
    """Frames of one clip's media, what is wrong with it, and how long it lasts (s), where it says so."""

    frames: int
    problem: str | None = None
    seconds: float = float("nan")


def count_frames(path: Path, decode: bool = False) -> Counted:
    """Frames of different presentation times. Raises ClipError where none is there."""
    if not decode:
        index = scan(path)
        return Counted(len(set(index.ticks.tolist())), "; ".join(index.damage) or None, index.duration)
    reader, count, end = VideoReader(path, Sampling(fps="native"), threads=1), 0, float("nan")
    for frame in reader:
        count, end = count + 1, frame.end
    return Counted(count, reader.problem, end)


BINS = 20  # of a histogram from -1 to 1


def described(task: Task, values: Mapping[str, np.ndarray], splits: Mapping[str, str]) -> dict[str, Any]:
    """Clips, rows, invalid rows and the labels' distribution, by split."""
    found: dict[str, Any] = {}
    by_split: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip, own in values.items():
        by_split[splits.get(clip, "none")].append(own)
    for split, parts in sorted(by_split.items()):
        rows = np.concatenate(parts)
        valid = rows[np.isfinite(rows).all(axis=1)]
        found[split] = {"clips": len(parts), "rows": len(rows), "invalid_rows": len(rows) - len(valid)}
        found[split] |= _distribution(task, valid)
    return {"splits": found}


def _distribution(task: Task, valid: np.ndarray) -> dict[str, Any]:
    if task.kind == "multiclass":
        counts = np.bincount(valid[:, 0].astype(int), minlength=task.outputs) if len(valid) else np.zeros(task.outputs)
        return {"classes": dict(zip(task.targets, map(int, counts), strict=True))}
    if task.kind == "multilabel":
        return {"positive": dict(zip(task.targets, valid.sum(axis=0).astype(int).tolist(), strict=True))}
    low = 0.0 if len(valid) and valid.min() >= 0 else -1.0
    edges = np.linspace(low, 1.0, BINS + 1)
    return {
        "range": {name: [float(column.min()), float(column.max())] if len(column) else []
                  for name, column in zip(task.targets, valid.T, strict=True)},
        "histogram_edges": edges.round(6).tolist(),
        "histogram": {name: np.histogram(column, edges)[0].tolist()
                      for name, column in zip(task.targets, valid.T, strict=True)},
        "outside": {name: int(((column < low) | (column > 1)).sum())
                    for name, column in zip(task.targets, valid.T, strict=True)},
    }  # fmt: skip


def constant_splits(task: Task, rows: Mapping[str, RawLabels], splits: Mapping[str, str]) -> list[str]:
    """The splits whose labels are the same in every row, for every target: placeholders, most likely."""
    by_split: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip, raw in rows.items():
        by_split[splits.get(clip, "none")].append(raw.values)
    return [
        split
        for split, parts in sorted(by_split.items())
        if len(constant_targets(task, np.concatenate(parts))) == len(task.label_columns)
    ]


def doubts_of(reader: Any, task: Task, rows: Mapping[str, RawLabels], seconds: Mapping[str, float]) -> list[str]:
    """What speaks against values being on the task's scale and, where the files say times, against those in seconds."""
    known: Mapping[str, ClipLabels] = reader.labels(task) if getattr(reader, "says_times", False) else {}
    values = {
        clip: ClipLabels(np.zeros(len(raw.values)), np.full(len(raw.values), np.inf), raw.values)
        for clip, raw in rows.items()
    }
    return time_doubts(task, known, seconds) + value_doubts(task, values)
