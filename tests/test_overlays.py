"""Drawing: where scores are shown, what is hidden, what fits, and that nothing leaves the picture."""

from __future__ import annotations

import numpy as np
import pytest

from affectkit.overlays import letters
from affectkit.overlays.canvas import OverlayCanvas
from affectkit.overlays.curves import ScoreCurves, between_rows
from affectkit.overlays.faces import FaceRows
from affectkit.overlays.hiding import around_detections, hidden_boxes, hide
from affectkit.overlays.strip import SPAN, CurveStrip, clock
from affectkit.types import Floats

CLASSES = ("angry", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def rows(start: Floats, boxes: Floats, number: int | None = None) -> FaceRows:
    valid = np.isfinite(boxes).all(axis=1)
    return FaceRows(start, start + 1 / 30, np.nan_to_num(boxes), np.zeros((len(start), 5, 2)), valid, number)


def moving(count: int = 11, step: float = 0.2, pace: float = 20.0) -> tuple[Floats, Floats]:
    """A box of 20 x 20 that goes to the right, `pace` pixels a row."""
    start = np.arange(count) * step
    x = 10 + pace * np.arange(count)
    return start, np.stack([x, np.full(count, 30.0), x + 20, np.full(count, 50.0)], axis=1)


# ---- where scores and boxes are


def test_a_row_at_its_own_moment_is_exact_and_a_line_between() -> None:
    start = np.arange(5) * 0.2
    values = np.array([[0.0], [1.0], [0.5], [np.nan], [2.0]])
    at = between_rows(start, start + 1 / 30, values, start + 1 / 60)
    assert np.array_equal(at, values, equal_nan=True)
    assert between_rows(start, start + 1 / 30, values, np.array([0.1 + 1 / 60]))[0, 0] == pytest.approx(0.5)


def test_nothing_is_shown_where_no_row_has_a_score() -> None:
    start = np.arange(20) * 0.2
    values = np.where((start > 1) & (start < 2), np.nan, 1.0)[:, None]
    moments = np.arange(0, 6, 0.05)
    shown = np.isfinite(between_rows(start, start + 1 / 30, values, moments))[:, 0]
    assert not shown[(moments > 1.15) & (moments < 1.85)].any()
    assert not shown[moments > 4.1].any()
    assert shown[moments < 1.0].all()


def test_windows_that_overlap_and_one_row_a_clip() -> None:
    start = np.arange(4) * 1.0
    assert between_rows(start, start + 4, start[:, None], np.array([2.5]))[0, 0] == pytest.approx(0.5)
    clip = between_rows(np.zeros(1), np.array([np.inf]), np.array([[0.7]]), np.array([0.0, 5.0, 99.0]))
    assert clip.ravel().tolist() == [0.7, 0.7, 0.7]
    empty = ScoreCurves("m", ("a",), np.zeros(0), np.zeros(0), np.zeros((0, 1)))
    assert np.isnan(empty.at(np.zeros(3))).all()


# ---- what is hidden


def test_a_face_is_covered_at_every_frame_between_rows() -> None:
    start, boxes = moving()
    moments = np.arange(0, 2.0, 1 / 30) + 1 / 60
    hidden = hidden_boxes(rows(start, boxes), moments, margin=0.3, hold=0.5)
    x = np.interp(moments, start + 1 / 60, boxes[:, 0])
    assert (hidden[:, 0] <= x - 6).all()
    assert (hidden[:, 2] >= x + 20 + 6).all()


def test_faster_faces_are_hidden_more() -> None:
    slow, fast = (hidden_boxes(rows(*moving(pace=pace)), np.array([0.5]), 0.3, 1.0)[0] for pace in (2.0, 40.0))
    assert fast[2] - fast[0] > slow[2] - slow[0] + 30


def test_a_gap_in_a_track_stays_hidden() -> None:
    start, boxes = moving()
    boxes[3:8] = np.nan
    moments = np.arange(0, 2.0, 1 / 30)
    hidden = hidden_boxes(rows(start, boxes), moments, 0.3, 0.0)
    inside = (moments > 0.5) & (moments < 1.55)
    assert np.isfinite(hidden[inside]).all()
    assert (hidden[inside, 0] <= 50).all()
    assert (hidden[inside, 2] >= 190).all()


def test_faces_are_hidden_before_the_first_and_after_the_last_time() -> None:
    start, boxes = moving(count=3)
    moments = np.array([0.0, 1.0, 1.6, 2.3, 3.5, 5.0])
    hidden = np.isfinite(hidden_boxes(rows(start + 2, boxes), moments, 0.3, 1.0)).all(axis=1)
    assert hidden.tolist() == [False, False, True, True, False, False]
    assert np.isnan(hidden_boxes(rows(start, np.full((3, 4), np.nan)), moments, 0.3, 1.0)).all()


def test_faces_of_single_frames_are_hidden_around_them() -> None:
    found = [(1.0, np.array([[10.0, 10, 20, 20]])), (2.0, np.zeros((0, 4)))]
    near = around_detections(found, np.array([0.5, 0.8, 1.2, 2.0]), 0.5)
    assert [len(each) for each in near] == [0, 1, 1, 0]
    assert near[1].tolist() == [[5, 5, 25, 25]]


@pytest.mark.parametrize("how", ["blur", "box"])
def test_what_is_hidden_is_gone_and_the_rest_untouched(how: str) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (80, 100, 3)).astype(np.uint8)
    hidden = picture.copy()
    hide(hidden, np.array([[20.0, 10, 60, 70], [-50, -50, -10, -10], [90, 70, 200, 200]]), how)  # type: ignore[arg-type]
    assert np.array_equal(hidden[:, :20], picture[:, :20])
    assert np.array_equal(hidden[75:, 20:60], picture[75:, 20:60])
    assert hidden[10:70, 20:60].std() < 0.2 * picture.std()
    assert not np.array_equal(hidden[70:, 90:], picture[70:, 90:])


# ---- what is drawn


def curves(model: str, names: tuple[str, ...], face: int | None = None, seconds: float = 3.0) -> ScoreCurves:
    start = np.arange(0, seconds, 0.2)
    scores = np.abs(np.sin(start[:, None] + np.arange(len(names)))) / 2
    return ScoreCurves(model, names, start, start + 1 / 30, scores, face)


@pytest.mark.parametrize("size", [(96, 64), (97, 65), (640, 360), (360, 640), (2, 2), (1, 400), (1280, 90)])
@pytest.mark.parametrize("style", ["boxes", "mesh", "bars", "circumplex"])
def test_every_size_and_style_is_drawn(size: tuple[int, int], style: str) -> None:
    width, height = size
    start, boxes = moving(count=5)
    faces = [rows(start, boxes, 0), rows(start, boxes * 3, 1)]
    told = [
        curves("a long model's name " * 3, ("valence", "arousal"), 0),
        curves("m", CLASSES, 1),
        curves("n", CLASSES * 3),
    ]
    moments = np.arange(0, 1, 0.1)
    canvas = OverlayCanvas(faces, told, moments, 1.0, width, height, style)  # type: ignore[arg-type]
    frame = np.full((height, width, 3), 128, np.uint8)
    for number in (0, 9):
        picture = canvas.draw(frame, number)
        assert picture.shape == (canvas.height, canvas.width, 3)
    assert not canvas.width % 2
    assert not canvas.height % 2
    assert (frame == 128).all()


def test_boxes_are_at_their_pixels() -> None:
    box = np.array([[100.0, 60, 180, 160]] * 3)
    face = rows(np.arange(3) * 0.2, box)
    canvas = OverlayCanvas([face], [], np.array([0.2 + 1 / 60]), 1.0, 640, 360, "boxes")
    picture = canvas.draw(np.full((360, 640, 3), 90, np.uint8), 0)
    yellow = np.argwhere((picture == face.colour).all(axis=2))
    assert np.abs(yellow.min(axis=0) - [60, 100]).max() <= 1
    assert np.abs(yellow.max(axis=0) - [160, 180]).max() <= 1
    assert (picture[80:140, 120:160] == 90).all()


def test_a_frame_without_a_face_says_so_and_its_number_is_not_shown() -> None:
    start = np.arange(10) * 0.2
    boxes = np.where((start < 1)[:, None], np.array([[100.0, 60, 180, 160]]), np.nan)
    scores = np.where((start < 1)[:, None], 0.5, np.nan) * np.ones((1, 7))
    told = ScoreCurves("m", CLASSES, start, start + 1 / 30, scores)
    canvas = OverlayCanvas([rows(start, boxes)], [told], np.array([0.5, 1.6]), 2.0, 640, 360, "boxes")
    grey = np.full((360, 640, 3), 90, np.uint8)
    with_face, without = canvas.draw(grey, 0), canvas.draw(grey, 1)
    assert (with_face[:30, :90] == 90).all()
    assert not (without[:30, :60] == 90).all()
    assert (without[60:340, 95:190] == 90).all()


def test_mesh_only_shows_nothing_of_the_picture() -> None:
    start, boxes = moving()
    picture = np.random.default_rng(1).integers(0, 256, (360, 640, 3)).astype(np.uint8)
    scenes = [
        OverlayCanvas([rows(start, boxes)], [], np.array([0.5]), 2.0, 640, 360, "boxes", hiding="mesh-only")
        for _ in range(2)
    ]  # fmt: skip
    assert np.array_equal(scenes[0].draw(picture, 0), scenes[1].draw(np.zeros_like(picture), 0))


def test_a_long_clip_is_seen_through_a_window_that_goes_along() -> None:
    long = curves("m", ("a",), seconds=200.0)
    strip = CurveStrip([long], 200.0, 640, 1.0)
    early, late = (np.empty((strip.height, 640, 3), np.uint8) for _ in range(2))
    strip.draw(early, 1.0)
    strip.draw(late, 150.0)
    assert not np.array_equal(early, late)
    white = np.flatnonzero((late[strip.height // 2] == 255).all(axis=1))
    assert abs(white.mean() - 640 / 2) < 40
    assert SPAN < 200
    assert clock(150.0) == "2:30.00"


def test_text_is_cut_to_its_room_and_hostile_marks_are_gone() -> None:
    assert letters.fitted("happiness", 12, 30).endswith("...")
    assert letters.width(letters.fitted("w" * 500, 12, 90), 12) <= 90
    assert letters.printable("a\u202eb\nc<script>") == "a b c<script>"
    picture = np.zeros((20, 20, 3), np.uint8)
    for x, y in ((-50, 5), (5, -50), (500, 5), (15, 15), (-5, -5)):
        letters.write(picture, "Jürgen 漢字", x, y, 12)
    letters.write(picture, "", 0, 0, 12)
