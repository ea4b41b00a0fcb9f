"""`affectkit submit`: predictions -> the file that a challenge takes, row for row as its template says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.errors import ClipError, UsageError, listed
from affectkit.media import PacketIndex, scan
from affectkit.media.sampling import Rate
from affectkit.metrics import THRESHOLD
from affectkit.moments import TICK, middles, nearest
from affectkit.tables import predictions as tables
from affectkit.tables import submission_checks, submissions, timeline
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.submission_checks import Check
from affectkit.tables.submissions import Format, Template, outside
from affectkit.tables.timeline import by_clip, nearest_scores
from affectkit.types import Bools, Clip, Floats, Predictions

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
        given = timeline.of_clips(given)
        wanted, beyond = _clips(rows, given), 0
    scores: Floats = timeline.scores_at(given, wanted)
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
    return submission_checks.check(path, submissions.read_template(template, submissions.FORMATS[format]))


def submitted(path: Path, format: FormatName, times: CropTimes | None = None) -> Predictions:
    """What a submission says, as predictions: a class is the probability 1, a label 0 or 1.

    `times`: where the intervals of frames come from. Raises UsageError for a file with anything wrong in it.
    """
    rows, scores = submission_checks.read_submission(path, submissions.FORMATS[format])
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


def filled(
    scores: Floats, wanted: Predictions, given: Predictions, missing: Literal["refuse", "hold"]
) -> tuple[Floats, Bools]:
    """Scores without a gap, and which rows took the nearest one in time, of two equally near the earlier. Raises
    UsageError for gaps that may not be filled."""
    lacking = np.asarray(~np.isfinite(scores).all(axis=1))
    if not lacking.any():
        return scores, lacking
    clips = list(dict.fromkeys(wanted.clip[lacking].tolist()))
    if missing == "refuse":
        raise UsageError(
            f"{int(lacking.sum())} rows of the template are at times without a score, in clips {listed(clips)}: "
            "--missing hold takes the clip's nearest score in time"
        )
    return nearest_scores(scores, wanted, given)


def within(
    scores: Floats, rows: Template, out_of_range: Literal["refuse", "clip"], digits: int
) -> tuple[Floats, Bools]:
    """Scores [N,K], clip by clip as `by_template_clip` lays them, within the format's range; and which rows were not.

    Raises UsageError for such rows unless they may be cut.
    """
    format = rows.format
    far = outside(format, scores, digits)
    if not far.any():
        return scores, far
    if out_of_range == "refuse":
        names = np.array(rows.names, object)[np.concatenate(by_template_clip(rows))][far]
        worst = scores[far].flat[int(np.argmax(np.abs(scores[far])))]
        raise UsageError(
            f"{int(far.sum())} rows have values beyond [{format.low:g}, {format.high:g}] (such as {worst:g}): "
            f"{listed(names.tolist())}; --out-of-range clip cuts them to the range"
        )
    return np.clip(scores, format.low, format.high), far


def read_at(wanted: Predictions, given: Predictions, scored: Bools) -> dict[str, Any]:
    """How many rows were read between the middles of predictions, and how many outside of all of a clip's."""
    between = beyond = 0
    places = by_clip(given)
    for clip, here in by_clip(wanted).items():
        start, end = given.start[places[clip]], given.end[places[clip]]
        at, own_times = middles(wanted.start[here], wanted.end[here]), np.sort(middles(start, end))
        gap = np.abs(at - own_times[nearest(own_times, at)])
        far = (at < start.min()) | (at >= end.max())
        own = (gap <= TICK) | ((len(own_times) == 1) & ~far)
        between += int((~own & ~far & scored[here]).sum())
        beyond += int((~own & far & scored[here]).sum())
    counts: dict[str, Any] = {"rows_interpolated": between, "rows_beyond_predictions": beyond}
    return counts | ({"interpolation": timeline.INTERPOLATION} if between else {})


Rows = list[NDArray[np.intp]]


def by_template_clip(template: Template) -> Rows:
    """Where the rows of each clip stand in the template, by the place of the clip."""
    order = np.argsort(template.codes, kind="stable")
    bounds = np.searchsorted(template.codes[order], np.arange(len(template.clips) + 1))
    return [order[first:last] for first, last in pairwise(bounds)]


def frame_times(template: Template, times: CropTimes) -> tuple[Floats, Floats, int]:
    """start, end [N] (s) of the template's frames, and how many of them are beyond the end of their video.

    Frames beyond it go on at the video's median rate. Raises UsageError for videos that are not there or unreadable.
    """
    if times.source_fps is not None:
        fps = np.array([times.rate_of(clip) for clip in template.clips], np.float64)[template.codes]
        return (template.frames - 1) / fps, template.frames / fps, 0
    start, end = np.zeros(len(template)), np.zeros(len(template))
    beyond, unknown = 0, []
    for clip, rows in zip(template.clips, by_template_clip(template), strict=True):
        try:
            index = scan(times.video_of(Clip(clip, template.path)))
        except ClipError as error:
            unknown.append(f"{clip}: {error}")
            continue
        start[rows], end[rows] = display_intervals(index, template.frames[rows] - 1)
        beyond += int((template.frames[rows] > len(index)).sum())
    if unknown:
        raise UsageError(f"{template.path} names videos whose times cannot be read: {listed(unknown)}")
    return start, end, beyond


def whole_clip_times(template: Template, given: Predictions) -> tuple[Floats, Floats]:
    """start, end [N] of the one prediction of each clip. Raises UsageError where a clip has several: then a frame's
    time is needed."""
    places = by_clip(given)
    several = [clip for clip in template.clips if places[clip].stop - places[clip].start > 1]
    if several:
        raise UsageError(
            f"predictions over time are read when a frame is shown: give --videos DIR, or --fps with the rate of all "
            f"videos (clips with several predictions: {listed(several)})"
        )
    first = np.array([places[clip].start for clip in template.clips], np.intp)[template.codes]
    return given.start[first], given.end[first]


def display_intervals(index: PacketIndex, frames: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """start, end (s) of frames counted from 0; those beyond the last one go on at the video's median rate."""
    step = float(index.step * index.tick)
    bounds = np.append(index.times, index.duration)
    inside = frames.clip(0, len(index) - 1)
    late = frames - len(index)
    start = np.where(late < 0, bounds[inside], index.duration + late * step)
    end = np.where(late < 0, bounds[inside + 1], index.duration + (late + 1) * step)
    return start, end
