"""`affectkit submit`: predictions -> the file that a challenge takes, row for row as its template says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit import submissions
from affectkit.config import Config
from affectkit.errors import UsageError, listed
from affectkit.manifest.frame_rates import frame_rates
from affectkit.media.sampling import Rate
from affectkit.metrics import THRESHOLD
from affectkit.stages import _predictions as tables
from affectkit.stages import _rows
from affectkit.stages._submitted_scores import filled, read_at, within
from affectkit.stages._template_rows import by_template_clip, frame_times, whole_clip_times
from affectkit.stages.sources import CropTimes
from affectkit.submissions.check import Check
from affectkit.submissions.formats import Format
from affectkit.submissions.template import Template
from affectkit.types import Floats, Predictions

FormatName = Literal["affwild2-va", "affwild2-expr", "affwild2-au", "cexpr", "hume-reaction"]


class SubmitConfig(Config):
    """What is written."""

    format: FormatName = Field(description="the challenge whose file it is")
    fps: Rate | str | None = Field(
        None, union_mode="left_to_right", json_schema_extra={"also": "--source-fps"},
        description="frames a second of all videos, or a table clip,fps, which are then assumed",
    )  # fmt: skip
    missing: Literal["refuse", "hold"] = Field(
        "refuse", description="rows without a score (no face): refuse, or hold the clip's nearest one in time"
    )
    out_of_range: Literal["refuse", "clip"] = Field(
        "refuse", description="values beyond the format's range: refuse, or cut them to it"
    )
    threshold: float = Field(THRESHOLD, gt=0, lt=1, description="probability from which an action unit is present")
    digits: int = Field(6, ge=1, le=17, description="decimals of values")


@dataclass(frozen=True)
class Submitted:
    """The file, and how its rows came about."""

    path: Path
    report: dict[str, Any]


def submit(
    predictions: Path, template: Path, out: Path, config: SubmitConfig, *, videos: Path | None = None
) -> Submitted:
    """Write a submission; nothing is written where anything is refused.

    Frames get the scores at the middle of their presentation interval, from `videos` or from the rate that is assumed.
    Raises UsageError: clips without predictions, rows without a score, values out of range, unknown videos, predictions
    of another task.
    """
    format = submissions.FORMATS[config.format]
    rows = submissions.read_template(template, format)
    _check_output(out, [template, predictions])
    given = _as_named(tables.load(predictions, format.task), format)
    _check_clips(rows, given)
    notices: list[str] = []
    if format.frames:
        times = _times(config, videos, format)
        notices += times.notices(rows.clips) if times else []
        wanted, beyond = _frames(rows, given, times)
    else:
        _times(config, videos, format)
        given = _rows.of_clips(given)
        wanted, beyond = _clips(rows, given), 0
    scores: Floats = _rows.scores_at(given, wanted)
    scores, held = filled(scores, wanted, given, config.missing)
    scores, cut = within(scores, rows, config.out_of_range, config.digits)
    restored: Floats = np.empty(scores.shape)
    restored[np.concatenate(by_template_clip(rows))] = scores
    submissions.write_submission(out, rows, restored, digits=config.digits, threshold=config.threshold)
    unused = sorted(set(given.clip.tolist()) - set(rows.clips))
    report = {
        "format": format.name, "rows": len(rows), "clips": len(rows.clips), **read_at(wanted, given, ~held),
        "rows_beyond_video": beyond, "rows_held": int(held.sum()), "rows_cut_to_range": int(cut.sum()),
        "assumed_fps": config.fps, "clips_not_in_template": unused, "notices": notices,
    }  # fmt: skip
    return Submitted(out, report)


def check(path: Path, template: Path, format: FormatName) -> Check:
    """What is wrong with a file made elsewhere. Raises UsageError where it or the template cannot be read."""
    return submissions.check(path, submissions.read_template(template, submissions.FORMATS[format]))


def submitted(path: Path, format: FormatName, times: CropTimes | None = None) -> Predictions:
    """What a submission says, as predictions: a class is the probability 1, a label 0 or 1.

    `times`: where the intervals of frames come from. Raises UsageError for a file with anything wrong in it.
    """
    rows, scores = submissions.read_submission(path, submissions.FORMATS[format])
    start: Floats = np.zeros(len(rows))
    end: Floats = np.full(len(rows), np.inf)
    if rows.format.frames:
        if times is None:
            raise UsageError(f"{path} has a row a frame: say which videos, or which rate, give their times")
        start, end, _ = frame_times(rows, times)
    order = np.concatenate(by_template_clip(rows))
    clip = np.array(rows.clips)[rows.codes]
    return Predictions(clip[order], start[order], end[order], scores[order], rows.format.columns)


def _check_output(out: Path, read: Sequence[Path]) -> None:
    for path in read:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out} is the file that is read: name another one")


def _times(config: SubmitConfig, videos: Path | None, format: Format) -> CropTimes | None:
    if not format.frames:
        if videos or config.fps:
            raise UsageError(f"{format.name} has a row a clip: --videos and --fps are for rows of frames")
        return None
    if videos and config.fps:
        raise UsageError("--videos and --fps both say when frames are shown: give one of them")
    if videos and not videos.is_dir():
        raise UsageError(f"--videos {videos} is not a folder")
    return CropTimes(videos, frame_rates(config.fps) if config.fps else None) if videos or config.fps else None


def _as_named(given: Predictions, format: Format) -> Predictions:
    """Predictions whose clips are called as the template's: without brackets, where the format has them."""
    if format.frames or not len(given):
        return given
    names = {name: (format.place(name) or (name,))[0] for name in dict.fromkeys(given.clip.tolist())}
    if len(set(names.values())) < len(names):
        twice = sorted(name for name in names if name != names[name])
        raise UsageError(f"predictions have clips with and without brackets: {listed(twice)}")
    return replace(given, clip=np.array([names[name] for name in given.clip.tolist()], np.str_))


def _check_clips(rows: Template, given: Predictions) -> None:
    valid = set(given.clip[given.valid].tolist())
    absent = [clip for clip in rows.clips if clip not in valid]
    if absent:
        count = int(np.isin(rows.codes, [rows.clips.index(clip) for clip in absent]).sum())
        have = sorted(set(given.clip.tolist()))
        raise UsageError(
            f"{count} rows of {rows.path} are of clips without a valid prediction: {listed(absent)}; "
            f"the predictions have {listed(have)}"
        )


def _frames(rows: Template, given: Predictions, times: CropTimes | None) -> tuple[Predictions, int]:
    """The template's rows, clip by clip in order of time of appearance, without scores; rows beyond their video."""
    start, end, beyond = (*whole_clip_times(rows, given), 0) if times is None else frame_times(rows, times)
    return _blank(rows, start, end), beyond


def _clips(rows: Template, given: Predictions) -> Predictions:
    return _blank(rows, *whole_clip_times(rows, given))


def _blank(rows: Template, start: Floats, end: Floats) -> Predictions:
    order = np.concatenate(by_template_clip(rows))
    clip = np.array(rows.clips)[rows.codes[order]]
    empty = np.full((len(rows), len(rows.format.columns)), np.nan)
    return Predictions(clip, start[order], end[order], empty, rows.format.columns)
