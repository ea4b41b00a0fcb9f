"""When the rows of a template are: a frame's interval from its video, or from a rate that is assumed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError, UsageError, listed
from affectkit.media import PacketIndex, scan
from affectkit.stages._predictions import by_clip
from affectkit.stages.sources import CropTimes
from affectkit.submissions.template import Template
from affectkit.types import Clip, Floats, Predictions

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
