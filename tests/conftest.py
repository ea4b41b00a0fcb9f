"""Fixtures that several test files share."""

from __future__ import annotations

import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from affectkit.cli import main
from affectkit.store import Cache, atomic

ROOT = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: more threads than that only get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a script's background job, whose children then ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@dataclass(frozen=True)
class Here(Command):
    """The same in this process: quicker by the start of Python and all imports."""

    def __call__(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        line = ["affectkit", *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        with (
            chdir(self.folder),
            patch.dict(os.environ, self.environment),
            patch.object(sys, "argv", line),
            patch.object(sys, "stdin", io.StringIO(options.pop("input", ""))),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as stop,
        ):
            main(standalone=False)
        assert not options, "a process of its own is needed for that: take the fixture `child`"
        code = stop.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of the `affectkit` and `child` fixtures; changes reach them."""
    return child_environment(tmp_path)


@pytest.fixture
def affectkit(tmp_path: Path, environment: dict[str, str]) -> Command:
    """The command, run in `tmp_path` by this process."""
    return Here(tmp_path, environment)


@pytest.fixture
def child(tmp_path: Path, environment: dict[str, str]) -> Command:
    """The command, run in `tmp_path` by a process of its own; takes the options of `subprocess.run`."""
    return Command(tmp_path, environment)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Installs a package of one module with plugins, as pip would leave it."""

    def install(code: str, points: str) -> Path:
        folder = tmp_path / "site"
        about = folder / "bright-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / "bright.py").write_text(code)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bright\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "bright", raising=False)
        importlib.invalidate_caches()
        return folder

    return install


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training on one thread that keeps its state after every epoch, and does not wait for the disk."""
    import torch

    from affectkit.training import resume

    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)
    monkeypatch.setattr(atomic, "fsync", lambda path: None)  # no power is lost here, and it takes long
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
