"""Labels CSV: `clip[,start,end][,split][,subject],<targets>`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from affectkit.tables.csv import CsvTable, Words, read_table
from affectkit.tables.csv_text import NOT_A_NUMBER, read_text
from affectkit.tables.ids import split_name
from affectkit.tables.intervals import spans, touching
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats

_OPTIONAL = ("start", "end", "split", "subject")


def read_labels(path: Path, task: Task) -> dict[str, ClipLabels]:
    """Labels by clip id, sorted; intervals of a clip sorted by time.

    Regression and multilabel tasks have one column a target; multiclass ones have `label`, a class name or its index.
    An empty cell is an invalid label (NaN). So is the whole row when a cell has one of the task's invalid markers
    (-5, -1) and, for regression, when one target is empty: valence without arousal is not used.

    Without times (or with both cells empty) a label holds for the whole clip, 0 to infinity; for a clip-level task it
    always does. Intervals are half open. Ones that overlap by a millisecond or less (rounded times) are taken to touch.

    Raises UsageError with file and line: wrong columns, text or infinity where a number is needed, an unknown class,
    labels of a multilabel task other than 0 and 1, start >= end, two labels for one time, two splits or subjects for
    one clip.
    """
    text, numbers = _columns(task)
    return labels_of(read_table(path, f"labels for {task.name}", text=text, numbers=numbers, optional=_OPTIONAL), task)


def check_labels(path: Path, task: Task) -> None:
    """Raises UsageError for a file without the columns that `read_labels` needs; rows are not looked at."""
    text, numbers = _columns(task)
    read_text(path).find(f"labels for {task.name}", [*text, *numbers], frozenset(_OPTIONAL))


def _columns(task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of text that a task's labels have, and those of numbers."""
    classes = task.kind == "multiclass"
    text = ("clip", "split", "subject", *(task.label_columns if classes else ()))
    return text, ("start", "end", *(() if classes else task.label_columns))


def labels_of(table: CsvTable, task: Task) -> dict[str, ClipLabels]:
    """Labels by clip id, sorted, of a table that has been read with the columns of `read_labels`."""
    values = _class_indices(table, task) if task.kind == "multiclass" else _numbers(table, task)
    start, end = table.intervals()
    if task.level == "clip":
        start, end = np.zeros(len(table)), np.full(len(table), np.inf)
    clips = table.clips()
    order = np.lexsort((start, clips.codes))
    start, end, values = start[order], end[order], values[order]
    rounded = touching(table, clips, order, start, end, "labels")
    end[rounded] = start[rounded + 1]
    splits, subjects = of_clip(table, "split", clips, split_name), of_clip(table, "subject", clips, str)
    return {
        name: ClipLabels(start[rows], end[rows], values[rows], splits.get(name), subjects.get(name))
        for name, rows in spans(clips, order).items()
    }


def _numbers(table: CsvTable, task: Task) -> Floats:
    """[N,K] targets of a regression or multilabel task."""
    values = np.column_stack([table.numbers[name] for name in task.targets])
    infinite = np.isinf(values)
    marked = np.isin(values, task.invalid)
    refused = infinite | (
        ~np.isnan(values) & ~marked & ~np.isin(values, (0, 1)) if task.kind == "multilabel" else False
    )
    if refused.any():
        row, column = np.argwhere(refused)[0].tolist()
        accepted = "0 or 1" if task.kind == "multilabel" else "a finite number"
        raise table.error(row, f"{task.targets[column]} is {values[row, column]:g}, needed is {accepted}")
    dropped = marked.any(axis=1)
    if task.kind == "regression":
        dropped |= np.isnan(values).any(axis=1)
    values[dropped] = np.nan
    return values


def _class_indices(table: CsvTable, task: Task) -> Floats:
    """[N,1] class index; a name wins over an index where classes are called by numbers."""
    words = table.text["label"]
    indices = np.empty(len(words.values))
    for code, text in enumerate(words.values):
        index = _class_index(text, task)
        if index is None:
            accepted = ", ".join(f"{number} {name}" for number, name in enumerate(task.targets))
            counted = ": classes are numbered from 0, these from 1?" if text.strip() == str(task.outputs) else ""
            raise table.error(
                words.row_of(code), f"label '{text}' is no class of {task.name} (accepted: {accepted}){counted}"
            )
        indices[code] = index
    return indices[words.codes][:, None]


def _class_index(text: str, task: Task) -> float | None:
    """The class meant by a cell, NaN for none, None for a mistake."""
    if text in task.targets:
        return task.targets.index(text)
    alike = [index for index, name in enumerate(task.targets) if name.casefold() == text.casefold()]
    if len(alike) == 1:
        return alike[0]
    if text in NOT_A_NUMBER:
        return np.nan
    try:
        number = float(text)
    except ValueError:
        return None
    if number in task.invalid or np.isnan(number):
        return np.nan
    return number if number in range(task.outputs) else None


def of_clip(table: CsvTable, column: str, clips: Words, parse: Callable[[str], str]) -> Mapping[str, str]:
    """The one value that a column has for each clip; empty cells say nothing."""
    if column not in table.text:
        return {}
    words = table.words(column, lambda text: parse(text) if text else "")
    pairs, rows = np.unique(clips.codes * len(words.values) + words.codes, return_index=True)
    by_clip: dict[str, str] = {}
    for pair, row in zip(pairs.tolist(), rows.tolist(), strict=True):
        name, value = clips.values[pair // len(words.values)], words.values[pair % len(words.values)]
        if value and by_clip.setdefault(name, value) != value:
            raise table.error(row, f"clip '{name}' has two values of {column}: {by_clip[name]} and {value}")
    return by_clip
