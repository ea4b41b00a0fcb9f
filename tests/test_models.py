"""Every published model under one contract, with random weights or small stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from published_models import THE_CODE_OF_ANOTHER, stand_ins

from affectkit import plugins
from affectkit.plugins import contracts
from affectkit.plugins.contracts import checking
from affectkit.plugins.contracts import models as of_models

CASES = [
    pytest.param(name, obligation, id=f"{name}-{contracts.sentence(obligation)}")
    for name in plugins.names("models")
    if name not in THE_CODE_OF_ANOTHER
    for obligation in (
        *checking.WEIGHTS,
        *(of_models.IMAGE if plugins.get("models", name).kind == "image" else of_models.AUDIO),
    )
]
Candidates = Callable[[str], contracts.Candidate]


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    """Models by their names, each built once: its stand-in, else with random weights."""
    files = stand_ins(tmp_path_factory.mktemp("models"))

    @cache
    def candidate(name: str) -> contracts.Candidate:
        plugin = plugins.get("models", name)
        options, choice = files.get(name, ([], "random"))
        return contracts.Candidate("models", name, plugin, plugins.parse_options(plugin, options, name), choice)

    return candidate


@pytest.mark.parametrize(("name", "obligation"), CASES)
def test_contract(candidates: Candidates, name: str, obligation: contracts.Obligation) -> None:
    obligation(candidates(name))


@pytest.mark.parametrize("name", sorted(THE_CODE_OF_ANOTHER))
def test_a_model_that_shares_its_code(candidates: Candidates, name: str) -> None:
    of_models.has_a_card(candidates(name))
    of_models.scores_what_its_card_says(candidates(name))
    of_models.gives_probabilities(candidates(name))


def test_every_model_is_found_and_is_a_backbone_too() -> None:
    assert {"mini-xception", "hf-image", "hf-audio", "pdem", "wavlm-msp-vad", "vit-face-expression"} | (
        THE_CODE_OF_ANOTHER
    ) <= set(plugins.names("models"))
    for name in plugins.names("models"):
        assert plugins.backbone(name)[1] is plugins.get("models", name) is plugins.get("backbones", name)
        assert plugins.is_model(plugins.get("models", name))


MODEL = '''
"""Brightness as a probability."""
from __future__ import annotations

import numpy as np

from affectkit.config import Config
from affectkit.plugins import ModelCard
from affectkit.tasks import Task
from affectkit.types import Contract
from affectkit.weights import WeightsFile

TASK = Task(name="light", kind="multiclass", level="time", targets=("dark", "bright"), metric="war")


class Light:
    """How bright a crop is."""

    version, kind, Options, dim = 1, "image", Config, 0

    @classmethod
    def weights(cls, options, choice):
        if choice not in ("auto", "random"):
            from affectkit.errors import UsageError
            raise UsageError("it has no weights: leave out --weights")
        return WeightsFile("light", None, "none", "MIT", "no weights")

    @classmethod
    def card(cls, options, weights):
        licences = {"code": "MIT", "weights": "MIT", "data": "none"}
        return ModelCard("light", "How bright a crop is", (TASK,), Contract("0", "square", 8), licences, "nothing")

    def __init__(self, options, weights, numerics):
        self.state = 0.0

    def __call__(self, batch):
        raise RuntimeError("no embedding")

    def scores(self, batch):
        pixels = np.asarray(batch)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError("needed are uint8 [N,3,H,W]")
        bright = (pixels.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
        return np.stack([1 - bright, bright], 1)


PLUGIN = Light
'''


def broken(folder: Any, code: str) -> dict[str, str]:
    """What a model in a file breaks: obligation to cause."""
    from affectkit.stages.check_plugin import check_plugin

    (folder / "light.py").write_text(code)
    return {one.obligation: one.broken for one in check_plugin(str(folder / "light.py")).verdicts if one.broken}


def test_a_model_without_an_embedding_keeps_the_contract(tmp_path: Any) -> None:
    assert broken(tmp_path, MODEL) == {}


@pytest.mark.parametrize(
    ("old", "new", "obligation", "cause"),
    [
        ('"data": "none"', '"more": ""', "Its card says all", "licence of data"),
        ('"How bright a crop is", (TASK', '"", (TASK', "Its card says all", "does not say: summary"),
        ('Contract("0", "square", 8)', '"none"', "Its card says all", "its contract is 'none'"),
        ("        licences =", "        import torch\n        licences =", "Its card is read without", "loads torch"),
        ('("dark", "bright")', '("dark", "bright", "red")', "It gives a finite float32 row", "columns make [8, 3]"),
        ("astype(np.float32)", "astype(float)", "It gives a finite float32 row", "float64, not float32"),
        ("[1 - bright, bright]", "[0 * bright, bright]", "Scores of classes are", "add up to 1 but for"),
        ("[1 - bright, bright]", "[1 - 3 * bright, 3 * bright]", "Scores of classes are", "outside 0..1"),
        ("pixels.mean(axis=(1, 2, 3))", "np.roll(pixels.mean(axis=(1, 2, 3)), 1)", "A batch of 0, 3, 8", "differ"),
        ("pixels.mean(axis=(1, 2, 3))", "np.sort(pixels.mean(axis=(1, 2, 3)))", "Neither the other inputs", "differ"),
        ("        bright = (", "        self.state += 9\n        pixels = pixels % self.state\n        bright = (",
         "The same inputs", "values differ"),
        ("pixels.dtype != np.uint8 or", "", "Inputs are left", "was accepted; needed is a ValueError"),
    ],
)  # fmt: skip
def test_what_a_model_breaks(tmp_path: Any, old: str, new: str, obligation: str, cause: str) -> None:
    assert old in MODEL
    found = broken(tmp_path, MODEL.replace(old, new))
    assert any(name.startswith(obligation) and cause in why for name, why in found.items()), found


def test_columns_of_several_tasks_follow_one_another() -> None:
    """Of a card with two tasks the second one's probabilities are looked at in its own columns."""
    from affectkit.tasks import Task

    first = Task(name="a", kind="regression", level="time", targets=("x",), metric="ccc")
    second = Task(name="b", kind="multiclass", level="time", targets=("y", "z"), metric="war")
    card = plugins.ModelCard("m", "m", (first, second), None, {}, "")
    assert card.columns == ("x", "y", "z")
    places = [(task.name, np.arange(3)[columns].tolist()) for task, columns in of_models._tasks(card)]
    assert places == [("a", [0]), ("b", [1, 2])]
