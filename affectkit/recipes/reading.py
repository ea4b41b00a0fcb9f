"""A recipe as it is written: one TOML file, with what --tiny and --set change of it, and where each setting comes from.

Nothing of it is judged here but its shape; `checking` does the rest. Problems are collected, not raised.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectkit.errors import UsageError, unknown
from affectkit.recipes._lines import Key, key_lines

BUILT_IN = Path(__file__).parent / "builtin"
_KEYS = ("title", "paper", "practice", "data", "defaults", "steps", "tiny")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_RESERVED = ("data", "defaults", "drop")


@dataclass(frozen=True)
class Problem:
    """What speaks against a run and where it was written; `is_missing`: the recipe is right, something is not here."""

    where: str
    what: str
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Change:
    """A setting that is not as the recipe has it."""

    key: str
    before: Any
    after: Any
    by: str


@dataclass(frozen=True, repr=False)
class _Origin:
    where: str
    folder: Path


@dataclass(repr=False)
class Draft:
    """Data sets and steps as nested tables, options always as tables."""

    name: str
    path: Path
    text: str
    title: str = ""
    paper: str = ""
    practice: list[str] = field(default_factory=list)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _lines: dict[Key, int] = field(default_factory=dict)
    _set: dict[Key, _Origin] = field(default_factory=dict)

    def where(self, *key: str) -> str:
        """The place of a key, or of the nearest one above it: `file:line`, or the `--set` that gave it."""
        return self._origin(key).where

    def folder(self, *key: str) -> Path:
        """What a relative path there is relative to: the recipe's folder, or for --set the working directory."""
        return self._origin(key).folder

    def problem(self, key: Sequence[str], what: str, is_missing: bool = False) -> None:
        """Note what is wrong with a key."""
        found = Problem(self.where(*key), what, is_missing)
        if found not in self.problems:
            self.problems.append(found)

    def change(self, key: str, value: Any, by: str, where: str, folder: Path) -> None:
        """Set a dotted key, `step.setting`, `step.option.key`, `data.name.setting` or `defaults.setting`; None takes it
        away."""
        path = self._path(key, where)
        if path is None:
            return
        trees: dict[str, Any] = {"data": self.data, "defaults": self.defaults, "steps": self.steps}
        before = put(trees[path[0]], path[1:], value)
        self.changed.append(Change(key, before, value, by))
        self._set[path] = _Origin(where, folder)
        self._lines = {one: line for one, line in self._lines.items() if one[: len(path)] != path}

    def inherited(self, key: Key, default: Key) -> None:
        """A setting of a step is that of a default."""
        self._set[key] = self._origin(default)

    def _path(self, key: str, where: str) -> Key | None:
        """The full path of a dotted key; None, and a problem, where there is no such step."""
        first, *rest = key.split(".")
        if first == "defaults" and rest and all(rest):
            return (first, *rest)
        known, kind = (self.data, "data set") if first == "data" else (self.steps, "step")
        name, rest = (rest[0] if rest else "", rest[1:]) if first == "data" else (first, rest)
        if name not in known:
            self.problems.append(Problem(where, str(unknown(kind, name, known))))
            return None
        if not rest or not all(rest):
            self.problems.append(Problem(where, f"'{key}' says no setting: step.setting, or step.option.key"))
            return None
        return ("data" if first == "data" else "steps", name, *rest)

    def _origin(self, key: Key) -> _Origin:
        for length in range(len(key), 0, -1):
            part = key[:length]
            if part in self._set:
                return self._set[part]
            if part in self._lines:
                return _Origin(f"{self.path}:{self._lines[part]}", self.path.parent)
        return _Origin(f"{self.path}:1", self.path.parent)


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
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
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
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> Any:
    """Set a nested key and return what was there. `option.net = "vgg16"` is `option.net.name = "vgg16"` where something
    else of `net` is said too."""
    *parents, last = path
    for key in parents:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            below = tree[key] = {"name": below}
        tree = below
    if isinstance(tree.get(last), dict) and len(path) > 1 and not isinstance(value, dict) and value is not None:
        tree, last = tree[last], "name"
    before = tree.get(last)
    if value is None:
        tree.pop(last, None)
    else:
        tree[last] = value
    return before


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[Key, str, Any]]:
    """(keys, dotted key, value) of everything below nested tables.

    >>> list(leaves({"a.b": 1, "c": {"d": [2]}}))
    [(('a.b',), 'a.b', 1), (('c', 'd'), 'c.d', [2])]
    """
    for key, value in tree.items():
        dotted = f"{above}.{key}" if above else key
        if isinstance(value, dict) and value:
            yield from (((key, *keys), name, leaf) for keys, name, leaf in leaves(value, dotted))
        else:
            yield (key,), dotted, value


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
    drop = tiny.get("drop", {})
    for keys, dotted, value in leaves({key: value for key, value in tiny.items() if key != "drop"}):
        draft.change(dotted, value, "--tiny", draft.where("tiny", *keys), draft.path.parent)
    dropped = drop.get("steps", []) if isinstance(drop, dict) else []
    for number, name in enumerate(dropped):
        if name not in draft.steps:
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
