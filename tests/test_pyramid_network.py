"""Network pyramid: which crops it reads, what it makes of them, and that it learns the order of things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_inputs import make_crops, pictures
from stage_calls import finetune
from tuned_networks import built, outputs

from affectkit import tasks
from affectkit.config import Runtime
from affectkit.heads import pyramid as head
from affectkit.learning.windows import WindowPlan
from affectkit.networks.pyramid import PyramidNetwork, PyramidOptions
from affectkit.stages.finetune import FinetuneConfig
from affectkit.store import Artifact, Cache
from affectkit.types import ClipLabels
from affectkit.weights import random

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

VA, COMPOUND = tasks.get("va"), tasks.get("compound")
SIDE = 24


def images(units: int, count: int = 9, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).integers(0, 256, (units, count, 3, SIDE, SIDE), np.uint8))


# ---- what it computes


def test_sizes_are_those_of_the_paper() -> None:
    import timm

    with torch.device("meta"):
        backbone = sum(p.numel() for p in timm.create_model("resnet18", num_classes=0).parameters())
    network = PyramidNetwork(PyramidOptions(preset="tlhn", backbone="resnet18.tv_in1k"), COMPOUND)
    module = network.build(random("resnet18.tv_in1k"), [outputs(COMPOUND), outputs(VA)])
    encoder = 4 * 512 * 512 + 4 * 512 + 2 * (512 * 512 + 512) + 4 * 512
    assert backbone == 11_176_512 and network.dim == 512
    assert sum(p.numel() for p in module.parameters()) == backbone + encoder + 513 * 256 + 257 * 9
    assert [len(block) for block in network.blocks(module)] == [3, 6, 6, 9, 6, 9, 6, 9, 6, 16]
    assert network.architecture["size"] == [224, 224]
    assert network.architecture["mean"] == [0.485, 0.456, 0.406]
    assert module.dropout.p == 0.5


def test_the_preset_is_the_papers_training() -> None:
    options = PyramidOptions(preset="tlhn", epochs=3)
    assert (options.optimiser, options.learning_rate, options.weight_decay) == ("sgd", 5e-4, 1e-5)
    assert (options.schedule, options.step_epochs, options.step_factor) == ("step", 5, 0.9)
    assert (options.batch_size, options.epochs, options.clip_norm) == (90, 3, 0)
    assert options.scales == (2, 4, "clip") and options.steps == 15


@pytest.mark.parametrize("task", [COMPOUND, VA], ids=["clip", "time"])
def test_scores_are_those_of_timm_and_torch(task: tasks.Task) -> None:
    from torch.nn.functional import interpolate

    _, module = built("pyramid", task)
    network, scales = module.encoder.network, module.scales
    given = images(2)
    with torch.inference_mode():
        pixels = interpolate(given.flatten(0, 1).float(), (32, 32), mode="bilinear", antialias=True) / 255
        features = network((pixels - 0.5) / 0.5).view(2, 3, 3, 96)
        expected = torch.zeros(2, task.outputs)
        layer = scales.encoder.blocks[1]
        for scale in range(3):
            states = layer(features[:, scale], torch.ones(2, 3, dtype=torch.bool))
            pooled = states[:, 1] if task.level == "time" and scale < 2 else states.mean(dim=1)
            joint = torch.relu(pooled @ scales.joint[0].weight.T + scales.joint[0].bias)
            expected += joint @ scales.outputs[0].weight.T + scales.outputs[0].bias
        found = module(given)
    assert found.shape == (2, 1, task.outputs)
    torch.testing.assert_close(found[:, 0], expected.tanh() if task is VA else expected, atol=1e-5, rtol=1e-5)


def test_equal_crops_are_looked_at_once_and_neighbours_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = built("pyramid", COMPOUND)
    seen = []
    forward = module.encoder.forward
    monkeypatch.setattr(module.encoder, "forward", lambda crops: seen.append(len(crops)) or forward(crops))
    given = images(8)
    given[:, 3:6] = given[:, :3]  # two scales show the same
    given[4] = given[2]
    with torch.inference_mode():
        found = module(given)
        assert seen == [32, 32]  # 7 units of 6 different crops are 42
        other = images(8, seed=1)
        other[7] = given[2]
        assert torch.equal(module(other)[7], found[2]) and torch.equal(found[4], found[2])
        for unit in range(3):
            plain = module.encoder(given[unit])
            torch.testing.assert_close(module.features(given[unit : unit + 1])[0], plain, atol=1e-5, rtol=1e-5)


def test_an_embedding_is_that_of_the_backbone() -> None:
    network, module = built("pyramid", COMPOUND)
    given = images(4, 1)
    with torch.inference_mode():
        assert torch.equal(network.embed(module, given), module.features(given)[:, 0])
        nine = images(2)
        torch.testing.assert_close(network.embed(module, nine), module.features(nine).mean(dim=1))


def test_checkpointing_changes_nothing_but_memory() -> None:
    found = []
    for option in ("false", "true"):
        _, module = built("pyramid", COMPOUND, f"checkpointing={option}")
        module.train()
        torch.manual_seed(0)
        for seed in range(2):
            module(images(3, seed=seed)).square().sum().backward()
        found.append((
            {name: p.grad for name, p in module.named_parameters()},
            {name: b for name, b in module.named_buffers() if "num_batches" not in name},
        ))  # fmt: skip
    for plain, checkpointed in zip(*found, strict=True):
        assert plain.keys() == checkpointed.keys()
        for name, value in plain.items():
            torch.testing.assert_close(value, checkpointed[name], msg=name)


def test_columns_of_tasks_learnt_along_come_last() -> None:
    network, _ = built("pyramid", COMPOUND)
    module = network.build(random("test_resnet"), [outputs(COMPOUND), outputs(VA)]).eval()
    found = module(images(2))
    assert found.shape == (2, 1, 9) and found[..., 7:].abs().max() < 1 and module.scales.outputs[0].out_features == 9


# ---- which crops


@pytest.fixture
def crops(cache: Cache) -> Artifact:
    """Clips of 9, 30, 0 and 2 rows; some rows have no face, one clip none at all."""
    faces = pictures(30, SIDE)
    gaps: list[Any] = list(faces)
    gaps[0] = gaps[10] = gaps[11] = None
    clips = {"a": faces[:9], "b": gaps, "c": [], "d": [faces[0], faces[1]], "e": [None, None]}
    return make_crops(cache, clips, SIDE)


def rows_of(network: PyramidNetwork, crops: Artifact, clips: list[str], **options: Any) -> tuple[Any, np.ndarray]:
    """Units, and which row each crop is of: pictures are told by their mean."""
    units = network.units(crops, clips, options.get("labels"), "midpoint", options.get("training", False))
    return units, units.load(np.arange(len(units)), None).numpy()


@pytest.mark.parametrize("task", [COMPOUND, VA], ids=["clip", "time"])
def test_units_are_the_windows_of_the_head(task: tasks.Task, crops: Artifact) -> None:
    options = PyramidOptions(backbone="test_resnet", steps=3, strides="1,2,clip")
    units, loaded = rows_of(PyramidNetwork(options, task), crops, ["b", "a", "c", "e", "d"])
    known = pictures(30, SIDE)
    hold = [1, *range(1, 10), 9, 9, *range(12, 30)]
    plain = head.Pyramid(head.Options(steps=3, strides="1,2,clip"), task)
    expected, about = [], []
    first = {"b": 0, "a": 30, "d": 41} if task is VA else {"b": 0, "a": 1, "d": 4}
    for clip, count in (("b", 30), ("a", 9), ("d", 2)):
        windows = plain.windows(np.array([0, count]), WindowPlan(None if task is COMPOUND else 20, 1))
        expected += [[known[hold[row] if clip == "b" else row] for row in unit] for unit in windows.rows.reshape(-1, 9)]
        about += [first[clip] + (place if task is VA else 0) for place in windows.target]
    assert units.targets.ravel().tolist() == about
    assert np.array_equal(loaded, np.array(expected).transpose(0, 1, 4, 2, 3))
    assert units.offsets.tolist() == ([0, 30, 39, 39, 41, 43] if task is VA else [0, 1, 2, 3, 4, 5])


def test_a_clip_has_the_same_units_beside_any_others(crops: Artifact) -> None:
    for task in (COMPOUND, VA):
        network = PyramidNetwork(PyramidOptions(backbone="test_resnet", steps=3, strides="1,2,clip", window=2.0), task)
        alone, shown = rows_of(network, crops, ["b"])
        beside, more = rows_of(network, crops, ["b", "a", "d"])
        assert np.array_equal(more[: len(alone)], shown)
        assert np.array_equal(beside.targets[: len(alone)], alone.targets)


def test_training_takes_a_labelled_row_of_every_stretch(crops: Artifact) -> None:
    network = PyramidNetwork(PyramidOptions(backbone="test_resnet", steps=3, stride=1.0, window=4.0), VA)
    values = np.zeros((30, 2))
    values[:7] = np.nan
    start = np.arange(30) / 5
    labels = {"b": ClipLabels(start, start + 0.2, values)}
    units = network.units(crops, ["b"], labels, "midpoint", True)
    assert units.targets.ravel().tolist() == [7, 10, 15, 20, 25]
    assert len(network.units(crops, ["b"], labels, "midpoint", False)) == 30


# ---- learning


def test_the_order_of_colours_is_learnt(cache: Cache, tmp_path: Path) -> None:
    """Each clip shows the same colours; only which comes first differs."""
    rng = np.random.default_rng(0)
    clips, lines = {}, ["clip,label,split"]
    for clip in range(20):
        red, blue = np.array([210, 60, 60]), np.array([60, 60, 210])
        pair = [red, blue] if clip % 2 else [blue, red]
        colours = np.repeat(pair, 6, axis=0)[:, None, None] + rng.normal(0, 15, (12, SIDE, SIDE, 3))
        clips[f"c{clip}"] = list(np.clip(colours, 0, 255).astype(np.uint8))
        lines.append(f"c{clip},{('falling', 'rising')[clip % 2]},{'val' if clip >= 14 else 'train'}")
    (tmp_path / "order.csv").write_text("\n".join(lines) + "\n")
    task = 'name = "order"\nkind = "multiclass"\nlevel = "clip"\ntargets = ["falling", "rising"]\nmetric = "uar"\n'
    (tmp_path / "order.toml").write_text(task)
    options = [
        "backbone=test_resnet",
        "input_size=32",
        "steps=4",
        "strides=2,clip",
        "joint=32",
        "dropout=0.1",
        "epochs=10",
        "batch_size=5",
        "warmup_steps=2",
        "learning_rate=0.003",
        "augment=0",
        "patience=4",
    ]
    done = finetune(
        cache, make_crops(cache, clips, SIDE), tmp_path / "order.csv",
        FinetuneConfig(task=str(tmp_path / "order.toml"), network="pyramid", option=options, weights="random"),
        Runtime(workers=1, progress=False), device="cpu",
    )  # fmt: skip
    assert done.report["val_score"]["mean"] > 0.95
