"""Predictions and labels, clip by clip, as rows that annotations are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.annotations.folder import AnnotatedClip
from affectkit.annotations.tiers import TimedRows
from affectkit.config import validate
from affectkit.errors import ClipError, UsageError
from affectkit.media import scan
from affectkit.store import Artifact
from affectkit.tables import predictions as tables
from affectkit.tables.episodes import extents
from affectkit.tables.ids import ClipChoice, choose
from affectkit.tables.media_names import file_named, video_names
from affectkit.tables.timeline import by_clip
from affectkit.tasks import BUILT_IN, Task
from affectkit.types import ClipLabels, Floats, Predictions, without_face


@dataclass(frozen=True)
class ClipMedia:
    """Where the media of clips are: a folder, or the files that something else names."""

    folder: Path | None = None
    suffixes: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)

    def file(self, clip: str) -> Path | None:
        """The media file of a clip, or of the clip that it is a face of; None where it is not known."""
        video = without_face(clip)
        if self.folder is not None:
            for name in video_names(video):
                if (path := file_named(self.folder, name, self.suffixes)) is not None:
                    return path
        named = self.named.get(clip) or self.named.get(video)
        return Path(named) if named else None

    def name(self, clip: str) -> str:
        """The name of a clip's media file; empty where it is not known."""
        path = self.file(clip)
        return "" if path is None else path.name


def tasks_of(artifact: Artifact) -> tuple[Task, ...]:
    """What predictions are of: the built-in task whose targets their columns are, else what the model's card or the
    artifact records. Raises UsageError where nothing says it."""
    columns = artifact.schema.names.get("scores", [])
    alike = [task for task in BUILT_IN.values() if sorted(task.targets) == sorted(columns)]
    if alike:
        return (alike[0],)
    card, said = artifact.stage.provenance.get("card"), artifact.stage.inputs.get("task")
    outputs: list[Any] = list(card.get("outputs") or ()) if isinstance(card, Mapping) else []
    for records in (outputs, [said] if isinstance(said, Mapping) else []):
        recorded = tuple(validate(Task, dict(record), f"a task of {artifact.path}") for record in records)
        if recorded and sorted(target for task in recorded for target in task.targets) == sorted(columns):
            return recorded
    raise UsageError(
        f"{artifact.path} predicts {', '.join(columns)[:200]}, which is no task of affectkit's: give --task"
    )


def of_artifact(
    artifact: Artifact, outputs: Sequence[Task], clips: Sequence[str] | None, media: ClipMedia
) -> Iterator[AnnotatedClip]:  # fmt: skip
    """The scores of each clip, those of all outputs; a row stands for the time until the next one (`extents`). A clip
    that is cut from its file has the times of the file, which is what other programs show."""
    entries = artifact.clip_table()
    for clip in artifact.clips if clips is None else clips:
        each = [_scores(tables.stored(artifact, task, [clip])) for task in outputs]
        rows = TimedRows(each[0].start, each[0].end, np.concatenate([part.values for part in each], axis=1), False)
        entry = entries.get(clip) or entries.get(without_face(clip)) or {}
        rows = _shifted(rows, float(entry.get("start") or 0.0))
        yield AnnotatedClip(clip, rows, media.name(clip), str(entry.get("subject") or ""))


def of_table(predictions: Predictions, clips: ClipChoice, media: ClipMedia) -> Iterator[AnnotatedClip]:
    """The scores of each clip of a table."""
    rows_of = by_clip(predictions)
    for clip in choose(clips, list(rows_of)) or list(rows_of):
        rows = _scores(predictions.select(np.arange(len(predictions))[rows_of[clip]]))
        yield AnnotatedClip(clip, _ending(clip, rows, media), media.name(clip))


def of_labels(labels: Mapping[str, ClipLabels], clips: ClipChoice, media: ClipMedia) -> Iterator[AnnotatedClip]:
    """The labels of each clip; those of a whole clip end when its media do."""
    for clip in choose(clips, list(labels)) or list(labels):
        each = labels[clip]
        rows = TimedRows(
            np.asarray(each.start, float), np.asarray(each.end, float), np.asarray(each.values, float), True
        )
        yield AnnotatedClip(clip, _ending(clip, rows, media), media.name(clip), each.subject or "")


def _scores(predictions: Predictions) -> TimedRows:
    order = np.argsort(predictions.start, kind="stable")
    start, end = predictions.start[order], predictions.end[order]
    times = extents(start, end) if np.isfinite(end).all() else np.stack([start, end], axis=1)
    return TimedRows(times[:, 0], times[:, 1], predictions.scores[order], False)


def _shifted(rows: TimedRows, seconds: float) -> TimedRows:
    """Rows of a clip that is cut from its file, on the clock of the file."""
    return rows if not seconds else TimedRows(rows.start + seconds, rows.end + seconds, rows.values, rows.are_labels)


def _ending(clip: str, rows: TimedRows, media: ClipMedia) -> TimedRows:
    """Rows that end: one of the whole clip does so with its media. Raises UsageError where these are not known."""
    if np.isfinite(rows.end).all():
        return rows
    path = media.file(clip)
    if path is None:
        raise UsageError(
            f"clip '{clip}' has a label for all of it, and how long it lasts is unknown: give the folder of its "
            "media by --videos"
        )
    try:
        last = scan(path).duration
    except ClipError as error:
        raise UsageError(f"how long clip '{clip}' lasts cannot be read: {error}") from None
    end: Floats = np.where(np.isfinite(rows.end), rows.end, np.maximum(last, rows.start + 1e-3))
    return TimedRows(rows.start, end, rows.values, rows.are_labels)
