"""A new stage is one file: that of CONTRIBUTING.md, put into a copy of the package, is used in every way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Command, child_environment
from recipe_factory import write_set

RECIPE = """\
[data.main]
dataset = "table"

[steps.faces]
stage = "extract-faces"
data = "main"
size = 32
format = "png"
source_fps = 10.0

[steps.counted]
stage = "count-faces"
from = "faces"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of affectkit that has the stage."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "affectkit", folder / "affectkit", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    (folder / "affectkit" / "stages" / "count_faces.py").write_text(code[1], encoding="utf-8")
    return folder


@pytest.fixture
def run(package: Path, tmp_path: Path) -> Command:
    """The command of that copy."""
    (tmp_path / "set").mkdir()
    write_set(tmp_path / "set", {"train": 2})
    return Command(tmp_path, child_environment(tmp_path) | {"PYTHONPATH": str(package)})


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_command_has_help_options_and_a_report(run: Command) -> None:
    assert "count-faces" in done(run("--help"))
    shown = done(run("count-faces", "--help"))
    assert "--least" in shown and 'affectkit count-faces "$FACES" --least 0.5' in shown
    assert "--device" not in shown and "--workers" not in shown
    faces = done(run("extract", "faces", "set/cropped_aligned", "--size", "32", "--source-fps", "10"))
    counted = run("count-faces", faces)
    assert re.search(r"train0 +24 +24", counted.stderr)
    assert json.loads((Path(done(counted)) / "counts.json").read_text())["faces"] == {"train0": 24, "train1": 24}
    again = json.loads(done(run("count-faces", faces, "--json")))
    assert (again["cached"], again["frames"]) == (True, {"train0": 24, "train1": 24})
    refused = run("count-faces", faces, "--least", "2")
    assert (refused.returncode, "--least should be less than or equal to 1" in refused.stderr) == (2, True)


def test_a_recipe_plans_runs_and_sums_it_up(run: Command) -> None:
    (run.folder / "r.toml").write_text(RECIPE)
    planned = run("run", "r.toml", "--root", "set", "--dry-run")
    assert "faces of faces, counted" in done(planned) + planned.stderr
    summary = json.loads(done(run("run", "r.toml", "--root", "set", "--json")))
    assert "| train0 | 24 | 24 |" in (run.folder / summary["summary"]).read_text()
    assert summary["reports"]["counted"] == [
        [["clip", "frames", "faces"], ["train0", "24", "24"], ["train1", "24", "24"]]
    ]
    (run.folder / "wrong.toml").write_text(RECIPE.replace('from = "faces"', 'from = "faces"\nleast = 2'))
    refused = run("run", "wrong.toml", "--root", "set", "--dry-run")
    assert refused.returncode == 2 and "wrong.toml:14" in refused.stderr
