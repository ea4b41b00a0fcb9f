"""Every stage by name, found without importing any: a stage's module says its command in the docstring's first line."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from keyword import iskeyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from affectkit.stages.stage import Stage

_MARK = '"""`affectkit '
_FOLDER = os.path.dirname(__file__)  # noqa: PTH120  (pathlib takes longer to import than all of this)


class StageEntry:
    """A stage that may not be imported yet: its command, what that does, its module."""

    def __init__(self, command: str, summary: str, module: str) -> None:
        self.command, self.summary, self.module = command, summary, module

    @property
    def name(self) -> str:
        """As recipes have it."""
        return self.command.replace(" ", "-")

    @property
    def function(self) -> str:
        """As Python has it: its command's words, or its module's where those are a keyword."""
        name = self.name.replace("-", "_")
        return self.module.rpartition(".")[2] if iskeyword(name) else name

    def load(self) -> Stage:
        """The stage itself."""
        return _loaded(self.module)


@cache
def entries() -> dict[str, StageEntry]:
    """Every stage by its name in recipes."""
    stages = [_entry(name) for name in sorted(os.listdir(_FOLDER)) if name.endswith(".py")]  # noqa: PTH208
    return {stage.name: stage for stage in stages if stage is not None}


@cache
def functions() -> dict[str, StageEntry]:
    """Every stage by its name in Python."""
    return {entry.function: entry for entry in entries().values()}


def get(name: str) -> Stage:
    """A stage by its name in recipes. Raises KeyError."""
    return entries()[name].load()


def maker(folder: str) -> Stage:
    """The stage that makes artifacts of this name: the last word of its command. Raises KeyError."""
    for entry in entries().values():
        if entry.command.split()[-1] == folder:
            return entry.load()
    raise KeyError(folder)


@cache
def _loaded(module: str) -> Stage:
    stage: Stage = import_module(module).STAGE()
    return stage


def _entry(name: str) -> StageEntry | None:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as text:  # noqa: PTH118, PTH123
        line = text.readline()
    if not line.startswith(_MARK):
        return None
    command, _, summary = line.removeprefix(_MARK).partition("`: ")
    return StageEntry(command, summary.strip().removesuffix('"""'), f"affectkit.stages.{name.removesuffix('.py')}")
