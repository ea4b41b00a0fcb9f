"""The models of a recipe with random weights, and fetching the weights of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from recipe_factory import RECIPE, write_recipe

from affectkit.recipes import check, read
from affectkit.recipes.models import BuiltModel, models

timm = pytest.importorskip("timm")

TUNED = """
[data.main]
dataset = "table"
[steps.faces]
stage = "extract-faces"
data = "main"
size = 48
[steps.tuned]
stage = "finetune"
from = "faces"
labels = "main"
task = "expr"
option = { backbone = "test_resnet.r160_in1k", input_size = 64, width = 32 }
[steps.again]
stage = "finetune"
from = "faces"
labels = "main"
task = "va"
option = { backbone = "test_resnet.r160_in1k", input_size = 32, width = 8 }
[steps.embeddings]
stage = "embed"
from = "faces"
weights = "@tuned"
[steps.head]
stage = "train-head"
from = "embeddings"
labels = "main"
task = "expr"
head = "lstm"
option = { hidden = 8, layers = 1 }
[steps.frozen]
stage = "embed"
from = "faces"
backbone = "test_resnet.r160_in1k"
option = { input_size = 96 }
[steps.windows]
stage = "functionals"
from = "frozen"
set = "sun-visual"
[steps.both]
stage = "train-head"
from = ["windows", "frozen"]
labels = "main"
task = "expr"
head = "concat"
"""
HEARD = """
[data.main]
dataset = "table"
[steps.sound]
stage = "extract-audio"
data = "main"
[steps.states]
stage = "embed"
from = "sound"
backbone = "wav2vec2"
option = { model = "none/none" }
[steps.head]
stage = "train-head"
from = "states"
labels = "main"
task = "va"
"""


def built(tmp_path: Path, text: str) -> dict[str, BuiltModel]:
    plan = check.plan(read.read(str(write_recipe(tmp_path / "r.toml", text))))
    return {one.step: one for one in models(plan)}


def count(module: object) -> int:
    return sum(one.numel() for one in module.parameters())  # type: ignore[attr-defined]


def test_sizes_are_those_of_the_networks_themselves(tmp_path: Path) -> None:
    found = built(tmp_path, TUNED)
    resnet = timm.create_model("test_resnet.r160_in1k")
    dim = resnet.num_features
    frozen, tuned, head = found["frozen"], found["tuned"], found["head"]
    assert (frozen.parameters, frozen.takes, frozen.gives) == (count(resnet), "[N,3,96,96]", f"[N,{dim}]")
    bare = count(timm.create_model("test_resnet.r160_in1k", num_classes=0))
    neck = dim * 32 + 32 + 2 * 32 + 32 * 8 + 8  # Linear, BatchNorm, Linear
    assert (tuned.parameters, tuned.takes, tuned.gives) == (bare + neck, "[N,1,3,48,48], resized to 64 x 64", "[N,1,8]")
    assert (head.takes, head.gives) == ("[T,32]", "[T,8]")
    assert head.parameters == (32 + 1) * 8 + 4 * 8 * (8 + 8 + 2) + 2 * (8 + 1) * 8  # Linear, LSTM, Linear, Linear
    assert found["both"].takes == f"[T,{3 * dim}] + [T,{dim}]"
    assert list(found) == ["tuned", "again", "head", "frozen", "both"]
    assert found["again"].gives == "[N,1,2]"


def test_a_kernel_machine_has_none_and_what_cannot_be_built_says_why(tmp_path: Path) -> None:
    found = built(tmp_path, HEARD)
    assert "huggingface.co/none/none" in found["states"].problem
    assert found["head"].problem == "what states gives is not known: its own model could not be built"
    found = built(tmp_path, RECIPE)
    assert (found["kernel"].parameters, found["kernel"].takes, found["kernel"].gives) == (None, "[T,960]", "[T,2]")
    assert (found["grid"].parameters, found["grid"].gives) == (0, "[N,192]")


def test_the_table_of_models(tmp_path: Path, affectkit: Command) -> None:
    write_recipe(tmp_path / "r.toml")
    said = affectkit("recipe", "show", "r.toml", "--models", "--set", "net.option.hidden=16")
    assert said.returncode == 0, said.stderr
    assert [line.split()[:2] for line in said.stdout.splitlines()][1:] == [
        ["grid", "mean-pixel"], ["net", "mlp"], ["kernel", "kernel-elm"],
    ]  # fmt: skip


def test_a_recipe_s_weights_are_fetched_each_once(tmp_path: Path, affectkit: Command) -> None:
    text = RECIPE.replace('format = "png"', 'format = "png"\ndetector = "centerface"')
    text = text.replace('"mean-pixel"', '"efficientnet-lite0"')
    again = (
        '[steps.again]\nstage = "embed"\nfrom = "faces"\nbackbone = "efficientnet-lite0"\ndtype = "float16"\n\n[tiny]'
    )
    write_recipe(tmp_path / "r.toml", text.replace("[tiny]", again))
    said = affectkit("weights", "fetch", "--recipe", "r.toml")
    assert said.returncode == 0, said.stderr
    assert [Path(line).name for line in said.stdout.splitlines()] == [
        "centerface.onnx",
        "efficientnet-lite0-57934424.pth",
    ]
    assert "efficientnet-lite0 (Apache-2.0): grid, again" in said.stderr


def test_what_cannot_be_fetched_is_told_after_all_others(tmp_path: Path, affectkit: Command) -> None:
    text = RECIPE.replace('format = "png"', 'format = "png"\nweights = "no.pth"').replace(
        '"mean-pixel"', '"efficientnet-lite0"'
    )
    write_recipe(tmp_path / "r.toml", text)
    said = affectkit("weights", "fetch", "--recipe", "r.toml")
    assert said.returncode == 2
    assert said.stdout.splitlines()[0].endswith(".pth")
    assert "no.pth cannot be read" in said.stderr
    assert affectkit("weights", "fetch").returncode == 2
    assert affectkit("weights", "fetch", "centerface", "--recipe", "r.toml").returncode == 2
