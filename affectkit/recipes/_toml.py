"""Writing a recipe as TOML: what tomllib cannot do. Only tables, lists, texts, numbers and booleans."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

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
