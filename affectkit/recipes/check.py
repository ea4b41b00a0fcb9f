"""Whether a recipe is right, before anything starts: everything that is wrong with it at once, each with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectkit import plugins, tasks
from affectkit.errors import unknown
from affectkit.recipes import _links, _tasks, folders
from affectkit.recipes._lines import Key
from affectkit.recipes._links import Link
from affectkit.recipes._settings import (
    check_keys,
    check_model,
    check_plugin,
    config,
    filled,
    options_of,
    places_in,
    task_name,
    texts,
    tried,
    validated,
)
from affectkit.recipes.defaults import inherit
from affectkit.recipes.draft import Draft, Problem, leaves
from affectkit.recipes.steps import DataSet, Step, files_of, keys_of, models_of, settings_of
from affectkit.stages import catalogue
from affectkit.stages.stage import Stage

OPTIONAL = "optional"
"""The key of a step that runs only where another step names it."""
_DATA_KEYS = ("dataset", "root", "option")


@dataclass(repr=False)
class RecipePlan:
    """Steps in the order they run; those with a mistake are left out, and `draft.problems` says what it is.

    `lacks`: of each step, what must be there before it can run.
    """

    draft: Draft
    steps: dict[str, Step]
    data: dict[str, DataSet]
    lacks: dict[str, list[str]] = field(default_factory=dict)
    until: str | None = None

    @property
    def problems(self) -> list[Problem]:
        """All there are, each once: mistakes first."""
        return sorted(dict.fromkeys(self.draft.problems), key=lambda one: one.is_missing)

    @property
    def is_sound(self) -> bool:
        """Whether the recipe has no mistake; something may still be missing."""
        return all(one.is_missing for one in self.draft.problems)

    def lack(self, step: str, what: str) -> None:
        """A step cannot run without this."""
        known = self.lacks.setdefault(step, [])
        if what not in known:
            known.append(what)


def plan(draft: Draft, roots: Sequence[str] = (), until: str | None = None) -> RecipePlan:
    """The recipe's steps in order, as far as they are right: `until` that step, with what it needs. Whether everything
    is at hand is for `at_hand.look`."""
    inherit(draft)
    known = _roots(draft, roots)
    made = RecipePlan(draft, {}, {name: _data_set(draft, name, known) for name in draft.data})
    links: dict[str, Link] = {}
    found: dict[str, Step] = {}
    for name in draft.steps:
        _read_step(draft, name, known, links, found)
    wrong = _links.check(draft, links)
    order = _links.order(draft, links)
    if until is not None and until not in draft.steps:
        draft.problems.append(Problem(f"--until {until}", str(unknown("step", until, draft.steps))))
    elif until is not None:
        made.until, wanted = until, _links.needed(links, until)
        order = [name for name in order if name in wanted]
    else:
        order = _links.without_idle(draft, links, order)
    made.steps = {name: found[name] for name in order if name in found and name not in wrong}
    made.steps = folders.with_folders(draft, made.steps, made.data)
    _tasks.check(draft, made.steps)
    for step in made.steps.values():
        for name in _unplaced(step, known):
            made.lack(step.name, root_option(made.data, name))
    return made


def together(problems: Sequence[Problem]) -> str:
    """One problem as one line, several as a list."""
    lines = [str(one) for one in problems]
    return lines[0] if len(lines) == 1 else f"{len(lines)} problems:\n" + "\n".join(f"  {line}" for line in lines)


def root_option(data: Mapping[str, DataSet], name: str) -> str:
    """What to say to give a data set its root."""
    return "--root DIR" if name == _first(data) else f"--root {name}=DIR"


def _first(data: Mapping[str, Any]) -> str:
    """The data set that `--root DIR` is about."""
    return "main" if "main" in data or not data else next(iter(data))


def _roots(draft: Draft, given: Sequence[str]) -> dict[str, Path]:
    """Where data sets lie: `DIR` is that of `main` (or of the first), `NAME=DIR` another's; else as the recipe says."""
    found: dict[str, Path] = {}
    for item in given:
        name, named, folder = item.partition("=")
        if not named or (name not in draft.data and Path(item).is_dir()):
            name, folder = _first(draft.data), item
        where, place = f"--root {item}", Path(folder).expanduser().absolute()
        if name not in draft.data:
            draft.problems.append(Problem(where, str(unknown("data set", name, draft.data))))
        elif not folder:
            draft.problems.append(Problem(where, f"says no folder for data set {name}: --root DIR, or {name}=DIR"))
        elif found.setdefault(name, place) != place:
            draft.problems.append(Problem(where, f"data set {name} has {found[name]} already: one --root for each"))
    for name, table in draft.data.items():
        root = filled(table.get("root"), found)
        if name not in found and isinstance(root, str) and not places_in(root):
            found[name] = (draft.folder("data", name, "root") / Path(root).expanduser()).absolute()
        elif name not in found and root is None and folders.are_meant(table):
            found[name] = draft.path.parent.absolute()
    return found


def _data_set(draft: Draft, name: str, roots: Mapping[str, Path]) -> DataSet:
    table, key = draft.data[name], ("data", name)
    _check_places(draft, key, table)
    if folders.are_meant(table) and name in roots:
        return folders.folders_of(draft, name, roots)
    for other in (mixed := folders.mixed(table)):
        draft.problem([*key, other], f"dataset brings its own media and labels: leave out {other}, or dataset")
    check_keys(draft, key, table, (*_DATA_KEYS, *mixed), "key of a data set")
    dataset, option = table.get("dataset"), filled(table.get("option", {}), roots)
    if not isinstance(dataset, str):
        draft.problem(key, f'data.{name} needs dataset = NAME (affectkit list datasets), or media = "FOLDER/"')
        return DataSet(name, "", (), roots.get(name))
    plugin = tried(draft, (*key, "dataset"), lambda: plugins.get("datasets", dataset))
    if plugin is not None:
        validated(draft, (*key, "option"), plugin.Options, texts(option), f"option of {dataset}")
    return DataSet(name, dataset, tuple(options_of({"option": option})), roots.get(name))


def _read_step(
    draft: Draft, name: str, roots: Mapping[str, Path], links: dict[str, Link], found: dict[str, Step]
) -> None:
    """A step's link, if its stage is known, and the step itself, if nothing is wrong with its settings."""
    key: Key = ("steps", name)
    before = len(draft.problems)
    called = draft.steps[name].get("stage")
    if not isinstance(called, str):
        draft.problem(key, f"step {name} needs stage = NAME ({', '.join(catalogue.entries())})")
        return
    if called not in catalogue.entries():
        draft.problem([*key, "stage"], str(unknown("stage", called, catalogue.entries())))
        return
    stage, table = catalogue.get(called), filled(draft.steps[name], roots)
    if isinstance(source := table.get("backbone"), str) and plugins.is_source(source):
        table["backbone"] = plugins.absolute(source, draft.folder(*key, "backbone"))
    check_keys(draft, key, table, ("stage", "from", OPTIONAL, *settings_of(stage)), f"option of {called}")
    if not isinstance(table.get(OPTIONAL, False), bool):
        draft.problem([*key, OPTIONAL], "optional is true (the step runs where another one names it) or false")
    _check_places(draft, key, draft.steps[name])
    sees = check_plugin(draft, key, stage, table)
    in_place = any(position.or_model for position in stage.positions)
    if in_place and isinstance(model_name := table.get("model"), str):
        sees = check_model(draft, key, table, model_name)
    links[name] = link = _links.link_of(draft, name, stage, table, None if _has_weights_of(table) else sees)
    configs = {model: config(draft, key, stage, model, table) for model in models_of(stage)}
    _check_others(draft, key, stage, table)
    if len(draft.problems) == before:
        paths = {
            one: draft.folder(*key, one) / table[one]
            for one in files_of(stage)
            if isinstance(path := table.get(one), str) and not path.startswith("@")
        }
        weights_of = table["weights"][1:] if _has_weights_of(table) else None
        keys = configs[keys_of(stage)]
        found[name] = Step(name, stage, link.inputs, link.needs, table, configs, keys, paths, weights_of)


def _check_others(draft: Draft, key: Key, stage: Stage, table: Mapping[str, Any]) -> None:
    """What no model knows: data sets of the recipe, the tasks of aux, fusers to score beside."""
    if "data" in settings_of(stage) and isinstance(data := table.get("data"), str) and data not in draft.data:
        draft.problem([*key, "data"], str(unknown("data set", data, draft.data)))
    aux = table.get("aux", [])
    for number, along in enumerate(aux if isinstance(aux, list) else []):
        if isinstance(along, dict) and isinstance(task := along.get("task"), str):
            tried(draft, (*key, "aux", str(number), "task"), lambda: tasks.get(task_name(draft, key, task)))
    beside = table.get("beside", []) if "beside" in settings_of(stage) else []
    for other in beside if isinstance(beside, list) else [beside]:
        if isinstance(other, str):
            tried(draft, (*key, "beside"), lambda: plugins.get("fusers", other))  # noqa: B023


def _check_places(draft: Draft, key: Key, table: Mapping[str, Any]) -> None:
    """`{name}` in a text is the root of a data set."""
    for keys, _, value in leaves(table):
        for name in places_in(value):
            if name not in draft.data:
                draft.problem([*key, *keys], str(unknown("data set", name, draft.data)))


def _unplaced(step: Step, roots: Mapping[str, Path]) -> list[str]:
    """The data sets whose roots a step's texts need and nobody has said."""
    names = [name for _, _, value in leaves(step.settings) for name in places_in(value)]
    return [name for name in dict.fromkeys(names) if name not in roots]


def _has_weights_of(table: Mapping[str, Any]) -> bool:
    return isinstance(weights := table.get("weights"), str) and weights.startswith("@")
