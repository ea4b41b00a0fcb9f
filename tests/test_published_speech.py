"""Arousal, dominance and valence of speech: PDEM's own values, and the baseline of the Odyssey 2024 challenge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hub_models
import numpy as np
import pytest
import speech_models
from test_embed_sound import run, waveforms

from affectkit import plugins
from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.store import Cache

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

WAVES = speech_models.windows(3, 0.7)


def build(name: str, choice: str) -> Any:
    plugin = plugins.get("models", name)
    options = plugin.Options()
    return plugin(options, plugin.weights(options, choice), Numerics(device="cpu", batch_size=8))


def reference(folder: Path, wave: Any) -> tuple[Any, Any]:
    """What the last layer reads and the three values, of one window, with numpy but for WavLM itself."""
    config, tensors = hub_models.attributes_network()
    wavlm = speech_models.model("wavlm-stable", conv_bias=False, max_bucket_distance=800)
    with torch.no_grad():
        normalised = (torch.from_numpy(wave) - config["mean"]) / (config["std"] + 1e-6)
        mask = torch.ones(1, len(wave), dtype=torch.long)
        states = wavlm(normalised[None].float(), attention_mask=mask).last_hidden_state[0].double().numpy()
    w = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    products = np.tanh(states @ w["pool_model.sap_linear.weight"].T + w["pool_model.sap_linear.bias"])
    logits = (products @ w["pool_model.attention"])[:, 0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    mean = shares @ states
    deviation = np.sqrt(np.maximum(shares @ states**2 - mean**2, 1e-5))
    hidden = np.concatenate([mean, deviation]) @ w["ser_model.fc.0.0.weight"].T + w["ser_model.fc.0.0.bias"]
    hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5)
    hidden = np.maximum(hidden * w["ser_model.fc.0.1.weight"] + w["ser_model.fc.0.1.bias"], 0)
    return hidden, hidden @ w["ser_model.out.0.weight"].T + w["ser_model.out.0.bias"]


class TestWavLM:
    def test_against_the_same_network_written_apart(self, tmp_path: Path) -> None:
        model = build("wavlm-msp-vad", str(hub_models.save_attributes(tmp_path / "m")))
        results = model(WAVES)
        for row, wave in enumerate(WAVES):
            hidden, values = reference(tmp_path / "m", wave)
            np.testing.assert_allclose(model.scores(WAVES)[row], values, atol=1e-4)
            np.testing.assert_allclose(results["values"][row, 0], hidden, atol=1e-4)
        np.testing.assert_array_equal(results["attributes"][:, 0], model.scores(WAVES))
        assert model.names["attributes"] == ["arousal", "dominance", "valence"]
        assert np.isnan(model.scores(WAVES[:, :100])).all()

    def test_its_own_code_is_named_and_not_run(self, tmp_path: Path) -> None:
        folder = hub_models.save_attributes(tmp_path / "m")
        assert "auto_map" in json.loads((folder / "config.json").read_text())
        (folder / "pipeline_utils.py").write_text("raise SystemExit('run')")
        build("wavlm-msp-vad", str(folder))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"id2label": {"0": "valence", "1": "dominance", "2": "arousal"}}, "values are valence, dominance, aro"),
            ({"id2label": {"0": "Angry"}}, "its values are angry"),
            ({"ssl_type": "facebook/hubert-large-ll60k"}, "needed is WavLM at 16000 Hz"),
            ({"sampling_rate": 8000}, "at 8000 Hz"),
            ({"std": -1}, "std"),
            ({"hidden_size": 48, "num_attention_heads": 4}, "other tensors than this network needs"),
            ({"classifier_hidden_layers": 2}, "4 missing"),
            ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ],
    )  # fmt: skip
    def test_a_config_that_is_refused(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words) as error:
            build("wavlm-msp-vad", str(hub_models.save_attributes(tmp_path / "m", **changes)))
        assert "\n" not in str(error.value)

    def test_a_config_without_what_it_needs_and_strange_tensors(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        folder = hub_models.save_attributes(tmp_path / "m")
        tensors = load_file(folder / "model.safetensors")
        save_file(tensors | {"other.weight": torch.zeros(2)}, folder / "model.safetensors")
        with pytest.raises(UsageError, match=r"1 tensors of no part of this network \(other\.weight\)"):
            build("wavlm-msp-vad", str(folder))
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({key: told[key] for key in told if key != "mean"}))
        with pytest.raises(UsageError, match="it has no mean"):
            build("wavlm-msp-vad", str(folder))
        (folder / "model.safetensors").unlink()
        (folder / "config.json").write_text(json.dumps(told))
        with pytest.raises(UsageError, match=r"has no model\.safetensors"):
            build("wavlm-msp-vad", str(folder))


class TestPdem:
    def test_its_scores_are_its_own_dimensions(self, tmp_path: Path) -> None:
        model = build("pdem", str(speech_models.save_pdem(tmp_path / "m")))
        np.testing.assert_array_equal(model.scores(WAVES), model(WAVES)["dimensions"][:, 0])
        card = plugins.get("models", "pdem").card(None, plugins.get("models", "pdem").weights(None, "random"))
        assert card.columns == ("arousal", "dominance", "valence") and "NC" in card.licences["weights"]

    def test_rows_of_scores_and_of_features_are_the_same_windows(self, cache: Cache, tmp_path: Path) -> None:
        folder = str(speech_models.save_pdem(tmp_path / "m"))
        audio = waveforms(cache, {"a": 3.0, "b": 0.01, "c": 0.0})
        config = {"backbone": "pdem", "weights": folder, "window": 1.0, "hop": 0.5}
        done, scores = run(cache, audio, **config, output="scores")
        _, features = run(cache, audio, **config)
        assert not done.failed
        for clip in ("a", "b", "c"):
            np.testing.assert_array_equal(scores.column(clip, "start"), features.column(clip, "start"))
            np.testing.assert_array_equal(scores.column(clip, "values"), features.column(clip, "dimensions"))
        assert scores.column("a", "values").shape == (6, 3) and len(scores.column("b", "start")) == 0
