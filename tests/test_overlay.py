"""overlay: the videos it writes against those they were made from, and what it does with clips that are odd or bad."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip, make_flash_and_beep, make_sound, number_of, numbered
from overlay_factory import CONFIG, still, write_faces, write_meshes, write_scores
from stage_factory import SHARED, portrait

import affectkit as ak
from affectkit import plugins
from affectkit.errors import AffectkitError, Notice, UsageError
from affectkit.media import Sampling, VideoReader, probe, scan
from affectkit.stages import overlay_clip
from affectkit.stages.overlay import Overlay, OverlayConfig
from affectkit.stages.overlay_clip import faces_left
from affectkit.stages.stage import Context, Result
from affectkit.store import Artifact, Cache
from affectkit.types import Clip

CLASSES = ("angry", "happy", "sad")
BOX = (40.0, 20.0, 70.0, 50.0)
PLAIN = {**CONFIG, "face": "largest"}


def track(count: int = 5, step: float = 0.2, box: Sequence[float] = BOX) -> Any:
    start = np.arange(count) * step
    return start, np.tile(np.array(box), (count, 1))


def faces_of(cache: Cache, *clips: Clip, tracks: int = 1, config: Any = PLAIN) -> Artifact:
    return write_faces(cache, {clip: [track() for _ in range(tracks)] for clip in clips}, config)


def scores_of(cache: Cache, faces: Artifact, columns: Sequence[str] = CLASSES, name: str = "model") -> Artifact:
    values = np.tile(np.linspace(0.2, 0.5, len(columns)), (5, 1))
    return write_scores(cache, faces, {clip: (np.arange(5) * 0.2, values) for clip in faces.clips}, columns, name)


def overlay(cache: Cache, what: Sequence[Artifact | Path], out: Path, *, media: Path | None = None, clips: Any = None,
            **config: Any) -> Result:  # fmt: skip
    paths = [each.path if isinstance(each, Artifact) else each for each in what]
    inputs = Overlay.Inputs(what=paths, out=out, videos=media, clips=clips)
    return Overlay().run(inputs, OverlayConfig(**config), Context(cache))


def frames(path: Path) -> list[Any]:
    return list(VideoReader(path, Sampling(fps="native"), threads=1))


# ---- the result against the source


UNEVEN = [0, 40, 73, 140, 160, 233, 301, 340, 400, 477, 520, 601, 650, 720, 799, 870, 930, 1000]
SOURCES: dict[str, dict[str, Any]] = {
    "variable": {"images": len(UNEVEN), "pts": UNEVEN, "time_base": Fraction(1, 1000), "suffix": ".mkv"},
    "ntsc": {"time_base": Fraction(1001, 30000), "audio": True},
    "turned": {"rotation": (90, False, False), "audio": True},
    "ten-bit": {"pix_fmt": "yuv420p10le", "suffix": ".mkv"},
    "odd": {"size": (385, 257), "pix_fmt": "yuv444p"},
    "interlaced": {"options": {"flags": "+ilme+ildct", "x264-params": "interlaced=1", "preset": "ultrafast"}},
    "b-frames": {"options": {"preset": "veryfast", "bf": "3", "g": "30"}, "audio": True},
    "late": {"pts": list(range(15, 45)), "audio": True},
}


@pytest.mark.parametrize("name", SOURCES)
def test_frames_are_those_of_the_source_at_their_times(tmp_path: Path, cache: Cache, name: str) -> None:
    how = dict(SOURCES[name])
    size = how.pop("size", (384, 256))
    pictures = list(numbered(how.pop("images", 30), *size))
    if "rotation" in how:
        pictures = [np.ascontiguousarray(np.rot90(each, -1)) for each in pictures]
    clip = still(make_clip(tmp_path / f"{name}{how.pop('suffix', '.mp4')}", pictures, **how))
    result = overlay(cache, [faces_of(cache, clip)], tmp_path / "out")
    assert not result.failed
    path = tmp_path / "out" / f"{name}.mp4"
    before, after, about = scan(clip.path), scan(path), probe(clip.path)
    assert np.allclose(after.times, before.times, atol=1e-6)
    assert after.duration == pytest.approx(before.duration, abs=1e-3)
    shown, source = frames(path), frames(clip.path)
    height, width = source[0].image.shape[:2]
    assert [number_of(frame.image[:height, :width]) for frame in shown] == list(range(len(source)))
    assert (width, height) == (about.width, about.height)
    differences = [np.abs(a.image[:height, :width].astype(int) - b.image) for a, b in zip(shown, source, strict=True)]
    assert np.mean([each[height // 2 :].mean() for each in differences]) < 6
    assert after.has_audio == before.has_audio


def test_boxes_lie_on_the_faces_of_the_video(tmp_path: Path, cache: Cache) -> None:
    """A bright square goes through a dark picture; the box is drawn about it in every frame between rows as well."""
    images = []
    for number in range(30):
        image = np.full((240, 426, 3), 60, np.uint8)
        image[100:140, 50 + 8 * number : 90 + 8 * number] = 200
        images.append(image)
    clip = still(make_clip(tmp_path / "a.mp4", images))
    start = np.arange(0, 1, 0.2)
    x = 50 + 8 * np.round(start * 30)
    boxes = np.stack([x, np.full(5, 100.0), x + 40, np.full(5, 140.0)], axis=1)
    faces = write_faces(cache, {clip: [(start, boxes)]}, PLAIN)
    overlay(cache, [faces], tmp_path / "out", quality=95)
    for number, frame in enumerate(frames(tmp_path / "out" / "a.mp4")[:24]):
        red, blue = frame.image[..., 0].astype(int), frame.image[..., 2].astype(int)
        ys, xs = np.nonzero((red > 150) & (red - blue > 60))
        assert abs(np.median(xs[ys > 120]) - (70 + 8 * number)) <= 30
        assert abs(xs.min() - (50 + 8 * number)) <= 4, number
        assert abs(xs.max() - (90 + 8 * number)) <= 4, number
        assert abs(ys.min() - 100) <= 4
        assert abs(ys.max() - 140) <= 4


def test_a_cut_is_drawn_on_its_own_clock(tmp_path: Path, cache: Cache) -> None:
    path = make_flash_and_beep(tmp_path / "a.mp4")
    clip = Clip("day/cut", path, start=1.0, end=2.0)
    overlay(cache, [faces_of(cache, clip)], tmp_path / "out")
    about = json.loads((tmp_path / "out" / "day" / "cut.json").read_text())
    assert (about["frames"], about["begin"], about["sound"]) == (25, 0.0, "copied")
    assert about["seconds"] == pytest.approx(1.0)
    bright = [frame.start for frame in frames(tmp_path / "out" / "day" / "cut.mp4") if frame.image[30:40].mean() > 150]
    assert bright == [pytest.approx(0.52)]


def test_nothing_is_told_of_where_and_by_whom_a_video_was_made(tmp_path: Path, cache: Cache) -> None:
    plain = make_clip(tmp_path / "plain.mp4", 10, audio=True)
    path = tmp_path / "a.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as target:
        target.metadata.update({"title": "Anna's secret", "comment": "secret", "location": "+48.1+011.5/"})
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    assert b"secret" in path.read_bytes()
    overlay(cache, [faces_of(cache, still(path))], tmp_path / "out")
    written = (tmp_path / "out" / "a.mp4").read_bytes()
    assert not any(word in written for word in (b"secret", b"+48.1", b"Anna"))
    assert written.index(b"moov") < written.index(b"mdat")


def test_without_sound(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_flash_and_beep(tmp_path / "a.mp4"))
    overlay(cache, [faces_of(cache, clip)], tmp_path / "out", sound=False)
    assert not scan(tmp_path / "out" / "a.mp4").has_audio


# ---- what is drawn


def test_scores_of_several_faces_and_models_in_every_style(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 12, size=(384, 256)))
    faces = faces_of(cache, clip, tracks=2, config=CONFIG)
    classes, affect = scores_of(cache, faces), scores_of(cache, faces, ("valence", "arousal"), "other")
    grid = np.stack([*np.meshgrid(np.linspace(0.2, 0.8, 8), np.linspace(0.1, 0.9, 8)), np.zeros((8, 8))], axis=-1)
    mesh = write_meshes(cache, faces, grid.reshape(-1, 3))
    shapes = {}
    for style in ("boxes", "mesh", "bars", "circumplex"):
        result = overlay(cache, [mesh, classes, affect], tmp_path / style, style=style)
        assert not result.failed
        shapes[style] = frames(tmp_path / style / "a.mp4")[0].image.shape
    assert shapes["bars"][1] > shapes["boxes"][1] == 384
    assert shapes["boxes"][0] > 256
    assert len(frames(tmp_path / "bars" / "a.mp4")) == 12


def test_a_mesh_lies_in_the_crop_that_it_was_found_in(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", [np.full((256, 384, 3), 40, np.uint8)] * 6))
    faces = write_faces(cache, {clip: [track(2, box=(100, 60, 200, 160))]}, {**PLAIN, "margin": "0.5"})
    corners = np.array(
        [[0.25, 0.25, 0], [0.75, 0.25, 0], [0.5, 0.75, 0], [0.5, 0.4, 0]]
    )  # of the crop, 200 pixels wide
    overlay(cache, [write_meshes(cache, faces, corners)], tmp_path / "out", style="mesh", anonymise="mesh-only")
    image = frames(tmp_path / "out" / "a.mp4")[0].image.astype(int)
    inside = image[64:156, 106:194]
    ys, xs = np.nonzero(inside[..., 1] > 60)
    assert abs(ys.max() + 64 - 160) <= 6
    assert abs((xs + 106).mean() - 150) <= 8


def test_what_a_style_needs_is_said(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 5))
    faces = faces_of(cache, clip)
    scores = scores_of(cache, faces)
    for what, style, words in (
        ([faces], "bars", "give what predict printed"), ([scores], "mesh", "embed FACES --backbone face-mesh"),
        ([scores], "circumplex", "angry, happy, sad: give --style bars"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            overlay(cache, what, tmp_path / "out", style=style)
    (tmp_path / "p.csv").write_text("clip,happy\na,0.5\n")
    with pytest.raises(UsageError, match="does not say what video"):
        overlay(cache, [tmp_path / "p.csv"], tmp_path / "out")
    with pytest.raises(UsageError, match="matches none of 1 clips"):
        overlay(cache, [faces], tmp_path / "out", clips="b*")
    with pytest.raises(UsageError, match="give one of those"):
        overlay(cache, [faces], tmp_path / "out", check_hidden=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_analyze_is_what_it_names(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 5))
    faces = faces_of(cache, clip)
    scores = scores_of(cache, faces)
    (tmp_path / "results").mkdir()
    record = {"faces": str(faces.path), "models": {"model": {"predictions": str(scores.path)}}}
    (tmp_path / "results" / "analysis.json").write_text(json.dumps(record))
    result = overlay(cache, [tmp_path / "results"], tmp_path / "out", style="bars")
    assert result.report["files"] == {"a": "a.mp4"}


def test_the_same_in_python(tmp_path: Path, cache: Cache) -> None:
    good, bad = still(make_clip(tmp_path / "a.mp4", 5)), still(tmp_path / "b.mp4")
    bad.path.write_bytes(b"no video")
    faces = faces_of(cache, good, bad)
    with pytest.warns(Notice, match="1 clip failed"):
        done = ak.overlay([faces.path], out=tmp_path / "out", style="boxes", cache=cache.root, progress=False)
    assert (Path(done), done.exit_code, list(done.failed)) == (tmp_path / "out", 3, ["b"])
    assert done.report["files"] == {"a": "a.mp4"}
    as_object = ak.overlay(ak.open(faces.path), out=tmp_path / "out", clips=["a"], cache=cache.root, progress=False)
    assert (as_object.cached, as_object.failed) == (True, {})


def test_as_a_step_of_a_recipe(tmp_path: Path, affectkit: Command) -> None:
    detector("centerface")
    (tmp_path / "media").mkdir()
    make_clip(tmp_path / "media" / "a.mp4", pictures_with_faces(6))
    (tmp_path / "seen.toml").write_text(
        'title = "Seen"\n[data.main]\nmedia = "media/"\n[steps.faces]\nstage = "extract-faces"\ndata = "main"\n'
        'detector = "centerface"\n[steps.videos]\nstage = "overlay"\nfrom = "faces"\nout = "videos"\nquality = 50\n'
    )
    assert affectkit("run", "seen.toml", "--dry-run").returncode == 0
    done = affectkit("run", "seen.toml", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert probe(tmp_path / "run" / "videos" / "a.mp4").frames == 6


# ---- faces that must not be seen


def detector(name: str) -> Any:
    plugin = plugins.get("detectors", name)
    options = plugin.Options()
    try:
        return plugins.instance(
            "detectors", name, plugin, options, plugins.weights("detectors", name, plugin, options, "auto"), "cpu"
        )
    except AffectkitError as error:
        pytest.skip(str(error))


def pictures_with_faces(count: int = 30) -> list[Any]:
    """Two faces that move, one of them fast, in a grey room."""
    face = np.asarray(portrait()).repeat(2, axis=0).repeat(2, axis=1)
    images = []
    for number in range(count):
        image = np.full((360, 640, 3), 120, np.uint8)
        left = 20 + 3 * number
        image[100:292, left : left + 192] = face
        above = 40 + (number % 10) * 8
        image[above : above + 192, 400:592] = face[:, ::-1]
        images.append(image)
    return images


@pytest.mark.parametrize(("how", "finder"), [("blur", "blazeface"), ("box", "blazeface"), ("blur", "centerface")])
def test_no_detector_finds_a_hidden_face_again(
    tmp_path: Path, cache: Cache, affectkit: Command, how: str, finder: str
) -> None:
    finders = [detector(name) for name in ("centerface", "blazeface")]
    clip = make_clip(tmp_path / "a.mp4", pictures_with_faces())
    assert len(faces_left(clip, (640, 360), finders[0], 1)) == 30
    found = affectkit("extract", "faces", clip, "--face", "all", "--detector", finder, "--fps", "5")
    assert found.returncode == 0, found.stderr
    done = affectkit("overlay", found.stdout.strip(), "--anonymise", how, "--check-hidden", "--out", "out")
    assert done.returncode == 0, done.stderr
    for each in finders:
        assert faces_left(tmp_path / "out" / "a.mp4", (640, 360), each, 1) == []


def test_a_face_that_was_missed_is_found_in_the_frames_or_the_result_is_refused(tmp_path: Path, cache: Cache) -> None:
    finder = detector("centerface")
    clip = still(make_clip(tmp_path / "a.mp4", pictures_with_faces(12)))
    known = write_faces(cache, {clip: [track(2, box=(20, 100, 212, 292))]}, {**CONFIG, "detector": "centerface"})
    refused = overlay(cache, [known], tmp_path / "out", anonymise="box", detect=False, check_hidden=True)
    assert "finds a face in 12 of 12 frames" in refused.failed[0].cause
    assert not list((tmp_path / "out").glob("*.mp4"))
    done = overlay(cache, [known], tmp_path / "out", anonymise="box", check_hidden=True)
    assert not done.failed
    assert faces_left(tmp_path / "out" / "a.mp4", (640, 360), finder, 1) == []


def test_faces_by_a_rule_that_chooses_one_are_not_enough(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 5))
    result = overlay(cache, [faces_of(cache, clip)], tmp_path / "out", anonymise="blur")
    assert "extract faces" in result.failed[0].cause
    assert "--face all" in result.failed[0].cause
    only = overlay(cache, [faces_of(cache, clip)], tmp_path / "out", anonymise="mesh-only")
    assert not only.failed


def test_a_clip_without_a_face_is_kept_and_said(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 5))
    start, boxes = track()
    faces = write_faces(cache, {clip: [(start, np.full_like(boxes, np.nan))]})
    result = overlay(cache, [faces], tmp_path / "out", anonymise="box", detect=False)
    assert "a: no face is known in it: none is hidden" in result.notices
    assert any("--check-hidden" in notice for notice in result.notices)


# ---- clips that have moved, changed or are bad


def test_a_video_that_moved_is_found_and_another_one_refused(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 8))
    scores = scores_of(cache, faces_of(cache, clip))
    (tmp_path / "new" / "deep").mkdir(parents=True)
    shutil.move(clip.path, tmp_path / "new" / "deep" / "a.mp4")
    gone = overlay(cache, [scores], tmp_path / "out")
    assert "give --videos FOLDER" in gone.failed[0].cause
    assert not overlay(cache, [scores], tmp_path / "out", media=tmp_path / "new").failed
    make_clip(clip.path, 9)
    other = overlay(cache, [scores], tmp_path / "other")
    assert "is not the file that was analysed" in other.failed[0].cause
    assert not overlay(cache, [scores], tmp_path / "other", media=tmp_path / "new").failed


def test_scores_of_an_older_file_of_that_name_are_refused(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 8))
    old = scores_of(cache, faces_of(cache, clip))
    make_clip(clip.path, 9)
    start, boxes = track()
    write_faces(cache, {clip: [(start, boxes + 3)]}, PLAIN)
    assert "is not the file that was analysed" in overlay(cache, [old], tmp_path / "out").failed[0].cause


def test_one_bad_clip_does_not_stop_the_others(tmp_path: Path, affectkit: Command) -> None:
    cache = Cache(tmp_path / "cache")
    good = still(make_clip(tmp_path / "good.mp4", 6))
    crops = Clip("crops", tmp_path / "crops")
    crops.path.mkdir()
    sound = still(make_sound(tmp_path / "sound.wav", np.zeros(16000, np.float32), 16000))
    bad = still(tmp_path / "bad.mp4")
    bad.path.write_bytes(b"nothing of the kind")
    faces = faces_of(cache, good, sound, bad, crops)
    done = affectkit("overlay", faces.path, "--out", "out", "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told["files"] == {"good": "good.mp4"}
    assert sorted(told["failed"]) == ["bad", "crops", "sound"]
    assert "folder of crops" in told["failed"]["crops"]
    assert "no video stream" in told["failed"]["sound"]
    again = affectkit("overlay", faces.path, "--out", "out", "--clips", "good")
    assert (again.returncode, again.stdout) == (0, "out\n")
    assert "0 clips drawn, 1 there already" in again.stderr


def test_names_of_any_id(tmp_path: Path, cache: Cache) -> None:
    path = make_clip(tmp_path / "x.mp4", 4)
    ids = ["day1/Jürgen Müller", "day1/jürgen müller", 'a"<b>:c|d?*', "x" * 250, "con.", "-o", "a.mp4/b", "a"]
    faces = faces_of(cache, *(Clip(each, path) for each in ids))
    result = overlay(cache, [faces], tmp_path / "out")
    assert not result.failed
    files = result.report["files"]
    assert len({name.casefold() for name in files.values()}) == len(ids)
    assert all((tmp_path / "out" / name).is_file() for name in files.values())
    assert all(
        (tmp_path / "out" / name).resolve().is_relative_to((tmp_path / "out").resolve()) for name in files.values()
    )


def test_files_of_somebody_else_are_left_alone(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 4))
    faces = faces_of(cache, clip)
    with pytest.raises(UsageError, match="other files of the same names"):
        overlay(cache, [faces], tmp_path)
    assert probe(clip.path).frames == 4
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        overlay(cache, [faces], tmp_path / "file")


def test_finished_clips_are_kept_and_changed_ones_drawn_again(tmp_path: Path, cache: Cache) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 4))
    faces = faces_of(cache, clip)
    first = overlay(cache, [faces], tmp_path / "out")
    inode = (tmp_path / "out" / "a.mp4").stat().st_ino
    again = overlay(cache, [faces], tmp_path / "out")
    assert (first.is_cached, again.is_cached) == (False, True)
    assert (tmp_path / "out" / "a.mp4").stat().st_ino == inode
    assert not overlay(cache, [faces], tmp_path / "out", quality=50).is_cached
    (tmp_path / "out" / "a.mp4").write_bytes(b"broken")
    assert not overlay(cache, [faces], tmp_path / "out", quality=50).is_cached
    assert probe(tmp_path / "out" / "a.mp4").frames == 4


def test_an_interrupt_leaves_no_half_file(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = still(make_clip(tmp_path / "a.mp4", 20))
    faces = faces_of(cache, clip)
    draw, count = overlay_clip.OverlayCanvas.draw, 0

    def interrupted(self: Any, *given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return draw(self, *given)

    monkeypatch.setattr(overlay_clip.OverlayCanvas, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        overlay(cache, [faces], tmp_path / "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json"}
    monkeypatch.undo()
    assert overlay(cache, [faces], tmp_path / "out").report["drawn"] == 1


@pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="../shared/media is not here")
def test_scores_of_a_published_model_on_a_real_video(tmp_path: Path, affectkit: Command) -> None:
    predicted = affectkit("predict", "mini-xception", SHARED / "media" / "single_face.mp4")
    if predicted.returncode:
        pytest.skip(predicted.stderr)
    done = affectkit("overlay", predicted.stdout.strip(), "--style", "bars", "--out", "out")
    assert done.returncode == 0, done.stderr
    before, after = scan(SHARED / "media" / "single_face.mp4"), scan(tmp_path / "out" / "single_face.mp4")
    assert np.array_equal(before.times, after.times)
    assert after.duration == before.duration
