"""Classifiers of the hub against transformers' own pipeline, and what is done with files that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_models
import numpy as np
import pytest
import speech_models
from conftest import Command
from hub_models import CLASSES, PROCESSORS, SEEING
from PIL import Image
from stage_factory import crop_folder, portrait

from affectkit import plugins, weights
from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.learning import hub_files
from affectkit.store import open_artifact

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DRAW = np.random.default_rng(0)
PICTURES = {
    "as large": DRAW.integers(0, 256, (3, 3, 32, 32), np.uint8),
    "small": DRAW.integers(0, 256, (3, 3, 24, 24), np.uint8),
    "large": np.kron(DRAW.integers(0, 256, (3, 3, 9, 9)), np.ones((7, 7))).astype(np.uint8),
    "oblong": np.kron(DRAW.integers(0, 256, (3, 3, 9, 13)), np.ones((7, 7))).astype(np.uint8),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders of tiny classifiers, made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            path = tmp_path_factory.mktemp("hub") / kind
            made[kind] = (hub_models.save_seeing if kind in SEEING else hub_models.save_hearing)(kind, path)
        return made[kind]

    return folder


def build(name: str, folder: Path, *options: str, choice: str = "auto") -> Any:
    _, plugin, parsed = plugins.backbone(name, [f"model={folder}", *options])
    return plugin(parsed, plugin.weights(parsed, choice), Numerics(device="cpu", batch_size=8))


def card_of(name: str, folder: Path, *options: str) -> Any:
    _, plugin, parsed = plugins.backbone(name, [f"model={folder}", *options])
    return plugin.card(parsed, plugin.weights(parsed, "auto"))


def as_pil(batch: Any) -> list[Image.Image]:
    return [Image.fromarray(image.transpose(1, 2, 0)) for image in batch]


class TestSeeing:
    @pytest.mark.parametrize("kind", PROCESSORS)
    def test_pixels_are_those_of_the_processor_but_for_rounding(self, tmp_path: Path, kind: str) -> None:
        """Processors round to whole grey levels: within 1.2 of 255, also on noise."""
        from affectkit.nets.hub_images import HubPreprocessing

        (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[kind]))
        ours = HubPreprocessing(hub_files.seeing(tmp_path / "preprocessor_config.json"))
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
        level = (
            255 * min(PROCESSORS[kind].get("image_std", [1])) / (1 if PROCESSORS[kind].get("do_rescale", True) else 255)
        )
        for shape, batch in PICTURES.items():
            pixels = ours.normalise(ours.resize(torch.from_numpy(batch).float()).clone())
            theirs = processor(as_pil(batch), return_tensors="pt")["pixel_values"]
            assert pixels.shape == theirs.shape, shape
            assert (pixels - theirs).abs().max().item() * level <= 1.2, shape

    @pytest.mark.parametrize("kind", SEEING)
    def test_scores_are_those_of_transformers(self, folders: Callable[..., Path], kind: str) -> None:
        from affectkit.nets.hub_images import HubPreprocessing

        folder, batch = folders(kind), PICTURES["large"]
        model = build("hf-image", folder)
        ours = HubPreprocessing(hub_files.seeing(folder / "preprocessor_config.json"))
        network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            pixels = ours.normalise(ours.resize(torch.from_numpy(batch).float()).clone())
            expected = network(pixel_values=pixels).logits.softmax(1).numpy()
        scores = model.scores(batch)
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        assert scores.std(axis=0).max() > 1e-4, "the network must tell these pictures apart"
        assert model.dim >= 8 and model(batch).shape == (3, model.dim)

    def test_the_whole_pipeline_on_a_picture_of_its_own_size(self, folders: Callable[..., Path]) -> None:
        folder, batch = folders("vit"), PICTURES["as large"]
        pipe = transformers.pipeline("image-classification", model=str(folder), device="cpu")
        expected = [{each["label"]: each["score"] for each in result} for result in pipe(as_pil(batch), top_k=4)]
        scores = build("hf-image", folder).scores(batch)
        np.testing.assert_allclose(scores, [[row[name] for name in CLASSES] for row in expected], atol=1e-6)
        assert card_of("hf-image", folder).columns == tuple(CLASSES)

    def test_its_embedding_is_what_its_classifier_reads(self, folders: Callable[..., Path]) -> None:
        folder, batch = folders("vit"), PICTURES["as large"]
        network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        embedding = torch.from_numpy(build("hf-image", folder)(batch))
        with torch.no_grad():
            probabilities = network.classifier(embedding).softmax(1).numpy()
        np.testing.assert_allclose(build("hf-image", folder).scores(batch), probabilities, atol=1e-6)

    def test_logits_that_no_single_layer_makes_have_no_embedding(self, tmp_path: Path) -> None:
        config = transformers.DeiTConfig(**hub_models.VIT, id2label=dict(enumerate(CLASSES)))
        network = transformers.DeiTForImageClassificationWithTeacher(config).eval()
        folder = hub_models.save(network, tmp_path / "deit", SEEING["deit"][2])
        model = build("hf-image", folder)
        assert model.dim == 0 and model(PICTURES["large"]).shape == (3, 0)
        np.testing.assert_allclose(model.scores(PICTURES["large"]).sum(axis=1), 1, atol=1e-5)

    @pytest.mark.parametrize(
        ("problem", "options", "kind"),
        [("multi_label_classification", [], "multilabel"), ("regression", [], "regression"),
         ("single_label_classification", [], "multiclass"), (None, ["problem=multi-label"], "multilabel")],
    )  # fmt: skip
    def test_what_its_outputs_are(self, tmp_path: Path, problem: str | None, options: list[str], kind: str) -> None:
        folder = hub_models.save_seeing("vit", tmp_path / "vit", problem_type=problem)
        logits = build("hf-image", folder, "problem=regression").scores(PICTURES["as large"]).astype(float)
        expected = {"multilabel": 1 / (1 + np.exp(-logits)), "regression": logits,
                    "multiclass": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)}[kind]  # fmt: skip
        scores = build("hf-image", folder, *options).scores(PICTURES["as large"])
        np.testing.assert_allclose(scores, expected, atol=1e-6)
        assert card_of("hf-image", folder, *options).outputs[0].kind == kind

    def test_one_output_must_be_said(self, tmp_path: Path) -> None:
        folder = hub_models.save_seeing("vit", tmp_path / "vit", ["pain"])
        with pytest.raises(UsageError, match="say -o problem=regression or multi-label"):
            build("hf-image", folder)
        assert card_of("hf-image", folder, "problem=regression").columns == ("pain",)

    def test_random_weights_are_seeded(self, folders: Callable[..., Path]) -> None:
        first, second = (build("hf-image", folders("vit"), choice="random") for _ in range(2))
        np.testing.assert_array_equal(first.scores(PICTURES["small"]), second.scores(PICTURES["small"]))

    def test_the_crop_is_stated_or_not_known(self, folders: Callable[..., Path]) -> None:
        card = card_of("hf-image", folders("vit"))
        assert card.contract is None and card.failures == plugins.UNSTATED_CROP
        stated = card_of("hf-image", folders("vit"), "margin=0.10", "shape=letterbox").contract
        assert (stated.margin, stated.shape, stated.size, stated.align) == ("0.1", "letterbox", 32, False)
        with pytest.raises(UsageError, match="give margin too"):
            card_of("hf-image", folders("vit"), "align=true")
        with pytest.raises(UsageError, match="fraction of the box's side"):
            card_of("hf-image", folders("vit"), "margin=wide")


class TestFilesThatDoNotFit:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"auto_map": {"AutoModel": "m.M"}}, "wants code of its repository to be run"),
            ({"model_type": None}, "names no architecture"),
            ({"model_type": "bert"}, "no image classifier of model_type 'bert'"),
            ({"model_type": "none of this name"}, "describes no none of this name network"),
            ({"id2label": {str(n): f"LABEL_{n}" for n in range(4)}}, "names its classes only LABEL_0, LABEL_1"),
            ({"id2label": None}, r"names no classes \(id2label\)"),
            ({"id2label": {"0": "a", "2": "b", "3": "c", "4": "d"}}, "must number its classes from 0 to 3"),
            ({"id2label": {"0": "a", "1": "a", "2": "b", "3": "c"}}, "classes are distinct, printable names"),
            ({"id2label": {"0": "a", "1": "b\n", "2": "b", "3": "c"}}, "classes are distinct, printable names"),
            ({"id2label": {"0": "a", "1": "b"}}, r"other tensors than this network needs: 2 of another shape"),
            ({"problem_type": "guessing"}, "problem_type is 'guessing'"),
            ({"num_hidden_layers": 3}, "other tensors than this network needs: 16 missing"),
            ({"num_hidden_layers": 1}, "other tensors than this network needs: 16 unknown"),
            ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, more than any classifier has"),
            ({"hidden_size": 1 << 15}, "describes a network of .* numbers, and the file of weights holds"),
            ({"hidden_size": "wide"}, "describes no vit network"),
        ],
    )  # fmt: skip
    def test_a_config_that_is_refused(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        folder = hub_models.save_seeing("vit", tmp_path / "vit", **changes)
        with pytest.raises(UsageError, match=words) as error:
            build("hf-image", folder)
        assert "\n" not in str(error.value) and "vit" in str(error.value)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"image_processor_type": "DonutImageProcessor"}, "images are prepared by DonutImageProcessor; read here"),
            ({"image_processor_type": None}, "prepared by nothing that has a name"),
            ({"resample": 0}, "resample 0 is not read here"),
            ({"resample": None}, "resample is missing"),
            ({"do_pad": True}, "do_pad is not read here"),
            ({"do_flip_channel_order": True}, "do_flip_channel_order is not read here"),
            ({"image_mean": [0.5]}, "image_mean"),
            ({"image_std": [0, 1, 1]}, "image_mean and image_std are needed"),
            ({"size": {"longest_edge": 3}}, "size"),
            ({"size": 10**6}, "size"),
            ({"auto_map": {}}, "wants code of its repository"),
        ],
    )  # fmt: skip
    def test_a_preprocessor_that_is_refused(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        folder = hub_models.save_seeing("vit", tmp_path / "vit")
        speech_models.change_json(folder / "preprocessor_config.json", **changes)
        with pytest.raises(UsageError, match=words) as error:
            build("hf-image", folder)
        assert "\n" not in str(error.value)

    def test_a_preprocessor_is_needed(self, tmp_path: Path) -> None:
        folder = hub_models.save(hub_models.seeing("vit"), tmp_path / "vit", None)
        with pytest.raises(UsageError, match=r"preprocessor_config\.json"):
            build("hf-image", folder)

    def test_pickled_weights_are_refused(self, tmp_path: Path) -> None:
        folder = hub_models.save_seeing("vit", tmp_path / "vit")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        for name in ("hf-image", "hf-audio"):
            with pytest.raises(UsageError, match=r"only pytorch_model\.bin, which is not read"):
                build(name, folder)

    def test_which_one(self) -> None:
        for name in ("hf-image", "hf-audio"):
            _, plugin, options = plugins.backbone(name)
            with pytest.raises(UsageError, match=f"{name}: which one"):
                plugin.weights(options, "auto")

    def test_names_of_classes_that_a_config_lacks(self, tmp_path: Path) -> None:
        folder = hub_models.save_seeing("vit", tmp_path / "vit", id2label={str(n): f"LABEL_{n}" for n in range(4)})
        assert card_of("hf-image", folder, "classes=a, b,c,d").columns == ("a", "b", "c", "d")
        with pytest.raises(UsageError, match="has 4 outputs, and 2 are named"):
            build("hf-image", folder, "classes=a,b")


class TestHearing:
    WAVES = speech_models.windows(3, 0.7)

    @pytest.mark.parametrize("kind", speech_models.KINDS)
    def test_scores_are_those_of_transformers(self, folders: Callable[..., Path], kind: str) -> None:
        folder = folders(kind)
        network = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        model = build("hf-audio", folder)
        with torch.no_grad():
            expected = [
                network(**extractor(wave, sampling_rate=16_000, return_tensors="pt")).logits.softmax(1)[0].numpy()
                for wave in self.WAVES
            ]
        np.testing.assert_allclose(model.scores(self.WAVES), expected, atol=1e-5)
        embedding = torch.from_numpy(model(self.WAVES)["values"][:, 0])
        with torch.no_grad():
            np.testing.assert_allclose(network.classifier(embedding).softmax(1), expected, atol=1e-5)

    @pytest.mark.parametrize("kind", ["wav2vec2", "wavlm-stable"])
    def test_a_learnt_mean_of_all_layers(self, tmp_path: Path, kind: str) -> None:
        """The last layer is taken after the encoder's norm: transformers before 5, with which such models were made."""
        folder = hub_models.save_hearing(kind, tmp_path / kind, use_weighted_layer_sum=True)
        network = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
        encoder = getattr(network, network.base_model_prefix)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        expected = []
        for wave in self.WAVES:
            with torch.no_grad():
                result = encoder(
                    **extractor(wave, sampling_rate=16_000, return_tensors="pt"), output_hidden_states=True
                )
                states = torch.stack([*result.hidden_states[:-1], result.last_hidden_state])
                hidden = (states * network.layer_weights.softmax(0).view(-1, 1, 1, 1)).sum(0)
                expected.append(network.classifier(network.projector(hidden).mean(1)).softmax(1)[0].numpy())
        np.testing.assert_allclose(build("hf-audio", folder).scores(self.WAVES), expected, atol=1e-5)

    def test_a_head_of_other_names_is_refused(self, tmp_path: Path) -> None:
        """As of models that were published with a head that transformers would make up at random."""
        from safetensors.torch import load_file, save_file

        folder = hub_models.save_hearing("wav2vec2", tmp_path / "m")
        tensors = load_file(folder / "model.safetensors")
        tensors["classifier.dense.weight"] = tensors.pop("projector.weight")
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(UsageError, match=r"1 missing \(projector.weight\), 1 unknown \(classifier.dense.weight\)"):
            build("hf-audio", folder)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"model_type": "whisper"}, "model_type"), ({"auto_map": {}}, "auto_map"),
            ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "names its classes only LABEL_0"),
            ({"classifier_proj_size": 10**9}, "classifier_proj_size"),
            ({"classifier_proj_size": 20}, "of another shape"), ({"use_weighted_layer_sum": True}, "1 missing"),
        ],
    )  # fmt: skip
    def test_a_config_that_is_refused(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        folder = hub_models.save_hearing("wav2vec2", tmp_path / "m")
        speech_models.change_json(folder / "config.json", **changes)
        with pytest.raises(UsageError, match=words) as error:
            build("hf-audio", folder)
        assert "\n" not in str(error.value)

    def test_windows_too_short_for_a_frame_have_no_scores(self, folders: Callable[..., Path]) -> None:
        scores = build("hf-audio", folders("wav2vec2")).scores(self.WAVES[:, :100])
        assert scores.shape == (3, 4) and np.isnan(scores).all()


class TestNamed:
    @pytest.mark.parametrize("name", ["vit-face-expression", "vit-facial-expression"])
    def test_its_classes_are_those_of_its_config(self, tmp_path: Path, name: str) -> None:
        plugin = plugins.get("models", name)
        stated = plugin.card(plugin.Options(), weights.random(name))
        assert stated.contract is not None and stated.contract.margin == "0" and len(stated.columns) == 7
        folder = hub_models.save_seeing("vit", tmp_path / "vit", list(reversed(stated.columns)))
        options = plugin.Options()
        assert plugin.card(options, plugin.weights(options, str(folder))).columns == tuple(reversed(stated.columns))


def test_a_model_is_listed_with_its_card_before_its_files_are_here(affectkit: Command) -> None:
    for name, words in (
        ("mini-xception", "mini-xception has no options"), ("vit-face-expression", "accuracy .7116"),
        ("emotieffnet-b2-8", "260 pixels"), ("pdem", "CC-BY-NC-SA-4.0"),
    ):  # fmt: skip
        done = affectkit("list", "models", name)
        card = plugins.stated_card(name)
        assert done.returncode == 0 and words in done.stdout and card.columns[0] in done.stdout, done.stderr
        assert "trained on" in done.stdout and not done.stderr
    done = affectkit("list", "models", "hf-audio")
    assert done.returncode == 0 and "a hub repository" in done.stdout and "trained on" not in done.stdout
    assert done.stderr == "no card: hf-audio: what it is the files of -o model=USER/REPO (or a folder) say\n"


def test_scores_as_features_and_a_note_where_nobody_stated_the_crop(affectkit: Command, tmp_path: Path) -> None:
    hub_models.save_seeing("vit", tmp_path / "vit")
    crop_folder(tmp_path / "crops" / "a", [portrait()[row : row + 32, :32] for row in (0, 16)])
    faces = affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32").stdout.strip()
    line = ["embed", faces, "--backbone", "hf-image", "-o", "model=vit", "--output", "scores", "--device", "cpu"]
    done = affectkit(*line)
    assert done.returncode == 0, done.stderr
    assert "nobody has stated the crop of a face" in done.stderr
    artifact = open_artifact(tmp_path / done.stdout.strip())
    np.testing.assert_allclose(artifact.column("a", "values").sum(axis=1), 1, atol=1e-5)
    json.dumps(artifact.stage.provenance["card"])
