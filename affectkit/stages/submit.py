"""`affectkit submit`: Write predictions as the file that a challenge takes, or check one.

Predictions -> the file that a challenge takes, row for row as its template says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from affectkit.stages.inputs import REQUIRED, artifacts, file
from affectkit.stages.stage import Context, Need, Result, Stage, TextTable
from affectkit.store.atomic import explained
from affectkit.tables import predictions as tables
from affectkit.tables import submission_checks, submissions, timeline
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.submission_checks import Check
from affectkit.tables.submissions import Format, Template, outside
from affectkit.tables.timeline import by_clip, nearest_scores
from affectkit.tasks import Task
from affectkit.types import Bools, Clip, Floats, Predictions

FormatName = Literal["affwild2-va", "affwild2-expr", "affwild2-au", "cexpr", "hume-reaction"]


class SubmitConfig(Config):
    """What is written."""

    format: FormatName = Field(description="the challenge whose file it is")
    fps: Rate | str | None = Field(
        None, union_mode="left_to_right", json_schema_extra={"also": "--source-fps", "is_file": True},
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


class Submit(Stage):
    """Write predictions as the file that a challenge takes, or check one.

    A frame gets the scores at the middle of the time that it is shown. Nothing is written where a row of the template
    has no prediction or a value is out of range (exit 2). --check ends with 3 where the file is wrong.

    Examples:

    `affectkit submit "$P" --format affwild2-va --template va_template.txt --videos videos/ --out va.txt`

    `affectkit submit "$P" --format hume-reaction --template test.csv --out reactions.csv`

    `affectkit submit --check va.txt --format affwild2-va --template va_template.txt`
    """

    name = "submit"
    makes = "file"
    says = "{inputs} as {format}"
    Config = SubmitConfig

    @dataclass(frozen=True)
    class Inputs:
        """Predictions and the organisers' template, or a file to check."""

        template: Path = file("the organisers' file: its rows, in its order, are written", default=REQUIRED)
        predictions: Path | None = artifacts("predictions", help="a prediction artifact or a CSV file", default=None)
        out: Path | None = file("the file to write", kind="made")
        videos: Path | None = file("folder of the videos that give frames their times", kind="folder")
        check: Path | None = file("instead: say what is wrong with this file, made anywhere", in_recipes=False)

    def reads_task(self, config: SubmitConfig) -> tuple[Task, str]:
        form = submissions.FORMATS[config.format]
        return form.task, f"format {form.name} takes {form.task.name}"

    def needs(self, config: SubmitConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        if template := files.get("template"):
            form = submissions.FORMATS[config.format]
            yield Need("template", str(template), lambda: submissions.check_header(template, form))

    def run(self, inputs: Inputs, config: SubmitConfig, context: Context) -> Result:
        if inputs.check is not None:
            if inputs.predictions is not None or inputs.out is not None or inputs.videos is not None or config.fps:
                raise UsageError(
                    "--check looks at a file that is there: give --format and --template with it, nothing else"
                )
            return _checked(inputs.check, inputs.template, config)
        if inputs.predictions is None or inputs.out is None:
            raise UsageError("submit needs PREDICTIONS and --out FILE (or --check FILE)")
        with explained(inputs.out.parent):
            inputs.out.parent.mkdir(parents=True, exist_ok=True)
        done = submit(inputs.predictions, inputs.template, inputs.out, config, videos=inputs.videos)
        return Result(done.path, report=done.report, notices=tuple(done.report["notices"]))

    def json(self, result: Result) -> dict[str, Any]:
        return {"file": str(result.path), **result.report}

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        if "problems" in result.report:
            yield from (f"wrong: {each}" for each in result.notices)
        else:
            yield from _written(result.report)


def _checked(path: Path, template: Path, config: SubmitConfig) -> Result:
    """What is wrong with a file made anywhere."""
    checked = check(path, template, config.format)
    problems = [{"what": each.what, "count": each.count, "first": list(each.first)} for each in checked.problems]
    sorts = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    report = {"format": config.format, "good": checked.good, "rows": checked.rows, "problems": problems}
    says = f"{checked.rows} rows, {sorts if problems else 'nothing wrong'}"
    return Result(
        path, report=report, notices=tuple(map(str, checked.problems)), code=3 if problems else 0, printed=says
    )


def _written(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{report['rows']} rows of {report['clips']} clips"
    if fps := report["assumed_fps"]:
        yield (
            f"frames are assumed to come at {fps:g} a second" if isinstance(fps, float) else f"rates are those of {fps}"
        )
    yield from (f"note: {notice}" for notice in report["notices"])
    for name, words in (
        ("rows_interpolated", f"read between predictions ({report.get('interpolation')})"),
        ("rows_beyond_predictions", "before the first or after the last prediction: it is held"),
        ("rows_beyond_video", "beyond the last frame of their video"),
        ("rows_held", "without a score of their own: the nearest in time is held"),
        ("rows_cut_to_range", "cut to the format's range"),
    ):
        if report[name]:
            yield f"{report[name]} rows {words}"
    if report["clips_not_in_template"]:
        yield f"left out, not in the template: {listed(report['clips_not_in_template'])}"


STAGE = Submit
