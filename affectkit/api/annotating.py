"""Predictions and labels as annotators' files: what `export --to eaf|boris|webvtt|traces` reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit import tasks
from affectkit.annotations import clips as annotated
from affectkit.annotations.folder import AnnotatedClip, TierWriting, write_folder
from affectkit.annotations.tiers import TierRules
from affectkit.errors import UsageError, no_folder
from affectkit.media import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from affectkit.store import Artifact
from affectkit.store.kinds import PREDICTIONS, wrong_kind
from affectkit.tables.csv_text import read_text
from affectkit.tables.ids import ClipChoice, choose
from affectkit.tables.label_tables import read_labels
from affectkit.tables.labels import DatasetLabels, read
from affectkit.tables.predictions import read_predictions
from affectkit.tasks import Task


@dataclass(frozen=True)
class AnnotationOptions:
    """What is said of annotations: the task of what is written, the data set that a folder of labels is, where media
    lie, over how many seconds values are averaged, and from which value on something is annotated."""

    task: str | None = None
    dataset: str | None = None
    dataset_option: tuple[str, ...] = ()
    videos: Path | None = None
    seconds: float | None = None
    threshold: float | None = None

    def flags(self) -> dict[str, Any]:
        """Each option with its value, for messages."""
        return {
            "--task": self.task, "--dataset": self.dataset, "--dataset-option": self.dataset_option or None,
            "--videos": self.videos, "--every": self.seconds, "--threshold": self.threshold,
        }  # fmt: skip


def write_annotations(
    source: Artifact | Path, to: str, out: Path, clips: ClipChoice, options: AnnotationOptions
) -> list[str]:  # fmt: skip
    """Write a folder with a file a clip, of predictions (an artifact or a table), of a table of labels, or of a data
    set's labels; returns lines on what could not be said. Raises UsageError."""
    for flag, value in (("--every", options.seconds), ("--threshold", options.threshold)):
        if value is not None and to == "traces":
            raise UsageError(f"{flag} is for annotations; traces have every row")
    if options.videos is not None and not options.videos.is_dir():
        raise UsageError(f"--videos {no_folder(options.videos)}: it is where the clips' media lie")
    rules = TierRules(1.0 if options.seconds is None else options.seconds, options.threshold)
    if isinstance(source, Artifact):
        outputs, annotated_clips, notices = _of_artifact(source, clips, options)
        changed = (source.folder / "stage.json").stat().st_mtime
    else:
        task, annotated_clips = _of_path(source, clips, options)
        outputs = (task,)
        notices, changed = [], source.stat().st_mtime
    lost = write_folder(to, annotated_clips, TierWriting(outputs, rules, changed), out)
    if lost:
        notices.append(f"left out: {lost} annotations of less than a millisecond, which {to} has no times for")
    return notices


def _of_artifact(
    source: Artifact, clips: ClipChoice, options: AnnotationOptions
) -> tuple[tuple[Task, ...], Iterator[AnnotatedClip], list[str]]:
    if source.stage.table is None or "scores" not in source.schema.columns:
        raise wrong_kind(source.path, source.stage.stage, *PREDICTIONS)
    if options.dataset is not None:
        raise UsageError(f"--dataset is for a folder of labels; {source.path} is an artifact")
    outputs = (tasks.get(options.task),) if options.task else annotated.tasks_of(source)
    entries = source.clip_table()
    paths = {clip: str(entry["path"]) for clip, entry in entries.items() if entry.get("path")}
    media = annotated.ClipMedia(options.videos, _SUFFIXES, paths)
    chosen = choose(clips, source.clips)
    cut = [clip for clip in source.clips if (entries.get(clip) or {}).get("start")]
    notices = [f"times of {len(cut)} clips are those of the files that they are cut from"] if cut else []
    return outputs, annotated.of_artifact(source, outputs, chosen, media), notices


def _of_path(
    source: Path, clips: ClipChoice, options: AnnotationOptions
) -> tuple[Task, Iterator[AnnotatedClip]]:  # fmt: skip
    if options.task is None:
        raise UsageError(f"{source} is a table or a data set: say by --task what it has labels of")
    task = tasks.get(options.task)
    if options.dataset is not None:
        dataset = DatasetLabels(options.dataset, source, options.dataset_option)
        files = {clip.id: str(clip.path) for clip in dataset.open().clips()} if options.videos is None else {}
        media = annotated.ClipMedia(options.videos, _SUFFIXES, files)
        return task, annotated.of_labels(read(dataset, task), clips, media)
    if options.dataset_option:
        raise UsageError("--dataset-option is of a data set's reader: give --dataset as well")
    media = annotated.ClipMedia(options.videos, _SUFFIXES)
    header = {name.casefold() for name in read_text(source).header}
    are_scores = header & {"valid", "observed"} or (task.kind == "multiclass" and "label" not in header)
    if are_scores:
        return task, annotated.of_table(read_predictions(source, task), clips, media)
    return task, annotated.of_labels(read_labels(source, task), clips, media)


_SUFFIXES = tuple(sorted({*VIDEO_SUFFIXES, *AUDIO_SUFFIXES}))
