"""A recipe as it is written: one TOML file, with what --tiny and --set change of it, and where each setting comes from.

Nothing of it is judged here but its shape; `checking` does the rest. Problems are collected, not raised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectkit.errors import UsageError, unknown
from affectkit.recipes._lines import Key, key_lines
from affectkit.recipes.draft import Change, Draft, Problem, leaves, put
from affectkit.untrusted import parsed_toml, read_toml

BUILT_IN = Path(__file__).parent / "builtin"
_KEYS = ("title", "paper", "practice", "data", "defaults", "steps", "tiny")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_RESERVED = ("data", "defaults", "drop")


def built_in() -> list[str]:
    """The names of the recipes that come with affectkit, sorted."""
    return sorted(path.stem for path in BUILT_IN.glob("*.toml"))


def find(recipe: str) -> Path:
    """The file of a recipe: a built-in name, or a path. Raises UsageError."""
    if recipe in built_in():
        return BUILT_IN / f"{recipe}.toml"
    if not recipe.endswith(".toml"):
        raise unknown("recipe", recipe, [*built_in(), "FILE.toml"])
    return Path(recipe)


def read(recipe: str, changes: Sequence[str] = (), *, tiny: bool = False) -> Draft:
    """A recipe with `changes`, the texts of --set, which come after what --tiny sets. Raises UsageError where there is
    no such file, or no TOML in it."""
    path = find(recipe)
    text, tree = read_toml(path, "a recipe")
    draft = Draft(path.stem, path, text, _lines=key_lines(text))
    _fill(draft, tree)
    if tiny:
        _make_tiny(draft, tree)
    for item in changes:
        key, found, value = item.partition("=")
        where = f"--set {item}"
        if found:
            draft.change(key.strip(), value_of(value), "--set", where, Path())
        else:
            draft.problems.append(Problem(where, "is not step.setting=value"))
    return draft


def value_of(text: str) -> Any:
    """The value of `--set key=TEXT`: TOML where it begins like a list, a table or a quoted string, else the text, which
    the setting's own type reads; None for nothing.

    >>> value_of("[1, 2]"), value_of("0.5"), value_of("")
    ([1, 2], '0.5', None)
    """
    if not text:
        return None
    if text[0] in "[{\"'":
        try:
            return parsed_toml(f"value = {text}")["value"]
        except ValueError:
            return text
    return text


def _fill(draft: Draft, tree: dict[str, Any]) -> None:
    for key in tree:
        if key not in _KEYS:
            draft.problem([key], str(unknown("key", key, _KEYS)))
    for key in ("title", "paper"):
        value = tree.get(key, "")
        if not isinstance(value, str):
            draft.problem([key], f"{key} is a text")
        setattr(draft, key, str(value))
    practice = tree.get("practice", [])
    draft.practice = [str(one) for one in practice] if isinstance(practice, list) else [str(practice)]
    draft.data = _tables(draft, tree, "data")
    draft.steps = _tables(draft, tree, "steps")
    draft.defaults = _defaults(draft, tree)
    if not draft.steps and not draft.problems:
        draft.problem(["steps"], "a recipe has steps: [steps.NAME] with stage = ...")


def _defaults(draft: Draft, tree: dict[str, Any]) -> dict[str, Any]:
    given = tree.get("defaults", {})
    if not isinstance(given, dict):
        draft.problem(["defaults"], "defaults is a table: [defaults], or [defaults.STAGE]")
        return {}
    return {
        key: _with_options(draft, ("defaults", key), value) if isinstance(value, dict) else value
        for key, value in given.items()
    }


def _tables(draft: Draft, tree: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """The tables `[section.name]`, options as tables."""
    given = tree.get(section, {})
    if not isinstance(given, dict):
        draft.problem([section], f"{section} is made of tables: [{section}.NAME]")
        return {}
    found = {}
    for name, table in given.items():
        if not isinstance(table, dict):
            draft.problem([section, name], f"{section}.{name} is a table: [{section}.{name}]")
        elif not _NAME.fullmatch(name) or name in _RESERVED:
            draft.problem([section, name], f"'{name}' is no name: letters, digits, - and _; not {', '.join(_RESERVED)}")
        else:
            found[name] = _with_options(draft, (section, name), table)
    return found


def _with_options(draft: Draft, key: Key, table: dict[str, Any]) -> dict[str, Any]:
    option = table.get("option", {})
    if isinstance(option, dict):
        return table
    options: dict[str, Any] = {}
    for number, item in enumerate(option if isinstance(option, list) else [option]):
        name, found, value = str(item).partition("=")
        if not found or not name:
            draft.problem([*key, "option", str(number)], f"option '{item}' is not key=value: write {{ key = value }}")
        else:
            put(options, name.split("."), value)
    return table | {"option": options}


def _make_tiny(draft: Draft, tree: dict[str, Any]) -> None:
    """What the recipe's own table [tiny] sets and leaves out."""
    tiny = tree.get("tiny")
    if not isinstance(tiny, dict):
        raise UsageError(f"{draft.path} has no table [tiny]: it cannot be run with --tiny")
    drop = tiny.get("drop", {"steps": []})
    for keys, dotted, value in leaves({key: value for key, value in tiny.items() if key != "drop"}):
        draft.change(dotted, value, "--tiny", draft.where("tiny", *keys), draft.path.parent)
    dropped = drop.get("steps") if isinstance(drop, dict) and drop.keys() == {"steps"} else None
    if not isinstance(dropped, list):
        draft.problem(["tiny", "drop"], 'what --tiny leaves out is a table: [tiny.drop] with steps = ["step", ...]')
        return
    for number, name in enumerate(dropped):
        if not isinstance(name, str) or name not in draft.steps:
            draft.problem(["tiny", "drop", "steps", str(number)], str(unknown("step", str(name), draft.steps)))
            continue
        del draft.steps[name]
        draft.changed.append(Change(name, "a step", None, "--tiny"))
    for table in draft.steps.values():
        for key in ("from", "aux"):
            if isinstance(table.get(key), list):
                table[key] = [one for one in table[key] if _source(one) not in dropped]


def _source(item: Any) -> str:
    """The step that an item of `from` or `aux` names."""
    given = item.get("from", "") if isinstance(item, dict) else item
    return str(given).partition(":")[0]
