"""Every benchmark runs: nothing is timed here."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from affectkit import weights

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
MANY_PROCESSES = {"analyze", "finetune_frozen", "memory", "recipe_seeds", "startup"}


def face_mesh_is_at_hand() -> bool:
    at_hand = {entry.name for entry, state in weights.available() if state == "at hand"}
    return find_spec("ai_edge_litert") is not None and {"face-mesh", "iris"} <= at_hand


@pytest.mark.parametrize(
    "script", [pytest.param(name, marks=[pytest.mark.slow] * (name in MANY_PROCESSES)) for name in SCRIPTS]
)
def test_a_benchmark_runs_and_says_on_what(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if script == "face_mesh" and not face_mesh_is_at_hand():
        pytest.skip("affectkit weights fetch face-mesh iris")
    monkeypatch.chdir(tmp_path)  # away from media of one's own, which some take where they are
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--smoke"])
    runpy.run_path(str(FOLDER / f"{script}.py"), run_name="__main__")
    *results, machine = capsys.readouterr().out.splitlines()
    assert results and " cores, " in machine and "Python " in machine
