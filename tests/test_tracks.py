"""Linking, face rules, crops, interpolation and decoding, on synthetic frames with known answers."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import struct
import subprocess
import sys
import weakref
import zlib
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from affectkit.errors import ClipError, UsageError
from affectkit.tracks import (
    ARCFACE,
    FACE_RULES,
    CropConfig,
    FaceTracker,
    LinkConfig,
    Linker,
    Nearest,
    Track,
    bridge,
    choose,
    crop_image,
    croppable,
    cut,
    decode_crop,
    decode_crops,
    detect_every,
    face_rule,
    iou,
    similarity,
)
from affectkit.tracks.linking import assign
from affectkit.types import Detections


def faces(*boxes, scores=None):
    """Detections with landmarks in plausible places of each box."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    marks = array[:, None, :2] + places * (array[:, None, 2:] - array[:, None, :2])
    scores = np.linspace(0.99, 0.9, len(array)) if scores is None else scores
    return Detections(array, np.asarray(scores, np.float32), marks.astype(np.float32))


def square(x, y, side=40.0):
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def link(frames, fps=25.0, **options):
    """Tracks of a list of box lists, and for each frame the track numbers of its boxes."""
    linker = Linker(LinkConfig(**options))
    numbers = []
    for row, boxes in enumerate(frames):
        tracks = linker.update(row / fps, faces(*boxes))
        numbers.append([linker.tracks.index(track) for track in tracks])
    return linker.tracks, numbers


def smooth_image(height, width, seed=0, grain=12):
    """Coloured and band-limited: details of about `grain` pixels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // grain + 2, width // grain + 2, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


class TestBoxes:
    def test_iou_by_counting_pixels(self):
        rng = np.random.default_rng(1)
        boxes = np.sort(rng.integers(0, 30, (8, 2, 2)), axis=1).reshape(8, 4).astype(float)
        masks = np.zeros((8, 30, 30), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
            mask[y0:y1, x0:x1] = True
        union = (masks[:, None] | masks[None]).sum((2, 3))
        expected = np.where(union > 0, (masks[:, None] & masks[None]).sum((2, 3)) / np.maximum(union, 1), 0)
        np.testing.assert_allclose(iou(boxes, boxes), expected, atol=1e-12)

    @pytest.mark.parametrize("seed", range(20))
    def test_assignment_against_all_permutations(self, seed):
        rng = np.random.default_rng(seed)
        cost, allowed = rng.random((4, 4)), rng.random((4, 4)) < 0.6
        best = (0, 0.0)
        for order in itertools.permutations(range(4)):
            used = [(i, j) for i, j in enumerate(order) if allowed[i, j]]
            best = max(best, (len(used), -sum(cost[pair] for pair in used)))
        pairs = assign(cost, allowed)
        assert all(allowed[i, j] for i, j in pairs)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs) == best[0]
        assert sum(cost[i, j] for i, j in pairs) == pytest.approx(-best[1])


class TestLinking:
    def test_one_moving_face_is_one_track(self):
        tracks, _ = link([[square(50 + 3 * t, 60)] for t in range(30)])
        assert [t.rows for t in tracks] == [list(range(30))]

    def test_order_of_detections_does_not_matter(self):
        boxes = [[square(50 + t, 60), square(150 - t, 70)] for t in range(20)]
        _, ordered = link(boxes)
        mixed = [frame[::-1] if t % 2 else frame for t, frame in enumerate(boxes)]
        _, swapped = link(mixed)
        assert ordered == [[0, 1]] * 20
        assert swapped == [[1, 0] if t % 2 else [0, 1] for t in range(20)]

    def test_faces_that_cross_keep_their_tracks(self):
        frames = [[square(40 + 5 * t, 100), square(240 - 5 * t, 103)] for t in range(41)]
        _, numbers = link(frames)
        assert numbers == [[0, 1]] * 41

    def test_crossing_while_one_face_is_hidden(self):
        def frame(t):
            pair = [square(40 + 5 * t, 100), square(240 - 5 * t, 100)]
            return pair[:1] if 16 <= t <= 24 else pair

        _, numbers = link([frame(t) for t in range(41)])
        assert numbers == [[0] if 16 <= t <= 24 else [0, 1] for t in range(41)]

    @pytest.mark.parametrize("seed", range(10))
    def test_jitter_does_not_carry_a_missing_face_away(self, seed):
        rng = np.random.default_rng(seed)
        here = [[square(*(100 + rng.normal(0, 2, 2)), 50)] for _ in range(50)]
        tracks, _ = link([*here[:25], *[[]] * 20, *here[25:]])
        assert len(tracks) == 1

    @pytest.mark.parametrize(("missing", "expected"), [(49, 1), (52, 2)])
    def test_gap_ends_a_track_after_max_gap_seconds(self, missing, expected):
        tracks, _ = link([[square(50, 50)], *[[]] * missing, [square(50, 50)]], max_gap=2.0)
        assert len(tracks) == expected

    def test_sparse_sampling_is_not_a_gap(self):
        tracks, _ = link([[square(50 + 10 * t, 50)] for t in range(10)], fps=0.1, max_gap=0.5)
        assert [len(t) for t in tracks] == [10]

    def test_faces_enter_and_leave(self):
        def frame(t):
            return [square(60, 60)] * (t < 12) + [square(200 + t, 80)] * (t >= 5)

        tracks, _ = link([frame(t) for t in range(20)])
        assert [t.rows for t in tracks] == [list(range(12)), list(range(5, 20))]

    def test_far_or_different_face_is_not_linked(self):
        tracks, _ = link([[square(50, 50, 40)], [square(130, 50, 40)]], fps=1)
        assert len(tracks) == 2
        tracks, _ = link([[square(50, 50, 40)], [square(60, 50, 100)]], fps=1)
        assert len(tracks) == 2

    def test_distance_links_only_as_far_as_time_allows(self):
        frames = [[square(50, 50, 40)], [square(80, 50, 40)]]  # IoU 0.14, 0.75 of the side apart
        assert len(link(frames, fps=1)[0]) == 1
        assert len(link(frames, fps=25)[0]) == 2

    def test_new_tracks_are_ordered_from_left_to_right(self):
        tracks, numbers = link([[square(200, 50), square(50, 50)]])
        assert numbers == [[1, 0]]
        assert tracks[0].boxes[0][0] < tracks[1].boxes[0][0]

    def test_track_keeps_scores_and_landmarks(self):
        linker = Linker(LinkConfig())
        found = faces(square(50, 50), square(150, 50))
        linker.update(0.0, found)
        assert [t.scores for t in linker.tracks] == [[pytest.approx(0.99)], [pytest.approx(0.9)]]
        np.testing.assert_array_equal(linker.tracks[1].landmarks[0], found.landmarks[1])

    def test_deterministic(self):
        rng = np.random.default_rng(3)
        frames = [[square(*rng.uniform(30, 300, 2), rng.uniform(20, 90)) for _ in range(5)] for _ in range(60)]
        assert link(frames)[1] == link(frames)[1]


def track(rows, box, score=0.9):
    made = Track()
    for row in rows:
        made.append(row, row / 25, np.array(box, np.float32), score, np.zeros((5, 2), np.float32))
    return made


class TestRules:
    blip = track([3], square(10, 50, 300), 1.0)
    left = track(range(40), square(60, 50, 30), 0.8)
    big = track(range(10, 50), square(200, 50, 60), 0.7)
    long = track(range(5, 60), square(120, 50, 20), 0.75)
    far = track([1, 2], square(500, 50, 20), 0.99)
    everyone = (left, far, blip, long, big)

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [("largest", "big"), ("confident", "left"), ("longest", "long"), ("left", "left"), ("right", "big")],
    )
    def test_rule(self, rule, expected):
        assert choose(self.everyone, rule) == [getattr(self, expected)]

    def test_all_orders_by_appearance_then_x_and_drops_blips(self):
        twin = track(range(30), square(20, 50, 30))
        assert choose([*self.everyone, twin], "all", min_length=3) == [twin, self.left, self.long, self.big]
        assert choose([self.far, self.blip], "all", min_length=3) == [self.far]

    def test_ties_go_to_the_first(self):
        later = track(range(1, 41), square(160, 50, 30), 0.8)
        for rule in ("largest", "confident", "longest"):
            assert choose([later, self.left], rule) == [self.left]

    @pytest.mark.parametrize("rule", [rule for rule in FACE_RULES if rule != "nearest"])
    def test_no_tracks(self, rule):
        assert choose([], rule) == []

    def test_nearest_is_not_a_choice_among_tracks(self):
        with pytest.raises(ValueError, match="frame by frame"):
            choose([self.left], "nearest")

    def test_nearest_follows_suns_rule(self):
        follower = Nearest()
        assert follower.pick(Detections.none()) is None
        a, b = square(50, 50), square(200, 50)
        assert follower.pick(faces(a, b, scores=[0.85, 0.95])) == 1  # most confident first
        assert follower.pick(faces(square(60, 50), square(190, 50), scores=[0.99, 0.5])) == 1  # then the nearest
        assert follower.pick(Detections.none()) is None
        assert follower.pick(faces(square(70, 50), square(180, 50))) == 1  # the centre outlives the miss
        assert follower.pick(faces(square(70, 50))) == 0  # however far

    def test_names(self):
        assert face_rule("all") == "all"
        with pytest.raises(UsageError, match=r"unknown face rule 'larges': did you mean 'largest'\? .*accepted: all"):
            face_rule("larges")


def detector(truth):
    """A fake detector over row numbers that counts what it was asked."""
    asked, calls = [], []

    def detect(rows):
        calls.append(len(rows))
        asked.extend(rows)
        return [faces(*truth(row)) for row in rows]

    return detect, asked, calls


def stream(truth, length, every, **options):
    detect, asked, calls = detector(truth)
    made = list(detect_every(range(length), detect, every, time=lambda row: row / 25, **options))
    assert [row for row, _ in made] == list(range(length))
    assert len(asked) == len(set(asked))
    return [found for _, found in made], sorted(asked), calls


class TestDetectEvery:
    @pytest.mark.parametrize("length", [0, 1, 5, 16, 17, 40])
    def test_every_frame_is_a_pass_through(self, length):
        found, asked, calls = stream(lambda t: [square(50 + t * t, 50)], length, 1, buffer=8)
        assert asked == list(range(length))
        assert max(calls, default=0) <= 8
        assert [f.boxes.tolist() for f in found] == [
            faces(square(50 + t * t, 50)).boxes.tolist() for t in range(length)
        ]

    @pytest.mark.parametrize("buffer", [1, 4, 12, 100])
    @pytest.mark.parametrize("length", [1, 2, 6, 7, 30, 31, 33])
    def test_asks_for_every_kth_and_the_last(self, length, buffer):
        found, asked, calls = stream(lambda t: [square(50 + 2 * t, 50 + t, 80)], length, 6, buffer=buffer)
        assert asked == sorted({*range(0, length, 6), length - 1})
        assert max(calls) <= max(buffer, 6)
        for t, made in enumerate(found):  # motion is linear, so is the interpolation
            expected = faces(square(50 + 2 * t, 50 + t, 80))
            np.testing.assert_allclose(made.boxes, expected.boxes, atol=1e-3)
            np.testing.assert_allclose(made.landmarks, expected.landmarks, atol=1e-3)

    def test_swaying_head_stays_close_to_the_truth(self):
        def truth(t):
            return [square(150 + 40 * np.sin(2 * np.pi * t / 50), 100 + 10 * np.cos(2 * np.pi * t / 70), 80 + t / 5)]

        found, asked, _ = stream(truth, 200, 5)
        assert len(asked) == 41
        overlaps = [iou(made.boxes, faces(*truth(t)).boxes)[0, 0] for t, made in enumerate(found)]
        assert min(overlaps) > 0.9

    def test_several_faces_in_any_order(self):
        def truth(t):
            pair = [square(50 + t, 50), square(200 - t, 60)]
            return pair if (t // 4) % 2 else pair[::-1]

        found, asked, _ = stream(truth, 41, 4)
        assert len(asked) == 11
        for t, made in enumerate(found):
            np.testing.assert_allclose(np.sort(made.boxes[:, 0]), np.sort(faces(*truth(t)).boxes[:, 0]), atol=1e-3)

    def test_jump_is_detected_in_full(self):
        def truth(t):
            return [square(50 if t < 13 else 300, 50)]

        found, asked, _ = stream(truth, 31, 5, buffer=10)
        assert asked == [0, 5, 10, 11, 12, 13, 14, 15, 20, 25, 30]
        assert [made.boxes[0, 0] for made in found] == [30 if t < 13 else 280 for t in range(31)]

    def test_face_that_appears_or_leaves_is_detected_in_full(self):
        def truth(t):
            return [square(50, 50)] if 7 <= t < 22 else []

        found, asked, _ = stream(truth, 31, 5)
        assert [len(made) for made in found] == [int(7 <= t < 22) for t in range(31)]
        assert asked == sorted({*range(0, 31, 5), 6, 7, 8, 9, 21, 22, 23, 24})

    def test_no_faces_at_all(self):
        found, asked, _ = stream(lambda t: [], 21, 10)
        assert asked == [0, 10, 20]
        assert all(len(made) == 0 for made in found)

    def test_nearest_minds_only_the_face_it_follows(self):
        def truth(t):
            known, passing = square(50 + t, 50), square(300, 50)
            return [passing, known] if t % 8 == 4 else [known]  # the passer-by has the higher score

        assert len(stream(truth, 33, 4, rule="largest")[1]) == 33
        found, asked, _ = stream(truth, 33, 4, rule="nearest")
        assert asked == list(range(0, 33, 4))
        follower = Nearest()
        picked = [made.boxes[follower.pick(made)][0] for made in found]
        np.testing.assert_allclose(picked, [30 + t for t in range(33)], atol=1e-3)

    def test_nearest_that_is_lost_is_detected_in_full(self):
        def truth(t):
            return [square(50, 50)] * (t < 6) + [square(300, 50)]

        assert stream(truth, 13, 4, rule="nearest")[1] == [0, 4, 5, 6, 7, 8, 12]

    def test_interpolates_in_time_not_in_rows(self):
        times = [0.0, 0.1, 0.9, 1.0]
        detect, _, _ = detector(lambda row: [square(50 + 10 * times[row], 50)])
        made = list(detect_every(range(4), detect, 3, time=times.__getitem__))
        np.testing.assert_allclose([found.boxes[0, 0] for _, found in made], [30, 31, 39, 40], atol=1e-4)

    @pytest.mark.parametrize(("every", "buffer"), [(1, 8), (4, 1), (4, 8), (20, 8)])
    def test_frames_in_memory_are_bounded(self, every, buffer):
        class Frame:
            def __init__(self, row):
                self.row = row

        alive, most = weakref.WeakSet(), 0

        def frames():
            nonlocal most
            for row in range(100):
                frame = Frame(row)
                alive.add(frame)
                most = max(most, len(alive))
                yield frame

        def detect(asked):
            return [faces(square(50 if f.row < 50 else 300, 50)) for f in asked]

        for _ in detect_every(frames(), detect, every, time=lambda f: f.row, buffer=buffer):
            pass
        assert most <= max(buffer, every) + 2  # one more in the caller's loop, one in the generator's

    @pytest.mark.parametrize(("size", "calls"), [(10, [9, 9, 2]), (30, [3] * 6 + [2]), (1000, [1] * 20)])
    def test_large_frames_are_fewer_at_a_time(self, size, calls):
        found, asked, made = stream(lambda t: [], 20, 1, buffer=9, nbytes=lambda row: size, most_bytes=100)
        assert made == calls and asked == list(range(20)) and len(found) == 20

    def test_large_frames_between_detections_are_refused(self):
        assert stream(lambda t: [], 20, 3, nbytes=lambda row: 30, most_bytes=100)[1] == [0, 3, 6, 9, 12, 15, 18, 19]
        with pytest.raises(ClipError, match="--detect-every 2 or less"):
            stream(lambda t: [], 20, 3, nbytes=lambda row: 50, most_bytes=100)

    def test_wrong_number_of_answers_and_bad_arguments(self):
        with pytest.raises(ValueError, match="shorter"):
            list(detect_every(range(3), lambda rows: [], 1, time=float))
        with pytest.raises(ValueError, match="at least 1"):
            list(detect_every(range(3), lambda rows: [], 0, time=float))

    def test_bridge_keeps_dtype_and_sorts_by_score(self):
        a, b = (
            faces(square(50, 50), square(150, 50), scores=[0.9, 0.8]),
            faces(square(150, 50), square(50, 50), scores=[0.99, 0.3]),
        )
        (middle,) = bridge((0.0, a), (1.0, b), [0.5])
        assert middle.boxes.dtype == np.float32
        np.testing.assert_allclose(middle.scores, [0.895, 0.6], atol=1e-6)
        np.testing.assert_allclose(middle.boxes[0], square(150, 50))


def triangle_weights(low, high, count, limit):
    """[count, limit] weights of an antialiasing triangle filter, from its definition."""
    step = (high - low) / count
    centres = low + (np.arange(count) + 0.5) * step
    distance = np.abs(np.arange(limit)[None] + 0.5 - centres[:, None]) / max(step, 1.0)
    weights = np.maximum(0, 1 - distance)
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)


def reference_crop(frame, region, size):
    """Square crop by two matrix products; pixels that reach outside the frame are black."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = region
    columns, rows = triangle_weights(x0, x1, size, width), triangle_weights(y0, y1, size, height)
    crop = np.einsum("vy,yxc,ux->vuc", rows, frame.astype(float), columns, optimize=True)
    edges_x, edges_y = np.linspace(x0, x1, size + 1), np.linspace(y0, y1, size + 1)
    out_x = (edges_x[:-1] < -1e-3) | (edges_x[1:] > width + 1e-3)
    out_y = (edges_y[:-1] < -1e-3) | (edges_y[1:] > height + 1e-3)
    crop[out_y], crop[:, out_x] = 0, 0
    return crop


def pixels(frame, box, config, landmarks=None):
    image = crop_image(frame, np.array(box, np.float32), np.zeros((5, 2)) if landmarks is None else landmarks, config)
    return None if image is None else np.asarray(image)


class TestCropGeometry:
    @pytest.mark.parametrize(
        ("margin", "shape", "expected"),
        [
            ("0", "letterbox", (100, 100, 140, 180)),
            ("0", "square", (80, 100, 160, 180)),
            ("10px", "letterbox", (90, 90, 150, 190)),
            ("10px", "square", (70, 90, 170, 190)),
            ("0.25", "letterbox", (90, 80, 150, 200)),
            ("0.25", "square", (60, 80, 180, 200)),
        ],
    )
    def test_region(self, margin, shape, expected):
        assert CropConfig(margin=margin, shape=shape).grown(np.array([100, 100, 140, 180])) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("given", "stored"),
        [("0.20", "0.2"), (".5", "0.5"), ("10px", "10px"), (" 10.0px", "10px"), (0.3, "0.3"), (0, "0")],
    )
    def test_margin_has_one_spelling(self, given, stored):
        assert CropConfig(margin=given).margin == stored

    @pytest.mark.parametrize("given", ["", "ten", "10 px", "-1", "1e3", "10", "5000px", "nan", True, None])
    def test_bad_margin(self, given):
        with pytest.raises(ValidationError, match="box's side"):
            CropConfig(margin=given)

    def test_letterbox_pads_equally_with_black(self):
        frame = np.full((300, 300, 3), 200, np.uint8)
        crop = pixels(frame, (100, 50, 140, 130), CropConfig(margin="0", shape="letterbox", size=64))
        lit = crop[..., 0] > 0
        assert lit[:, 16:48].all()
        assert not lit[:, :16].any() and not lit[:, 48:].any()
        crop = pixels(frame, (100, 50, 180, 90), CropConfig(margin="10px", shape="letterbox", size=100))
        lit = (crop[..., 0] == 200).all(axis=1)  # 100 x 60 pixels: 20 black rows above and below
        assert lit[20:80].all() and not lit[:20].any() and not lit[80:].any()

    def test_letterbox_keeps_the_aspect(self):
        frame = smooth_image(200, 200)
        box = (60, 30, 100, 110)
        crop = pixels(frame, box, CropConfig(margin="0", shape="letterbox", size=64))
        direct = Image.fromarray(frame).resize((32, 64), Image.Resampling.BILINEAR, box=box)
        np.testing.assert_array_equal(crop[:, 16:48], np.asarray(direct))

    def test_extreme_aspect_leaves_a_line(self):
        frame = np.full((300, 300, 3), 200, np.uint8)
        crop = pixels(frame, (10, 10, 290, 12), CropConfig(margin="0", shape="letterbox", size=64))
        assert (crop[..., 0] > 0).any(axis=1).sum() == 1


class TestResampling:
    @pytest.mark.parametrize(
        "box",
        [
            (60.3, 40.7, 110.2, 90.6),  # enlarged
            (30.5, 20.25, 150.5, 140.25),  # reduced
            (10, 10, 230, 230),  # reduced further
            (-30.5, 20, 60, 110.5),  # over the left edge
            (200, 190, 300, 290),  # over the corner
            (-20, -20, 270, 270),  # larger than the frame
        ],
    )
    def test_against_a_filter_written_out(self, box):
        frame = smooth_image(250, 260, seed=2)
        expected = reference_crop(frame, box, 96)
        crop = pixels(frame, box, CropConfig(margin="0", size=96)).astype(float)
        error = np.abs(crop - expected)
        assert error.mean() < 0.5
        assert error.max() <= (5 if box[2] - box[0] >= 3 * 96 else 1.5)  # threefold: by areas first, then the filter
        assert np.array_equal(crop.max(axis=2) == 0, expected.max(axis=2) == 0)

    def test_strong_reduction_is_an_area_average(self):
        frame = smooth_image(640, 640, seed=3, grain=60)
        crop = pixels(frame, (0, 0, 640, 640), CropConfig(margin="0", size=80)).astype(float)
        area = frame.reshape(80, 8, 80, 8, 3).mean((1, 3))
        assert np.abs(crop - area)[1:-1, 1:-1].mean() < 1.5

    @pytest.mark.parametrize("side", [130, 200, 400, 600])
    def test_no_aliasing(self, side):
        frame = np.indices((700, 700)).sum(0) % 2 * np.uint8(255)
        frame = np.repeat(frame[..., None], 3, axis=2).astype(np.uint8)
        crop = pixels(frame, (20, 20, 20 + side, 20 + side), CropConfig(margin="0", size=64)).astype(float)
        assert np.abs(crop - 127.5).max() < 12

    def test_patch_equals_whole_frame(self):
        """Cutting the neighbourhood first must not change a pixel."""
        frame = smooth_image(300, 300, seed=5)
        box = (100.3, 90.6, 190.9, 181.2)
        crop = pixels(frame, box, CropConfig(margin="0", size=64))
        whole = Image.fromarray(frame).resize((64, 64), Image.Resampling.BILINEAR, box=tuple(np.float32(box).tolist()))
        assert np.abs(crop.astype(int) - np.asarray(whole)).max() <= 1

    def test_frame_may_be_a_view(self):
        frame = smooth_image(200, 200)
        flipped = frame[:, ::-1]
        box = (50, 50, 120, 120)
        np.testing.assert_array_equal(
            pixels(flipped, box, CropConfig()), pixels(np.ascontiguousarray(flipped), box, CropConfig())
        )


class TestEncoding:
    frame = smooth_image(300, 300, seed=7)
    box = np.array([100, 80, 180, 190], np.float32)

    def test_png_is_exact(self):
        config = CropConfig(format="png", size=112)
        data = cut(self.frame, self.box, np.zeros((5, 2)), config)
        assert data.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode_crop(data), pixels(self.frame, self.box, config))

    def test_png_of_the_box_itself_is_the_frames_pixels(self):
        data = cut(
            self.frame, np.array([40, 60, 104, 124]), np.zeros((5, 2)), CropConfig(margin="0", size=64, format="png")
        )
        np.testing.assert_array_equal(decode_crop(data), self.frame[60:124, 40:104])

    def test_jpeg_is_close_and_quality_counts(self):
        config = CropConfig(size=112)
        data = cut(self.frame, self.box, np.zeros((5, 2)), config)
        assert data.startswith(b"\xff\xd8")
        error = decode_crop(data).astype(int) - pixels(self.frame, self.box, config)
        assert np.abs(error).mean() < 3
        assert len(cut(self.frame, self.box, np.zeros((5, 2)), CropConfig(size=112, quality=50))) < len(data)

    @pytest.mark.parametrize(
        "box",
        [
            (10, 10, 11, 50),
            (10, 10, 10, 10),
            (50, 50, 20, 20),
            (-80, -80, -10, -10),
            (-80, 10, 1, 50),
            (299.5, 10, 360, 80),
            (np.nan, 10, 40, 50),
            (10, 10, np.inf, 50),
        ],
    )
    @pytest.mark.parametrize("align", [False, True])
    def test_no_face_in_the_box(self, box, align):
        given = faces(box)
        assert len(croppable(given, 300, 300)) == 0
        assert cut(self.frame, given.boxes[0], given.landmarks[0], CropConfig(align=align)) == b""

    def test_gigantic_box_costs_no_memory(self):
        huge = np.array([-1e7, -1e7, 1e7, 1e7], np.float32)
        assert cut(self.frame, huge, np.zeros((5, 2)), CropConfig()) == b""

    def test_croppable_keeps_the_rest(self):
        given = faces((10, 10, 50, 50), (0, 0, 1, 1), (-20, -20, 30, 30))
        kept = croppable(given, 300, 300)
        np.testing.assert_array_equal(kept.boxes, given.boxes[[0, 2]])
        np.testing.assert_array_equal(kept.landmarks, given.landmarks[[0, 2]])


def posed(scale, degrees, centre, size=112):
    """Landmarks of an ArcFace-shaped face, enlarged, turned and moved."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (ARCFACE - 56) @ turn.T * scale + centre


class TestAlignment:
    def test_similarity_against_scikit_image(self):
        transform = pytest.importorskip("skimage.transform")
        rng = np.random.default_rng(0)
        for _ in range(20):
            source, target = rng.normal(0, 50, (5, 2)), rng.normal(0, 50, (5, 2))
            reference = transform.SimilarityTransform.from_estimate(source, target)
            np.testing.assert_allclose(similarity(source, target), reference.params[:2], atol=1e-8)

    @pytest.mark.parametrize(("scale", "degrees"), [(0.6, 0), (1, 20), (1.7, -35), (3.3, 10), (3, 90)])
    @pytest.mark.parametrize("size", [112, 224])
    def test_landmarks_land_on_the_template(self, scale, degrees, size):
        marks = posed(scale, degrees, (300.4, 310.7))
        y, x = np.indices((620, 620)) + 0.5
        spread = 2.5 * scale
        for index, (mark_x, mark_y) in enumerate(marks):
            blob = 250 * np.exp(-((x - mark_x) ** 2 + (y - mark_y) ** 2) / (2 * spread**2))
            frame = np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)
            crop = pixels(frame, (200, 200, 400, 400), CropConfig(align=True, size=size), marks).astype(float)[..., 0]
            v, u = np.indices(crop.shape) + 0.5
            crop[crop < 20] = 0
            found = np.array([(crop * u).sum(), (crop * v).sum()]) / crop.sum()
            assert np.abs(found - ARCFACE[index] * size / 112).max() < 0.5

    @pytest.mark.parametrize("scale", [1.3, 2, 3.4, 6])
    def test_no_aliasing(self, scale):
        frame = (np.indices((800, 800)).sum(0) % 2 * 255).astype(np.uint8)
        frame = np.repeat(frame[..., None], 3, axis=2)
        crop = pixels(frame, (200, 200, 600, 600), CropConfig(align=True, size=112), posed(scale, 15, (400, 400)))
        assert np.abs(crop[20:-20, 20:-20].astype(float) - 127.5).max() < 30

    def test_black_outside_the_frame(self):
        frame = np.full((200, 200, 3), 180, np.uint8)
        crop = pixels(frame, (0, 60, 80, 140), CropConfig(align=True, size=112), posed(1, 0, (28, 100)))
        assert (crop[:, :27] == 0).all()
        assert (crop[:, 29:] == 180).all()

    @pytest.mark.parametrize(
        "marks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), 50.0), posed(1, 0, (5000, 5000))]
    )
    def test_useless_landmarks_give_no_crop(self, marks):
        frame = np.full((200, 200, 3), 180, np.uint8)
        assert cut(frame, np.array([20, 20, 80, 80]), marks, CropConfig(align=True)) == b""


def scene(row, moved=0):
    """A frame with a bright square for a face at a known place."""
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[30:80, 20 + moved : 70 + moved] = 200
    return frame


class TestFaceTracker:
    def build(self, detections, rule="largest", **options):
        tracker = FaceTracker(rule, CropConfig(size=32, format="png", margin="0"), **options)
        for row, found in enumerate(detections):
            tracker.add(row / 5, (row + 1) / 5, 6 * row, scene(row, row), found)
        return tracker.finish()

    def test_row_for_every_frame(self):
        found = [faces((20 + t, 30, 70 + t, 80)) if t != 2 else Detections.none() for t in range(6)]
        (made,) = self.build(found)
        assert made.valid.tolist() == [True, True, False, True, True, True]
        np.testing.assert_allclose(made.start, np.arange(6) / 5)
        np.testing.assert_allclose(made.end, np.arange(1, 7) / 5)
        assert made.frame_index.tolist() == [0, 6, 12, 18, 24, 30]
        assert made.crops[2] == b"" and not made.boxes[2].any() and not made.landmarks[2].any() and made.score[2] == 0
        for t in (0, 1, 3, 4, 5):
            np.testing.assert_array_equal(made.boxes[t], found[t].boxes[0])
            np.testing.assert_array_equal(made.landmarks[t], found[t].landmarks[0])
            assert (decode_crop(made.crops[t])[2:-2, 2:-2] == 200).all()  # cut from its own frame, at its own place

    @pytest.mark.parametrize("rule", list(FACE_RULES))
    def test_no_face_at_all_is_one_invalid_track(self, rule):
        (made,) = self.build([Detections.none()] * 3, rule)
        assert len(made) == 3 and not made.valid.any() and made.crops == (b"", b"", b"")

    @pytest.mark.parametrize("rule", list(FACE_RULES))
    def test_no_frames(self, rule):
        (made,) = self.build([], rule)
        assert len(made) == 0

    @pytest.mark.parametrize("rule", list(FACE_RULES))
    def test_unusable_boxes_are_invalid_rows(self, rule):
        bad = faces((10, 10, 11, 11)), faces((np.nan, 0, 5, 5)), faces((500, 500, 600, 600))
        (made,) = self.build([faces((20, 30, 70, 80)), *bad, faces((24, 30, 74, 80))], rule)
        assert made.valid.tolist() == [True, False, False, False, True]

    def test_alignment_without_landmarks_is_invalid(self):
        tracker = FaceTracker("longest", CropConfig(align=True))
        good, blank = faces((20, 30, 70, 80)), faces((20, 30, 70, 80))
        blank = Detections(blank.boxes, blank.scores, np.zeros((1, 5, 2), np.float32))
        for row, found in enumerate([good, blank, good]):
            tracker.add(row, row + 1, row, scene(row), found)
        (made,) = tracker.finish()
        assert made.valid.tolist() == [True, False, True]
        assert not made.boxes[1].any()

    def test_rules_differ_where_they_should(self):
        small, large = (10, 10, 30, 30), (80, 30, 150, 100)
        found = [faces(small, large, scores=[0.99, 0.8])] * 3 + [faces(small, scores=[0.99])] * 4
        expected = {
            "largest": large, "confident": small, "longest": small, "nearest": small, "left": small, "right": large,
        }  # fmt: skip
        for rule, box in expected.items():
            (made,) = self.build(found, rule)
            assert made.boxes[0].tolist() == list(box), rule
            assert made.valid.sum() == (3 if box == large else 7)

    def test_all_gives_each_face_its_rows(self):
        def found(t):
            boxes = (
                [(80, 30, 130, 80)]
                + [(10, 30, 50, 70)] * (t < 5)
                + [(100, 85, 130, 115)] * (t >= 4)
                + [(5, 90, 25, 110)] * (t == 3)
            )
            return faces(*boxes)

        made = self.build([found(t) for t in range(8)], "all")
        assert [m.valid.tolist() for m in made] == [[t < 5 for t in range(8)], [True] * 8, [t >= 4 for t in range(8)]]
        assert [m.boxes[4].tolist() for m in made] == [[10, 30, 50, 70], [80, 30, 130, 80], [100, 85, 130, 115]]

    def test_all_on_a_clip_shorter_than_min_length(self):
        assert len(self.build([faces((80, 30, 130, 80), (10, 30, 50, 70))], "all")) == 2

    def test_nearest_cuts_one_crop_a_frame(self):
        spool = []
        self.build([faces((10, 10, 30, 30), (80, 30, 150, 100))] * 5, "nearest", spool=spool)
        assert len(spool) == 5

    def test_threads_and_spool_change_nothing(self):
        found = [faces((20 + t, 30, 70 + t, 80), (90, 20, 150, 100)) if t % 4 else faces() for t in range(20)]
        plain = self.build(found, "all")
        with ThreadPoolExecutor(3) as pool:
            other = self.build(found, "all", pool=pool, spool=[])
        assert len(plain) == len(other) == 2
        for a, b in zip(plain, other, strict=True):
            assert list(a.crops) == list(b.crops)
            assert b.crops[3] == a.crops[3] and b.crops[-1] == a.crops[-1] and list(b.crops[2:5]) == list(a.crops[2:5])
            np.testing.assert_array_equal(a.boxes, b.boxes)
            np.testing.assert_array_equal(a.valid, b.valid)

    @pytest.mark.parametrize("busy", [False, True])
    def test_no_frames_are_kept(self, busy):
        class Held(np.ndarray):
            pass

        class BusyPool(Executor):
            """Does nothing before it is waited for."""

            def submit(self, work, *args):
                class Waiting(Future):
                    def result(self, timeout=None):
                        return work(*args)

                return Waiting()

        alive = []
        tracker = FaceTracker("largest", CropConfig(size=32), pool=BusyPool() if busy else None)
        for row in range(30):
            frame = scene(row).view(Held)
            alive.append(weakref.ref(frame))
            tracker.add(row / 5, (row + 1) / 5, row, frame, faces((20, 30, 70, 80), (80, 30, 120, 80)))
            del frame
            gc.collect()
            assert sum(held() is not None for held in alive) <= (4 if busy else 0)
        assert tracker.finish()[0].valid.all()

    def test_streaming_through_detect_every(self):
        """The two halves together: the tracks of interpolated detections are those of full detection, nearly."""

        def run(every):
            rows = [(row, scene(row, row)) for row in range(40)]
            tracker = FaceTracker("nearest", CropConfig(size=32, margin="0", format="png"))
            found = detect_every(
                rows,
                lambda items: [faces((20 + row, 30, 70 + row, 80)) for row, _ in items],
                every,
                time=lambda item: item[0] / 25,
                rule="nearest",
            )
            for (row, frame), detections in found:
                tracker.add(row / 25, (row + 1) / 25, row, frame, detections)
            return tracker.finish()[0]

        full, sparse = run(1), run(4)
        assert sparse.valid.all()
        np.testing.assert_allclose(sparse.boxes, full.boxes, atol=1e-3)
        assert list(sparse.crops) == list(full.crops)


def encoded(array, kind="JPEG", **options):
    out = BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def png_declaring(width, height):
    """A few bytes that claim to be a large picture."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


class TestDecoding:
    picture = smooth_image(64, 64, seed=9)

    def test_formats_and_modes(self):
        np.testing.assert_array_equal(decode_crop(encoded(self.picture, "PNG")), self.picture)
        grey = decode_crop(encoded(self.picture[..., 0], "PNG"), (64, 64))
        np.testing.assert_array_equal(grey, np.repeat(self.picture[..., :1], 3, axis=2))
        alpha = np.dstack([self.picture, np.full((64, 64), 7, np.uint8)])
        np.testing.assert_array_equal(decode_crop(encoded(alpha, "PNG")), self.picture)
        assert np.abs(decode_crop(encoded(self.picture, quality=95)).astype(int) - self.picture).mean() < 3

    @pytest.mark.parametrize(
        ("data", "cause"),
        [
            (b"", "neither JPEG nor PNG"),
            (b"not a picture", "neither JPEG nor PNG"),
            (encoded(picture, "GIF"), "neither JPEG nor PNG"),
            (encoded(picture, "TIFF"), "neither JPEG nor PNG"),
            (encoded(picture)[:900], "damaged"),
            (encoded(picture, "PNG")[:900], "damaged"),
            (encoded(picture[:32]), "declares 64 x 32 pixels, not 64 x 64"),
            (png_declaring(4000, 4000), "declares 4000 x 4000 pixels, not 64 x 64"),
            (png_declaring(60000, 60000), "too many pixels"),
        ],
    )
    def test_refused(self, data, cause):
        with pytest.raises(ClipError, match=cause):
            decode_crop(data, (64, 64))

    def test_limit_without_an_expected_size(self):
        with pytest.raises(ClipError, match="declares 5000 x 10 pixels; the limit is 4096"):
            decode_crop(png_declaring(5000, 10))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_random_damage_raises_only_clip_errors(self, kind):
        rng = random.Random(0)
        whole = encoded(self.picture, kind)
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with contextlib.suppress(ClipError):
                assert decode_crop(bytes(data), (64, 64)).shape == (64, 64, 3)

    @pytest.mark.parametrize("threads", [0, 2])
    @pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
    def test_many(self, layout, threads):
        pictures = [smooth_image(64, 64, seed) for seed in range(20)]
        crops = [encoded(picture, "PNG") for picture in pictures]
        crops[5], crops[17] = b"junk", encoded(self.picture[:32], "PNG")
        out = np.full((20, 64, 64, 3) if layout == "NHWC" else (20, 3, 64, 64), 99, np.uint8)
        pool = ThreadPoolExecutor(threads) if threads else None
        broken = decode_crops(crops, out, pool)
        assert broken == {5: "crop is neither JPEG nor PNG", 17: "crop declares 64 x 32 pixels, not 64 x 64"}
        images = out if layout == "NHWC" else out.transpose(0, 2, 3, 1)
        for index, picture in enumerate(pictures):
            np.testing.assert_array_equal(images[index], 0 if index in broken else picture)
        if pool:
            pool.shutdown()

    def test_into_part_of_a_larger_array(self):
        batch = np.full((8, 64, 64, 3), 99, np.uint8)
        assert decode_crops([memoryview(encoded(self.picture, "PNG"))], batch[2:3]) == {}
        np.testing.assert_array_equal(batch[2], self.picture)
        assert (batch[[0, 1, *range(3, 8)]] == 99).all()
        assert decode_crops([], batch[:0]) == {}

    def test_out_must_fit(self):
        for out in (np.zeros((2, 64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3)), np.zeros((1, 64, 64, 4), np.uint8)):
            with pytest.raises(ValueError, match="out is uint8"):
                decode_crops([encoded(self.picture)], out)


def test_importing_loads_neither_pillow_nor_scipy():
    code = "import sys, affectkit.tracks; sys.exit(any(name in sys.modules for name in ('PIL', 'scipy', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
