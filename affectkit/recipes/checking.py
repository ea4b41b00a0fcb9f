"""Whether a recipe can be run, before anything starts: everything that is wrong with it at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from affectkit import plugins, tasks
from affectkit.config import Config, faults
from affectkit.errors import AffectkitError, UsageError, unknown
from affectkit.recipes._lines import Key
from affectkit.recipes.reading import Draft, Problem, leaves
from affectkit.recipes.stages import STAGES
from affectkit.recipes.steps import DataSet, Kind, Makes, Ref, Step

_PLACE = re.compile(r"\{([A-Za-z0-9_-]+)\}")
_DATA_KEYS = ("dataset", "root", "option")
_SEES: dict[str, Makes] = {"image": "crops", "audio": "sound"}
_KINDS = {"crops": "face crops", "sound": "sound"}


@dataclass(repr=False)
class Plan:
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
        """All there are: mistakes first."""
        return sorted(self.draft.problems, key=lambda one: one.is_missing)

    @property
    def is_sound(self) -> bool:
        """Whether the recipe has no mistake; something may still be missing."""
        return all(one.is_missing for one in self.draft.problems)

    def lack(self, step: str, what: str) -> None:
        """A step cannot run without this."""
        known = self.lacks.setdefault(step, [])
        if what not in known:
            known.append(what)


def plan(draft: Draft, roots: Sequence[str] = (), until: str | None = None) -> Plan:
    """The recipe's steps in order, as far as they are right: `until` that step, with what it needs. Whether everything
    is at hand is for `at_hand.look`."""
    known = _roots(draft, roots)
    made = Plan(draft, {}, {name: _data_set(draft, name, known) for name in draft.data})
    checker = _Checker(draft, made)
    found = {name: step for name in draft.steps if (step := checker.step(name)) is not None}
    if until is not None and until not in draft.steps:
        draft.problems.append(Problem(f"--until {until}", str(unknown("step", until, draft.steps))))
        until = None
    _check_inputs(draft, found)
    order = _ordered(draft, found)
    wanted = _ancestors(found, until) if until in found else set(found)
    made.steps = {name: found[name] for name in order if name in wanted}
    made.until = until
    return made


def options_of(table: Mapping[str, Any]) -> list[str]:
    """A table's options as the command line has them: key=value."""
    return [f"{dotted}={_text(value)}" for _, dotted, value in leaves(table.get("option", {})) if value != {}]


def _texts(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same tables with texts for values, as plugins read them from the command line."""
    return {key: _texts(value) if isinstance(value, dict) else _text(value) for key, value in tree.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _roots(draft: Draft, given: Sequence[str]) -> dict[str, Path]:
    """Where data sets lie: `DIR` is the only one's or that of `main`, `NAME=DIR` another's."""
    first = "main" if "main" in draft.data or not draft.data else next(iter(draft.data))
    found = {}
    for item in given:
        name, named, folder = item.partition("=")
        if not named or (name not in draft.data and Path(item).is_dir()):
            name, folder = first, item
        if name not in draft.data:
            draft.problems.append(Problem(f"--root {item}", str(unknown("data set", name, draft.data))))
        found[name] = Path(folder)
    return found


def _data_set(draft: Draft, name: str, roots: dict[str, Path]) -> DataSet:
    table, key = draft.data[name], ("data", name)
    _check_keys(draft, key, table, _DATA_KEYS, "key of a data set")
    dataset, root = table.get("dataset"), roots.get(name)
    if root is None and isinstance(table.get("root"), str):
        text = _filled(table["root"], roots)
        root = None if text is None else draft.folder(*key, "root") / text
        if root is not None:
            roots[name] = root
    if not isinstance(dataset, str):
        draft.problem(key, f"data.{name} needs dataset = NAME (affectkit list datasets)")
        return DataSet(name, "", (), root)
    filled = {**table, "option": _all_filled(table.get("option", {}), roots)}
    try:
        plugin = plugins.get("datasets", dataset)
    except UsageError as error:
        draft.problem((*key, "dataset"), str(error))
    else:
        _validated(draft, (*key, "option"), plugin.Options, _texts(filled["option"]), f"option of {dataset}")
    return DataSet(name, dataset, tuple(options_of(filled)), root)


class _Checker:
    """Reads one step after the other."""

    def __init__(self, draft: Draft, plan: Plan) -> None:
        self._draft = draft
        self._plan = plan
        self._roots = {name: one.root for name, one in plan.data.items() if one.root is not None}

    def step(self, name: str) -> Step | None:
        """The step, unless something is wrong with it."""
        table, key = self._draft.steps[name], ("steps", name)
        before = len(self._draft.problems)
        stage = table.get("stage")
        if not isinstance(stage, str):
            self._draft.problem([*key, "stage"], f"step {name} needs stage = NAME ({', '.join(STAGES)})")
            return None
        if stage not in STAGES:
            self._draft.problem([*key, "stage"], str(unknown("stage", stage, STAGES)))
            return None
        kind = STAGES[stage]
        _check_keys(self._draft, key, table, ("stage", "from", *kind.settings), f"option of {stage}")
        table = self._placed(name, table)
        inputs = self._inputs(key, table.get("from", []))
        configs = {model: self._config(key, kind, model, table) for model in (*kind.configs, kind.places)}
        weights = str(table.get("weights", ""))
        if len(self._draft.problems) > before or None in configs.values():
            return None
        step = Step(
            name, kind, inputs, {k: v for k, v in table.items() if k not in ("stage", "from")},
            {model: one for model, one in configs.items() if one is not None}, configs[kind.places],
            self._paths(key, kind, table), weights[1:] if weights.startswith("@") else None,
        )  # fmt: skip
        self._check_plugins(step, table)
        self._check_data(step)
        return step if len(self._draft.problems) == before else None

    def _placed(self, name: str, table: dict[str, Any]) -> dict[str, Any]:
        """The step's table with the roots of data sets in its texts."""
        for keys, _, value in leaves(table):
            for text in value if isinstance(value, list) else [value]:
                for place in _PLACE.findall(text) if isinstance(text, str) else ():
                    if place not in self._draft.data:
                        what = str(unknown("data set", place, self._draft.data))
                        self._draft.problem(["steps", name, *keys], what)
                    elif place not in self._roots:
                        self._plan.lack(name, f"--root {place}=DIR")
        return dict(_all_filled(table, self._roots))

    def _inputs(self, key: Key, given: Any) -> tuple[Ref, ...]:
        items = given if isinstance(given, list) else [given]
        if not all(isinstance(one, str) and one for one in items):
            self._draft.problem([*key, "from"], "from names a step, or a list of steps")
            return ()
        return tuple(Ref.of(one) for one in items)

    def _config(self, key: Key, kind: Kind, model: type[Config], table: dict[str, Any]) -> Config | None:
        values = {}
        for name, item in model.model_fields.items():
            setting = item.alias or name
            if setting in table and kind.settings.get(setting) is model:
                value = options_of(table) if setting == "option" else table[setting]
                is_list = get_origin(item.annotation) is list
                values[setting] = value.split(",") if is_list and isinstance(value, str) else value
        if isinstance(task := values.get("task"), str) and task.endswith(".toml"):
            values["task"] = str(self._draft.folder(*key, "task") / task)
        if isinstance(weights := values.get("weights"), str) and "/" in weights and weights[0] != "@":
            values["weights"] = str(self._draft.folder(*key, "weights") / weights)
        return _validated(self._draft, key, model, values, f"option of {kind.name}")

    def _paths(self, key: Key, kind: Kind, table: dict[str, Any]) -> dict[str, Path]:
        names = [name for name in (*kind.files, *kind.folders) if name in table]
        return {name: self._draft.folder(*key, name) / str(table[name]) for name in names}

    def _check_plugins(self, step: Step, table: dict[str, Any]) -> None:
        key = ("steps", step.name)
        task = None
        for config in step.configs.values():
            if "task" in type(config).model_fields:
                task = self._tried((*key, "task"), lambda: tasks.get(config.task))  # type: ignore[attr-defined] # noqa: B023
        for number, along in enumerate(step.aux):
            self._tried((*key, "aux", str(number), "task"), lambda: tasks.get(along.task))  # noqa: B023
        for other in table.get("beside", []) if step.kind.name == "fuse" else []:
            self._tried((*key, "beside"), lambda: plugins.get("fusers", other))  # noqa: B023
        if step.kind.plugin is None:
            return
        field_ = step.kind.plugin[1]
        found = self._tried((*key, field_), lambda: plugin_of(step))
        if found is None:
            return
        name, plugin, given = found
        options = _validated(self._draft, (*key, "option"), plugin.Options, given, f"option of {name}")
        if options is not None and task is not None:
            self._tried((*key, field_), lambda: plugin(options, task))
        elif options is not None and name == "timm":  # any other name was meant for it: does it know that?
            self._tried((*key, field_), lambda: plugin.weights(options, "random"))

    def _check_data(self, step: Step) -> None:
        key = ("steps", step.name)
        if (data := getattr(step.places, "data", None)) is not None and data not in self._draft.data:
            self._draft.problem([*key, "data"], str(unknown("data set", data, self._draft.data)))

    def _tried(self, key: Key, call: Any) -> Any:
        """What the call returns; None, and a problem, where it raises."""
        try:
            return call()
        except AffectkitError as error:
            from affectkit.errors import MissingExtra

            self._draft.problem(key, str(error), is_missing=isinstance(error, MissingExtra))
            return None


def plugin_of(step: Step) -> tuple[str, type[Any], dict[str, Any]] | None:
    """The step's plugin by name, and its options as given; None where it has none. Raises UsageError."""
    if step.kind.plugin is None:
        return None
    group, setting = step.kind.plugin
    name = next((getattr(one, setting) for one in step.configs.values() if setting in type(one).model_fields), None)
    if name is None:
        return None
    options = _texts(step.settings.get("option", {}))
    if group == "backbones" and name not in plugins.names(group):
        return "timm", plugins.get(group, "timm"), {"model": name, **options}
    return name, plugins.get(group, name), options


def _check_keys(draft: Draft, key: Key, table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    accepted = list(known)
    for name in table:
        if name not in accepted:
            draft.problem([*key, name], str(unknown(what, name, accepted)))


def _validated(draft: Draft, key: Key, model: type[Config], values: Mapping[str, Any], what: str) -> Any:
    """A config from a table; None, and a problem for every setting that is wrong."""
    fields = {item.alias or name for name, item in model.model_fields.items()}
    may_be_more = model.model_config.get("extra") == "allow"
    for name in values:
        if name not in fields and not may_be_more:
            draft.problem([*key, name], str(unknown(what, name, fields)))
    try:
        return model.model_validate({name: value for name, value in values.items() if name in fields or may_be_more})
    except ValidationError as error:
        for path, message in faults(error):
            text = f"needs {path}" if message == "Field required" else f"{path}: {message}" if path else message
            draft.problem([*key, *path.split(".")], text)
    except UsageError as error:
        draft.problem(key, str(error))
    return None


def _all_filled(value: Any, roots: Mapping[str, Path]) -> Any:
    """Nested values with `{name}` in texts replaced where that root is known."""
    if isinstance(value, dict):
        return {key: _all_filled(item, roots) for key, item in value.items()}
    if isinstance(value, list):
        return [_all_filled(item, roots) for item in value]
    return (_filled(value, roots) or value) if isinstance(value, str) else value


def _filled(text: str, roots: Mapping[str, Path]) -> str | None:
    """The text with the roots in it; None where one is not known."""
    names = _PLACE.findall(text)
    if any(name not in roots for name in names):
        return None
    return _PLACE.sub(lambda found: str(roots[found[1]]), text)


def _check_inputs(draft: Draft, steps: Mapping[str, Step]) -> None:
    """Inputs are steps, of a sort that the stage takes."""
    for step in steps.values():
        for key, name, wanted in _named(step):
            if name not in draft.steps:
                draft.problem(key, str(unknown("input", name, draft.steps)))
            elif wanted and name in steps and steps[name].kind.makes not in wanted:
                makes = steps[name].kind.makes
                draft.problem(key, f"{' or '.join(wanted)} needed; step {name} makes {makes}")
        given = [steps[one.step].kind.makes for one in step.inputs if one.step in steps]
        if len(given) == len(step.inputs):
            _check_sorts(draft, step, given)


def _named(step: Step) -> Iterator[tuple[Key, str, tuple[Makes, ...]]]:
    """(key, name, sorts wanted) of every step that one names; no sorts where `_check_sorts` looks at them."""
    key = ("steps", step.name)
    for number, one in enumerate(step.inputs):
        yield (*key, "from", str(number)), one.step, ()
    for number, along in enumerate(step.aux):
        yield (*key, "aux", str(number), "from"), Ref.of(along.from_).step, ("features",)
    if step.weights_of:
        yield (*key, "weights"), step.weights_of, ("network",)
    if against := getattr(step.places, "against", None):
        yield (*key, "against"), against, ("predictions",)


def _check_sorts(draft: Draft, step: Step, given: Sequence[Makes]) -> None:
    key = ("steps", step.name, "from")
    if not step.kind.accepts(given):
        names = ", ".join(f"{ref} ({makes})" for ref, makes in zip(step.inputs, given, strict=True)) or "nothing"
        draft.problem(key, f"{step.kind.name} takes {step.kind.wants}; given {names}")
        return
    for ref, makes in zip(step.inputs, given, strict=True):
        if ref.column and makes != "features":
            draft.problem(key, f"only features have outputs to choose from; {ref.step} makes {makes}")
    if step.kind.plugin and step.kind.plugin[0] in ("backbones", "networks") and not step.weights_of:
        found = plugin_of(step)
        seen = _SEES.get(getattr(found[1], "kind", "")) if found else None
        if found and seen and seen != given[0]:
            what = f"{found[0]} takes {_KINDS[seen]}; {step.inputs[0]} makes {given[0]}"
            draft.problem(key, what)


def _ordered(draft: Draft, steps: Mapping[str, Step]) -> list[str]:
    """Names so that every step comes after those it needs, else in the recipe's order; a problem for a cycle."""
    order: list[str] = []
    left = list(steps)
    while left:
        ready = next((one for one in left if all(n in order or n not in steps for n in steps[one].needs)), None)
        if ready is None:
            cycle = _cycle(steps, left)
            draft.problem(["steps", cycle[0], "from"], f"steps wait for each other: {' -> '.join(cycle)}")
            return order
        order.append(ready)
        left.remove(ready)
    return order


def _cycle(steps: Mapping[str, Step], left: Sequence[str]) -> list[str]:
    path = [left[0]]
    while True:
        following = next(one for one in steps[path[-1]].needs if one in left)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _ancestors(steps: Mapping[str, Step], last: str | None) -> set[str]:
    found: set[str] = set()
    waiting = [last] if last else []
    while waiting:
        name = waiting.pop()
        if name in steps and name not in found:
            found.add(name)
            waiting += steps[name].needs
    return found
