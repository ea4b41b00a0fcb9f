"""Saved networks: the same bits again, and nothing else than what was saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tuned_networks import built, outputs, saved

from affectkit import tasks
from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.learning import saved as saved_module
from affectkit.weights import random

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

VA, COMPOUND = tasks.get("va"), tasks.get("compound")
NAMES = ["static", "pyramid", "speech"]


def batch(name: str, network: Any) -> Any:
    rng = np.random.default_rng(0)
    if name == "speech":
        waves = torch.tensor(rng.standard_normal((3, 16_000)) * 0.1, dtype=torch.float32)
        waves[1, 9000:] = torch.nan
        return waves
    images = 9 if name == "pyramid" else 1
    return torch.tensor(rng.integers(0, 256, (3, images, 3, 24, 24), np.uint8))


@pytest.mark.parametrize("task", [VA, COMPOUND], ids=["va", "compound"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_comes_back_with_the_same_bits(name: str, task: tasks.Task, tmp_path: Path) -> None:
    network, module = saved(tmp_path, name, task)
    opened = saved_module.open_network(tmp_path)
    given = batch(name, network)
    with torch.inference_mode():
        assert torch.equal(opened.module(given), module(given))
        embedded = opened.network.embed(opened.module, given)
        assert torch.equal(embedded, network.embed(module, given))
    assert embedded.shape == (3, network.dim) and opened.network.dim == network.dim
    assert (opened.header.task, opened.header.kind, opened.header.network) == (task, network.kind, name)
    assert opened.network.options == network.options and not opened.module.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.json", "network.safetensors"]


def test_saving_an_opened_network_gives_the_same_files(tmp_path: Path) -> None:
    for name in NAMES:
        first, second = tmp_path / name, tmp_path / f"{name}-2"
        saved(first, name, VA)
        second.mkdir()
        opened = saved_module.open_network(first)
        start = replace(random(opened.header.weights.name), licence="none")
        saved_module.save(second, name, opened.network, opened.module, VA, start, opened.header.outputs)
        for file in ("network.json", "network.safetensors"):
            assert (first / file).read_bytes() == (second / file).read_bytes()
        assert saved_module.weights_of(first).sha256 == saved_module.weights_of(second).sha256


def test_buffers_that_are_computed_are_there(tmp_path: Path) -> None:
    options = ["backbone=eva02_tiny_patch14_224", "input_size=28"]
    network, module = saved(tmp_path, "static", VA, *options)
    given = batch("static", network)
    with torch.inference_mode():
        assert torch.equal(saved_module.open_network(tmp_path).module(given), module(given))


def test_other_tasks_and_their_columns_are_kept(tmp_path: Path) -> None:
    network, _ = built("pyramid", COMPOUND)
    both = [outputs(COMPOUND), outputs(VA)]
    module = network.build(random("test_resnet"), both)
    saved_module.save(tmp_path, "pyramid", network, module, COMPOUND, random("x"), both, [VA])
    opened = saved_module.open_network(tmp_path)
    assert opened.header.auxiliary == [VA]
    found = opened.module(batch("pyramid", network))
    assert found.shape == (3, 1, 9) and found[..., 7:].abs().max() <= 1


def test_the_licence_goes_along(tmp_path: Path) -> None:
    saved(tmp_path, "static", VA, licence="CC-BY-NC-4.0")
    file = saved_module.weights_of(tmp_path)
    assert file.licence == "CC-BY-NC-4.0"
    assert file.name == "finetuned-static" and file.path == tmp_path
    assert "test_resnet.r160_in1k (random initialisation)" in file.source
    before = file.sha256
    tensors = load_file(tmp_path / "network.safetensors")
    tensors["scores.bias"] = tensors["scores.bias"] + 1
    save_file(tensors, tmp_path / "network.safetensors")
    assert saved_module.weights_of(tmp_path).sha256 != before


# ---- files that are not what they claim


def change_header(folder: Path, **changes: Any) -> None:
    path = folder / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_option(folder: Path, **changes: Any) -> None:
    options = json.loads((folder / "network.json").read_text())["options"]
    change_header(folder, options=options | changes)


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(folder / "network.safetensors")
    change(tensors)
    save_file(tensors, folder / "network.safetensors")


def change_model(folder: Path, model: str) -> None:
    said = json.loads((folder / "network.json").read_text())["architecture"]
    change_header(folder, architecture=said | {"model": model})


def change_scores(folder: Path, bias: np.ndarray | None) -> None:
    """Another bias of the last layer, or none."""

    def change(tensors: dict[str, Any]) -> None:
        if bias is None:
            del tensors["scores.bias"]
        else:
            tensors["scores.bias"] = bias

    change_tensors(folder, change)


def truncate(folder: Path) -> None:
    path = folder / "network.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    torch.save({"scores.bias": torch.zeros(2)}, folder / "network.safetensors")


HOSTILE: dict[str, tuple[type[AffectkitError], str, Callable[[Path], Any]]] = {
    "truncated": (HostileFile, "not a safetensors file", truncate),
    "a pickle": (HostileFile, "not a safetensors file", pickled),
    "tensors missing": (HostileFile, "1 missing", lambda f: change_scores(f, None)),
    "tensors of another shape": (HostileFile, "of another shape", lambda f: change_scores(f, np.ones(3, "f4"))),
    "more tensors": (HostileFile, "1 unknown", lambda f: change_tensors(f, lambda t: t.update(more=np.ones(1, "f4")))),
    "other numbers": (HostileFile, "float64", lambda f: change_scores(f, np.ones(2))),
    "sizes beyond the file": (HostileFile, "of another shape", lambda f: change_option(f, width=16_384)),
    "a huge header": (HostileFile, "larger than", lambda f: (f / "network.json").write_bytes(b" " * (2 << 20))),
    "no JSON": (HostileFile, "is not JSON", lambda f: (f / "network.json").write_text("{")),
    "nested JSON": (HostileFile, "is not JSON", lambda f: (f / "network.json").write_text("[" * 100_000)),
    "another format": (HostileFile, "format", lambda f: change_header(f, format=2)),
    "an unknown key": (HostileFile, "no such key", lambda f: change_header(f, code="rm")),
    "a path as a name": (HostileFile, "network", lambda f: change_header(f, network="../static")),
    "outputs of other columns": (
        HostileFile, "where the tasks have", lambda f: change_header(f, outputs=[{"count": 3, "activation": "tanh"}]),
    ),
    "an unknown network": (
        UsageError, "unknown network 'statik': did you mean 'static'", lambda f: change_header(f, network="statik"),
    ),
    "another version": (UsageError, "version 99.*fine-tune it again", lambda f: change_header(f, version=99)),
    "another kind": (UsageError, "fine-tune it again", lambda f: change_header(f, kind="audio")),
    "options out of range": (UsageError, "width", lambda f: change_option(f, width=1 << 40)),
    "unknown options": (UsageError, "unknown", lambda f: change_option(f, widht=3)),
    "no architecture": (UsageError, "architecture", lambda f: change_header(f, architecture={})),
    "an unknown model": (UsageError, "unknown backbone 'test_resnett'", lambda f: change_model(f, "test_resnett")),
    "half a network": (UsageError, "network.safetensors is missing", lambda f: (f / "network.safetensors").unlink()),
    "no network": (UsageError, "give what finetune printed", lambda f: (f / "network.json").unlink()),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_files_that_are_not_what_they_claim(what: str, tmp_path: Path) -> None:
    error, message, change = HOSTILE[what]
    saved(tmp_path, "static", VA)
    change(tmp_path)
    with pytest.raises(error, match=message) as raised:
        saved_module.open_network(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_speech_architecture_is_checked_as_a_config_is(tmp_path: Path) -> None:
    saved(tmp_path, "speech", VA)
    said = json.loads((tmp_path / "network.json").read_text())["architecture"]
    for change, message in (
        ({"hidden_size": 1 << 14}, "of another shape"), ({"auto_map": {}}, "auto_map"),
        ({"model_type": "bert"}, "model_type"), ({"num_hidden_layers": 1 << 40}, "num_hidden_layers"),
    ):  # fmt: skip
        change_header(tmp_path, architecture=said | {"config": said["config"] | change})
        with pytest.raises(AffectkitError, match=message):
            saved_module.open_network(tmp_path)
