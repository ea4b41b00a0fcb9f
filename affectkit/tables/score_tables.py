"""Scores of clips as tidy tables: a row a face and moment, CSV text fast enough for hours of video, and summaries."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affectkit.tables.episodes import Episode, episodes, extents
from affectkit.types import Bools, Floats

_ID, _FACE, _MODEL = "\1", "\2", "\3"
"""Stand in for texts while numbers are written: no id has such characters."""
_TIME, _SCORE, _NUMBER = "%.10g", "%.6g", "%.8g"


@dataclass(frozen=True, repr=False)
class ScoreTable:
    """The rows of one face of a clip, in order of time.

    face: its number where a clip has several, else empty; start, end [T] (s); scores [T,K], NaN where there is none;
    valid [T]: whether the model that the rows are of has a score; observed [T]: the share of what the score was made
    from that had a face or speech; speech [T]: 1 where somebody speaks, 0, or NaN where that is not known; model: the
    one that all columns are of, empty where their names say which; classes: the columns of each model's classes.
    """

    clip: str
    face: str
    start: Floats
    end: Floats
    scores: Floats
    columns: tuple[str, ...]
    valid: Bools
    observed: Floats
    speech: Floats | None = None
    model: str = ""
    classes: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.start)

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        speech = () if self.speech is None else ("speech",)
        model = ("model",) if self.model else ()
        return ("clip", "start", "end", "face", *self.columns, *speech, "valid", "observed", *model)

    def of(self, column: str) -> Floats:
        """One score [T]."""
        return np.asarray(self.scores[:, self.columns.index(column)])

    def data(self) -> dict[str, Any]:
        """Every column by name, as arrays or one text for all rows."""
        speech = {} if self.speech is None else {"speech": self.speech}
        return {
            "clip": self.clip, "start": self.start, "end": self.end, "face": self.face,
            **{name: self.scores[:, place] for place, name in enumerate(self.columns)}, **speech,
            "valid": self.valid, "observed": self.observed, **({"model": self.model} if self.model else {}),
        }  # fmt: skip

    def csv(self) -> str:
        """The rows as CSV, without the header: six digits of a score, an empty cell for none."""
        numbers = [self.start, self.end, *self.scores.T, self.valid.astype(int), self.observed]
        template = [_ID, _TIME, _TIME, _FACE, *[_SCORE] * len(self.columns)]
        if self.speech is not None:
            numbers.insert(-2, self.speech)
            template.append("%.0f")
        template += ["%d", _SCORE, *([_MODEL] if self.model else [])]
        line = ",".join(template) + "\n"
        text = "".join(map(line.__mod__, zip(*(column.tolist() for column in numbers), strict=True)))
        for mark, word in (("nan", ""), (_ID, cell(self.clip)), (_FACE, self.face), (_MODEL, cell(self.model))):
            text = text.replace(mark, word)
        return text


def cell(text: str) -> str:
    """A text as a cell of a CSV.

    >>> cell("a,b"), cell('say "a"'), cell("nan")
    ('"a,b"', '"say ""a\"""', 'nan')
    """
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A small table as CSV: eight digits of a number, an empty cell for NaN."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if np.isnan(value) else _NUMBER % value
    return value


@dataclass(frozen=True, repr=False)
class ScoreSummary:
    """What one score of a face was over its clip; NaN where there is none.

    mean, sd (of the rows, over N - 1), p10, p90: of the rows with a score.
    """

    column: str
    mean: float
    sd: float
    p10: float
    p90: float
    episodes: tuple[Episode, ...]

    @property
    def episode_seconds(self) -> float:
        """How long all episodes are together."""
        return sum((each.seconds for each in self.episodes), 0.0)

    @property
    def longest_episode(self) -> float:
        """How long the longest episode is; 0 where there is none."""
        return max((each.seconds for each in self.episodes), default=0.0)


@dataclass(frozen=True)
class FacePlace:
    """When and where a face was seen: from `first` to `last` (s); the middle of its boxes x, y and their side, in
    pixels of the video, means over the rows that show it. NaN where that is not known."""

    first: float = np.nan
    last: float = np.nan
    x: float = np.nan
    y: float = np.nan
    side: float = np.nan

    @staticmethod
    def of(times: Floats, seen: Bools, boxes: Floats | None) -> FacePlace:
        """times [T,2] that rows stand for, which of them show the face [T], and its boxes [T,4], where there are some.

        >>> FacePlace.of(np.array([[0.0, 1], [1, 2]]), np.array([False, True]), np.array([[0.0] * 4, [10, 10, 30, 50]]))
        FacePlace(first=1.0, last=2.0, x=20.0, y=30.0, side=30.0)
        """
        rows = np.flatnonzero(seen)
        if not len(rows):
            return FacePlace()
        first, last = float(times[rows[0], 0]), float(times[rows[-1], 1])
        if boxes is None:
            return FacePlace(first, last)
        x0, y0, x1, y1 = np.asarray(boxes, float)[rows].mean(axis=0).tolist()
        return FacePlace(first, last, (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0 + y1 - y0) / 2)


@dataclass(frozen=True, repr=False)
class FaceSummary:
    """What the scores of one face were over its clip.

    seconds: that its rows stand for; face_share: of its rows, those with a face (or speech) behind them; scored_share:
    those with a score; dominant: of each model's classes the one that is the strongest most often, and in what share of
    the rows with a score; face_rows: how many rows have a face (or speech); place: when and where the face was.
    """

    clip: str
    face: str
    seconds: float
    rows: int
    face_share: float
    scored_share: float
    scores: tuple[ScoreSummary, ...]
    dominant: tuple[tuple[str, float], ...] = field(default=())
    face_rows: int = 0
    place: FacePlace = field(default=FacePlace())

    def of(self, column: str) -> ScoreSummary:
        """The summary of one score."""
        return next(each for each in self.scores if each.column == column)


def summary_of(
    table: ScoreTable, seen: Bools, threshold: float, gap: float, boxes: Floats | None = None
) -> FaceSummary:  # fmt: skip
    """What the scores of a face were; `seen` [T]: rows with a face (or speech); `threshold` and `gap` (s) make episodes
    as `affectkit.tables.episodes` says; `boxes` [T,4] of the face, where it has some."""
    scores = []
    for column in table.columns:
        values = table.of(column)
        finite = values[np.isfinite(values)]
        found_in = tuple(episodes(table.start, table.end, values, threshold, gap))
        if len(finite):
            p10, p90 = np.quantile(finite, [0.1, 0.9]).tolist()
            spread = float(finite.std(ddof=1)) if len(finite) > 1 else np.nan
            scores.append(ScoreSummary(column, float(finite.mean()), spread, p10, p90, found_in))
        else:
            scores.append(ScoreSummary(column, np.nan, np.nan, np.nan, np.nan, ()))
    times = extents(table.start, table.end)
    return FaceSummary(
        table.clip, table.face, float((times[:, 1] - times[:, 0]).sum()), len(table),
        float(np.mean(seen)) if len(seen) else 0.0, float(np.mean(table.valid)) if len(table) else 0.0,
        tuple(scores), tuple(_dominant(table, names) for names in table.classes), int(np.count_nonzero(seen)),
        FacePlace.of(times, np.asarray(seen, bool), boxes),
    )  # fmt: skip


def _dominant(table: ScoreTable, names: Sequence[str]) -> tuple[str, float]:
    """The class that is the strongest in most rows, and its share of the rows with a score; nothing where none has."""
    values = np.stack([table.of(name) for name in names], axis=1)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return "", np.nan
    counts = np.bincount(values.argmax(axis=1), minlength=len(names))
    return names[int(counts.argmax())], float(counts.max() / len(values))


SUMMARY = ("mean", "sd", "p10", "p90", "episodes", "episode_seconds", "longest_episode")
"""What `summary.csv` says of each score."""


PLACE = ("first_seen", "last_seen", "face_x", "face_y", "face_size")
"""When and where a face was, in `summary.csv`."""


def summary_header(columns: Sequence[str], models: Sequence[str]) -> list[str]:
    """The columns of `summary.csv`: all means, then all deviations, ...; `models`: a prefix each that has classes."""
    names = [f"{prefix}{name}" for prefix in models for name in ("dominant", "dominant_share")]
    scores = [f"{column}_{what}" for what in SUMMARY for column in columns]
    counts = ("seconds", "rows", "face_rows", "face_share", "scored_share")
    return ["clip", "face", *counts, *PLACE, *names, *scores, "model"]


def summary_row(summary: FaceSummary, model: str) -> list[Any]:
    """A line of `summary.csv`; `model`: the names of the models."""
    said: dict[str, list[Any]] = {
        "mean": [each.mean for each in summary.scores], "sd": [each.sd for each in summary.scores],
        "p10": [each.p10 for each in summary.scores], "p90": [each.p90 for each in summary.scores],
        "episodes": [len(each.episodes) for each in summary.scores],
        "episode_seconds": [each.episode_seconds for each in summary.scores],
        "longest_episode": [each.longest_episode for each in summary.scores],
    }  # fmt: skip
    dominant = [value for pair in summary.dominant for value in pair]
    scores = [value for what in SUMMARY for value in said[what]]
    shares = (summary.face_share, summary.scored_share)
    place = (summary.place.first, summary.place.last, summary.place.x, summary.place.y, summary.place.side)
    counts = (summary.seconds, summary.rows, summary.face_rows)
    return [summary.clip, summary.face, *counts, *shares, *place, *dominant, *scores, model]


EPISODES = ("clip", "face", "column", "start", "end", "seconds", "peak", "model")
"""The columns of `episodes.csv`."""


def episode_rows(summary: FaceSummary, model_of: Callable[[str], str]) -> Iterator[list[Any]]:
    """The lines of `episodes.csv`; `model_of` says which model a column is of."""
    for each in summary.scores:
        for episode in each.episodes:
            times = (episode.start, episode.end, episode.seconds)
            yield [summary.clip, summary.face, each.column, *times, episode.peak, model_of(each.column)]
