"""When the rows of features made elsewhere are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from affectkit.errors import ClipError
from affectkit.media import scan
from affectkit.stages._feature_files import TIMES, FeatureFile, Style
from affectkit.stages._frame_numbers import FrameNumbers
from affectkit.stages._template_rows import display_intervals
from affectkit.stages.sources import CropTimes
from affectkit.submissions.formats import LONGEST_VIDEO
from affectkit.types import Clip, Floats

_LARGEST = 1 << 30  # bytes of a clip with the rows that its numbers of frames leave out
_GAP = 1.5  # of the usual step: rows farther apart than that do not reach to the next one


def in_time(
    clip: Clip, one: FeatureFile, style: Style, unit: float, times: CropTimes, numbers: FrameNumbers
) -> tuple[FeatureFile, Floats, Floats, int]:
    """The rows with start and end [T] (s), and how many of them are beyond the video.

    A row a frame where the style says so, where the file has no times, and where frames are numbered and `times` says
    when they are; else by the file's own times, in units of `unit` seconds. Raises ClipError.
    """
    if is_by_frame(one, style, times):
        return by_frame(clip, one, times, numbers)
    start, end = of_columns(one.beside, unit)
    if style != "muse" and (refused := conflict(one, times)):
        raise ClipError(refused)
    return one, start, end, 0


def is_by_frame(one: FeatureFile, style: Style, times: CropTimes) -> bool:
    """Whether rows are frames, in order or by their numbers, and not where the file's own times say."""
    return style == "affwild2" or not one.timed or (times.are_given and "frame" in one.beside)


def conflict(one: FeatureFile, times: CropTimes) -> str | None:
    """What is wrong where a file says when its rows are, without numbers of frames, and `times` says it as well."""
    if not times.are_given or not one.timed or "frame" in one.beside:
        return None
    option = "--videos" if times.videos else "--fps"
    said = ", ".join(one.timed)
    return (
        f"rows have times of their own ({said}) and no column frame, which {option} would give times to: "
        f"leave {option} away, or the file's times ({' '.join(f'--leave-out {name}' for name in one.timed)})"
    )


def by_frame(
    clip: Clip, one: FeatureFile, times: CropTimes, numbers: FrameNumbers
) -> tuple[FeatureFile, Floats, Floats, int]:
    """A row a frame, start and end [T] (s), and how many are beyond the video; frames left out are NaN."""
    if not times.are_given:
        raise ClipError("no times: a column start and end, or timestamp, or --videos, or --fps is needed")
    number = one.beside.get("frame")
    if number is not None and len(number):
        if number.min() == 0 and times.first_frame == 1:
            raise numbers.zero(clip.id)
        one = _spread(one, number, times.first_frame)
    frames = np.arange(len(one.values))
    fps = times.rate_of(clip.id)
    if fps is not None:
        return one, frames / fps, (frames + 1) / fps, 0
    index = scan(times.video_of(clip))
    if number is not None and len(number):
        numbers.add(clip.id, int(number.min()), int(number.max()), len(index))
    return one, *display_intervals(index, frames), max(0, len(frames) - len(index))


def _spread(one: FeatureFile, number: Floats, first_frame: int) -> FeatureFile:
    """Rows at the frames that `number` [T] says, counted from `first_frame`."""
    if not (np.isfinite(number).all() and (number == np.floor(number)).all() and number.min() >= first_frame):
        raise ClipError(f"frame is a whole number, {first_frame} or more")
    if len(np.unique(number)) < len(number):
        raise ClipError("two rows are of one frame (of two persons?)")
    frames = int(min(number.max() - first_frame, LONGEST_VIDEO)) + 1
    if frames > LONGEST_VIDEO or frames * one.values.shape[1] * 8 > _LARGEST:
        raise ClipError(f"frame {number.max():g} is too high")
    places = number.astype(np.intp) - first_frame
    values = np.full((frames, one.values.shape[1]), np.nan)
    values[places] = one.values
    beside: dict[str, Floats] = {name: np.zeros(frames) for name in one.beside if name not in TIMES}
    for name, column in beside.items():
        column[places] = one.beside[name]
    return FeatureFile(values, one.names, beside, one.unnamed)


def of_columns(beside: Mapping[str, Floats], unit: float) -> tuple[Floats, Floats]:
    """start, end [T] (s) by columns. A row with a lone timestamp lasts until the next one, before a gap as long as
    rows usually do; a single row lasts a second."""
    given: dict[str, Floats] = {name: beside[name] * unit for name in ("start", "end", "timestamp") if name in beside}
    start = given["start"] if "start" in given else given["timestamp"]
    if not np.isfinite(start).all():
        raise ClipError(f"row {int(np.argmin(np.isfinite(start))) + 1} has no time")
    back = np.flatnonzero(np.diff(start) < 0)
    if len(back):
        raise ClipError(f"times go back at row {int(back[0]) + 2}: rows are sorted by time")
    if start.size and start[0] < 0:
        raise ClipError(f"the first row begins at {start[0]:g} s, before the clip")
    end = given["end"] if "start" in given and "end" in given else _until(start)
    if not (np.isfinite(end) & (end > start)).all():
        raise ClipError(f"row {int(np.argmin(end > start)) + 1} does not end after its start")
    return start, end


def _until(start: Floats) -> Floats:
    steps = np.diff(start)
    if not len(steps):
        return start + 1.0
    usual = float(np.median(steps))
    length = np.where(steps > _GAP * usual, usual, steps)
    return np.asarray(start + np.append(length, usual))
