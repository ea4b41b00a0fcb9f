"""What `plot` draws, as numbers: scores and labels of clips over time, subjects beside each other, valence and arousal.

Shapes: T rows of a clip, K targets or classes, S subjects, B stretches of time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from affectkit.errors import UsageError
from affectkit.stages.scoring import Scored
from affectkit.tables.episodes import extents
from affectkit.tables.subjects import Subjects
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, Floats, Predictions

LABELS = "labels"
"""What the labels are called among what is drawn."""
STRETCHES = 60
"""Of the longest clip, into which the time of all clips is cut where subjects stand beside each other."""
_NEAR = 1e-6  # s


@dataclass(frozen=True, repr=False)
class PlotSet:
    """A prediction set and what it is called on figures."""

    name: str
    predictions: Predictions


@dataclass(frozen=True, repr=False)
class PlotTrack:
    """Values of one clip over time: times [T,2] (s) that rows stand for, values [T,K], of classes and labels from 0 to
    1; NaN: no score."""

    times: Floats
    values: Floats

    @property
    def valid(self) -> Bools:
        """[T] rows in which every value is there."""
        return np.asarray(np.isfinite(self.values).all(axis=1))


@dataclass(frozen=True, repr=False)
class PlotData:
    """All that is drawn of some clips: prediction sets, labels, and the rows that have both (None where nothing has).

    level: of the interval of a mean; by_subject: whether a line stands for a subject, else for a clip.
    """

    task: Task
    clips: Sequence[str]
    sets: Sequence[PlotSet]
    labels: Mapping[str, ClipLabels] | None
    scored: Scored | None = None
    subjects: Subjects = field(default_factory=Subjects)
    by_subject: bool = False
    level: float = 0.95

    @property
    def sources(self) -> list[str]:
        """The labels, where there are some, and every set."""
        return [*([LABELS] if self.labels is not None else []), *(each.name for each in self.sets)]

    def tracks(self, source: str) -> dict[str, PlotTrack]:
        """Of the labels or a set, every clip that it has."""
        return self._tracks[source]

    @cached_property
    def _tracks(self) -> dict[str, dict[str, PlotTrack]]:
        tracks = {each.name: _of_predictions(each.predictions, self.clips) for each in self.sets}
        if self.labels is not None:
            ends = {
                clip: max(float(each[clip].times[-1, 1]) for each in tracks.values() if clip in each)
                for clip in self.clips if any(clip in each and len(each[clip].times) for each in tracks.values())
            }  # fmt: skip
            tracks[LABELS] = _of_labels(self.task, self.labels, self.clips, ends)
        return tracks

    def span(self, clip: str) -> tuple[float, float]:
        """From when to when a clip has rows (s), in any source."""
        times = [each[clip].times for each in self._tracks.values() if clip in each and len(each[clip].times)]
        if not times:
            return 0.0, 1.0
        return min(float(each[0, 0]) for each in times), max(float(each[:, 1].max()) for each in times)

    def unscored(self, clip: str) -> list[tuple[float, float]]:
        """The stretches of a clip (s) in which no set has a score; without a set, in which there is no label."""
        names = [each.name for each in self.sets] or [LABELS]
        tracks = [self._tracks[name][clip] for name in names if clip in self._tracks[name]]
        scored = np.concatenate([np.zeros((0, 2)), *(each.times[each.valid] for each in tracks)])
        return uncovered(*self.span(clip), scored)


def uncovered(low: float, high: float, spans: Floats) -> list[tuple[float, float]]:
    """What is left of [low, high] without spans [N,2].

    >>> uncovered(0, 5, np.array([[3.0, 4.0], [0.0, 1.0], [0.5, 2.0]]))
    [(2.0, 3.0), (4.0, 5.0)]
    """
    left, at = [], float(low)
    for start, end in spans[np.argsort(spans[:, 0], kind="stable")].tolist():
        if start > at + _NEAR:
            left.append((at, start))
        at = max(at, end)
    return [*left, (at, float(high))] if high > at + _NEAR else left


def merged(spans: Floats) -> Floats:
    """Spans [N,2] in order of time, those that touch as one.

    >>> merged(np.array([[0.0, 1.0], [1.0, 2.0], [3.0, 4.0]])).tolist()
    [[0.0, 2.0], [3.0, 4.0]]
    """
    breaks = np.flatnonzero(spans[1:, 0] > spans[:-1, 1] + _NEAR) + 1
    first, last = np.append(0, breaks), np.append(breaks, len(spans)) - 1
    return np.stack([spans[first, 0], spans[last, 1]], axis=1) if len(spans) else spans


def _of_predictions(predictions: Predictions, clips: Sequence[str]) -> dict[str, PlotTrack]:
    tracks, wanted = {}, set(clips)
    for clip, rows in by_clip(predictions).items():
        if clip in wanted:
            start, end, scores = predictions.start[rows], predictions.end[rows], predictions.scores[rows]
            tracks[clip] = _track(start, end, np.asarray(scores, np.float64), float("nan"))
    return tracks


def _of_labels(
    task: Task, labels: Mapping[str, ClipLabels], clips: Sequence[str], ends: Mapping[str, float]
) -> dict[str, PlotTrack]:
    return {
        clip: _track(
            labels[clip].start, labels[clip].end, as_scores(task, labels[clip].values), ends.get(clip, float("nan"))
        )
        for clip in clips if clip in labels
    }  # fmt: skip


def _track(start: Floats, end: Floats, values: Floats, last: float) -> PlotTrack:
    """Rows in order of time. `last`: when a row ends that holds for the whole clip, where that is known."""
    order = np.argsort(start, kind="stable")
    start, end, values = np.asarray(start)[order], np.asarray(end)[order], values[order]
    finite = end[np.isfinite(end)]
    last = last if np.isfinite(last) else float(finite.max()) if len(finite) else float(start.max(initial=0.0)) + 1.0
    end = np.where(np.isfinite(end), end, np.maximum(last, start))
    return PlotTrack(extents(start, end), values)


def as_scores(task: Task, values: Floats) -> Floats:
    """Labels as scores: of a class, 1 for it and 0 for the others; NaN where a label is not valid.

    >>> from affectkit import tasks
    >>> as_scores(tasks.get("valence-2"), np.array([[1.0], [np.nan]])).tolist()
    [[0.0, 1.0], [nan, nan]]
    """
    if task.kind != "multiclass":
        return np.asarray(values, np.float64)
    classes = np.asarray(values[:, 0], np.float64)
    scores = (classes[:, None] == np.arange(task.outputs)).astype(float)
    scores[np.isnan(classes)] = np.nan
    return scores


def sampled(track: PlotTrack, low: float, high: float, count: int) -> Floats:
    """[K,count] the values in stretches of equal length from low to high: of the row that is there in the middle of
    one, or the mean of the rows whose middle is in it where there are more rows than stretches; NaN: no score."""
    edges = np.linspace(low, high, count + 1)
    if len(track.times) <= count:
        middle = (edges[:-1] + edges[1:]) / 2
        row = np.clip(np.searchsorted(track.times[:, 0], middle + _NEAR, side="right") - 1, 0, len(track.times) - 1)
        here = (middle >= track.times[row, 0] - _NEAR) & (middle < track.times[row, 1])
        return np.asarray(np.where(here[:, None], track.values[row], np.nan).T)
    return means_in(track, edges).T


def means_in(track: PlotTrack, edges: Floats) -> Floats:
    """[B,K] the mean of the valid rows whose middle is between two edges [B+1]; NaN where there is none."""
    means = np.full((len(edges) - 1, track.values.shape[1]), np.nan)
    place = np.searchsorted(edges, track.times.mean(axis=1), side="right") - 1
    used = track.valid & (place >= 0) & (place < len(means))
    rows = np.bincount(place[used], minlength=len(means))
    for column in range(means.shape[1]):
        total = np.bincount(place[used], weights=track.values[used, column], minlength=len(means))
        means[rows > 0, column] = total[rows > 0] / rows[rows > 0]
    return means


@dataclass(frozen=True, repr=False)
class Spaghetti:
    """A line a subject (or clip), and their mean: edges [B+1] of stretches of time (s), or None where a line runs over
    the targets; lines [S,B,K], or [S,K] over targets; mean, low, high, and how many lines there are: [B,K] or [K]."""

    names: Sequence[str]
    edges: Floats | None
    lines: Floats
    mean: Floats
    low: Floats
    high: Floats
    counts: Floats


def spaghetti_of(data: PlotData, source: str) -> Spaghetti:
    """The mean of each subject's clips, and over subjects their mean with its t interval, where there are two."""
    tracks = data.tracks(source)
    edges = _edges(data) if data.task.level == "time" else None
    groups: dict[str, list[Floats]] = defaultdict(list)
    for clip, track in tracks.items():
        values = means_in(track, edges) if edges is not None else nan_mean(track.values)
        groups[_group(data, clip)].append(values)
    lines = np.stack([nan_mean(np.stack(parts)) for parts in groups.values()])
    mean, low, high, counts = mean_interval(lines, data.level)
    return Spaghetti(list(groups), edges, lines, mean, low, high, counts)


def lines_of(data: PlotData) -> list[str]:
    """The subjects (or clips) that a line of spaghetti each stands for. Raises UsageError for a clip without one."""
    return list(dict.fromkeys(_group(data, clip) for clip in data.clips))


def _group(data: PlotData, clip: str) -> str:
    if not data.by_subject:
        return clip
    subject = data.subjects.of(clip)
    if subject is None:
        raise UsageError(
            f"clip '{clip}' has no subject: fill the labels' column subject, or draw a line a clip by --by clip"
        )
    return subject


def _edges(data: PlotData) -> Floats:
    """Stretches of equal length from 0 to the end of the longest clip, none shorter than rows usually are."""
    tracks = [track for source in data.sources for track in data.tracks(source).values() if len(track.times)]
    end = max((float(track.times[:, 1].max()) for track in tracks), default=1.0)
    usual = max((float(np.median(np.diff(track.times, axis=1))) for track in tracks), default=end)
    count = int(np.clip(np.floor(end / max(usual, _NEAR) + 1e-3), 1, STRETCHES))
    return np.linspace(0.0, end, count + 1)


def nan_mean(values: Floats) -> Floats:
    """The mean over the first axis of what is no NaN; NaN where nothing is.

    >>> nan_mean(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist()
    [2.0, nan]
    """
    finite = np.isfinite(values)
    counts = finite.sum(axis=0)
    total = np.where(finite, values, 0).sum(axis=0)
    return np.asarray(np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0))


def mean_interval(lines: Floats, level: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean over the first axis, the bounds of its t interval (NaN where there are fewer than two values), and counts.

    >>> [part.round(3).tolist() for part in mean_interval(np.array([[1.0], [2.0], [3.0], [np.nan]]), 0.95)]
    [[2.0], [-0.484], [4.484], [3]]
    """
    from scipy.special import stdtrit

    counts, mean = np.isfinite(lines).sum(axis=0), nan_mean(lines)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.nansum((lines - mean) ** 2, axis=0) / (counts - 1)
        reach = stdtrit(np.maximum(counts - 1, 1), (1 + level) / 2) * np.sqrt(variance / counts)
    reach = np.where(counts > 1, reach, np.nan)
    return mean, mean - reach, mean + reach, counts


def circumplex_columns(task: Task) -> tuple[int, int] | None:
    """Which targets are valence and arousal; None for a task without both."""
    names = [target.lower() for target in task.targets]
    if task.kind != "regression" or not {"valence", "arousal"} <= set(names):
        return None
    return names.index("valence"), names.index("arousal")


def circumplex_rows(data: PlotData) -> dict[str, Floats]:
    """Of every source [N,2] valence and arousal: of labels and predictions at the same rows where there are both."""
    columns = circumplex_columns(data.task)
    assert columns is not None
    pair = list(columns)
    if data.scored is not None:
        sets = zip(data.sets, data.scored.scores, strict=True)
        return {LABELS: data.scored.truth[:, pair], **{each.name: scores[:, pair] for each, scores in sets}}
    rows = {}
    for source in data.sources:
        values = np.concatenate([np.zeros((0, 2)), *(each.values[:, pair] for each in data.tracks(source).values())])
        rows[source] = values[np.isfinite(values).all(axis=1)]
    return rows
