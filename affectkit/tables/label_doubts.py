"""What speaks against labels being what they are taken for: times in another unit, values on another scale, constants.

Each doubt is one line that says what was seen, what is expected and what it looks like. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from affectkit.tasks import BUILT_IN, Task
from affectkit.types import Bools, ClipLabels, Floats

_UNITS = {
    1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds", 8e3: "samples at 8 kHz", 16e3: "samples at 16 kHz",
    22050: "samples at 22.05 kHz", 32e3: "samples at 32 kHz", 44100: "samples at 44.1 kHz", 48e3: "samples at 48 kHz",
}  # fmt: skip
_LONGER_UNITS = {1 / 60: "minutes", 1 / 3600: "hours"}
_NEAR = 0.15  # of a unit: clips rarely end where their labels do
_FRAMES = (1.5, 250.0)  # frames a second
_MOST = 0.5
_FEW_ROWS = 100


class _Reach(NamedTuple):
    """Of each clip with labels in time: when its media end, when its labels begin and end (s, as they are taken)."""

    ends: Floats
    first: Floats
    last: Floats
    rows: int
    beyond: int
    whole: bool


def doubts(task: Task, labels: Mapping[str, ClipLabels], ends: Mapping[str, float], *, far: bool = False) -> list[str]:
    """Lines about the labels of clips, `ends` being when each clip's features, predictions or media end (s); with
    `far`, values a little outside the task's range are let pass."""
    return time_doubts(task, labels, ends) + value_doubts(task, labels, far=far)


def time_doubts(task: Task, labels: Mapping[str, ClipLabels], ends: Mapping[str, float]) -> list[str]:
    """A line where most label rows lie beyond their clips, cover a sliver of them, or are all shifted.

    >>> from affectkit import tasks
    >>> times = np.arange(100) * 100.0
    >>> time_doubts(tasks.get("va"), {"a": ClipLabels(times, times + 100, np.zeros((100, 2)))}, {"a": 10.0})
    ['99 of 100 label rows lie beyond the end of their clips: labels reach to 10000.0 where the clips end at 10.0: \
milliseconds? (labels are in seconds from the start of a clip)']
    """
    reach = _reach(labels, ends) if task.level == "time" else None
    if reach is None:
        return []
    latest = int(np.argmax(reach.last))
    said = f"labels reach to {reach.last[latest]:.1f} where the clips end at {reach.ends[latest]:.1f}"
    expected = "(labels are in seconds from the start of a clip)"
    if reach.beyond > _MOST * reach.rows:
        most = f"{reach.beyond} of {reach.rows} label rows lie beyond the end of their clips"
        return [f"{most}: {said}: {_unit(reach)}? {expected}"]
    if offset := _offset(reach):
        begin = f"labels last as long as their clips, but begin at {offset:.1f}"
        return [f"{begin}: {said}: shifted by {offset:.1f} s? {expected}"]
    if sliver := _sliver(reach):
        return [f"labels cover a small part of their clips: {said}: {sliver}? {expected}"]
    return []


def value_doubts(task: Task, labels: Mapping[str, ClipLabels], *, far: bool = False) -> list[str]:
    """A line where values lie outside the task's range (with `far`: at more than four times its ends, or on a scale
    without negative numbers), all in one half of it, or classes seem numbered from 1."""
    parts = [of_clip.values for of_clip in labels.values() if len(of_clip)]
    if not parts:
        return []
    values = np.concatenate(parts)
    valid = values[np.isfinite(values).all(axis=1)]
    if not len(valid):
        return []
    if task.kind == "multiclass":
        counts = np.bincount(valid[:, 0].astype(int), minlength=task.outputs)
        if task.outputs > 2 and not counts[0] and counts[1:].all():
            return [
                f"no label is {task.targets[0]} (0), and all other classes occur: numbered from 1? ({task.name} counts "
                "its classes from 0)"
            ]
        return []
    limits = value_range(task)
    return [] if limits is None else _scale_doubts(task, valid, *limits, far)


def _scale_doubts(task: Task, valid: Floats, low: float, high: float, far: bool) -> list[str]:
    below, above = float(valid.min()), float(valid.max())
    outside = int(((valid < low - 1e-6) | (valid > high + 1e-6)).any(axis=1).sum())
    near = low < 0 and 4 * low <= below < 0 and above <= 4 * high
    if outside and not (far and near):
        return [
            f"{outside} of {len(valid)} labels of {task.name} lie outside {low:g} to {high:g}, the task's range: they "
            f"run from {below:g} to {above:g}, {likely_scale(below, above, low, high)}"
        ]
    if low < 0 <= below and above > 0.5 and len(valid) >= _FEW_ROWS and (valid.min(axis=0) < valid.max(axis=0)).all():
        return [f"no label of {task.name} is below 0: on a scale 0..1? (the task's range is {low:g} to {high:g})"]
    return []


def constant_targets(task: Task, truth: Floats) -> tuple[str, ...]:
    """The targets whose labels [N,K] (multiclass [N,1]: the class) are the same in all rows; of one row, none."""
    valid = truth[np.isfinite(truth).all(axis=1)]
    if len(valid) < 2:
        return ()
    same = (valid == valid[0]).all(axis=0)
    return tuple(name for name, constant in zip(task.label_columns, same.tolist(), strict=True) if constant)


def _reach(labels: Mapping[str, ClipLabels], ends: Mapping[str, float]) -> _Reach | None:
    """Of the clips with labels in time; None where there is none."""
    reaches, rows, beyond, whole = [], 0, 0, True
    for clip, of_clip in labels.items():
        end = ends.get(clip, np.nan)
        timed: Bools = np.isfinite(of_clip.end)
        if not (np.isfinite(end) and end > 0 and timed.any()):
            continue
        start = of_clip.start[timed]
        rows, beyond = rows + len(start), beyond + int((start >= end).sum())
        whole = whole and bool((start == np.floor(start)).all())
        reaches.append((end, float(start.min()), float(of_clip.end[timed].max())))
    if not reaches:
        return None
    at = np.array(reaches)
    return _Reach(at[:, 0], at[:, 1], at[:, 2], rows, beyond, whole)


def _unit(reach: _Reach) -> str:
    """What label times look like that are far beyond the clips."""
    if _is_usual(np.abs((reach.last - reach.first) / reach.ends - 1) < _NEAR):
        return f"times of another clock, shifted by {np.median(reach.first):.1f} s"
    ratio = float(np.median(reach.last / reach.ends))
    named = _nearest(ratio, _UNITS)
    if named:
        return named
    percent = _is_usual((reach.last > 90) & (reach.last < 101))
    if _FRAMES[0] <= ratio <= _FRAMES[1]:
        spread = float(np.ptp(reach.ends)) > 0.05 * float(np.median(reach.ends))
        frames = f"frame numbers, {ratio:.3g} a second"
        if not percent:
            return frames if reach.whole else f"{frames}, or another unit"
        return "percent of the clip" if spread or not reach.whole else f"{frames}, or percent of the clip"
    return "percent of the clip" if percent else "times of other media"


def _offset(reach: _Reach) -> float | None:
    """By how much all labels are shifted (s), where they last as long as their clips."""
    alike = np.abs((reach.last - reach.first) / reach.ends - 1) < 0.05
    shifted = (reach.first > np.maximum(0.5, 0.05 * reach.ends)) & (reach.last > 1.04 * reach.ends)
    return float(np.median(reach.first)) if _is_usual(alike & shifted) else None


def _sliver(reach: _Reach) -> str | None:
    """What label times look like that end long before the clips do."""
    if _is_usual((reach.last > 0.9) & (reach.last < 1.0001) & (reach.ends > 3)):
        return "shares of the clip, 0 to 1"
    return _nearest(float(np.median(reach.last / reach.ends)), _LONGER_UNITS)


def _nearest(ratio: float, units: Mapping[float, str]) -> str | None:
    nearest = min(units, key=lambda unit: abs(np.log(max(ratio, 1e-12) / unit)))
    return units[nearest] if abs(ratio / nearest - 1) < _NEAR else None


def _is_usual(clips: Bools) -> bool:
    """Whether it is so for nearly all clips."""
    return bool(np.mean(clips) >= 0.8)


_RANGES = {"va": (-1.0, 1.0), "eri": (0.0, 1.0)}
_SCALES = (
    (0, 1), (-1, 1), (1, 5), (1, 7), (1, 9), (-2, 2), (-3, 3), (-4, 4), (0, 10), (-5, 5), (-10, 10), (0, 100),
    (-100, 100), (0, 255), (0, 1000), (-1000, 1000),
)  # fmt: skip


def value_range(task: Task) -> tuple[float, float] | None:
    """The lowest and highest value of a task's labels; None where they are not known to have any.

    >>> from affectkit import tasks
    >>> value_range(tasks.get("va"))
    (-1.0, 1.0)
    """
    alike = task.name in _RANGES and BUILT_IN[task.name].targets == task.targets and task.kind == "regression"
    return _RANGES[task.name] if alike else None


def likely_scale(below: float, above: float, low: float, high: float) -> str:
    """The usual scale that holds values from `below` to `above`, and how to bring it to [low, high].

    >>> likely_scale(1.5, 8, -1, 1)
    'on a scale 1..9? (then x -> (x - 5) / 4)'
    >>> likely_scale(-3000, 7, -1, 1)
    'on no usual scale'
    """
    usual = next(((a, b) for a, b in _SCALES if a <= below and above <= b and (a, b) != (low, high)), None)
    if usual is None:
        return "on no usual scale"
    first, last = usual
    step, middle = (last - first) / (high - low), first - low * (last - first) / (high - low)
    moved = f"(x - {middle:g})" if middle > 0 else f"(x + {-middle:g})" if middle else "x"
    return f"on a scale {first}..{last}? (then x -> {moved} / {step:g})"
