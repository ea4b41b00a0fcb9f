"""Which curves of a clip stand in one panel: values of one target from all sets, classes of one set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from affectkit.pages.texts import shown
from affectkit.stages.report_sources import ScoreSet, Sources
from affectkit.tasks import Task

MOST_TARGETS = 6
"""Targets that get a panel each, for all sets together; of more, a set gets one."""
SHOWN = 8
"""Curves of a panel that are drawn at first: so many can be told apart."""


def panels_of(sources: Sources, labelled: Task | None) -> list[dict[str, Any]]:
    """Panels in their order, each with its curves: the set, the column, the name, and which colour and dash it has.

    `labelled`: the task of the labels, where there are any.
    """
    sets = sources.sets
    values: dict[str, list[tuple[int, int]]] = {}
    rest: list[tuple[int, list[int]]] = []
    for place, each in enumerate(sets):
        regression = [number for number, name in enumerate(each.columns) if each.kind(name) == "regression"]
        other = [number for number in range(len(each.columns)) if number not in regression]
        if len(regression) <= MOST_TARGETS:
            for number in regression:
                values.setdefault(each.columns[number], []).append((place, number))
        else:
            other = sorted([*other, *regression])
        if other:
            rest.append((place, other))
    panels = [_values(target, columns, sets, labelled) for target, columns in values.items()]
    return [*panels, *(panel for place, columns in rest for panel in _of_set(place, columns, sets[place], labelled))]


def _values(target: str, columns: list[tuple[int, int]], sets: list[ScoreSet], labelled: Task | None) -> dict[str, Any]:
    """All sets' curves of one target."""
    curves = [
        {"set": place, "column": column, "name": shown(sets[place].name), "colour": number % 8, "dash": number // 4,
         "shown": number < SHOWN}
        for number, (place, column) in enumerate(columns)
    ]  # fmt: skip
    low, high = sets[columns[0][0]].bounds(target)
    is_labelled = labelled is not None and labelled.kind != "multiclass" and target in labelled.targets
    return {
        "title": shown(target), "low": low, "high": high, "curves": curves, "unit": "",
        "label": labelled.targets.index(target) if labelled is not None and is_labelled else None, "classes": None,
    }  # fmt: skip


def _of_set(place: int, columns: list[int], scores: ScoreSet, labelled: Task | None) -> Iterator[dict[str, Any]]:
    """One set's curves; labels of classes stand above them as a ribbon."""
    names = [scores.columns[column] for column in columns]
    curves = [
        {"set": place, "column": column, "name": shown(name), "colour": number % 8, "dash": number // 4,
         "shown": number < SHOWN}
        for number, (column, name) in enumerate(zip(columns, names, strict=True))
    ]  # fmt: skip
    is_regression = all(scores.kind(name) == "regression" for name in names)
    is_labelled = labelled is not None and labelled.kind == "multiclass" and set(labelled.targets) <= set(names)
    ribbon = [shown(name) for name in labelled.targets] if labelled is not None and is_labelled else None
    low, high = (-1.0, 1.0) if is_regression else (0.0, 1.0)
    yield {
        "title": shown(scores.name), "low": low, "high": high, "curves": curves,
        "unit": "" if is_regression else "probability", "label": None, "classes": ribbon,
    }  # fmt: skip
