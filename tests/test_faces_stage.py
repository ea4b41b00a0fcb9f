"""extract faces: rows, times, caching, face rules, partial clips, folders of crops."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_factory import cut_off, make_clip
from PIL import Image
from stage_calls import extract_faces
from stage_factory import FACE_SIDE, SHARED, clips_in, column_bytes, crop_folder, face_clips, no_face, portrait

from affectkit.config import Runtime
from affectkit.detectors.centerface import CenterFace
from affectkit.errors import UsageError
from affectkit.stages.faces import FacesConfig
from affectkit.stages.map_stage import Outcome
from affectkit.store import Artifact, Cache
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.sources import clips_of
from affectkit.tracks import decode_crop, iou

RUNTIME = Runtime(workers=1, progress=False)


def extract(cache: Cache, *sources: Path, **fields: Any) -> tuple[Outcome, Artifact]:
    """extract faces by CenterFace, every frame, small crops."""
    defaults: dict[str, Any] = {"detector": "centerface", "size": 32}
    if not {"fps", "frames"} & fields.keys():
        defaults["fps"] = "native"
    done = extract_faces(cache, clips_in(*sources), FacesConfig(**defaults | fields), RUNTIME, device="cpu")
    return done, Artifact(done.path)


def take(cache: Cache, source: Path, times: CropTimes, **fields: Any) -> tuple[Outcome, Artifact]:
    config = FacesConfig(**{"fps": "native", "size": 32, "format": "png"} | fields)
    done = extract_faces(cache, clips_in(source), config, RUNTIME, times=times)
    return done, Artifact(done.path)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of CenterFace got."""
    counts: list[int] = []
    detect = CenterFace.__call__

    def counted(self: CenterFace, frames: np.ndarray) -> Any:
        counts.append(len(frames))
        return detect(self, frames)

    monkeypatch.setattr(CenterFace, "__call__", counted)
    return counts


def real_clips() -> list[Path]:
    paths = [SHARED / "media" / f"{name}.mp4" for name in ("single_face", "no_face")]
    if not all(path.exists() for path in paths):
        pytest.skip("the real clips are not here")
    return paths


@pytest.mark.parametrize("fps", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_real_clips_with_two_detectors(cache: Cache, fps: int) -> None:
    weights = SHARED / "weights" / "retinaface_mobilenet0.25.pth"
    clips = real_clips()
    if not weights.exists():
        pytest.skip("the weights of retinaface-mobilenet are not here")
    _, centre = extract(cache, *clips, fps=fps)
    _, retina = extract(cache, *clips, fps=fps, detector="retinaface-mobilenet", weights=str(weights))
    for artifact in (centre, retina):
        assert len(artifact.column("single_face", "valid")) == math.ceil(2.4 * fps)
        assert np.all(artifact.column("single_face", "valid"))
        assert len(artifact.column("no_face", "valid")) == math.ceil(4.015 * fps)
        assert not np.any(artifact.column("no_face", "valid"))
    boxes = [artifact.column("single_face", "boxes") for artifact in (centre, retina)]
    assert np.diag(iou(*boxes)).min() >= 0.6
    assert np.array_equal(centre.column("single_face", "start"), retina.column("single_face", "start"))


def test_a_row_is_a_sampled_frame_with_its_own_times(cache: Cache, tmp_path: Path) -> None:
    pts = [0, 1, 2, 9, 10, 11, 19, 25, 26, 27]
    make_clip(tmp_path / "vfr.mkv", [portrait()] * len(pts), pts=pts, time_base=Fraction(1, 20))
    times = np.array(pts) / 20
    _, native = extract(cache, tmp_path / "vfr.mkv")
    assert np.allclose(native.column("vfr", "start"), times, atol=1e-3)
    assert np.allclose(native.column("vfr", "end")[:-1], times[1:], atol=1e-3)
    assert native.column("vfr", "frame_index").tolist() == list(range(10))
    _, two = extract(cache, tmp_path / "vfr.mkv", fps=2)
    nearest = sorted({int(np.argmin(np.abs(times - instant))) for instant in (0, 0.5, 1.0)})
    assert two.column("vfr", "frame_index").tolist() == nearest
    assert np.array_equal(two.column("vfr", "start"), native.column("vfr", "start")[nearest])
    _, three = extract(cache, tmp_path / "vfr.mkv", frames=3)
    assert len(three.column("vfr", "start")) == 3
    assert len({native.path, two.path, three.path}) == 3


def test_frames_without_a_face_stay_as_invalid_rows(cache: Cache, tmp_path: Path) -> None:
    make_clip(tmp_path / "gap.mp4", [portrait()] * 3 + [no_face()] * 2 + [portrait()] * 3, options={"g": "1"})
    _, artifact = extract(cache, tmp_path / "gap.mp4")
    assert artifact.column("gap", "valid").tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
    assert not artifact.column("gap", "boxes")[3:5].any()
    assert not artifact.column("gap", "score")[3:5].any()
    assert [len(crop) > 0 for crop in artifact.column("gap", "image")] == [True] * 3 + [False] * 2 + [True] * 3


def test_a_crop_shows_what_its_box_holds(cache: Cache, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a"])
    _, artifact = extract(cache, tmp_path / "clips", size=48, margin="0")
    x0, y0, x1, y1 = artifact.column("a", "boxes")[0]
    side, cx, cy = max(x1 - x0, y1 - y0) / 2, (x0 + x1) / 2, (y0 + y1) / 2
    box = (cx - side, cy - side, cx + side, cy + side)
    expected = Image.fromarray(portrait()).resize((48, 48), Image.Resampling.BILINEAR, box=tuple(map(float, box)))
    got = decode_crop(artifact.column("a", "image")[0])
    assert np.abs(got.astype(int) - np.asarray(expected, int)).mean() < 6


def test_only_what_is_new_is_computed(cache: Cache, tmp_path: Path, looked_at: list[int]) -> None:
    folder = face_clips(tmp_path / "clips", ["b", "c"], frames=4)
    first, artifact = extract(cache, folder)
    assert (first.computed, first.cached, sum(looked_at)) == (2, 0, 8)
    before = {clip: column_bytes(artifact, clip, "image") for clip in ("b", "c")}
    again, _ = extract(cache, folder)
    assert (again.path, again.computed, again.cached, sum(looked_at)) == (first.path, 0, 2, 8)
    face_clips(folder, ["a"], frames=4)
    more, artifact = extract(cache, folder)
    assert (more.folder, more.computed, more.cached, sum(looked_at)) == (first.folder, 1, 2, 12)
    assert artifact.clips == ["a", "b", "c"]
    assert {clip: column_bytes(artifact, clip, "image") for clip in ("b", "c")} == before


def test_a_changed_file_is_computed_again_a_touched_one_is_not(
    cache: Cache, tmp_path: Path, looked_at: list[int]
) -> None:
    folder = face_clips(tmp_path / "clips", ["a", "b"], frames=3)
    extract(cache, folder)
    os.utime(folder / "a.mp4")
    touched, _ = extract(cache, folder)
    assert (touched.computed, sum(looked_at)) == (0, 6)
    make_clip(folder / "a.mp4", [portrait()] * 5)
    changed, artifact = extract(cache, folder)
    assert (changed.computed, changed.cached, sum(looked_at)) == (1, 1, 11)
    assert len(artifact.column("a", "start")) == 5
    assert len(artifact.clips) == 2


def test_another_config_is_another_artifact_another_order_is_not(cache: Cache, tmp_path: Path) -> None:
    folder = face_clips(tmp_path / "clips", ["a", "b"], frames=2)
    first, _ = extract(cache, folder / "b.mp4", folder / "a.mp4")
    same, _ = extract(cache, folder / "a.mp4", folder / "b.mp4")
    assert (same.path, same.cached) == (first.path, 2)
    for fields in ({"margin": "0.3"}, {"option": ["threshold=0.6"]}, {"face": "longest"}, {"fps": 10}):
        other, _ = extract(cache, folder, **fields)
        assert (other.path != first.path, other.computed) == (True, 2), fields


def test_fps_5_is_the_default_however_it_is_said(cache: Cache, tmp_path: Path) -> None:
    assert FacesConfig(fps=None).recipe() == FacesConfig(fps=5).recipe() == FacesConfig(fps=5.0).recipe()
    with pytest.raises(ValueError, match="either fps or frames"):
        FacesConfig(fps=5, frames=32)


def two_faces(path: Path, frames: int = 4) -> Path:
    return make_clip(path, [np.concatenate([portrait(), portrait()], axis=1)] * frames)


def test_all_faces_are_clips_of_their_own(cache: Cache, tmp_path: Path) -> None:
    two_faces(tmp_path / "pair.mp4")
    done, artifact = extract(cache, tmp_path / "pair.mp4", face="all")
    assert artifact.clips == ["pair#0", "pair#1"]
    assert (done.computed, done.cached) == (1, 0)
    left, right = (artifact.column(clip, "boxes")[0] for clip in artifact.clips)
    assert left[2] < FACE_SIDE < right[0]
    again, _ = extract(cache, tmp_path / "pair.mp4", face="all")
    assert (again.computed, again.cached) == (0, 1)


def test_a_face_that_is_gone_is_dropped(cache: Cache, tmp_path: Path) -> None:
    two_faces(tmp_path / "pair.mp4")
    extract(cache, tmp_path / "pair.mp4", face="all")
    make_clip(tmp_path / "pair.mp4", [portrait()] * 4)
    done, artifact = extract(cache, tmp_path / "pair.mp4", face="all")
    assert (done.computed, artifact.clips) == (1, ["pair#0"])
    assert artifact.column("pair#0", "boxes")[0, 2] < FACE_SIDE
    artifact.compact()
    assert Artifact(artifact.path).clips == ["pair#0"]


def test_all_faces_of_a_clip_without_one(cache: Cache, tmp_path: Path) -> None:
    make_clip(tmp_path / "none.mp4", [no_face()] * 3)
    extract(cache, tmp_path / "none.mp4", face="all")
    again, artifact = extract(cache, tmp_path / "none.mp4", face="all")
    assert (again.computed, artifact.clips) == (0, ["none#0"])
    assert artifact.column("none#0", "valid").tolist() == [0, 0, 0]


def test_the_manifests_face_rule_wins_and_can_change(cache: Cache, tmp_path: Path) -> None:
    two_faces(tmp_path / "pair.mp4")
    manifest = tmp_path / "clips.csv"
    middles = []
    both = ["pair#0", "pair#1"]
    rules = [("left", ["pair"], 1), ("right", ["pair"], 1), ("all", both, 1), ("", ["pair"], 1), ("all", both, 0)]
    for rule, expected, computed in rules:
        manifest.write_text(f"clip,path,face\npair,pair.mp4,{rule}\n")
        done, artifact = extract(cache, manifest)
        assert (done.computed, artifact.clips) == (computed, expected), rule
        middles.append(artifact.column(expected[0], "boxes")[0, [0, 2]].mean())
        again, _ = extract(cache, manifest)
        assert again.computed == 0, rule
    assert middles[0] < FACE_SIDE < middles[1]
    artifact.compact()
    assert Artifact(artifact.path).clips == both


def test_an_id_like_that_of_a_face_is_refused(tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["take#1", "take#2"], frames=1)
    with pytest.raises(UsageError, match="ends in # and a number"):
        clips_in(tmp_path / "clips")


def test_detect_every_looks_at_fewer_frames_and_moves_boxes_in_between(
    cache: Cache, tmp_path: Path, looked_at: list[int]
) -> None:
    def slide(pixels: int) -> Path:
        path = tmp_path / f"slide{pixels}.mp4"
        picture = np.full((9, FACE_SIDE, 2 * FACE_SIDE, 3), 128, np.uint8)
        for step in range(9):
            picture[step, :, pixels * step : pixels * step + FACE_SIDE] = portrait()
        return make_clip(path, picture)

    slow, fast = slide(2), slide(9)
    _, every = extract(cache, slow)
    assert sum(looked_at) == 9
    _, fourth = extract(cache, slow, detect_every=4)
    assert sum(looked_at) == 9 + 3
    assert np.all(fourth.column("slide2", "valid"))
    x0 = fourth.column("slide2", "boxes")[:, 0]
    assert np.all(np.diff(x0) > 1)
    assert np.abs(x0 - every.column("slide2", "boxes")[:, 0]).max() < 3
    looked_at.clear()
    _, broken = extract(cache, fast, detect_every=4)
    assert sum(looked_at) == 9
    assert np.all(broken.column("slide9", "valid"))


def test_a_damaged_clip_is_partial_or_fails_by_policy(cache: Cache, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", [portrait()] * 30, options={"g": "5"})
    (tmp_path / "clips").mkdir()
    cut_off(whole, tmp_path / "clips" / "cut.mkv", 0.6)
    face_clips(tmp_path / "clips", ["good"], frames=3)
    kept, artifact = extract(cache, tmp_path / "clips")
    assert (kept.computed, kept.partial, kept.failed) == (2, 1, ())
    ((clip, problem),) = kept.damaged
    assert (clip, bool(problem)) == ("cut", True)
    assert (artifact.status("cut"), artifact.status("good")) == ("partial", "ok")
    assert 0 < len(artifact.column("cut", "start")) < 30
    failed, artifact = extract(cache, tmp_path / "clips", on_truncated="fail")
    assert [failure.clip for failure in failed.failed] == ["cut"]
    assert artifact.clips == ["good"]


def test_start_and_end_cut_a_file_into_clips(cache: Cache, tmp_path: Path) -> None:
    face_clips(tmp_path, ["long"], frames=30)
    (tmp_path / "clips.csv").write_text(
        "clip,path,start,end,split,subject\nhead,long.mp4,,0.3,train,anna\ntail,long.mp4,0.8,,test,ben\n"
    )
    _, artifact = extract(cache, tmp_path / "clips.csv")
    assert artifact.column("head", "frame_index").tolist() == list(range(9))
    assert artifact.column("tail", "frame_index").tolist() == list(range(24, 30))
    assert artifact.column("tail", "start")[0] == pytest.approx(0)
    assert float(artifact.column("tail", "origin")) == pytest.approx(0.8)
    table = artifact.clip_table()
    assert (table["head"]["split"], table["tail"]["subject"], table["tail"]["start"]) == ("train", "ben", 0.8)
    (tmp_path / "clips.csv").write_text("clip,path,start,end\nhead,long.mp4,,0.3\ntail,long.mp4,0.9,\n")
    again, _ = extract(cache, tmp_path / "clips.csv")
    assert (again.computed, again.cached) == (1, 1)


def test_names_of_any_script(cache: Cache, tmp_path: Path) -> None:
    names = ["Zoë/été", "日本/笑顔", "emoji 😀 + spaces & 'quotes'"]
    face_clips(tmp_path / "clips", names, frames=2)
    _, artifact = extract(cache, tmp_path / "clips")
    assert artifact.clips == sorted(names)
    assert all(artifact.column(name, "valid").all() for name in names)


def test_an_artifact_named_by_hand(cache: Cache, tmp_path: Path) -> None:
    folder = face_clips(tmp_path / "clips", ["a"], frames=2)
    config = FacesConfig(detector="centerface", size=32)
    done = extract_faces(cache, clips_in(folder), config, RUNTIME, device="cpu", out=tmp_path / "mine")
    assert done.folder == tmp_path / "mine"
    again = extract_faces(cache, clips_in(folder), config, RUNTIME, device="cpu", out=tmp_path / "mine")
    assert again.cached == 1
    other = FacesConfig(detector="centerface", size=48)
    with pytest.raises(UsageError, match="another recipe"):
        extract_faces(cache, clips_in(folder), other, RUNTIME, device="cpu", out=tmp_path / "mine")


# Pictures that change their size, and files that provoke anything


def changing_size(path: Path, pictures: list[np.ndarray]) -> Path:
    """VP8 in which every picture is a key frame of its own size, as WebRTC records them."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.height, encoder.width = picture.shape[:2]
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 10), Fraction(10)
            encoder.options = {"deadline": "realtime", "lag-in-frames": "0", "b": "5M"}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture)).reformat(format="yuv420p")
            frame.pts, frame.time_base = 0, Fraction(1, 10)
            for packet in encoder.encode(frame) + encoder.encode(None):
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, 10), stream
                output.mux(packet)
    return path


@pytest.mark.parametrize("fields", [{}, {"detect_every": 2}, {"face": "nearest"}])
def test_each_frame_is_looked_at_in_its_own_size(
    cache: Cache, tmp_path: Path, looked_at: list[int], fields: dict[str, Any]
) -> None:
    large = portrait()
    side = large.shape[0] // 4 * 2
    small = np.asarray(Image.fromarray(large).resize((large.shape[1] // 4 * 2, side)))
    large = np.asarray(Image.fromarray(large).resize((small.shape[1] * 2, side * 2)))
    (tmp_path / "clips").mkdir()
    changing_size(tmp_path / "clips" / "a.webm", [large] * 3 + [small] * 3 + [large] * 2)
    done, artifact = extract(cache, tmp_path / "clips", **fields)
    assert (done.computed, done.failed, done.damaged) == (1, (), ())
    assert artifact.column("a", "valid").tolist() == [1] * 8
    boxes = artifact.column("a", "boxes")
    assert np.abs(boxes[0] / 2 - boxes[3]).max() < 0.05 * side
    assert np.abs(boxes[0] - boxes[7]).max() < 2
    assert np.abs(artifact.column("a", "landmarks")[0] / 2 - artifact.column("a", "landmarks")[3]).max() < 0.05 * side
    crops = [decode_crop(data).astype(int) for data in artifact.column("a", "image")]
    assert np.abs(crops[2] - crops[3]).mean() < 20
    if not fields:
        assert looked_at == [3, 3, 2]


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), OverflowError("too large"), IndexError("none")])
def test_whatever_a_file_provokes_fails_that_clip_only(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from affectkit.stages import faces

    class Broken(faces.VideoReader):
        def __iter__(self) -> Any:
            if self.path.stem == "b":
                raise error
            return super().__iter__()

    monkeypatch.setattr(faces, "VideoReader", Broken)
    folder = face_clips(tmp_path / "clips", ["a", "b", "c"], frames=1)
    done, artifact = extract(cache, folder)
    assert artifact.clips == ["a", "c"]
    (failure,) = done.failed
    assert failure.clip == "b" and type(error).__name__ in failure.cause


def test_a_file_from_the_year_2300(cache: Cache, tmp_path: Path) -> None:
    folder = face_clips(tmp_path / "clips", ["a"], frames=1)
    (clip,) = folder.iterdir()
    os.utime(clip, (10413792000, 10413792000))
    assert extract(cache, folder)[0].computed == 1
    assert extract(cache, folder)[0].cached == 1


def test_a_name_that_no_file_can_have_fails_its_clip(cache: Cache, tmp_path: Path) -> None:
    face_clips(tmp_path, ["a"], frames=1)
    (tmp_path / "m.csv").write_text(f"clip,path\na,a.mp4\nb,{'x' * 300}.mp4\nc,{'d/' * 3000}e.mp4\n")
    done, artifact = extract(cache, tmp_path / "m.csv")
    assert artifact.clips == ["a"]
    assert {failure.clip: "name too long" in failure.cause for failure in done.failed} == {"b": True, "c": True}


def test_frames_with_a_face_are_counted_also_from_the_cache(cache: Cache, tmp_path: Path) -> None:
    folder = face_clips(tmp_path / "clips", ["a"], frames=2)
    make_clip(folder / "empty.mp4", [no_face()] * 3)
    for _ in range(2):
        done, _ = extract(cache, folder)
        assert done.notices == ("a face in 2 of 5 frames; 1 clip (empty) without faces",)
    every, _ = extract(cache, folder, face="all", min_length=1)
    assert every.notices == done.notices


# Folders of crops


def flat(value: int, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_crops_by_number_leave_gaps_as_invalid_rows(cache: Cache, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "anna", [flat(10), None, flat(30), None, flat(50)])
    done, artifact = take(cache, tmp_path / "crops", CropTimes(source_fps=10))
    assert (done.computed, artifact.clips) == (1, ["anna"])
    assert artifact.column("anna", "valid").tolist() == [1, 0, 1, 0, 1]
    assert np.allclose(artifact.column("anna", "start"), np.arange(5) / 10)
    assert np.allclose(artifact.column("anna", "end"), np.arange(1, 6) / 10)
    pixels = [decode_crop(data)[0, 0, 0] for data in artifact.column("anna", "image") if len(data)]
    assert pixels == [10, 30, 50]
    assert artifact.stage.provenance["times_assumed"] is True


def test_crops_of_another_size_are_resized_whole(cache: Cache, tmp_path: Path) -> None:
    half = np.concatenate([flat(0, 112)[:, :56], flat(200, 112)[:, 56:]], axis=1)
    crop_folder(tmp_path / "crops" / "anna", [half])
    _, artifact = take(cache, tmp_path / "crops", CropTimes(source_fps=10))
    got = decode_crop(artifact.column("anna", "image")[0])
    assert got.shape == (32, 32, 3)
    assert (got[:, :15] < 5).all()
    assert (got[:, 17:] > 195).all()


def test_crops_take_exact_times_from_the_video(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    pts = [0, 1, 3, 4, 8, 9]
    make_clip(tmp_path / "videos" / "anna.mkv", [portrait()] * 6, pts=pts, time_base=Fraction(1, 20))
    for name in ("anna", "anna_left", "anna_right"):
        crop_folder(tmp_path / "crops" / name, [flat(9), None, flat(9), flat(9)])
    _, artifact = take(cache, tmp_path / "crops", CropTimes(videos=tmp_path / "videos"))
    assert artifact.clips == ["anna", "anna_left", "anna_right"]
    for clip in artifact.clips:
        start = artifact.column(clip, "start")
        assert np.allclose(start[:4], np.array(pts[:4]) / 20, atol=1e-3)
        assert artifact.column(clip, "valid").tolist()[:4] == [1, 0, 1, 1]
        assert not artifact.column(clip, "valid")[4:].any()
    assert artifact.stage.provenance["times_assumed"] is False


def test_more_crops_than_frames_is_partial_and_no_video_fails(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    make_clip(tmp_path / "videos" / "anna.mp4", [portrait()] * 3)
    crop_folder(tmp_path / "crops" / "anna", [flat(9)] * 5)
    crop_folder(tmp_path / "crops" / "ben", [flat(9)] * 2)
    done, artifact = take(cache, tmp_path / "crops", CropTimes(videos=tmp_path / "videos"))
    assert artifact.clips == ["anna"]
    assert artifact.status("anna") == "partial"
    assert len(artifact.column("anna", "start")) == 3
    assert done.damaged == (("anna", "2 crops are beyond the 3 frames of the video: left out"),)
    (failure,) = done.failed
    assert failure.clip == "ben"
    assert "no video ben" in failure.cause


def test_crops_are_sampled_like_frames(cache: Cache, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "anna", [flat(index) for index in range(20)])
    _, artifact = take(cache, tmp_path / "crops", CropTimes(source_fps=10), fps=5)
    assert artifact.column("anna", "frame_index").tolist() == list(range(0, 20, 2))


def test_all_crops_are_taken_unless_fewer_are_asked_for(cache: Cache, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "anna", [flat(index) for index in range(20)])
    clips, times = clips_in(tmp_path / "crops"), CropTimes(source_fps=10)

    def frames(**fields: Any) -> list[int]:
        done = extract_faces(cache, clips, FacesConfig(size=32, format="png", **fields), RUNTIME, times=times)
        return Artifact(done.path).column("anna", "frame_index").tolist()

    assert frames() == frames(fps="native") == list(range(20))
    assert frames(fps=5) == list(range(0, 20, 2))
    assert frames(frames=4) == [2, 7, 12, 17]
    assert FacesConfig(fps=5).crop_recipe()["sampling"] == FacesConfig().recipe()["sampling"] == {"fps": 5.0}


@pytest.mark.parametrize("prefix", ["frame_", "frame_det_00_"])
def test_the_number_in_the_name_of_a_crop_is_its_frame(cache: Cache, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "videos").mkdir()
    make_clip(tmp_path / "videos" / "v.mp4", 12, time_base=Fraction(1, 25))
    (tmp_path / "crops" / "v").mkdir(parents=True)
    for number in (1, 2, 9, 10):
        Image.fromarray(flat(20 * number)).save(tmp_path / "crops" / "v" / f"{prefix}{number:06d}.png")
    done, artifact = take(cache, tmp_path / "crops", CropTimes(videos=tmp_path / "videos"))
    valid = artifact.column("v", "valid").astype(bool)
    assert (np.flatnonzero(valid) + 1).tolist() == [1, 2, 9, 10]
    assert np.allclose(artifact.column("v", "start"), np.arange(len(valid)) / 25)
    images = [data for data in artifact.column("v", "image") if len(data)]
    assert [decode_crop(data)[0, 0, 0] for data in images] == [20, 40, 180, 200]
    assert done.notices == (f"a crop in 4 of {len(valid)} frames",)


def test_crops_are_upright_and_of_8_bits(cache: Cache, tmp_path: Path) -> None:
    half = np.concatenate([flat(0)[:, :16], flat(200)[:, 16:]], axis=1)
    folder = tmp_path / "crops" / "anna"
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(np.ascontiguousarray(np.rot90(half, 1))).save(folder / "1.png", exif=exif)
    Image.fromarray(half[..., 0].astype(np.uint16) * 257).save(folder / "2.png")
    Image.fromarray(np.dstack([half, np.where(half[..., 0], 255, 0).astype(np.uint8)])).save(folder / "3.png")
    _, artifact = take(cache, tmp_path / "crops", CropTimes(source_fps=10))
    for data in artifact.column("anna", "image"):
        assert np.array_equal(decode_crop(data), half)


def test_crops_without_times_are_refused(cache: Cache, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "anna", [flat(9)])
    for times in (CropTimes(), CropTimes(videos=tmp_path, source_fps=5)):
        with pytest.raises(UsageError, match="--source-fps"):
            take(cache, tmp_path / "crops", times)


def test_a_changed_crop_and_a_new_one_are_seen(cache: Cache, tmp_path: Path) -> None:
    folder = crop_folder(tmp_path / "crops" / "anna", [flat(9), flat(9)])
    crop_folder(tmp_path / "crops" / "ben", [flat(9)])
    times = CropTimes(source_fps=10)
    take(cache, tmp_path / "crops", times)
    Image.fromarray(flat(8)).save(folder / "00002.png")
    changed, _ = take(cache, tmp_path / "crops", times)
    assert (changed.computed, changed.cached) == (1, 1)
    Image.fromarray(flat(8)).save(folder / "00003.png")
    longer, artifact = take(cache, tmp_path / "crops", times)
    assert (longer.computed, len(artifact.column("anna", "start"))) == (1, 3)


def test_media_and_crops_do_not_mix(cache: Cache, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "anna", [flat(9)])
    face_clips(tmp_path / "clips", ["a"], frames=1)
    clips = clips_of([str(tmp_path / "crops"), str(tmp_path / "clips")])
    with pytest.raises(UsageError, match="use two"):
        extract_faces(cache, clips, FacesConfig(), RUNTIME)


def test_crops_by_a_table_of_rates(cache: Cache, tmp_path: Path) -> None:
    for name in ("anna", "ben_left"):
        crop_folder(tmp_path / "crops" / name, [flat(10)] * 5)
    table = tmp_path / "rates.csv"
    table.write_text("clip,fps\nanna,25\nben,10\ncleo,30\n")
    done, artifact = take(cache, tmp_path / "crops", CropTimes(source_fps=frame_rates(table)))
    assert artifact.column("anna", "start")[4] == 0.16 and artifact.column("ben_left", "start")[4] == 0.4
    *notices, _ = done.notices  # last what the clips hold
    assert [notice.partition(": ")[2] for notice in notices] == ["rows of clips that are not here: 1 (cleo)"]
    table.write_text("clip,fps\nanna,10\nben,10\n")
    alike, _ = take(cache, tmp_path / "crops", CropTimes(source_fps=frame_rates(table)))
    assert alike.path == take(cache, tmp_path / "crops", CropTimes(source_fps=10.0))[0].path != done.path
    table.write_text("clip,fps\nanna,10\n")
    with pytest.raises(UsageError, match="no fps of 1 of 2 clips, the first: 'ben_left'"):
        take(cache, tmp_path / "crops", CropTimes(source_fps=frame_rates(table)))


def test_crops_numbered_from_zero(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    make_clip(tmp_path / "videos" / "anna.mp4", 3, pts=[0, 3, 9])
    (tmp_path / "crops" / "anna").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(flat(10)).save(tmp_path / "crops" / "anna" / f"{number:05d}.jpg")
    videos = tmp_path / "videos"
    done, _ = take(cache, tmp_path / "crops", CropTimes(videos))
    assert "--first-frame 0" in done.failed[0].cause
    done, artifact = take(cache, tmp_path / "crops", CropTimes(videos, first_frame=0))
    assert np.allclose(artifact.column("anna", "start"), [0, 0.1, 0.3]) and not done.failed
    assert done.notices == ("a crop in 3 of 3 frames",)
    (tmp_path / "crops" / "anna" / "00000.jpg").rename(tmp_path / "crops" / "anna" / "00003.jpg")
    done, _ = take(cache, tmp_path / "crops", CropTimes(videos, first_frame=0))
    assert any("--first-frame 1" in notice for notice in done.notices) and done.partial == 1
