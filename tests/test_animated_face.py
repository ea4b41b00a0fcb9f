"""The demo's synthetic data: the animated portrait, what happens in a clip, and the files."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectkit.errors import AffectkitError, MissingExtra, UsageError
from affectkit.practice import animated_face as face
from affectkit.practice import demo
from affectkit.practice import demo as demo_module
from affectkit.practice.demo import PEAK, Manner, Scene, affect_curve, make_scene
from affectkit.practice.face_features import CORNERS, Expression, move_features

pytest.importorskip("skimage")

TINY = {"seconds": 1, "fps": 4, "size": 64}
EXTREMES = [(v, a) for v in (-PEAK, 0.0, PEAK) for a in (-PEAK, 0.0, PEAK)]


def scene(number: int, frames: int = 70, fps: float = 10) -> Scene:
    return make_scene(np.random.default_rng([7, number]), frames, fps)


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
        x, y = traced(Manner(1.15, 1.15, 1.15, 1.15, 1.15).express(valence, arousal, blink), face.View())
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
    manner = Manner()
    for corner in ((CORNERS[0][0] - 3, CORNERS[0][1]), (CORNERS[1][0] + 3, CORNERS[1][1])):
        rows = [height_of(corner, manner.express(valence, 0)) for valence in (-0.9, 0.0, 0.9)]
        assert rows[0] > rows[1] + 1.5 and rows[1] > rows[2] + 1.5


def test_arousal_raises_brows_and_drops_the_chin() -> None:
    manner = Manner()
    brow = [height_of((201, 89), manner.express(0, arousal)) for arousal in (-0.9, 0.0, 0.9)]
    chin = [height_of((224, 175), manner.express(0, arousal)) for arousal in (-0.9, 0.0, 0.9)]
    assert brow[0] > brow[1] + 1 and brow[1] > brow[2] + 1
    assert chin[0] < chin[1] - 1 and chin[1] < chin[2] - 3


def test_an_open_mouth_is_dark() -> None:
    def dark(arousal: float) -> int:
        picture = face.render(Manner().express(0, arousal), face.View(), 192)
        return int((picture[120:160, 70:120].max(axis=2) < 70).sum())

    assert dark(-0.9) < 30 < dark(0.4) < dark(0.9)


def test_an_expression_leaves_hair_and_background_alone() -> None:
    calm, excited = (face.render(Manner().express(v, a), face.View(), 192) for v, a in ((-0.9, -0.9), (0.9, 0.9)))
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


# --- files ---


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> demo.DemoSet:
    folder = tmp_path_factory.mktemp("demo")
    return demo.make_demo_clips(folder, clips={"train": 2, "test": 1}, seconds=1, fps=8, size=96)


def decoded(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.average_rate == 8
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def test_labels_are_a_table_over_time(made: demo.DemoSet) -> None:
    import pandas as pd

    table = pd.read_csv(made.labels)
    assert list(table.columns) == ["clip", "start", "end", "split", "valence", "arousal"]
    assert table.groupby("clip").size().to_dict() == {"train-00": 8, "train-01": 8, "test-00": 8}
    assert dict(zip(table["clip"], table["split"], strict=True)) == made.splits
    assert table[["valence", "arousal"]].abs().max().max() <= 1
    one = table[table["clip"] == "train-01"]
    np.testing.assert_allclose(one.start, np.arange(8) / 8)
    np.testing.assert_allclose(one.end, np.arange(1, 9) / 8)
    expected = make_scene(demo._rng(0, "train-01", "scene"), 8, 8)
    np.testing.assert_allclose(one.arousal, expected.arousal, atol=6e-5)


def test_clips_decode_to_the_frames_that_were_drawn(made: demo.DemoSet) -> None:
    assert sorted(p.name for p in made.clips.iterdir()) == ["test-00.mp4", "train-00.mp4", "train-01.mp4"]
    drawn = np.stack(list(make_scene(demo._rng(0, "test-00", "scene"), 8, 8).frames(96)))
    difference = np.abs(decoded(made.clips / "test-00.mp4").astype(int) - drawn)
    assert difference.mean() < 4
    assert np.abs(drawn[0].astype(int) - drawn[-1]).mean() > 2 * difference.mean()


def test_a_second_call_does_nothing(made: demo.DemoSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "write_video", None)
    again = demo.make_demo_clips(made.labels.parent, clips={"train": 2, "test": 1}, seconds=1, fps=8, size=96)
    assert again == made


def test_the_same_seed_gives_the_same_files_whatever_else_is_made(made: demo.DemoSet, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    other = demo.make_demo_clips(
        tmp_path, clips={"train": 1}, seconds=1, fps=8, size=96, progress=lambda done, total: seen.append((done, total))
    )
    np.testing.assert_array_equal(decoded(other.clips / "train-00.mp4"), decoded(made.clips / "train-00.mp4"))
    lines = other.labels.read_text().splitlines()
    assert lines == made.labels.read_text().splitlines()[: len(lines)]
    assert seen == [(1, 1)]


def test_another_version_or_a_lost_clip_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo.make_demo_clips(tmp_path, clips={"train": 2}, **TINY)
    (first.clips / "train-01.mp4").unlink()
    second = demo.make_demo_clips(tmp_path, clips={"train": 2}, **TINY)
    assert (second.clips / "train-01.mp4").is_file()
    (first.clips / "train-00.mp4").write_bytes(b"from an older version")
    monkeypatch.setattr(demo, "GENERATOR_VERSION", demo.GENERATOR_VERSION + 1)
    demo.make_demo_clips(tmp_path, clips={"train": 2}, **TINY)
    assert (first.clips / "train-00.mp4").stat().st_size > 100


def test_other_settings_leave_no_clip_without_labels(tmp_path: Path) -> None:
    demo.make_demo_clips(tmp_path, clips={"train": 2, "val": 1}, **TINY)
    mine = tmp_path / "clips" / "mine.mp4"
    mine.write_bytes(b"not ours")
    made = demo.make_demo_clips(tmp_path, clips={"train": 1}, **TINY)
    assert sorted(p.name for p in made.clips.iterdir()) == ["mine.mp4", "train-00.mp4"]


def test_an_interrupted_set_is_not_taken_for_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(expression: Expression, view: face.View, size: int) -> face.Frame:
        if expression == last:
            raise KeyboardInterrupt
        return face.render(expression, view, size)

    last = make_scene(demo._rng(0, "train-01", "scene"), 4, 4).expressions[-1]
    monkeypatch.setattr(demo_module, "render", stops)
    with pytest.raises(KeyboardInterrupt):
        demo.make_demo_clips(tmp_path, clips={"train": 2}, **TINY)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["train-00.mp4"]
    monkeypatch.undo()
    made = demo.make_demo_clips(tmp_path, clips={"train": 1}, **TINY)
    marker = json.loads((tmp_path / "demo.json").read_text())
    assert "not a benchmark" in marker["what"]
    assert made.splits == {"train-00": "train"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        demo.make_demo_clips(tmp_path / "file", clips={"train": 1}, **TINY)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(AffectkitError, match="cannot be written"):
        demo.make_demo_clips(tmp_path / "new", clips={"train": 1}, **TINY)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"clips": {}}, "train, val, test"),
        ({"clips": {"dev": 3}}, "train, val, test"),
        ({"clips": {"train": -1, "val": 2}}, "train, val, test"),
        ({"seconds": 0}, "at 10 fps"),
        ({"seconds": float("nan")}, "at 10 fps"),
        ({"fps": 0}, "at 0 fps"),
        ({"size": 63}, "even number"),
        ({"size": 20}, "even number"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_that_make_no_clip_are_refused(tmp_path: Path, settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        demo.make_demo_clips(tmp_path / "new", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_drawing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from affectkit.practice import demo as d; from affectkit.practice import animated_face as f;"
        "f.render(f.Expression(), f.View(), 64);"
        "heavy = {'torch', 'timm', 'scipy', 'skimage', 'pooch', 'sklearn', 'cv2', 'librosa', 'transformers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
