"""What every audio backbone of the registry keeps, whoever wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import speech_models

from affectkit import plugins
from affectkit.errors import AffectkitError
from affectkit.plugins import contracts
from affectkit.plugins.contracts.backbones import AUDIO
from affectkit.plugins.contracts.checking import WEIGHTS

pytest.importorskip("torch")

AUDIO_BACKBONES = [name for name in plugins.names("backbones") if plugins.get("backbones", name).kind == "audio"]
Given = tuple[list[str], str]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Given]:
    """Options and weights of small stand-ins for the plugins whose own models are large."""
    folder = tmp_path_factory.mktemp("models")
    speech = speech_models.save(speech_models.model("wav2vec2-stable"), folder / "speech", {"do_normalize": True})
    emotion = speech_models.save_pdem(folder / "emotion")
    return {
        "wav2vec2": ([f"model={speech}", "layers=all", "pool=none"], "auto"),
        "pdem": ([], str(emotion)),
        "deepspectrum": (["net=mean-pixel"], "auto"),
        "opensmile": ([], "auto"),
    }


@pytest.fixture(scope="module", params=AUDIO_BACKBONES)
def candidate(request: pytest.FixtureRequest, models: dict[str, Given]) -> contracts.Candidate:
    """Each audio backbone; a plugin that wants what is not here is skipped."""
    options, choice = models.get(request.param, ([], "random"))
    _, plugin, parsed = plugins.backbone(request.param, options)
    found = contracts.Candidate("backbones", request.param, plugin, parsed, choice)
    try:
        found.make()
    except AffectkitError as error:
        if request.param in models:
            raise
        pytest.skip(str(error))
    return found


@pytest.mark.parametrize("obligation", [*WEIGHTS, *AUDIO], ids=contracts.sentence)
def test_contract(candidate: contracts.Candidate, obligation: contracts.Obligation) -> None:
    obligation(candidate)


def test_the_registry_has_those_that_affectkit_ships() -> None:
    assert {"wav2vec2", "deepspectrum", "opensmile", "log-mel"} <= set(AUDIO_BACKBONES)


ASK_WEIGHTS = """
import sys
from affectkit import plugins
name, choice, *options = sys.argv[1:]
_, plugin, parsed = plugins.backbone(name, options)
print(plugin.weights(parsed, choice).sha256)
assert not {"torch", "timm", "transformers", "librosa"} & set(sys.modules), "heavy imports"
"""


@pytest.mark.parametrize("name", ["wav2vec2", "pdem"])
def test_asking_for_the_weights_loads_nothing_heavy(name: str, models: dict[str, Given], tmp_path: Path) -> None:
    """A cache hit needs the digest and nothing else."""
    options, choice = models[name]
    ran = subprocess.run(
        [sys.executable, "-c", ASK_WEIGHTS, name, choice, *options], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
