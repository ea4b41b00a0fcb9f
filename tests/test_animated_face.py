"""Synthetic clips: the animated portrait, the expressions that valence and arousal draw, and what happens in a clip."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from affectkit.errors import MissingExtra, UsageError
from affectkit.practice import animated_face as face
from affectkit.practice.face_features import CORNERS, Expression, move_features
from affectkit.practice.feelings import PARAMETERS, affect_shown, face_of
from affectkit.practice.looks import AS_PHOTOGRAPHED
from affectkit.practice.scenes import PEAK, Scene, affect_curve, frame_times, make_scene, roaming

pytest.importorskip("skimage")

EXTREMES = [(v, a) for v in (-PEAK, 0.0, PEAK) for a in (-PEAK, 0.0, PEAK)]


def scene(number: int, frames: int = 70, fps: float = 10) -> Scene:
    rng, times = np.random.default_rng([7, number]), frame_times(frames, fps)
    return make_scene(rng, AS_PHOTOGRAPHED, roaming(rng, times), times)


def expression(valence: float, arousal: float, strength: float = 1.0, blink: float = 0.0) -> Expression:
    """What valence and arousal draw on a face."""
    return face_of(strength * affect_shown(np.float64(valence), np.float64(arousal))[: len(PARAMETERS)], blink)


# --- the portrait ---


def test_reading_is_bilinear() -> None:
    from scipy.ndimage import map_coordinates

    x, y = np.random.default_rng(0).uniform(1, 510, (2, 20, 30)).astype(np.float32)
    got = face._read(x, y)
    for plane, channel in zip(got, face.photograph(), strict=True):
        expected = map_coordinates(channel, [y * 2 + 0.5, x * 2 + 0.5], order=1)
        np.testing.assert_allclose(plane, expected, atol=0.02)


def test_reading_beyond_the_photograph_repeats_its_edge() -> None:
    x, y = np.float32([[-50, 600]]), np.float32([[-50, 600]])
    photo = face.photograph()
    np.testing.assert_allclose(face._read(x, y)[:, 0, 0], photo[:, 0, 0], atol=0.5)
    np.testing.assert_allclose(face._read(x, y)[:, 0, 1], photo[:, -1, -1], atol=0.5)


def test_a_still_view_shows_the_photograph() -> None:
    size = int(face.PICTURE_WIDTH) * 2  # the enlarged photograph, pixel for pixel
    picture = face.render(Expression(), face.View(centre=(226, 110)), size).astype(int)
    left, top = 2 * (226 - 96) + 1, 2 * (110 - 96) + 1
    photo = face.photograph().transpose(1, 2, 0)[top : top + size, left : left + size]
    hair = slice(100)  # nothing there moves with the expression
    assert np.abs(picture - photo)[hair].max() <= 0.51


def test_the_same_arguments_give_the_same_bytes() -> None:
    still = scene(0)
    first, second = (face.render(still.expressions[9], still.views[9], 96) for _ in range(2))
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8
    assert first.tobytes() == second.tobytes()


def test_missing_scikit_image_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtra, match=r"scikit-image.*affectkit\[demo\]"):
        face.photograph.__wrapped__()


def test_another_portrait_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "PHOTO_SHA256", "0" * 64)
    with pytest.raises(UsageError, match=r"astronaut\.png is not the portrait"):
        face.photograph.__wrapped__()


# --- expressions ---


def traced(expression: Expression, view: face.View, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from, as `render` finds it."""
    x, y, _ = face._head(*face._camera(view, size), view)
    window = face._window(x, y)
    x[window], y[window], _ = move_features(x[window], y[window], expression)
    return x, y


def area_change(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Determinant of the map's Jacobian: its sign turns where a picture folds."""
    (xy, xx), (yy, yx) = np.gradient(x), np.gradient(y)
    return xx * yy - xy * yx


@pytest.mark.parametrize(("valence", "arousal"), EXTREMES)
def test_no_face_folds_or_tears(valence: float, arousal: float) -> None:
    for blink in (0.0, 1.0):
        x, y = traced(expression(valence, arousal, 1.2, blink), face.View())
        assert area_change(x, y).min() > -0.02
        assert np.abs(np.diff(x)).max() < 3  # no jump sideways; only the lips part


def test_no_pose_folds() -> None:
    for number in range(8):
        still = scene(number)
        for view in still.views[::9]:
            sign = -1 if view.mirror else 1
            assert (sign * area_change(*traced(Expression(smile=0.7), view))).min() > 0


def height_of(point: tuple[float, float], expression: Expression) -> float:
    """The row at which a point of the photograph is seen."""
    x, y = traced(expression, face.View(), 384)
    return float(np.unravel_index(np.hypot(x - point[0], y - point[1]).argmin(), x.shape)[0]) / 2


def test_valence_lifts_the_corners_of_the_mouth() -> None:
    for corner in ((CORNERS[0][0] - 3, CORNERS[0][1]), (CORNERS[1][0] + 3, CORNERS[1][1])):
        rows = [height_of(corner, expression(valence, 0)) for valence in (-0.9, 0.0, 0.9)]
        assert rows[0] > rows[1] + 1.5 and rows[1] > rows[2] + 1.5


def test_arousal_raises_brows_and_drops_the_chin() -> None:
    brow = [height_of((201, 89), expression(0, arousal)) for arousal in (-0.9, 0.0, 0.9)]
    chin = [height_of((224, 175), expression(0, arousal)) for arousal in (-0.9, 0.0, 0.9)]
    assert brow[0] > brow[1] + 1 and brow[1] > brow[2] + 1
    assert chin[0] < chin[1] - 1 and chin[1] < chin[2] - 3


def test_an_open_mouth_is_dark() -> None:
    def dark(arousal: float) -> int:
        picture = face.render(expression(0, arousal), face.View(), 192)
        return int((picture[120:160, 70:120].max(axis=2) < 70).sum())

    assert dark(-0.9) < 30 < dark(0.4) < dark(0.9)


def test_an_expression_leaves_hair_and_background_alone() -> None:
    calm, excited = (face.render(expression(v, a), face.View(), 192) for v, a in ((-0.9, -0.9), (0.9, 0.9)))
    differs = (calm != excited).any(axis=2)
    assert differs.mean() > 0.1
    assert not differs[:40].any() and not differs[:, :30].any() and not differs[:, 155:].any()


# --- scenes ---


def test_curves_are_smooth_bounded_and_cover_the_range() -> None:
    curves = np.stack([affect_curve(np.random.default_rng(n), np.arange(70) / 10) for n in range(40)])
    assert np.abs(curves).max() <= PEAK
    assert curves.min() < -0.8 and curves.max() > 0.8 and curves.std() > 0.4
    assert np.abs(np.diff(curves)).max() < 0.35


def test_what_is_to_be_ignored_tells_nothing_about_the_labels() -> None:
    scenes = [scene(n) for n in range(60)]
    valence = np.concatenate([s.valence for s in scenes])
    arousal = np.concatenate([s.arousal for s in scenes])
    views = [view for s in scenes for view in s.views]
    nuisances = {
        "exposure": [v.exposure for v in views],
        "light": [v.light[0] for v in views],
        "shift x": [v.shift[0] for v in views],
        "shift y": [v.shift[1] for v in views],
        "turn": [v.turn[1] for v in views],
        "roll": [v.roll for v in views],
        "zoom": [v.zoom * v.lean for v in views],
        "cast": [v.cast[0] for v in views],
        "wall": [v.wall[2] for v in views],
        "mirror": [float(v.mirror) for v in views],
        "blink": [e.blink for s in scenes for e in s.expressions],
    }
    assert abs(np.corrcoef(valence, arousal)[0, 1]) < 0.1
    for name, values in nuisances.items():
        assert np.std(values) > 0.01, name
        for label in (valence, arousal):
            assert abs(np.corrcoef(values, label)[0, 1]) < 0.25, name


def test_a_scene_depends_on_its_seed_alone() -> None:
    first, second, other = scene(3), scene(3), scene(4)
    assert first.views == second.views and first.expressions == second.expressions
    np.testing.assert_array_equal(first.valence, second.valence)
    assert not np.allclose(first.valence, other.valence)


def test_drawing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from affectkit.practice import table; from affectkit.practice import animated_face as f;"
        "f.render(f.Expression(), f.View(), 64);"
        "heavy = {'torch', 'timm', 'scipy', 'skimage', 'pooch', 'sklearn', 'cv2', 'librosa', 'transformers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
