"""A recipe that fine-tunes: its network's own scores, a head on its embeddings, a task of another set learnt along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command
from recipe_factory import FACES, OTHER_FACES, write_recipe, write_set
from test_recipes_run import CLIPS, rename, states

pytest.importorskip("timm")

TUNED = f"""
[data.main]
dataset = "table"
[data.other]
dataset = "table"
{FACES}{OTHER_FACES}[steps.static]
stage = "finetune"
from = "faces"
labels = "main"
task = "va"
weights = "random"
option = {{ backbone = "test_resnet.r160_in1k", epochs = 1, input_size = 32, width = 8, batch_size = 64 }}
aux = [ {{ from = "other-faces", labels = "other", task = "va" }} ]
[steps.static-scores]
stage = "predict"
from = ["static", "faces"]
[steps.embeddings]
stage = "embed"
from = "faces"
weights = "@static"
[steps.head]
stage = "train-head"
from = "embeddings"
labels = "main"
task = "va"
head = "mlp"
option = {{ epochs = 1, hidden = "4" }}
[steps.scores]
stage = "predict"
from = ["head", "embeddings"]
[steps.systems]
stage = "compare"
from = ["static-scores", "scores"]
labels = "main"
task = "va"
draws = 20
"""


def test_a_network_is_trained_scores_and_embeds(tmp_path: Path, affectkit: Command) -> None:
    write_recipe(tmp_path / "r.toml", TUNED)
    write_set(tmp_path / "set")
    write_set(tmp_path / "other", {"train": 2})
    rename(tmp_path / "other")
    line = ["run", "r.toml", "--root", "set", "--root", "other=other", "--device", "cpu"]
    said = affectkit(*line, "--json")
    assert said.returncode == 0, said.stderr
    steps = {row["step"]: row for row in json.loads(said.stdout)["steps"]}
    one, other = (Path(steps[name]["path"]) for name in ("faces", "other-faces"))
    assert one != other and one.parent == other.parent  # two selections of one table
    report = json.loads((tmp_path / steps["static"]["path"] / "finetune.json").read_text())
    assert len(report["splits"]) == CLIPS  # none of the other set's
    assert report["auxiliary"][0]["clips"] == 2
    for name in ("static-scores", "embeddings", "scores"):
        assert steps[name]["clips"] == {"computed": CLIPS, "cached": 0, "failed": 0}
    weights = {tuple(one["steps"]): one["sha256"] for one in json.loads(said.stdout)["weights"]}
    assert weights.keys() == {("static",), ("static-scores", "embeddings")}  # what it began with, what it learnt
    assert weights["static",] == "random"
    found = states(affectkit(*line, "--dry-run", "--json").stdout)
    assert set(found.values()) == {"cached", f"cached, {CLIPS} clips", "cached, 2 clips"}
