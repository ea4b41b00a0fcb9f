"""A new stage is one file, and a new backbone too: those of the docs, put into a copy of the package, are used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Command, child_environment
from recipe_factory import FACES, write_set

RECIPE = f"""\
[data.main]
dataset = "table"

{FACES}
[steps.counted]
stage = "count-faces"
from = "faces"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of affectkit that has the stage."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "affectkit", folder / "affectkit", ignore=shutil.ignore_patterns("__pycache__"))
    for page, place in (("CONTRIBUTING.md", "stages/count_faces.py"), ("docs/plugins.md", "backbones/contrast.py")):
        code = re.search(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
        assert code is not None
        (folder / "affectkit" / place).write_text(code[1], encoding="utf-8")
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


PYTHON = """
import affectkit as ak
faces = ak.extract_faces("set/cropped_aligned", size=32, source_fps=10.0, progress=False)
counted = ak.count_faces(faces, least=0.5)
assert counted["faces"] == {"train0": 24, "train1": 24} == ak.open(counted)["faces"], counted.report
print(type(counted).__name__, counted.info()["what"], ak.count_faces.__doc__)
"""


def test_python_has_its_function(run: Command) -> None:
    line = [sys.executable, "-W", "ignore", "-c", PYTHON]
    ran = subprocess.run(line, cwd=run.folder, env=run.environment, capture_output=True, text=True, check=False)
    told = done(ran)
    assert told.startswith("StageReport an artifact, made by count-faces")
    assert "    ak.count_faces(faces, least=0.5)" in told


def test_a_backbone_is_listed_keeps_the_contract_and_embeds(run: Command) -> None:
    assert "contrast" in done(run("list", "backbones"))
    assert "gain" in done(run("list", "backbones", "contrast"))
    kept = run("check-plugin", "contrast", "--group", "backbones")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    faces = done(run("extract", "faces", "set/cropped_aligned", "--size", "32", "--source-fps", "10"))
    embedded = json.loads(done(run("embed", faces, "--backbone", "contrast", "-o", "gain=2", "--json")))
    assert (embedded["computed"], embedded["rows"]) == (2, 48)
