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
from affectkit.media import StillReader
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
