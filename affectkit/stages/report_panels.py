"""Which curves of a clip stand in one panel: values of one target from all sets, classes of one set."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from affectkit.config import canonical_json
from affectkit.pages.texts import shown
from affectkit.stages.report_sources import ScoreSet, Sources
from affectkit.store import Artifact
from affectkit.tasks import Task

MOST_TARGETS = 6
"""Targets that get a panel each, for all sets together; of more, a set gets one."""
SHOWN = 8
"""Curves of a panel that are drawn at first: so many can be told apart."""


def panels_of(sources: Sources, families: list[dict[str, Any]], labelled: Task | None) -> list[dict[str, Any]]:
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
    panels += [_of_set(place, columns, sets[place], labelled) for place, columns in rest]
    for number, family in enumerate(families):
        for panel in panels:
            _add_family(panel, number, family)
    return panels


def families_of(sources: Sources) -> list[dict[str, Any]]:
    """Sets that were made in the same way but for seeds: their places, and what they are called together."""
    numbers_of: dict[str, list[int]] = {}
    for number, each in enumerate(sources.sets):
        if each.artifact is not None:
            numbers_of.setdefault(f"{each.columns} {_seedless(each.artifact, sources, set())}", []).append(number)
    return [
        {"sets": numbers, "name": f"{sources.sets[numbers[0]].artifact_name}, {len(numbers)} seeds"}
        for numbers in numbers_of.values() if len(numbers) > 1
    ]  # fmt: skip


def _seedless(artifact: Artifact, sources: Sources, under_way: set[str]) -> str:
    """What an artifact's fingerprint would be made of without seeds, all that it was made from included."""
    mark = artifact.stage.fingerprint
    if mark in under_way:
        return mark
    text = canonical_json(_without_seeds(artifact.stage.inputs))
    for path in artifact.stage.upstream:
        folder = Path(path).parents[1] if Path(path).parent.name == "selections" else Path(path)
        if (above := sources.artifacts.get(folder)) is not None:
            digest = sha256(_seedless(above, sources, under_way | {mark}).encode()).hexdigest()
            text = text.replace(above.stage.fingerprint, digest)
    return text


def _without_seeds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_seeds(each) for key, each in value.items() if key not in ("seed", "seeds")}
    return [_without_seeds(each) for each in value] if isinstance(value, list) else value


def _add_family(panel: dict[str, Any], number: int, family: dict[str, Any]) -> None:
    """The mean of a family's curves of one column, with its band, before them; where all of them are in the panel."""
    columns = {each["set"]: each["column"] for each in panel["curves"]}
    if not set(family["sets"]) <= columns.keys():
        return
    first = next(each for each in panel["curves"] if each["set"] == family["sets"][0])
    mean = {**first, "set": f"family-{number}", "name": shown(family["name"]), "shown": True, "dash": 0}
    panel["curves"].insert(0, mean)


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


def _of_set(place: int, columns: list[int], scores: ScoreSet, labelled: Task | None) -> dict[str, Any]:
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
    return {
        "title": shown(scores.name), "low": low, "high": high, "curves": curves,
        "unit": "" if is_regression else "probability", "label": None, "classes": ribbon,
    }  # fmt: skip
