"""Networks in ONNX files with a TOML card: their numbers, what a card must say, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_factory as factory
import pytest
from conftest import Command
from onnx_factory import CARD, Pooled
from stage_factory import crop_folder, portrait

from affectkit import plugins
from affectkit.config import Numerics
from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.learning import onnx_files
from affectkit.learning.protobuf import message_field, number_field
from affectkit.store import open_artifact

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), np.uint8)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
HEARING = """
name = "lab-voice"
summary = "Loudness."
kind = "audio"
trained_on = "nothing"
[licences]
weights = "CC0-1.0"
[audio]
sampling_rate = 16000
normalise = false
[[tasks]]
name = "loud"
kind = "regression"
targets = ["loudness"]
activation = "none"
"""


def build(path: Path, **numerics: Any) -> Any:
    _, plugin, options = plugins.backbone(str(path))
    return plugin(options, plugin.weights(options, "auto"), Numerics(**{"device": "cpu", "batch_size": 8} | numerics))


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def changed(old: str, new: str, card: str = CARD) -> str:
    assert old in card
    return card.replace(old, new)


class TestNumbers:
    def test_scores_and_embedding(self, tmp_path: Path) -> None:
        network = Pooled(5)
        model = build(factory.save(tmp_path, network.file()))
        means = ((IMAGES / 255 - MEAN[:, None, None]) / STD[:, None, None]).mean(axis=(2, 3))
        logits = network.output(means)
        np.testing.assert_allclose(model.scores(IMAGES)[:, :3], softmax(logits[:, :3]), atol=1e-5)
        np.testing.assert_allclose(model.scores(IMAGES)[:, 3:], logits[:, 3:], atol=1e-4)
        np.testing.assert_allclose(model(IMAGES), network.features(means), atol=1e-4)
        assert model.dim == 5

    def test_nhwc_bgr_scale_and_offset(self, tmp_path: Path) -> None:
        network = Pooled(5)
        card = changed('mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n',
                       'layout = "NHWC"\ncolour = "bgr"\nscale = 0.007843137254901961\noffset = -1\n')  # fmt: skip
        model = build(factory.save(tmp_path, network.file((1, 16, 16, 3)), card))
        means = (IMAGES / 127.5 - 1).mean(axis=(2, 3))[:, ::-1]
        np.testing.assert_allclose(model.scores(IMAGES)[:, 3:], network.output(means)[:, 3:], atol=1e-4)

    def test_grey_and_resized(self, tmp_path: Path) -> None:
        network = Pooled(5, channels=1)
        card = changed('mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n',
                       'colour = "grey"\nmean = [0.5]\nstd = [0.25]\n')  # fmt: skip
        model = build(factory.save(tmp_path, network.file(("batch", 1, 16, 16)), card))
        even = np.repeat(IMAGES[:, :, :1, :1], 40, axis=2).repeat(30, axis=3)  # one colour, whatever its size
        means = ((even / 255).mean(axis=(2, 3)) @ [0.299, 0.587, 0.114] - 0.5)[:, None] / 0.25
        np.testing.assert_allclose(model.scores(even)[:, 3:], network.output(means)[:, 3:], atol=1e-4)
        card = plugins.backbone(str(tmp_path / "lab.onnx"))[1].description.card()
        assert card.contract is not None and card.contract.colour == "grey"

    def test_a_size_that_is_not_the_files_is_refused(self, tmp_path: Path) -> None:
        other = changed("size = 16\n", "size = 17\n")
        path = factory.save(tmp_path, Pooled(5).file((1, 3, 16, 16)), other)
        with pytest.raises(
            UsageError, match=r"lab\.onnx: image\.size: the network wants 16 pixels, the card says 17 pi"
        ):
            build(path)
        factory.save(tmp_path, Pooled(5).file((1, 3, "height", 20)), changed("size = 16\n", "size = [17, 16]\n"))
        with pytest.raises(UsageError, match=r"input is \[N, 3, any, 20\], the card says \[N, 3, 17, 16\]"):
            build(path)
        factory.save(tmp_path, Pooled(5).file((1, 16, 16, 3)))
        with pytest.raises(
            UsageError, match=r"image\.layout.*input is \[N, 16, 16, 3\], the card says \[N, 3, 16, 16\]"
        ):
            build(path)
        for shape in (("batch", 3, "height", "width"), (8, 3, 0, 0)):
            factory.save(tmp_path, Pooled(5).file(shape), other)
            assert build(path).scores(IMAGES).shape == (5, 5), "what a file leaves open the card says"

    def test_sigmoid_and_two_outputs(self, tmp_path: Path) -> None:
        network = Pooled(3)
        more = [factory.node("Neg", ["output"], ["minus"])]
        graph = network.file(more=more)
        graph = onnx_files.with_input_shape(graph, "input", ("batch", 3, 16, 16), ["minus"])
        card = (
            CARD[: CARD.index("[[tasks]]")]
            + """
[[tasks]]
name = "units"
kind = "multilabel"
targets = ["AU1", "AU2", "AU4"]
activation = "sigmoid"
output = "minus"
[[tasks]]
name = "values"
kind = "regression"
targets = ["a", "b", "c"]
activation = "none"
output = "output"
"""
        )
        scores = build(factory.save(tmp_path, graph, card)).scores(IMAGES)
        np.testing.assert_allclose(scores[:, :3], 1 / (1 + np.exp(scores[:, 3:].astype(float))), atol=1e-6)

    def test_probabilities_that_the_file_gives_itself(self, tmp_path: Path) -> None:
        network = Pooled(3)
        nodes = [factory.node("Softmax", ["output"], ["probabilities"], axis=1)]
        graph = onnx_files.with_input_shape(network.file(more=nodes), "input", ("b", 3, 16, 16), ["probabilities"])
        card = changed('activation = "softmax"\n', 'activation = "none"\noutput = "probabilities"\n')
        card = card[: card.rindex("[[tasks]]")]
        model = build(factory.save(tmp_path, graph, card))
        means = ((IMAGES / 255 - MEAN[:, None, None]) / STD[:, None, None]).mean(axis=(2, 3))
        np.testing.assert_allclose(model.scores(IMAGES), softmax(network.output(means)), atol=1e-5)
        assert model.dim == 5  # behind a softmax too, the last layer is found
        factory.save(tmp_path, graph, changed('output = "probabilities"', 'output = "output"', card))
        with pytest.raises(UsageError, match=r"tasks\.activation: what the network gives for task faces are no proba"):
            build(tmp_path / "lab.onnx")
        factory.save(tmp_path, graph, changed('activation = "none"', 'activation = "softmax"', card))
        with pytest.raises(UsageError, match='are probabilities already: is it activation = "none"'):
            build(tmp_path / "lab.onnx")

    @pytest.mark.parametrize(("embedding", "dim"), [("hidden", 5), ("means", 3), ("none", 0), ("auto", 5)])
    def test_the_embedding_is_what_the_card_says(self, tmp_path: Path, embedding: str, dim: int) -> None:
        network = Pooled(5)
        model = build(factory.save(tmp_path, network.file(), f'embedding = "{embedding}"\n{CARD}'))
        assert model.dim == dim and model(IMAGES).shape == (5, dim)
        if embedding == "means":
            means = ((IMAGES / 255 - MEAN[:, None, None]) / STD[:, None, None]).mean(axis=(2, 3))
            np.testing.assert_allclose(model(IMAGES), means, atol=1e-5)

    def test_sound(self, tmp_path: Path) -> None:
        nodes = [
            factory.node("Abs", ["input"], ["loud"]),
            factory.node("ReduceMean", ["loud"], ["mean"], axes=[1], keepdims=1),
            factory.node("Gemm", ["mean", "weight"], ["output"], transB=1),
        ]  # fmt: skip
        graph = factory.model(nodes, {"weight": [[2.0]]}, {"input": (1, "samples")}, ["output"])
        model = build(factory.save(tmp_path, graph, HEARING))
        waves = np.random.default_rng(0).normal(0, 0.1, (3, 4000)).astype(np.float32)
        np.testing.assert_allclose(model.scores(waves)[:, 0], 2 * np.abs(waves).mean(axis=1), rtol=1e-5)
        np.testing.assert_allclose(model(waves)["values"][:, 0, 0], np.abs(waves).mean(axis=1), rtol=1e-5)
        assert len(model.frames(1599)[0]) == 0 and model.scores(waves[:, :1599]).shape == (3, 1)
        assert np.isnan(model.scores(waves[:, :1599])).all()


class TestCards:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ('name = "lab-faces"', 'name = "lab faces"', "name: String should match"),
            ('trained_on = "nothing: random numbers"\n', "", "trained_on: Field required"),
            ('weights = "CC0-1.0"', "", r"licences\.weights: Field required"),
            ("size = 16", "size = 4", r"image\.size"),
            ("std = [0.229, 0.224, 0.225]\n", "", "the normalisation is mean and std"),
            ("std = [0.229, 0.224, 0.225]", "std = [0.229, 0.224]", "a number for each of 3 channels"),
            ("std = [0.229, 0.224, 0.225]", "std = [0, 1, 1]", "std is above 0"),
            ("size = 16", "size = 16\nscale = 2.0", "the normalisation is mean and std"),
            ('shape = "square"', 'shape = "round"', r"contract\.shape: Input should be 'square' or 'letterbox'"),
            ("margin = 0", 'margin = "wide"', r"contract\.margin: .*fraction of the box's side"),
            ('[contract]\nmargin = 0\nshape = "square"\n', "", r"kind image needs the table \[contract\]"),
            ('kind = "image"', 'kind = "audio"', r"kind audio needs the table \[audio\]"),
            ('"Sadness", "Neutral"', '"Sadness", "Sadness"', "a target is named twice: Sadness"),
            ('activation = "softmax"', 'activation = "relu"', r"tasks\.0\.activation"),
            ('activation = "none"', 'activation = "softmax"', "activation softmax is for kind multiclass"),
            ("size = 16", "size = 16\ncolor = 1", r"image\.color: no such key"),
            ("[image]", "[[image]]", r"image: Input should be"),
        ],
    )  # fmt: skip
    def test_a_bad_card_is_one_line_with_file_and_key(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        path = factory.save(tmp_path, Pooled(5).file(), changed(old, new))
        with pytest.raises(UsageError, match=words) as error:
            plugins.backbone(str(path))
        assert str(tmp_path / "lab.toml") in str(error.value) and "\n" not in str(error.value)

    def test_without_a_card_or_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "bare.onnx").write_bytes(Pooled(5).file())
        with pytest.raises(UsageError, match=r"bare\.onnx has no card: write bare\.toml beside it"):
            plugins.backbone(str(tmp_path / "bare.onnx"))
        with pytest.raises(UsageError, match=r"absent\.onnx is not a file"):
            plugins.backbone(str(tmp_path / "absent.onnx"))
        with pytest.raises(UsageError, match="an ONNX file is one network"):
            plugins.backbone(f"{tmp_path / 'bare.onnx'}:Net")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ('"Sadness", "Neutral"', '"Sadness"', r"tasks\.targets: output output gives \[1, 5\].* name 4 columns"),
            ('activation = "none"', 'activation = "none"\noutput = "s"', r"tasks\.output: 's' is none of output"),
            ('kind = "image"', 'kind = "image"\ninput = "pixels"', "input: 'pixels' is none of input"),
            ('kind = "image"', 'kind = "image"\nembedding = "deep"', "embedding: the network computes no 'deep'"),
            ("size = 16", 'size = 16\nlayout = "NHWC"', r"image\.layout.* the card says \[N, 16, 16, 3\]"),
        ],
    )  # fmt: skip
    def test_a_card_of_another_network_is_told(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        path = factory.save(tmp_path, Pooled(5).file(("batch", 3, 16, 16)), changed(old, new))
        with pytest.raises(UsageError, match=words) as error:
            build(path)
        assert "lab.onnx" in str(error.value) and "\n" not in str(error.value)

    def test_its_identity_is_what_file_and_card_say(self, tmp_path: Path) -> None:
        def identity(path: Path) -> tuple[Any, str]:
            name, plugin, options = plugins.backbone(str(path))
            return plugins.identity(name, plugin, options), plugin.weights(options, "auto").sha256

        first = identity(factory.save(tmp_path / "a", Pooled(5).file()))
        assert first[0]["name"] == "lab-faces" and str(tmp_path) not in str(first)
        assert identity(factory.save(tmp_path / "b", Pooled(5).file(), "# a comment\n" + CARD, "moved")) == first
        assert identity(factory.save(tmp_path / "c", Pooled(5, seed=1).file()))[1] != first[1]
        other = changed('"Sadness", "Neutral"', '"Neutral", "Sadness"')
        assert identity(factory.save(tmp_path / "d", Pooled(5).file(), other))[1] != first[1]

    def test_what_makes_no_sense_for_it(self, tmp_path: Path) -> None:
        path = factory.save(tmp_path, Pooled(5).file())
        _, plugin, options = plugins.backbone(str(path))
        for choice in ("random", "other.onnx"):
            with pytest.raises(UsageError, match=r"lab\.onnx is its own weights"):
                plugin.weights(options, choice)
        with pytest.raises(UsageError, match="run by onnxruntime in float32"):
            build(path, precision="bfloat16")
        with pytest.raises(UsageError, match="unknown option"):
            plugins.backbone(str(path), ["size=3"])


class TestHostileFiles:
    @pytest.mark.parametrize("content", [b"", b"\x08", b"<html>", b"\x3a\x00", bytes(range(256))])
    def test_no_model(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(AffectkitError, match=r"lab\.onnx is no ONNX model") as error:
            build(factory.save(tmp_path, content))
        assert "\n" not in str(error.value)

    def test_weights_in_other_files_however_deep(self, tmp_path: Path) -> None:
        outside = message_field(8, b"w") + number_field(14, 1)
        inner = message_field(1, message_field(4, b"Constant") + message_field(5, message_field(5, outside)))
        for _ in range(3):
            inner = message_field(1, factory.node("If", ["x"], ["y"], then_branch=inner))
        graph = Pooled(5).file(more=[factory.node("If", ["c"], ["z"], then_branch=inner)])
        with pytest.raises(HostileFile, match=r"lab\.onnx: .*weights are sparse or lie in other files: refused"):
            build(factory.save(tmp_path, graph))
        for _ in range(20):
            inner = message_field(1, factory.node("If", ["x"], ["y"], then_branch=inner))
        with pytest.raises(HostileFile, match="more than 16 graphs inside each other"):
            build(factory.save(tmp_path, Pooled(5).file(more=[factory.node("If", ["c"], ["z"], then_branch=inner)])))

    def test_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnx_files, "MAX_BYTES", 100)
        with pytest.raises(UsageError, match=r"lab\.onnx is larger than 100 bytes"):
            build(factory.save(tmp_path, Pooled(5).file()))

    def test_a_pipe(self, tmp_path: Path) -> None:
        import os

        factory.save(tmp_path, b"")
        (tmp_path / "lab.onnx").unlink()
        os.mkfifo(tmp_path / "lab.onnx")
        with pytest.raises(UsageError, match="not a file"):
            plugins.backbone(str(tmp_path / "lab.onnx"))


def test_from_the_shell_and_from_a_recipe(affectkit: Command, tmp_path: Path) -> None:
    network = Pooled(5)
    factory.save(tmp_path, network.file())
    pictures = [portrait()[row : row + 32, :32] for row in (0, 16, 32)]
    crop_folder(tmp_path / "crops" / "a", pictures)
    faces = affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32", "--margin", "0").stdout.strip()
    given = ["--device", "cpu", "--crops-are", "matching"]
    line = ["embed", faces, "--backbone", "lab.onnx", "--output", "scores", *given]
    done = affectkit(*line)
    assert done.returncode == 0, done.stderr
    artifact = open_artifact(tmp_path / done.stdout.strip())
    assert artifact.column("a", "values").shape == (3, 5)
    assert artifact.stage.provenance["card"]["name"] == "lab-faces"
    assert artifact.stage.provenance["config"]["backbone"] == str(tmp_path / "lab.onnx")
    assert "0 clips computed, 1 cached" in affectkit(*line).stderr
    features = affectkit("embed", faces, "--backbone", "lab.onnx", *given)
    assert open_artifact(tmp_path / features.stdout.strip()).column("a", "values").shape == (3, 5)
    scored = affectkit("predict", "lab.onnx", faces, *given)
    assert scored.returncode == 0, scored.stderr
    listed = affectkit("list", "models", "lab.onnx")
    assert listed.returncode == 0 and "lab-faces" in listed.stdout, listed.stderr
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/r.toml").write_text(
        '[data.main]\nmedia = "../crops"\n[steps.faces]\nstage = "extract-faces"\ndata = "main"\nsize = 32\n'
        'margin = "0"\nsource_fps = 5.0\n[steps.lab]\nstage = "embed"\nfrom = "faces"\nbackbone = "../lab.onnx"\n'
        'crops_are = "matching"\n'
    )
    ran = affectkit("run", "recipes/r.toml", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert "lab (embed): 0 clips computed, 1 cached" in ran.stderr


def test_a_card_is_checked_by_check_plugin(affectkit: Command, tmp_path: Path) -> None:
    factory.save(tmp_path, Pooled(5).file())
    done = affectkit("check-plugin", "lab.onnx")
    assert done.returncode == 0, done.stdout + done.stderr
    factory.save(tmp_path, Pooled(5).file(), changed("margin = 0\n", ""))
    done = affectkit("check-plugin", "lab.onnx")
    assert done.returncode == 2 and "lab.toml: contract.margin: Field required" in done.stderr


def test_the_card_of_the_page_is_a_whole_one(tmp_path: Path) -> None:
    card = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert card is not None
    path = factory.save(tmp_path, Pooled(10).file(("batch", 3, 112, 112)), card[1])
    assert build(path).scores(IMAGES).shape == (5, 10)
