"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from affectkit.config import Runtime
from affectkit.store import Cache

ROOT = Path(__file__).parents[1]


class Command(Protocol):
    """Runs `affectkit ARGUMENTS...` in a process of its own, in an empty folder."""

    def __call__(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def runtime() -> Runtime:
    """One decoding thread, no progress."""
    return Runtime(workers=1, progress=False)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """For child processes: this checkout, the test's own cache, one thread, a wide terminal."""
    own = {"AFFECTKIT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def affectkit(tmp_path: Path, environment: dict[str, str]) -> Command:
    """The command, run in `tmp_path`."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "affectkit", *map(str, arguments)]
        settings = {"cwd": tmp_path, "env": environment, "timeout": 120, "stdin": subprocess.DEVNULL} | options
        if "input" in settings:
            del settings["stdin"]
        return subprocess.run(line, capture_output=True, text=True, check=False, **settings)

    return run
