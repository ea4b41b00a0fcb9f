"""What label values mean: invalid markers, classes, and the task that they serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from affectkit.errors import UsageError
from affectkit.tasks import BUILT_IN, Task
from affectkit.types import Floats


def served(task: Task, dataset: str, names: Sequence[str]) -> str:
    """The one of the built-in tasks `names` that `task` is, or has the kind, level and targets of.

    Raises UsageError for a task that the data set has no labels for.
    """
    alike = [name for name in names if _same(task, BUILT_IN[name])]
    if not alike:
        raise UsageError(f"{dataset} has no labels for the task {task.name} (accepted: {', '.join(names)})")
    return task.name if task.name in alike else alike[0]


def _same(one: Task, other: Task) -> bool:
    return (one.kind, one.level, one.targets) == (other.kind, other.level, other.targets)


def marked_invalid(values: Floats, task: Task, error: Callable[[int, str], UsageError]) -> Floats:
    """[R,K] values with NaN for what is invalid: the whole row where one value is the task's marker, or, for
    regression, unknown. `error` makes the UsageError of a row that holds no class, or neither 0 nor 1."""
    marked = np.isin(values, task.invalid)
    unknown = np.isnan(values)
    if task.kind != "regression":
        accepted = range(task.outputs) if task.kind == "multiclass" else (0, 1)
        refused = ~(marked | unknown | np.isin(values, list(accepted)))
        if refused.any():
            row, column = (int(place) for place in np.argwhere(refused)[0])
            name = task.label_columns[column]
            needed = f"0 to {task.outputs - 1}" if task.kind == "multiclass" else "0 or 1"
            counted = "; numbered from 1?" if values[row, column] == task.outputs and task.kind == "multiclass" else ""
            raise error(
                row, f"{name} is {values[row, column]:g}, needed is {needed}, or {task.invalid[0]:g}: invalid{counted}"
            )
    dropped = np.any(marked | unknown if task.kind == "regression" else marked, axis=1, keepdims=True)
    return np.where(dropped, np.nan, values) if dropped.any() else values
