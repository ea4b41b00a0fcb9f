"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from affectkit.store import Cache

ROOT = Path(__file__).parents[1]


def child_environment(folder: Path) -> dict[str, str]:
    """For child processes: this checkout, a cache below `folder`, one thread, a wide terminal."""
    own = {"AFFECTKIT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)}


@dataclass(frozen=True)
class Command:
    """Runs `affectkit ARGUMENTS...` in a process of its own, in `folder`."""

    folder: Path
    environment: dict[str, str] = field(repr=False)

    def __call__(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "affectkit", *map(str, arguments)]
        settings = {"cwd": self.folder, "env": self.environment, "timeout": 120}
        if "input" not in options:
            settings["stdin"] = subprocess.DEVNULL
        return subprocess.run(line, capture_output=True, text=True, check=False, **settings | options)


def command_in(folder: Path) -> Command:
    """The command, run in `folder` with a cache there."""
    return Command(folder, child_environment(folder))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of the `affectkit` fixture; changes reach it."""
    return child_environment(tmp_path)


@pytest.fixture
def affectkit(tmp_path: Path, environment: dict[str, str]) -> Command:
    """The command, run in `tmp_path`."""
    return Command(tmp_path, environment)
