"""Pictures as clips of one frame: AffectNet's faces through the same stages as videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from stage_factory import portrait

from affectkit.errors import ClipError
from affectkit.media import Sampling, StillReader, still
from affectkit.store import Artifact


def test_a_picture_is_one_upright_frame(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    turned = Image.fromarray(np.rot90(pixels, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    turned.save(tmp_path / "a.png", exif=exif)
    (frame,) = StillReader(tmp_path / "a.png")
    assert np.array_equal(frame.image, pixels)
    assert (frame.start, frame.end, frame.index) == (0.0, 1.0, 0)


LEVELS = np.arange(64 * 64).reshape(64, 64)
GREY = np.rint(LEVELS * 16 * 255 / 65535)


@pytest.mark.parametrize(
    ("name", "values", "grey"),
    [
        ("a.png", (LEVELS * 16).astype(np.uint16), GREY),
        ("a.tif", (LEVELS * 16).astype(np.uint16), GREY),
        ("a.tif", (LEVELS * 16).astype(">u2"), GREY),
        ("a.tiff", (LEVELS * 16).astype(np.int32), GREY),
        ("a.tif", (LEVELS / 4096).astype(np.float32), np.rint(LEVELS / 4096 * 255)),
        ("a.tif", (LEVELS / 32).astype(np.float32), np.rint(LEVELS / 32)),
    ],
)
def test_deep_grey_is_scaled(tmp_path: Path, name: str, values: np.ndarray, grey: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / name)
    (frame,) = StillReader(tmp_path / name)
    assert frame.image.dtype == np.uint8 and frame.image.shape == (64, 64, 3)
    assert np.abs(frame.image.astype(int) - grey[..., None]).max() <= 1


def test_grey_beyond_every_known_range_is_refused(tmp_path: Path) -> None:
    for number, values in enumerate((LEVELS * 1000, LEVELS - 5, np.where(LEVELS == 7, np.nan, 0.5))):
        kind = np.float32 if values.dtype.kind == "f" else np.int32
        Image.fromarray(values.astype(kind)).save(tmp_path / f"{number}.tif")
        with pytest.raises(ClipError, match="convert the picture"):
            list(StillReader(tmp_path / f"{number}.tif"))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_colour_models_are_rgb(tmp_path: Path, mode: str) -> None:
    pixels = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((16, 16), np.uint8))
    Image.fromarray(pixels).convert("RGB").convert(mode).save(tmp_path / "a.tif")
    (frame,) = StillReader(tmp_path / "a.tif")
    assert np.abs(frame.image.astype(int) - pixels[..., None]).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_are_black(tmp_path: Path, mode: str) -> None:
    pixels = np.full((16, 16, 4), 255, np.uint8)
    pixels[:, :8, 3] = 0
    picture = Image.fromarray(pixels)
    if mode == "P":
        picture = picture.quantize(4)
    elif mode != "PA":
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.png")
    (frame,) = StillReader(tmp_path / "a.png")
    assert (frame.image[:, :8] == 0).all() and (frame.image[:, 8:] == 255).all()


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_an_animation_is_a_clip_of_its_frames(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (32, 32), (40 * k, 0, 0)) for k in range(5)]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], duration=[100, 200, 300, 100, 50], **options
    )
    read = list(StillReader(tmp_path / name))
    assert [frame.image[0, 0, 0] for frame in read] == [0, 40, 80, 120, 160]
    assert [(frame.start, frame.end) for frame in read] == [(0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 0.7), (0.7, 0.75)]
    sampled = list(StillReader(tmp_path / name, Sampling(fps=5), start=0.3))
    assert [(frame.index, round(frame.start, 6)) for frame in sampled] == [(2, 0.0), (3, 0.3), (4, 0.4)]
    with pytest.raises(ClipError, match="is empty"):
        list(StillReader(tmp_path / name, start=2.0))


def test_an_animation_that_is_too_large_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(still, "MAX_ANIMATION", 32 * 32)
    frames = [Image.new("RGB", (32, 32), (40 * k, 0, 0)) for k in range(2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(ClipError, match=r"ffmpeg -i a\.webp a\.mp4"):
        list(StillReader(tmp_path / "a.webp"))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_one_clip_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ClipError):
        list(StillReader(tmp_path / "a.jpg"))


def test_affectnet_from_layout_to_head(affectkit: Command, tmp_path: Path) -> None:
    root, face = tmp_path / "AffectNet", portrait().astype(float)
    for dark, (part, count) in enumerate((("train_set", 4), ("val_set", 2))):
        for folder in ("images", "annotations"):
            (root / part / folder).mkdir(parents=True)
        for number in range(count):
            light = (number % 2) * 0.4 + 0.6 - 0.02 * (number // 2) - 0.05 * dark
            Image.fromarray((face * light).astype(np.uint8)).save(root / part / "images" / f"{part}{number}.jpg")
            for name, value in (("exp", str(number % 2)), ("val", str(light - 0.8)), ("aro", "0.1")):
                np.save(root / part / "annotations" / f"{part}{number}_{name}.npy", value)
    (root / "val_set" / "images" / "val_set1.jpg").write_bytes(b"broken")
    data = ["--dataset", "affectnet", "--root", str(root)]
    done = affectkit("extract", "faces", *data, "--detector", "centerface", "--size", "32", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 3 and report["computed"] == 5 and len(report["failed"]) == 1
    faces = Artifact(Path(report["artifact"]))
    assert all(faces.column(clip, "valid").tolist() == [1] for clip in faces.clips)
    features = affectkit("embed", report["artifact"], "--backbone", "mean-pixel").stdout.strip()
    line = ["train-head", features, *data, "--task", "affectnet", "--head", "mlp", "-o", "epochs=2", "--json"]
    trained = json.loads(affectkit(*line).stdout)
    assert (trained["clips"]["train"], trained["clips"]["val"]) == (4, 1)
