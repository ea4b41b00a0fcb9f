"""What classes of emotion are called, and one model's scores as those of a task that names them otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affectkit.errors import UsageError
from affectkit.tasks import Task
from affectkit.types import Floats

_NAMES = {
    "anger": ("anger", "angry"),
    "contempt": ("contempt",),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful"),
    "happiness": ("happiness", "happy", "joy"),
    "neutral": ("neutral", "neutrality"),
    "sadness": ("sadness", "sad"),
    "surprise": ("surprise", "surprised"),
}
_EMOTION = {name: emotion for emotion, names in _NAMES.items() for name in names}
_NEGATIVE = ("anger", "disgust", "fear", "sadness")


def emotion(name: str) -> str:
    """One spelling of a class or a value: that of the noun, in small letters.

    >>> emotion("Happy"), emotion("Valence"), emotion("Empathic-Pain")
    ('happiness', 'valence', 'empathic-pain')
    """
    text = name.strip().lower().replace("_", "-")
    return _EMOTION.get(text, text)


@dataclass(frozen=True)
class TaskFit:
    """How a model's columns become a task's targets.

    columns [K]: the model's column of each target, -1 where it has none; left_out: its columns that no target stands
    for.
    """

    model: str
    task: Task
    columns: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def notices(self) -> list[str]:
        """What does not fit, a line each."""
        lacking = [target for target, column in zip(self.task.targets, self.columns, strict=True) if column < 0]
        lines = []
        if lacking:
            lines.append(f"{self.model} has no {_names(lacking)}, which {self.task.name} asks for: scores of 0")
        if self.left_out:
            rest = "; what is left is scaled to a sum of 1" if self.task.kind == "multiclass" else ""
            lines.append(f"{self.task.name} has no {_names(self.left_out)}, which {self.model} scores: left out{rest}")
        if self.task.level == "clip":
            lines.append(f"{self.task.name} has one score a clip: the mean over its rows")
        return lines

    def scores(self, scores: Floats) -> Floats:
        """[N,K] of the model -> [N,K] of the task. Classes that are left are scaled to a sum of 1; rows in which none
        of them has any probability are NaN."""
        column = np.array(self.columns)
        targets = np.where(column >= 0, np.asarray(scores)[:, np.maximum(column, 0)], 0.0)
        targets[~np.isfinite(scores).all(axis=1)] = np.nan
        if self.task.kind != "multiclass":
            return targets
        total = targets.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, targets / np.where(total > 0, total, 1), np.nan)


def fit_to(model: str, outputs: Sequence[Task], task: Task) -> TaskFit:
    """How a model with these outputs scores a task.

    Of several outputs the first that has any target of the task, of its kind, is meant; columns of the others are not
    spoken of. Raises UsageError where none has, or where a value of the task is missing: only a class can be absent.

    >>> from affectkit import tasks
    >>> fit_to("emotions", [tasks.get("dfew")], tasks.get("affectnet")).columns
    (2, 0, 1, 4, 6, 5, 3, -1)
    """
    columns = [target for output in outputs for target in output.targets]
    first = 0
    for output in outputs:
        names = [emotion(target) for target in output.targets]
        columns_of = [names.index(name) if (name := emotion(target)) in names else -1 for target in task.targets]
        if output.kind == task.kind and max(columns_of) >= 0 and (task.kind == "multiclass" or min(columns_of) >= 0):
            left = [target for number, target in enumerate(output.targets) if number not in columns_of]
            return TaskFit(
                model, task, tuple(first + column if column >= 0 else -1 for column in columns_of), tuple(left)
            )
        first += len(names)
    raise UsageError(
        f"{model} scores {', '.join(columns)}: that is not task {task.name} ({task.kind}: {', '.join(task.targets)})"
    )


def valence_index(scores: Floats, columns: Sequence[str]) -> Floats | None:
    """[N] happiness minus the strongest of anger, disgust, fear and sadness, -1 to 1, of class probabilities [N,K];
    None where the columns have no happiness, or none of those.

    An order of expressions from unpleasant to pleasant that every set of basic emotions allows; not the valence of the
    circumplex, which is rated.

    >>> valence_index(np.array([[0.7, 0.2, 0.1]]), ["happy", "sad", "angry"]).round(2)
    array([0.5])
    """
    names = [emotion(column) for column in columns]
    negative = [names.index(name) for name in _NEGATIVE if name in names]
    if "happiness" not in names or not negative:
        return None
    values = np.asarray(scores, np.float64)
    return np.asarray(values[:, names.index("happiness")] - values[:, negative].max(axis=1))


def _names(columns: Sequence[str]) -> str:
    return ", ".join(columns)
