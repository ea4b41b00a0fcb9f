"""What must not move without a reason: what every stage's fingerprint is made of, every command's help, every plan.

Each is kept in `tests/golden/`. Where a change is meant, `AFFECTKIT_GOLDEN=write pytest tests/test_golden.py` writes
them anew, and the difference is read in the commit.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from media_factory import make_audio
from recipe_factory import RECIPE, write_recipe, write_set

from affectkit.cli._app import commands, load
from affectkit.recipes import read
from affectkit.recipes.check import plan
from affectkit.store import Cache

FOLDER = Path(__file__).parent / "golden"
WRITE = os.environ.get("AFFECTKIT_GOLDEN") == "write"
_DIGEST = re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b")
_VERSION = re.compile(r"\b(pillow|av|opencv|onnxruntime|librosa|numpy|scikit-learn|timm|torch)-\d[\w.+]*")


def check(name: str, text: str) -> None:
    """Compare with what is kept."""
    path = FOLDER / name
    if WRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    kept = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert text == kept, f"{name} is not as it was: where that is meant, AFFECTKIT_GOLDEN=write keeps it"


def test_what_fingerprints_are_made_of(
    affectkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_training: None
) -> None:
    """Digests of content and versions of packages aside: they differ from machine to machine."""
    inputs: dict[str, Any] = {}
    before = Cache.path

    def path(self: Cache, stage: str, name: str, given: dict[str, Any], *more: Any, **named: Any) -> Path:
        inputs[f"{stage}/{name}"] = given
        return before(self, stage, name, given, *more, **named)

    monkeypatch.setattr(Cache, "path", path)
    (tmp_path / "set").mkdir()
    write_set(tmp_path / "set")
    write_recipe(tmp_path / "small.toml", RECIPE)
    assert affectkit("run", "small.toml", "--root", "set").returncode == 0
    labels = ("--labels", "set/labels.csv", "--task", "va")
    crops = affectkit("extract", "faces", "set/cropped_aligned", "--size", "32", "--source-fps", "10").stdout.strip()
    network = affectkit(
        "finetune", crops, *labels, "--network", "static", "-o", "epochs=1", "-o", "backbone=resnet18",
        "--weights", "random", "-o", "input_size=32", "-o", "batch_size=4",
    )  # fmt: skip
    assert network.returncode == 0, network.stderr
    scores = affectkit("predict", network.stdout.strip(), crops)
    assert scores.returncode == 0, scores.stderr
    assert affectkit("evaluate", scores.stdout.strip(), *labels).returncode == 0
    (tmp_path / "sound").mkdir()
    make_audio(tmp_path / "sound" / "a.wav")
    heard = affectkit("extract", "audio", "sound").stdout.strip()
    assert affectkit("embed", heard, "--backbone", "log-mel", "--window", "0.5").returncode == 0
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.csv").write_text("timestamp,x,y\n0.0,1,2\n0.5,3,4\n")
    assert affectkit("import", "files", "--name", "mine").returncode == 0
    check("fingerprints.json", _stable(inputs).replace(str(tmp_path), ""))


@pytest.mark.parametrize("command", list(commands()))
def test_help(command: str, affectkit: Command) -> None:
    lines = [(command,), *((command, name) for name in _subcommands(command))]
    check(f"help/{command}.txt", "\n".join(affectkit(*line, "--help").stdout for line in lines))


@pytest.mark.parametrize("tiny", [False, True], ids=["full", "tiny"])
@pytest.mark.parametrize("name", read.built_in())
def test_plan(name: str, tiny: bool) -> None:
    planned = plan(read.read(name, tiny=tiny))
    steps = {
        step.name: {
            "stage": step.stage.name, "makes": step.stage.makes, "says": step.words, "needs": list(step.needs),
            "inputs": [str(one) for one in step.inputs], "settings": step.settings,
        }
        for step in planned.steps.values()
    }  # fmt: skip
    check(f"plans/{name}{'-tiny' if tiny else ''}.json", json.dumps(steps, indent=1, default=str) + "\n")


def _subcommands(command: str) -> Iterator[str]:
    yield from (name for name, one in getattr(load(command), "commands", {}).items() if not one.hidden)


def _stable(inputs: dict[str, Any]) -> str:
    text = json.dumps(inputs, indent=1, sort_keys=True, default=str)
    return _VERSION.sub(r"\1-*", _DIGEST.sub("<digest>", text)) + "\n"
