"""What the rows of a stage's clips hold, counted: the lines that a map stage prints, also where all is cached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AffectkitError, listed, named
from affectkit.store import Artifact, ancestors, feature_columns
from affectkit.types import face_id

SEEN = {"faces": "a face", "audio": "speech"}
EITHER = "a face or speech"
PARTIAL = "partial: their media could be read in part only"
_COMPARED = 16  # components of a row that are looked at first


@dataclass
class RowCounts:
    """Rows of some clips of an artifact, how many are valid, and the clips that are other than they should be."""

    clips: int = 0
    rows: int = 0
    valid: int = 0
    observed: int | None = None
    clips_without_rows: list[str] = field(default_factory=list)
    clips_without_valid_rows: list[str] = field(default_factory=list)
    clips_with_invalid_rows: list[str] = field(default_factory=list)
    clips_of_constant_features: list[str] = field(default_factory=list)
    clips_partial: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: numbers, and the ids of clips; predictions say besides how many rows with a score
        were made of anything observed."""
        return {name: value for name, value in vars(self).items() if value is not None}


def counted(artifact: Artifact, clips: Sequence[str]) -> RowCounts:
    """What is stored of these clips, as far as they are there."""
    found = RowCounts(observed=0 if "observed" in artifact.schema.columns else None)
    columns = feature_columns(artifact.schema)
    for clip in clips:
        if clip not in artifact:
            continue
        valid = np.asarray(artifact.column(clip, "valid"), bool)
        count = int(np.count_nonzero(valid))
        found.clips += 1
        found.rows += len(valid)
        found.valid += count
        if found.observed is not None:
            found.observed += int(np.count_nonzero(valid & (artifact.column(clip, "observed") > 0)))
        if not len(valid):
            found.clips_without_rows.append(clip)
        elif not count:
            found.clips_without_valid_rows.append(clip)
        elif count < len(valid):
            found.clips_with_invalid_rows.append(clip)
        if columns and count > 1 and _is_constant(artifact.column(clip, columns[0]), valid):
            found.clips_of_constant_features.append(clip)
        if artifact.status(clip) == "partial":
            found.clips_partial.append(clip)
    return found


def row_notices(counts: RowCounts, seen: str) -> list[str]:
    """A line for each thing that is to be known of rows of features; `seen` is what a valid row holds."""
    lines = []
    missing = counts.rows - counts.valid
    if missing:
        some = len(counts.clips_with_invalid_rows) + len(counts.clips_without_valid_rows)
        lines.append(f"{missing:,} of {counts.rows:,} rows, in {some} of {counts.clips} clips, are without {seen}: "
                     "zeros with valid = 0")  # fmt: skip
    lines += _about(counts, counts.clips_without_valid_rows, f"without {seen} in any row")
    lines += _about(counts, counts.clips_without_rows, "without any row: nothing in them, or less than one row needs")
    lines += _about(counts, counts.clips_of_constant_features, "constant: the same features in every valid row")
    return lines + _about(counts, counts.clips_partial, PARTIAL)


def score_notices(counts: RowCounts, seen: str, reach: float | None) -> list[str]:
    """Lines of predictions: how many rows have a score, and were observed; clips without any score."""
    lines = []
    observed = counts.observed or 0
    if min(counts.valid, observed) < counts.rows:
        far = "" if reach is None else f"; no score farther than {reach:g} s from {seen}"
        lines.append(f"scores at {counts.valid:,} of {counts.rows:,} rows, {seen} in {observed:,} of them{far}")
    lines += _about(counts, counts.clips_without_valid_rows, f"without any score: no {seen.removeprefix('a ')}")
    lines += _about(counts, counts.clips_without_rows, "without any row to predict")
    return lines + _about(counts, counts.clips_partial, PARTIAL)


def seen_in(artifacts: Sequence[Artifact]) -> str:
    """What a valid row of these artifacts holds, a face or speech, by the chains that they were made by, as far as
    those are still there: speech where there is sound, though the faces may have said when somebody speaks."""
    seen: set[str] = set()
    for artifact in artifacts:
        try:
            stages = {one.stage.stage for one in (artifact, *ancestors(artifact))}
        except AffectkitError:
            stages = set()
        seen |= {SEEN["audio"]} if "audio" in stages else {SEEN[stage] for stage in stages & SEEN.keys()} or {EITHER}
    return next(iter(seen)) if len(seen) == 1 else EITHER


def _about(counts: RowCounts, clips: Sequence[str], what: str) -> list[str]:
    if not clips:
        return []
    return [f"{len(clips)} of {counts.clips} clips {'is' if len(clips) == 1 else 'are'} {what} ({named(clips)})"]


def _is_constant(values: Any, valid: Any) -> bool:
    """Whether all valid rows are the same; the first and the last are compared first."""
    rows = np.flatnonzero(valid)
    if not np.array_equal(values[rows[0]][:_COMPARED], values[rows[-1]][:_COMPARED]):
        return False
    return bool((np.asarray(values)[rows] == values[rows[0]]).all())


_PEEK = 64


def face_notices(artifact: Artifact, clips: Iterable[str], what: str = "a face") -> tuple[str, ...]:
    """In how many of their frames the finished clips show `what`, and which show it nowhere; with several faces to a
    clip, frames that show any of them."""
    frames = seen = 0
    without = []
    for clip, names in _finished(artifact, clips):
        valid = np.any([artifact.column(name, "valid") for name in names], axis=0)
        frames, seen = frames + len(valid), seen + int(valid.sum())
        if not valid.any():
            without.append(clip)
    if not frames:
        return ()
    return (f"{what} in {seen:,} of {frames:,} frames{_named(without, f'without {what.split()[-1]}s')}",)


def sound_notices(artifact: Artifact, clips: Iterable[str], *, speech: bool) -> tuple[str, ...]:
    """The finished clips whose sound is one constant value (muted); with `speech`, how many seconds of them are speech,
    and which have none."""
    heard = spoken = 0.0
    without, muted = [], []
    for clip, _ in _finished(artifact, clips):
        samples = artifact.column(clip, "samples")
        talk = float(np.sum(artifact.column(clip, "end") - artifact.column(clip, "start")))
        heard, spoken = heard + len(samples) / float(artifact.column(clip, "sampling_rate")), spoken + talk
        if not talk:
            without.append(clip)
        if _is_silent_throughout(samples):
            muted.append(clip)
    told = []
    if speech and heard:
        told.append(f"speech in {spoken:,.1f} of {heard:,.1f} s of sound{_named(without, 'without speech')}")
    if muted:
        told.append(f"nothing is to be heard in {_clips(muted)}: the sound is constant")
    return tuple(told)


def _finished(artifact: Artifact, clips: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The finished clips, and the names of each one's face tracks: its own, or numbered."""
    for clip in () if artifact.dry else clips:
        if clip in artifact:
            yield clip, [clip]
        elif face_id(clip, 0) in artifact:
            names = [face_id(clip, 0)]
            while (name := face_id(clip, len(names))) in artifact and artifact.source(name) == artifact.source(
                names[0]
            ):
                names.append(name)
            yield clip, names


def _is_silent_throughout(samples: NDArray[np.float32]) -> bool:
    """Whether all samples are equal; looks at a few before it reads them all."""
    if not len(samples):
        return True
    few = samples[:: max(1, len(samples) // _PEEK)]
    return bool((few == samples[0]).all() and (samples == samples[0]).all())


def _named(clips: list[str], how: str) -> str:
    return f"; {_clips(clips)} {how}" if clips else ""


def _clips(clips: list[str]) -> str:
    return listed(clips, "clip" if len(clips) == 1 else "clips")
