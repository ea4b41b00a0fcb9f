"""Annotations of many clips as a folder with one file a clip, for programs that show them over the media."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from affectkit.annotations import eaf
from affectkit.annotations.boris import boris_text
from affectkit.annotations.tiers import CLASSES, Tier, TierRules, TimedRows, tiers_of
from affectkit.annotations.traces import traces_text
from affectkit.annotations.webvtt import webvtt_text
from affectkit.errors import UsageError
from affectkit.store.atomic import explained, put, temporary_name
from affectkit.store.crops import inside
from affectkit.tasks import Task
from affectkit.types import without_face

_LONGEST_NAME = 240  # bytes of a part of a path; file systems take 255
_RESERVED = frozenset('<>:"|?*%\\')


@dataclass(frozen=True)
class AnnotatedClip:
    """Rows of a clip, the name of its media file ("": unknown) and who is seen in it ("": unknown)."""

    clip: str
    rows: TimedRows
    media: str = ""
    subject: str = ""


@dataclass(frozen=True)
class TierWriting:
    """What is written of each clip: the tasks whose columns its rows have one after the other, the rules, and when the
    source of it all was changed (s since 1970)."""

    tasks: tuple[Task, ...]
    rules: TierRules
    changed: float

    def tiers(self, rows: TimedRows) -> list[Tier]:
        """The tiers of all tasks; of several with classes, each tier is called like its task."""
        tiers, first = [], 0
        has_several = sum(task.kind == "multiclass" for task in self.tasks) > 1
        for task in self.tasks:
            last = first + len(task.label_columns if rows.are_labels else task.targets)
            of_task = TimedRows(rows.start, rows.end, rows.values[:, first:last], rows.are_labels)
            for tier in tiers_of(task, of_task, self.rules):
                tiers.append(replace(tier, name=task.name) if has_several and tier.name == CLASSES else tier)
            first = last
        return tiers


Writer = Callable[[AnnotatedClip, TierWriting], tuple[str, int]]
"""The text of a clip's file, and how many annotations it has no way to say."""


def _eaf(clip: AnnotatedClip, writing: TierWriting) -> tuple[str, int]:
    tiers = writing.tiers(clip.rows)
    return eaf.eaf_text(tiers, clip.media, _who(clip), writing.changed), eaf.too_short(tiers)


def _boris(clip: AnnotatedClip, writing: TierWriting) -> tuple[str, int]:
    values = [task for task in writing.tasks if task.kind == "regression"]
    if values and writing.rules.threshold is None:
        raise UsageError(
            f"boris has events, and {values[0].name} has values: say by --threshold from which value on "
            f"{values[0].targets[0]} is an event (or take eaf, webvtt or traces)"
        )
    return boris_text(writing.tiers(clip.rows), clip.clip, clip.media, _who(clip)), 0


def _webvtt(clip: AnnotatedClip, writing: TierWriting) -> tuple[str, int]:
    return webvtt_text(writing.tiers(clip.rows)), 0


def _traces(clip: AnnotatedClip, writing: TierWriting) -> tuple[str, int]:
    are_labels = clip.rows.are_labels
    columns = [name for task in writing.tasks for name in (task.label_columns if are_labels else task.targets)]
    return traces_text(clip.rows, columns), 0


WRITERS: Mapping[str, tuple[str, Writer]] = {
    "eaf": (".eaf", _eaf), "boris": (".csv", _boris), "webvtt": (".vtt", _webvtt), "traces": (".csv", _traces),
}  # fmt: skip
"""Of each format, how its files end, and what is in them."""


def write_folder(to: str, clips: Iterable[AnnotatedClip], writing: TierWriting, out: Path) -> int:
    """Write a folder, which appears whole; returns how many annotations were too short to be said. Raises UsageError
    for a folder that exists, and for two clips of one file."""
    suffix, text_of = WRITERS[to]
    if out.exists():
        raise UsageError(f"{out} cannot be written: it exists; name a new folder for the files")
    lost = 0
    names: dict[str, str] = {}
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(out)
        try:
            temporary.mkdir()
            for clip in clips:
                path = temporary / file_of(clip.clip, suffix)
                if (first := names.setdefault(str(path).casefold(), clip.clip)) != clip.clip:
                    raise UsageError(f"clips '{first}' and '{clip.clip}' would be one file: choose one by --clips")
                text, short = text_of(clip, writing)
                lost += short
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
            put(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return lost


def file_of(clip: str, suffix: str) -> Path:
    """The file of a clip below the folder: its id, in which what some file systems refuse is written as %XX.

    >>> str(file_of("day1/what?", ".vtt"))
    'day1/what%3F.vtt'
    """
    *folders, name = inside(clip).parts
    return Path(*(_safe(part) for part in folders), _safe(name, len(suffix.encode())) + suffix)


def _safe(part: str, more: int = 0) -> str:
    safe = "".join(character if _is_safe(character) else _escaped(character) for character in part)
    if safe.endswith((".", " ")):
        safe = safe[:-1] + _escaped(safe[-1])
    if len(safe.encode()) + more > _LONGEST_NAME:
        raise UsageError(
            f"clip '{part[:80]}...' has a name of more than {_LONGEST_NAME} bytes: leave it out with --clips"
        )
    return safe


def _is_safe(character: str) -> bool:
    return character.isprintable() and character not in _RESERVED


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))


def _who(clip: AnnotatedClip) -> str:
    """The subject or, of a clip with several, the face."""
    video = without_face(clip.clip)
    return clip.subject or (f"face {clip.clip[len(video) + 1 :]}" if video != clip.clip else "")
