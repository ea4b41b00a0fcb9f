"""A recipe on its way to be checked: nested tables, where each setting was written, and what speaks against it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectkit.errors import unknown
from affectkit.recipes._lines import Key


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

    def toml(self) -> str:
        """The recipe as TOML, with what was changed."""
        about = {"title": self.title, "paper": self.paper, "practice": self.practice}
        given = {key: value for key, value in about.items() if value}
        return recipe_text(given, {"data": self.data, "steps": self.steps})

    def problem(self, key: Sequence[str], what: str, is_missing: bool = False) -> None:
        """Note what is wrong with a key."""
        self.problems.append(Problem(self.where(*key), what, is_missing))

    def change(self, key: str, value: Any, by: str, where: str, folder: Path) -> None:
        """Set a dotted key, `step.setting`, `step.option.key`, `data.name.setting` or `defaults.setting`; None takes it
        away."""
        path = self._path(key, where)
        if path is None:
            return
        if path[2:] == ("option",) and value is not None and not isinstance(value, dict):
            self.problems.append(Problem(where, f"'{key}' is a table: {key}.key=value"))
            return
        trees: dict[str, Any] = {"data": self.data, "defaults": self.defaults, "steps": self.steps}
        made = _new_tables(trees[path[0]], path)
        before = put(trees[path[0]], path[1:], value)
        self.changed.append(Change(key, before, value, by))
        self._set |= dict.fromkeys([path, *made], _Origin(where, folder))
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


def _new_tables(tree: Mapping[str, Any], path: Key) -> list[Key]:
    """The keys above a path that are no tables yet."""
    found = []
    below: Any = tree
    for length in range(2, len(path)):
        below = below.get(path[length - 1]) if isinstance(below, dict) else None
        if not isinstance(below, dict):
            found.append(path[:length])
    return found


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


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def recipe_text(about: Mapping[str, Any], sections: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Settings at the top, then a table `[section.name]` each.

    >>> print(recipe_text({"title": "A"}, {"steps": {"b1": {"stage": "embed", "option": {"x": [1, True]}}}}))
    title = "A"
    <BLANKLINE>
    [steps.b1]
    stage = "embed"
    option = { x = [1, true] }
    <BLANKLINE>
    """
    lines = [f"{_key(key)} = {_value(value)}" for key, value in about.items()]
    for section, tables in sections.items():
        for name, table in tables.items():
            lines += ["", f"[{_key(section)}.{_key(name)}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else repr(value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    """JSON's escapes are TOML's, but for characters beyond the first plane (kept as they are) and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
