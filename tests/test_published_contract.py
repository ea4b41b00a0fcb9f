"""What every published model keeps, whoever wrote it: a backbone's contract, a card, and scores that fit it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hub_models
import numpy as np
import onnx_factory
import pytest
import speech_models

from affectkit import plugins
from affectkit.errors import AffectkitError
from affectkit.plugins import contracts
from affectkit.plugins.contracts import backbones as of_backbones
from affectkit.plugins.contracts.checking import WEIGHTS

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODELS = [*plugins.names("models"), "FILE.onnx"]
KINDS = {name: plugins.get("models", name).kind for name in MODELS[:-1]} | {"FILE.onnx": "image"}
Given = tuple[list[str], str]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Given]:
    """Options and weights of small stand-ins for models that are large, or not at hand."""
    folder = tmp_path_factory.mktemp("models")
    classes = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    seeing = str(hub_models.save_seeing("vit", folder / "seeing", classes))
    return {
        "hf-image": ([f"model={seeing}"], "auto"),
        "vit-face-expression": ([], seeing),
        "vit-facial-expression": ([], seeing),
        "hf-audio": ([f"model={hub_models.save_hearing('wav2vec2-stable', folder / 'hearing')}"], "auto"),
        "pdem": ([], str(speech_models.save_pdem(folder / "pdem"))),
        "wavlm-msp-vad": ([], str(hub_models.save_attributes(folder / "attributes"))),
        **{name: ([], str(hub_models.save_emotieffnet(folder, name))) for name in MODELS if "emotieffnet" in name},
    }


@pytest.fixture(scope="module", params=MODELS)
def candidate(
    request: pytest.FixtureRequest, stand_ins: dict[str, Given], tmp_path_factory: pytest.TempPathFactory
) -> contracts.Candidate:
    """Each model; one that wants what is not here is skipped."""
    name = request.param
    options, choice = stand_ins.get(name, ([], "random"))
    if name == "FILE.onnx":
        name, choice = str(onnx_factory.save(tmp_path_factory.mktemp("lab"), onnx_factory.Pooled(5).file())), "auto"
    _, plugin, parsed = plugins.backbone(name, options)
    samples = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8) if plugin.kind == "image" else None
    model = contracts.Candidate("backbones", name, plugin, parsed, choice, samples=samples)
    try:
        model.make()
    except AffectkitError as error:
        if request.param in stand_ins:
            raise
        pytest.skip(str(error))
    return model


@pytest.mark.parametrize("obligation", [*WEIGHTS, *of_backbones.IMAGE, *of_backbones.AUDIO], ids=contracts.sentence)
def test_it_is_a_backbone(candidate: contracts.Candidate, obligation: contracts.Obligation) -> None:
    sees = candidate.plugin.kind == "image"
    if candidate.name.startswith(("emotieffnet-b0-8", "emotieffnet-b2", "emotieffnet-mob", "vit-facial")):
        pytest.skip("the code of another that is tried")
    if obligation in (of_backbones.AUDIO if sees else of_backbones.IMAGE):
        pytest.skip("of the other kind")
    if not (candidate.instance.dim if sees else candidate.instance.outputs):
        pytest.skip("it has no embedding")
    obligation(candidate)


def batch_of(candidate: contracts.Candidate, count: int = 8) -> Any:
    if candidate.plugin.kind == "image":
        return of_backbones.images(candidate)[:count]
    return of_backbones.windows(candidate, count)


def test_its_card_says_what_it_is(candidate: contracts.Candidate) -> None:
    card = candidate.plugin.card(candidate.options, candidate.weights)
    assert card.name and card.summary and card.trained_on and card.intended and plugins.CAUTION in card.intended
    assert card.licences.keys() == {"code", "weights", "data"} and all(card.licences.values())
    assert len(set(card.columns)) == len(card.columns) >= 1
    if card.contract is not None:
        assert candidate.plugin.kind == "image" and 8 <= card.contract.size <= 2048
    elif candidate.plugin.kind == "image":
        assert card.failures == plugins.UNSTATED_CROP
    json.dumps(card.about())


def test_its_scores_fit_its_card(candidate: contracts.Candidate) -> None:
    card = candidate.plugin.card(candidate.options, candidate.weights)
    scores = candidate.instance.scores(batch_of(candidate))
    assert scores.shape == (8, len(card.columns)) and scores.dtype == np.float32 and np.isfinite(scores).all()
    first = 0
    for task in card.outputs:
        part = scores[:, first : first + len(task.targets)]
        first += len(task.targets)
        if task.kind != "regression":
            assert part.min() >= 0 and part.max() <= 1
        if task.kind == "multiclass":
            np.testing.assert_allclose(part.sum(axis=1), 1, atol=1e-5)


def test_a_score_does_not_depend_on_its_neighbours(candidate: contracts.Candidate) -> None:
    batch = batch_of(candidate)
    first = candidate.instance.scores(batch)
    np.testing.assert_array_equal(candidate.instance.scores(batch), first)
    np.testing.assert_array_equal(candidate.instance.scores(batch[::-1])[::-1], first)
    others = batch.copy()
    others[:5] = batch[3:]
    np.testing.assert_array_equal(candidate.instance.scores(others)[0], first[3])
    np.testing.assert_array_equal(replace(candidate, kept={}).make().scores(batch), first)


def test_any_number_is_scored(candidate: contracts.Candidate) -> None:
    batch = batch_of(candidate)
    columns = len(candidate.plugin.card(candidate.options, candidate.weights).columns)
    assert candidate.instance.scores(batch[:0]).shape == (0, columns)
    np.testing.assert_allclose(candidate.instance.scores(batch[:3]), candidate.instance.scores(batch)[:3], atol=1e-5)


def test_what_is_no_batch_is_refused(candidate: contracts.Candidate) -> None:
    for wrong in (batch_of(candidate)[0], batch_of(candidate).astype(np.float64)):
        with pytest.raises(ValueError, match=r"are (uint8|float32) \[N,"):
            candidate.instance.scores(wrong)


ASK = """
import sys
from affectkit import plugins
name, choice, *options = sys.argv[1:]
_, plugin, parsed = plugins.backbone(name, options)
weights = plugin.weights(parsed, choice)
print(plugin.card(parsed, weights).columns)
heavy = {"torch", "timm", "transformers", "onnxruntime", "librosa"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("name", ["hf-image", "hf-audio", "vit-face-expression", "wavlm-msp-vad", "emotieffnet-b2-8"])
def test_a_card_is_read_without_anything_heavy(name: str, stand_ins: dict[str, Given], tmp_path: Path) -> None:
    options, choice = stand_ins[name]
    ran = subprocess.run(
        [sys.executable, "-c", ASK, name, choice, *options], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_the_registry_has_those_that_affectkit_ships() -> None:
    assert {"hf-image", "hf-audio", "pdem", "wavlm-msp-vad", "vit-face-expression", "vit-facial-expression",
            "emotieffnet-b0-va-mtl", "emotieffnet-b0-8-best-vgaf", "emotieffnet-b0-8-best-afew", "emotieffnet-b2-8",
            "emotieffnet-mbf-va-mtl", "emotieffnet-mobilevit-va-mtl"} <= set(KINDS)  # fmt: skip
    for name in MODELS[:-1]:
        assert plugins.get("backbones", name) is plugins.get("models", name)
