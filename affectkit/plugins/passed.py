"""Plugins that are passed in code, as a class or (a backbone) as an instance: a name stands for each in configs, for as
long as the process lasts."""

from __future__ import annotations

import inspect
import os
from typing import Any

from affectkit.errors import UsageError

_PASSED: dict[tuple[str, str], Any] = {}


def remember(group: str, plugin: Any) -> str:
    """The name that stands for a plugin from now on: the class's, of a backbone in a file `FILE.py:CLASS`, so that
    other processes find it too. A later class of the same name takes its place. Raises UsageError for what is no class.
    """
    whole = plugin if isinstance(plugin, type) else type(plugin)
    if not isinstance(plugin, type) and group != "backbones":
        raise UsageError(f"a {group.removesuffix('s')} is passed as a class (given an instance of {whole.__name__})")
    name = whole.__name__
    if group == "backbones" and isinstance(plugin, type) and (file := _file(plugin)):
        name = f"{file}:{name}"
    _PASSED[group, name] = plugin
    return name


def meant(group: str, name: Any) -> Any:
    """The plugin that a name stands for, where one was passed under it, else the name."""
    return _PASSED.get((group, name), name) if isinstance(name, str) else name


def _file(plugin: type[Any]) -> str:
    """The file that has a class at its top level; empty where it is made in a function or a notebook."""
    try:
        path = os.path.abspath(inspect.getsourcefile(plugin) or "")  # noqa: PTH100
    except (OSError, TypeError):
        return ""
    is_there = path.endswith(".py") and os.path.isfile(path) and "ipykernel" not in path  # noqa: PTH113
    return path if is_there and plugin.__qualname__ == plugin.__name__ else ""
