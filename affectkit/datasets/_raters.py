"""Labels of one rater or of several, as one: shared by the data sets whose files say what each of them said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectkit.annotations import raters
from affectkit.annotations.raters import Combining, Ratings
from affectkit.datasets._values import marked_invalid
from affectkit.errors import UsageError
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats

_MOST_MOMENTS = 1 << 24


@dataclass(frozen=True, repr=False)
class RatedClip:
    """Of each label column of a task, in order, what the raters of a clip say; `path` is a file that says it."""

    path: Path
    columns: tuple[Ratings, ...]

    def __repr__(self) -> str:
        return f"RatedClip({len(self.columns)} columns)"


def names_of(clips: Mapping[str, RatedClip]) -> tuple[str, ...]:
    """The raters of a data set, sorted."""
    return tuple(sorted({name for clip in clips.values() for ratings in clip.columns for name in ratings}))


def compared(clips: Mapping[str, RatedClip], task: Task) -> dict[str, Floats]:
    """[N,M] of each label column, what all raters say at moments of all clips, as far as there are several raters."""
    raters_of_all = names_of(clips)
    if len(raters_of_all) < 2:
        return {}
    step = raters.grid([clip.columns for clip in clips.values()])
    total = sum(
        max(
            (float(each.end[-1]) for ratings in clip.columns for each in ratings.values() if len(each.end)), default=0.0
        )
        for clip in clips.values()
    )
    if total / step * len(raters_of_all) > _MOST_MOMENTS:
        raise UsageError(
            f"raters are compared at {total / step:,.0f} moments of {total:,.0f} s: are the times seconds?"
        )
    return {
        name: raters.sampled([clip.columns[place] for clip in clips.values()], raters_of_all, step)
        for place, name in enumerate(task.label_columns)
    }


def agreement_of(clips: Mapping[str, RatedClip], task: Task) -> dict[str, dict[str, float]]:
    """How far the raters agree, by label column and measure, over all clips; empty where there is one rater."""
    said = {
        name: raters.agreement(ratings, task.kind != "regression") for name, ratings in compared(clips, task).items()
    }
    return {name: {measure: value for measure, value in each.items() if not math.isnan(value)}
            for name, each in said.items()}  # fmt: skip


@dataclass(frozen=True, repr=False)
class CombinedLabels:
    """Labels by clip id, sorted, and lines on how they came to be."""

    labels: dict[str, ClipLabels]
    notes: tuple[str, ...]


def combined(clips: Mapping[str, RatedClip], task: Task, how: Combining) -> CombinedLabels:
    """One label a stretch of time: of values the mean of the raters who say one, plain or evaluator-weighted; of
    classes the one that most say (a tie is none). Raises UsageError where no rater agrees with the others, and for what
    is no class."""
    everybody = names_of(clips)
    weights = {name: np.full(len(everybody), 1 / max(1, len(everybody))) for name in task.label_columns}
    notes = []
    if len(everybody) > 1 and task.kind == "regression" and how == "ewe":
        for name, ratings in compared(clips, task).items():
            try:
                weights[name] = raters.ewe_weights(ratings)
            except UsageError as error:
                raise UsageError(f"{name}: {error}") from None
            shown = ", ".join(f"{rater} {weight:.3f}" for rater, weight in zip(everybody, weights[name], strict=True))
            notes.append(f"{name}: evaluator-weighted mean of {len(everybody)} raters, weights {shown}")
    elif len(everybody) > 1:
        what = "mean" if task.kind == "regression" else "what most say (a tie is no label)"
        notes.append(f"labels of {len(everybody)} raters ({', '.join(everybody[:5])}): {what}")
    labels = {clip: _of_clip(rated, task, everybody, weights) for clip, rated in sorted(clips.items())}
    partly = sum(1 for rated in clips.values() if any(len(each) < len(everybody) for each in rated.columns))
    if partly:
        notes.append(f"{partly} of {len(clips)} clips were not rated by all of the {len(everybody)} raters")
    ties = sum(int(np.isnan(each.values).any(axis=1).sum()) for each in labels.values())
    if ties and len(everybody) > 1:
        notes.append(f"{ties} rows have no label: no value of some target, or a tie")
    return CombinedLabels(labels, tuple(notes))


def _of_clip(rated: RatedClip, task: Task, everybody: Sequence[str], weights: Mapping[str, Floats]) -> ClipLabels:
    start, end = raters.common_rows([trace for ratings in rated.columns for trace in ratings.values()])
    middle = (start + end) / 2
    columns = []
    for name, ratings in zip(task.label_columns, rated.columns, strict=True):
        nothing = np.full(len(middle), np.nan)
        said = np.stack([ratings[each].at(middle) if each in ratings else nothing for each in everybody], axis=1)
        columns.append(raters.weighted(said, weights[name]) if task.kind == "regression" else raters.majority(said))
    values = np.stack(columns, axis=1)

    def refused(row: int, message: str) -> UsageError:
        return UsageError(f"{rated.path}: at {start[row]:g} s {message}")

    values = marked_invalid(values, task, refused)
    if task.level == "clip":
        _require_one(rated.path, values, task)
        return ClipLabels(np.zeros(1), np.full(1, np.inf), values[:1])
    return ClipLabels(start, end, values)


def _require_one(path: Path, values: Floats, task: Task) -> None:
    if len(values) != 1:
        raise UsageError(f"{path}: {len(values)} stretches of time, where a label of {task.name} is of a whole clip")
