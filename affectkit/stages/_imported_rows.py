"""When the rows of features made elsewhere are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from affectkit.errors import ClipError
from affectkit.media import scan
from affectkit.stages._feature_files import LARGEST, TIMES, FeatureFile
from affectkit.stages._template_rows import display_intervals
from affectkit.stages.sources import CropTimes
from affectkit.submissions.formats import LONGEST_VIDEO
from affectkit.types import Clip, Floats

_GAP = 1.5  # of the usual step: rows farther apart than that do not reach to the next one


def by_frame(clip: Clip, one: FeatureFile, times: CropTimes) -> tuple[FeatureFile, Floats, Floats, int]:
    """A row a frame, start and end [T] (s), and how many are beyond the video; frames left out are NaN."""
    if times.videos is None and times.source_fps is None:
        raise ClipError("no times: a column start and end, or timestamp, or --videos, or --fps is needed")
    one = _spread(one) if "frame" in one.beside else one
    frames = np.arange(len(one.values))
    if times.source_fps:
        return one, frames / times.source_fps, (frames + 1) / times.source_fps, 0
    index = scan(times.video_of(clip))
    return one, *display_intervals(index, frames), max(0, len(frames) - len(index))


def _spread(one: FeatureFile) -> FeatureFile:
    """Rows at the frames that a column numbers, counted from 1."""
    number = one.beside["frame"]
    if not len(number):
        return one
    if not (np.isfinite(number).all() and (number == np.floor(number)).all() and number.min() >= 1):
        raise ClipError("frame is a whole number, 1 or more")
    if len(np.unique(number)) < len(number):
        raise ClipError("two rows are of one frame (of two persons?)")
    frames = int(min(number.max(), LONGEST_VIDEO + 1))
    if frames > LONGEST_VIDEO or frames * one.values.shape[1] * 8 > LARGEST:
        raise ClipError(f"frame {number.max():g} is too high")
    places = number.astype(np.intp) - 1
    values = np.full((frames, one.values.shape[1]), np.nan)
    values[places] = one.values
    beside: dict[str, Floats] = {name: np.zeros(frames) for name in one.beside if name not in TIMES}
    for name, column in beside.items():
        column[places] = one.beside[name]
    return FeatureFile(values, one.names, beside)


def of_columns(beside: Mapping[str, Floats], unit: float, fps: float | None) -> tuple[Floats, Floats]:
    """start, end [T] (s) by columns. A row with a lone timestamp lasts until the next one, before a gap as long as
    rows usually do; a single row lasts 1/fps, or a second."""
    given: dict[str, Floats] = {name: beside[name] * unit for name in ("start", "end", "timestamp") if name in beside}
    start = given["start"] if "start" in given else given["timestamp"]
    if not np.isfinite(start).all():
        raise ClipError(f"row {int(np.argmin(np.isfinite(start))) + 1} has no time")
    back = np.flatnonzero(np.diff(start) < 0)
    if len(back):
        raise ClipError(f"times go back at row {int(back[0]) + 2}: rows are sorted by time")
    if start.size and start[0] < 0:
        raise ClipError(f"the first row begins at {start[0]:g} s, before the clip")
    end = given["end"] if "start" in given and "end" in given else _until(start, fps)
    if not (np.isfinite(end) & (end > start)).all():
        raise ClipError(f"row {int(np.argmin(end > start)) + 1} does not end after its start")
    return start, end


def _until(start: Floats, fps: float | None) -> Floats:
    steps = np.diff(start)
    if not len(steps):
        return start + (1 / fps if fps else 1.0)
    usual = float(np.median(steps))
    length = np.where(steps > _GAP * usual, usual, steps)
    return np.asarray(start + np.append(length, usual))
