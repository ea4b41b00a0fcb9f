"""The settings of data sets and steps, read by the models that the stages themselves have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from affectkit import plugins, tasks
from affectkit.config import Config, faults
from affectkit.errors import AffectkitError, MissingExtra, UsageError, unknown
from affectkit.recipes._lines import Key
from affectkit.recipes.draft import Draft, leaves
from affectkit.recipes.steps import Step, settings_of
from affectkit.stages.inputs import Makes
from affectkit.stages.stage import Stage
from affectkit.tasks import Task

Roots = Mapping[str, Path]
_PLACE = re.compile(r"\{([A-Za-z0-9_-]+)\}")
_NO_FILE = ("auto", "random")
_SEES: dict[str, Makes] = {"image": "crops", "audio": "sound"}


def check_keys(draft: Draft, key: Key, table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """A problem for every key that is not known."""
    accepted = list(known)
    for name in table:
        if name not in accepted:
            draft.problem([*key, name], str(unknown(what, name, accepted)))


def validated(draft: Draft, key: Key, model: type[Config], values: Mapping[str, Any], what: str) -> Any:
    """A config from a table; None, and a problem for every setting that is wrong."""
    fields = {item.alias or name for name, item in model.model_fields.items()}
    check_keys(draft, key, values, fields, what)
    try:
        return model.model_validate({name: value for name, value in values.items() if name in fields})
    except ValidationError as error:
        for path, message in faults(error):
            text = f"needs {path}" if message == "Field required" else f"{path}: {message}" if path else message
            draft.problem([*key, *path.split(".")], text)
    except UsageError as error:
        draft.problem(key, str(error))
    return None


def config(draft: Draft, key: Key, stage: Stage, model: type[Config], table: Mapping[str, Any]) -> Any:
    """One of a stage's config models from a step's table; None, and problems, where it is wrong."""
    values = {}
    for name, item in model.model_fields.items():
        setting = item.alias or name
        if setting in table and settings_of(stage).get(setting) is model:
            value = options_of(table) if setting == "option" else table[setting]
            is_list = get_origin(item.annotation) is list
            values[setting] = value.split(",") if is_list and isinstance(value, str) else value
    if isinstance(task := values.get("task"), str):
        values["task"] = task_name(draft, key, task)
    if isinstance(aux := values.get("aux"), list):
        values["aux"] = [_with_task(draft, key, one) for one in aux]
    if isinstance(weights := values.get("weights"), str) and weights not in _NO_FILE and not weights.startswith("@"):
        values["weights"] = str(draft.folder(*key, "weights") / weights)
    return validated(draft, key, model, values, f"option of {stage.name}")


def plugin_of(stage: Stage, table: Mapping[str, Any]) -> tuple[str, type[Any], dict[str, Any]] | None:
    """The plugin that a step names, and its options as texts; None where it names none. Raises UsageError."""
    if stage.plugin is None:
        return None
    group, setting = stage.plugin
    fields = next(model.model_fields for model in stage.configs if setting in model.model_fields)
    default = None if fields[setting].is_required() else fields[setting].default
    name = table.get(setting, default)
    if not isinstance(name, str):
        return None
    given = table.get("option")
    options = texts(given) if isinstance(given, dict) else {}
    if group == "backbones" and plugins.is_source(name):
        return name, plugins.backbone_class(name), options
    if group == "backbones" and name not in (*plugins.names(group), *plugins.names("models")):
        return "timm", plugins.get(group, "timm"), {"model": name, **options}
    return name, plugins.get(group, name), options


def chosen(step: Step) -> tuple[Any, Config] | None:
    """The plugin of a step that has been checked, and its options; None where it names none."""
    found = plugin_of(step.stage, step.settings)
    return (found[1], found[1].Options.model_validate(found[2])) if found else None


def check_plugin(draft: Draft, key: Key, stage: Stage, table: Mapping[str, Any]) -> Makes | None:
    """Note what is wrong with a step's task, plugin and the plugin's options; returns what the plugin reads."""
    task = None
    if isinstance(given := table.get("task"), str):
        task = tried(draft, (*key, "task"), lambda: tasks.get(task_name(draft, key, given)))
    place = (*key, stage.plugin[1]) if stage.plugin is not None else key
    found = tried(draft, place, lambda: plugin_of(stage, table)) if stage.plugin is not None else None
    for setting, mistake in stage.mistakes(table, _count(table.get("from")), found[1] if found else None):
        draft.problem((*key, setting) if setting else key, mistake)
    if found is None:
        return None
    name, plugin, options = found
    read = validated(draft, (*key, "option"), plugin.Options, options, f"option of {name}")
    if read is not None:
        _try_out(draft, place, stage, name, plugin, read, task)
    return _SEES.get(getattr(plugin, "kind", ""))


def check_model(draft: Draft, key: Key, table: Mapping[str, Any], name: str) -> Makes | None:
    """Note what is wrong with a published model and its options; returns what it reads."""
    plugin = tried(draft, (*key, "model"), lambda: plugins.get("models", name))
    if plugin is None:
        return None
    options = texts(tree) if isinstance(tree := table.get("option"), dict) else {}
    validated(draft, (*key, "option"), plugin.Options, options, f"option of {name}")
    return _SEES.get(getattr(plugin, "kind", ""))


def _try_out(
    draft: Draft, place: Key, stage: Stage, name: str, plugin: Any, options: Config, task: Task | None
) -> None:
    """Does it take the task? Any name that is no plugin was meant for timm: does timm know it?"""
    if name == "timm":
        tried(draft, place, lambda: plugin.weights(options, "random"))
    elif task is not None and stage.plugin and stage.plugin[0] in ("heads", "networks", "fusers"):
        tried(draft, place, lambda: plugin(options, task))


def tried(draft: Draft, key: Key, call: Callable[[], Any]) -> Any:
    """What the call returns; None, and a problem, where it raises."""
    try:
        return call()
    except AffectkitError as error:
        draft.problem(key, str(error), is_missing=isinstance(error, MissingExtra))
        return None


def options_of(table: Mapping[str, Any]) -> list[str]:
    """A table's options as the command line has them: key=value."""
    options = table.get("option", {})
    return [f"{dotted}={_text(value)}" for _, dotted, value in leaves(options) if value != {}] if options else []


def texts(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same tables with texts for values, as plugins read them from the command line."""
    return {key: texts(value) if isinstance(value, dict) else _text(value) for key, value in tree.items()}


def places_in(value: Any) -> list[str]:
    """The data sets that texts name as `{name}`."""
    found = value if isinstance(value, list) else [value]
    return [name for text in found if isinstance(text, str) for name in _PLACE.findall(text)]


def filled(value: Any, roots: Roots) -> Any:
    """Nested values with the root for every `{name}` where it is known."""
    if isinstance(value, dict):
        return {key: filled(item, roots) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, roots) for item in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda found: str(roots.get(found[1], found[0])), value)
    return value


def _count(given: Any) -> int:
    return len(given) if isinstance(given, list) else int(given is not None)


def _with_task(draft: Draft, key: Key, along: Any) -> Any:
    if not isinstance(along, dict) or not isinstance(task := along.get("task"), str):
        return along
    return along | {"task": task_name(draft, (*key, "aux"), task)}


def task_name(draft: Draft, key: Key, given: str) -> str:
    """A task as `tasks.get` takes it: a file lies beside the recipe."""
    return str(draft.folder(*key, "task") / given) if given.endswith(".toml") else given


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
