"""The clips of a report: a line of the table for each, and the file with its rows and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from affectkit.digests import Digests
from affectkit.errors import ClipError
from affectkit.media import AUDIO_SUFFIXES, MEDIA_SUFFIXES
from affectkit.pages.chunks import ClipChunk, PackedRows
from affectkit.pages.drawings import spark
from affectkit.stages.report_pictures import crops_of, frames_of, link_to, standing, stretches, zero_of
from affectkit.stages.report_sources import ScoreRows, ScoreSet, Sources
from affectkit.tables.source_digests import media_sources
from affectkit.tracks import FaceRule
from affectkit.types import Clip, ClipLabels, Floats, face_id, without_face

Media = Literal["none", "thumbnails", "link", "copy"]
CHUNK_VERSION = 3
MEANS = 3
_UNSEEN = 0.5
"""A row whose observed share is less than this is shown as one without a face (or without speech)."""


@dataclass(frozen=True)
class ReportOptions:
    """What of the media a page may show, and where the page lies."""

    media: Media
    folder: Path


@dataclass(repr=False)
class ClipLine:
    """A clip in the table; numbers are NaN where there is nothing to tell."""

    id: str
    key: str
    split: str
    subject: str
    seconds: float
    rows: int
    scored_share: float
    face_share: float
    means: list[float]
    mostly: str
    mostly_share: float
    curve: list[str]
    curve_said: str
    score: float
    failed: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """For the template."""
        return vars(self)


class ClipReporter:
    """Reads the clips of a report one at a time, so that memory grows neither with their number nor their length."""

    def __init__(
        self, sources: Sources, options: ReportOptions, labels: Mapping[str, ClipLabels], scores: Mapping[str, float],
        digests: Digests,
    ) -> None:  # fmt: skip
        """`scores`: of each clip against labels; `digests`: of media, to tell whether they are those of the rows.

        changed: clips whose media are not the ones that their rows were made from.
        """
        self._sources, self._options = sources, options
        self._labels, self._scores = labels, scores
        self._digests, self._paths = digests, dict[str, Path | None]()
        self.changed: list[str] = []
        self.copies: dict[str, str] = {}
        self.clips = sources.clips
        width = max(4, len(str(len(self.clips))))
        self.keys = {clip: str(number + 1).zfill(width) for number, clip in enumerate(self.clips)}
        self.columns = columns_of(sources.sets)
        self.lead = lead_of(sources.sets)

    def line(self, clip: str) -> ClipLine:
        """Its line of the table."""
        entry = self._entry(clip)
        rows = {place: each.rows(clip) for place, each in enumerate(self._sources.sets) if clip in each}
        lead = self._sources.sets[self.lead] if self._sources.sets else None
        main = rows.get(self.lead) or next(iter(rows.values()), None)
        means = [_mean(rows.get(self.lead), lead, column) for column in self.columns] if lead is not None else []
        curve, said, mostly, share = [], "", "", float("nan")
        if lead is not None and self.lead in rows:
            name, values, (low, high) = lead.values(rows[self.lead].scores)
            curve = spark(values, low, high)
            said = _said(name, values)
            mostly, share = _mostly(lead, rows[self.lead].scores)
        valid = np.zeros(0, bool) if main is None else np.asarray(np.isfinite(main.scores).all(axis=1))
        return ClipLine(
            clip, self.keys[clip], str(entry.get("split") or ""), str(entry.get("subject") or ""),
            self.seconds(clip, list(rows.values())), len(valid), float(valid.mean()) if len(valid) else float("nan"),
            self._face_share(clip), means, mostly, share, curve, said, self._scores.get(clip, float("nan")),
            self._sources.failed.get(clip, self._sources.failed.get(without_face(clip), [])),
        )  # fmt: skip

    def made_from(self, clip: str) -> str:
        """What the file of a clip is made from: the same text, the same file."""
        words = [f"v{CHUNK_VERSION} {clip} {self._options.media}"]
        words += [f"{each.name} {each.digest(clip)}" for each in self._sources.sets if clip in each]
        for rows in (self._sources.face_rows.get(clip), self._sources.sound_rows.get(without_face(clip))):
            words.append(rows.content if rows is not None else "-")
        if (labels := self._labels_of(clip)) is not None:
            words += [sha256(np.ascontiguousarray(each).tobytes()).hexdigest()
                      for each in (labels.start, labels.end, labels.values)]  # fmt: skip
        if (path := self.media_path(clip)) is not None and self._options.media != "none":
            status = path.stat()
            words.append(f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {self.copies.get(clip, '')}")
            words.append(str(self._options.folder.resolve()))
        return sha256("\n".join(words).encode(errors="surrogateescape")).hexdigest()

    def chunk(self, clip: str) -> ClipChunk:
        """All that the page shows of it."""
        sets = [(place, each.rows(clip)) for place, each in enumerate(self._sources.sets) if clip in each]
        labels = self._labels_of(clip)
        faces, sound = self._sources.face_rows.get(clip), self._sources.sound_rows.get(without_face(clip))
        seconds = self.seconds(clip, [rows for _, rows in sets])
        notes: list[str] = []
        frames, video, offset, is_audio = self._media(clip, notes)
        has_pictures = self._options.media != "none"
        return ClipChunk(
            clip, seconds if np.isfinite(seconds) else 0.0,
            [PackedRows(rows.start, rows.end, rows.scores, place) for place, rows in sets],
            None if labels is None else PackedRows(labels.start, labels.end, labels.values, None),
            unseen=list(self._unseen(clip, [rows for _, rows in sets])),
            unseen_is="no face" if faces is not None else "no face or no speech",
            speech=None if sound is None else stretches(*map(sound.column, ("start", "end", "valid"))),
            crops=crops_of(faces) if faces is not None and has_pictures else (),
            frames=frames, video=video, offset=offset, is_audio=is_audio, notes=notes,
        )  # fmt: skip

    def media_path(self, clip: str) -> Path | None:
        """Where the clip's media lie; None where nobody says, where nothing is there, and for another file than the one
        that its faces or its sound were taken from: a path in an artifact may be a stranger's."""
        clip = without_face(clip)
        if clip not in self._paths:
            self._paths[clip] = self._checked_path(clip)
        return self._paths[clip]

    def _checked_path(self, clip: str) -> Path | None:
        entry = self._entry(clip)
        text = entry.get("path")
        if not isinstance(text, str) or not text or "\0" in text:
            return None
        path = Path(text)
        if path.suffix.lower() not in MEDIA_SUFFIXES or not path.is_file():
            return None
        rows = [self._sources.face_rows.get(name) for name in (clip, face_id(clip, 0))]
        taken_from = {each.key[1] for each in (*rows, self._sources.sound_rows.get(clip)) if each is not None}
        start, end = (_seconds(entry.get(name)) for name in ("start", "end"))
        cuts = [Clip(clip, path, start, end, face=face) for face in (None, *get_args(FaceRule))]
        digests = {digest for cut in cuts for digest in media_sources([cut], self._digests).values()}
        if taken_from and not taken_from & digests:
            self.changed.append(clip)
            return None
        return path

    def seconds(self, clip: str, sets: Sequence[ScoreRows]) -> float:
        """How long it lasts, as far as its rows say."""
        ends = [rows.end for rows in sets]
        if (faces := self._sources.face_rows.get(clip)) is not None:
            ends.append(np.asarray(faces.column("end"), float))
        if (sound := self._sources.sound_rows.get(without_face(clip))) is not None:
            samples, rate = len(sound.column("samples")), float(sound.column("sampling_rate"))
            ends.append(np.array([float(sound.column("offset")) + samples / max(rate, 1.0)]))
        finite = [float(each[np.isfinite(each)].max()) for each in ends if np.isfinite(each).any()]
        return max(finite, default=float("nan"))

    def _entry(self, clip: str) -> Mapping[str, Any]:
        entries = self._sources.entries
        return entries.get(clip) or entries.get(without_face(clip)) or {}

    def _labels_of(self, clip: str) -> ClipLabels | None:
        return self._labels.get(clip) or self._labels.get(without_face(clip))

    def _face_share(self, clip: str) -> float:
        faces = self._sources.face_rows.get(clip)
        if faces is None or not len(faces):
            return float("nan")
        return float(np.asarray(faces.column("valid"), bool).mean())

    def _unseen(self, clip: str, sets: Sequence[ScoreRows]) -> Iterator[tuple[float, float]]:
        """Stretches without a face; where no face track is at hand, those that the rows of scores say."""
        if (faces := self._sources.face_rows.get(clip)) is not None:
            start, end, valid = (np.asarray(faces.column(name)) for name in ("start", "end", "valid"))
            yield from stretches(start, standing(start, end), valid == 0)
        elif sets and np.isfinite(sets[0].observed).any():
            yield from stretches(sets[0].start, standing(sets[0].start, sets[0].end), sets[0].observed < _UNSEEN)

    def _media(self, clip: str, notes: list[str]) -> tuple[Any, str, float, bool]:
        """(pictures, URL of the video, its offset, whether it is sound alone)."""
        media, path = self._options.media, self.media_path(clip)
        if media == "none":
            return (), "", 0.0, False
        if path is None:
            why = "nobody says where its media lie, they are not there, or are others than those of the rows"
            notes.append(f"No pictures: {why}.")
            return (), "", 0.0, False
        entry = self._entry(clip)
        start, end = (_seconds(entry.get(name)) for name in ("start", "end"))
        if media == "thumbnails":
            try:
                return frames_of(path, start, end), "", 0.0, False
            except ClipError as error:
                notes.append(f"No pictures: {error}")
                return (), "", 0.0, False
        folder = self._options.folder
        url = link_to(folder / self.copies[clip] if clip in self.copies else path, folder)
        faces = self._sources.face_rows.get(clip)
        zero = float(faces.column("origin")) if faces is not None else zero_of(path, start)
        return (), url, zero, path.suffix.lower() in AUDIO_SUFFIXES


def columns_of(sets: Sequence[ScoreSet]) -> list[str]:
    """The columns of the leading set whose means the table of clips has: valence and arousal where there are any, else
    its first three values. Classes are told by the one that is highest most often."""
    if not sets:
        return []
    leading = sets[lead_of(sets)]
    values = [name for name in leading.columns if leading.kind(name) != "multiclass"]
    circumplex = [name for name in values if name.casefold() in ("valence", "arousal")]
    return circumplex or values[:MEANS]


def lead_of(sets: Sequence[ScoreSet]) -> int:
    """The set whose curve stands in the table: what was fused, else the first."""
    return next((place for place, each in enumerate(sets) if each.is_fused), 0)


def _mean(rows: ScoreRows | None, scores: ScoreSet, column: str) -> float:
    if rows is None:
        return float("nan")
    values = np.asarray(rows.scores[:, scores.columns.index(column)], float)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _mostly(scores: ScoreSet, values: Floats) -> tuple[str, float]:
    """The class that is highest most often, and in which share of the rows that have a score."""
    classes = next((task for task in scores.outputs if task.kind == "multiclass"), None)
    if classes is None:
        return "", float("nan")
    part = values[:, [scores.columns.index(target) for target in classes.targets]]
    part = part[np.isfinite(part).all(axis=1)]
    if not len(part):
        return "", float("nan")
    counts = np.bincount(part.argmax(axis=1), minlength=len(classes.targets))
    return classes.targets[int(counts.argmax())], float(counts.max() / len(part))


def _said(name: str, values: Floats) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return f"{name}: no score"
    return f"{name}: mean {finite.mean():.2f}, from {finite.min():.2f} to {finite.max():.2f}"


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
