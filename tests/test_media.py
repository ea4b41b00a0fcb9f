"""Decoding, on clips generated here: times, order, pixels, damage, refusals."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import cut_off, make_audio, make_clip, number_of, numbered, repeated

from affectkit.errors import ClipError
from affectkit.media import (
    MEDIA_SUFFIXES,
    Frame,
    Sampling,
    VideoReader,
    decoder_version,
    open_media,
    probe,
    scan,
    write_video,
)
from affectkit.media.index import presentation_ticks
from affectkit.media.layout import layout
from affectkit.media.picture import on_black, upright

NATIVE = Sampling(fps="native")
B_FRAMES = {"preset": "veryfast", "bf": "3", "g": "30"}
MEDIA = Path(__file__).parents[2] / "shared" / "media"


def read(path: Path, sampling: Sampling = NATIVE, **options: object) -> list[Frame]:
    return list(VideoReader(path, sampling, **options))  # type: ignore[arg-type]


def shown(path: Path) -> list[tuple[float, int]]:
    """Plain PyAV as the reference: each decoded frame's time (s, on the file's clock) and number."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (float(frame.pts * stream.time_base), number_of(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(stream)
        ]


# --- times and order -------------------------------------------------------------------------------------------------

CONTAINERS = {
    "b-frames.mp4": {"options": B_FRAMES},
    "b-frames.mkv": {"options": B_FRAMES},
    "b-frames.ts": {"options": B_FRAMES},
    "b-frames.flv": {"options": B_FRAMES},
    "fragments.mp4": {"options": B_FRAMES, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "b": "2M"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"b": "2M"}},
    "vp8.webm": {"codec": "libvpx", "options": {"b": "1M", "deadline": "realtime"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}},
    "wmv2.wmv": {"codec": "wmv2", "options": {"b": "2M"}},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_comes_in_order_with_its_own_times(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, 45, **CONTAINERS[name])
    reference = shown(path)
    reader = VideoReader(path, NATIVE)
    frames = list(reader)
    assert [number_of(frame.image) for frame in frames] == [number for _, number in reference] == list(range(45))
    assert [frame.index for frame in frames] == list(range(45))
    starts = [time - reference[0][0] for time, _ in reference]
    assert np.allclose([frame.start for frame in frames], starts, atol=1e-9)
    assert [frame.end for frame in frames[:-1]] == [frame.start for frame in frames[1:]]
    assert frames[-1].end == pytest.approx(1.5, abs=2e-3)
    assert reader.origin == pytest.approx(reference[0][0])
    assert reader.expected == 45
    assert not reader.partial
    assert reader.problem is None
    assert not reader.assumed_times


def test_a_variable_frame_rate_is_sampled_by_time_not_by_number(tmp_path: Path) -> None:
    pts = [0, 1, 2, 10, 11, 30, 31, 32, 50, 90]  # thirtieths
    path = make_clip(tmp_path / "vfr.mp4", 10, pts=pts)
    frames = read(path, Sampling(fps=2))  # instants 0, 15, 30, 45, 60, 75, 90 thirtieths
    assert [number_of(frame.image) for frame in frames] == [0, 4, 5, 8, 9]
    assert [frame.index for frame in frames] == [0, 4, 5, 8, 9]
    assert [round(frame.start * 30) for frame in frames] == [0, 11, 30, 50, 90]
    assert [round(frame.end * 30) for frame in frames] == [1, 30, 31, 90, 91]


def test_sampling_equals_the_pure_choice_over_decoded_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = make_clip(tmp_path / "vfr.mkv", 60, pts=np.cumsum(rng.integers(1, 9, 60)).tolist(), options=B_FRAMES)
    native = read(path)
    times, end = np.array([frame.start for frame in native]), native[-1].end
    for sampling in (Sampling(fps=3), Sampling(fps=11), Sampling(frames=8), Sampling(frames=32)):
        assert [frame.index for frame in read(path, sampling)] == sampling.pick(times, end).tolist()


def test_time_zero_is_the_first_video_frame_wherever_the_files_clock_starts(tmp_path: Path) -> None:
    late = make_clip(tmp_path / "late.mkv", 10, pts=list(range(300, 310)))
    reader = VideoReader(late, NATIVE)
    assert next(iter(reader)).start == 0
    assert reader.origin == pytest.approx(10.0)
    assert reader.duration == pytest.approx(1 / 3, abs=2e-3)


def test_frames_that_an_edit_list_hides_are_not_part_of_the_clip(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "edit.mp4", 50, pts=list(range(-20, 30)), options={"preset": "veryfast", "bf": "2", "g": "60"},
        container_options={"avoid_negative_ts": "disabled"},
    )  # fmt: skip
    frames = read(path)
    assert [number_of(frame.image) for frame in frames] == list(range(20, 50))
    assert frames[0].start == 0
    assert frames[0].index == 0
    assert scan(path).duration == pytest.approx(1.0)


def test_of_frames_with_one_time_the_first_is_kept(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "same.mkv", 20, pts=[n - (n == 10) for n in range(20)], options={"tune": "zerolatency"})
    frames = read(path)
    assert [frame.index for frame in frames] == [number_of(frame.image) for frame in frames]
    assert len(frames) == 19
    assert all(frame.end > frame.start for frame in frames)


def test_a_container_without_presentation_times_is_read_in_order_and_says_so(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "h264.avi", 45, options=B_FRAMES)  # AVI stores decoding order only
    reader = VideoReader(path, Sampling(fps=10))
    frames = list(reader)
    assert reader.assumed_times
    assert not reader.partial
    assert [number_of(frame.image) for frame in frames] == list(range(0, 45, 3))
    assert np.allclose([frame.start for frame in frames], np.arange(15) / 10)


def test_missing_presentation_times_are_filled_from_decoding_times_or_the_rate() -> None:
    ticks, stop, step, assumed = presentation_ticks([(0, 0, 5), (None, 5, 5), (None, None, 5)], 7)
    assert (ticks.tolist(), stop, step, assumed) == ([0, 5, 12], 17, 6, True)
    ticks, stop, step, assumed = presentation_ticks([(None, None, None)], 7)
    assert (ticks.tolist(), stop, step, assumed) == ([0], 7, 7, True)


def test_the_last_frame_lasts_as_its_packet_says_else_the_median_interval() -> None:
    assert presentation_ticks([(0, 0, 1), (10, 10, 1), (20, 20, 25)], 9)[1] == 45
    assert presentation_ticks([(0, 0, 0), (10, 10, 0), (20, 20, 0), (50, 50, 0)], 9)[1] == 60
    with pytest.raises(ClipError, match="no video frame"):
        presentation_ticks([], 9)


@pytest.mark.parametrize("name", ["one.mp4", "one.mkv", "one.ts"])
@pytest.mark.parametrize("sampling", [NATIVE, Sampling(fps=1), Sampling(frames=32)])
def test_one_frame_is_a_clip(tmp_path: Path, name: str, sampling: Sampling) -> None:
    (frame,) = read(make_clip(tmp_path / name, 1), sampling)
    assert (frame.start, frame.index, number_of(frame.image)) == (0, 0, 0)
    assert frame.end == pytest.approx(1 / 30, abs=1e-3)


@pytest.mark.parametrize("wrong", [7, 4000])
def test_header_counts_are_not_believed(tmp_path: Path, wrong: int) -> None:
    path = make_clip(tmp_path / "count.avi", 30, codec="mjpeg", pix_fmt="yuvj420p", options={})
    data = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):  # dwTotalFrames, dwLength
        at = data.index(name) + offset
        assert int.from_bytes(data[at : at + 4], "little") == 30
        data[at : at + 4] = wrong.to_bytes(4, "little")
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == wrong
    reader = VideoReader(path, NATIVE)
    assert len(list(reader)) == 30
    assert reader.duration == pytest.approx(1.0)
    assert not reader.partial


# --- clips cut out of a file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
def test_a_cut_clip_has_its_own_time_and_the_files_frame_numbers(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, 90, options={**B_FRAMES, "g": "12"})
    reader = VideoReader(path, NATIVE, start=1.5, end=2.1)
    frames = list(reader)
    assert [number_of(frame.image) for frame in frames] == list(range(45, 63))
    assert [frame.index for frame in frames] == list(range(45, 63))
    assert frames[0].start == pytest.approx(0, abs=1e-3)
    assert frames[-1].end == pytest.approx(0.6, abs=1e-3)
    assert reader.duration == pytest.approx(0.6)
    assert reader.origin == pytest.approx(scan(path).origin + 1.5)


def test_a_cut_between_frames_starts_at_its_own_zero(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 90)
    frames = read(path, Sampling(fps=10), start=1.01, end=1.5)
    assert frames[0].index == 31
    assert frames[0].start == pytest.approx(31 / 30 - 1.01)
    (only,) = read(path, start=1.01, end=1.02)  # on show, though it appeared before
    assert only.index == 30
    assert only.start < 0 < only.end


def test_neighbouring_clips_share_no_frame(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 90)
    edges = [0, 0.4, 1.0, 1.7, 2.5, 3.0]
    indices = [f.index for start, end in pairwise(edges) for f in read(path, start=start, end=end)]
    assert indices == list(range(90))


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [(3.5, None, "starts at 3.5 s, but the video ends at 3 s"), (2, 1, "empty"), (-1, 1, "empty"), (1, 1, "empty"),
     (float("nan"), None, "empty")],
)  # fmt: skip
def test_a_cut_without_frames_is_refused(tmp_path: Path, start: float, end: float | None, message: str) -> None:
    path = make_clip(tmp_path / "a.mp4", 90)
    with pytest.raises(ClipError, match=message):
        VideoReader(path, NATIVE, start=start, end=end)


# --- what is left out of decoding changes nothing --------------------------------------------------------------------


def noisy(count: int, width: int = 160, height: int = 96) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [
        (image.astype(int) + rng.integers(-12, 13, image.shape)).clip(0, 255).astype(np.uint8)
        for image in numbered(count, width, height)
    ]


SPARSE = {
    "pyramid.mp4": {"options": {"preset": "veryfast", "bf": "3", "x264-params": "b-pyramid=normal:ref=4"}},
    "open-gop.mkv": {"options": {"preset": "veryfast", "g": "12", "x264-params": "open-gop=1:bframes=3"}},
    "refresh.mkv": {"options": {"preset": "veryfast", "g": "12", "x264-params": "intra-refresh=1"}},
    "slices.ts": {"options": {"preset": "veryfast", "bf": "2", "x264-params": "slices=3"}},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}},
}


@pytest.mark.parametrize("name", SPARSE)
def test_skipping_and_seeking_give_the_frames_of_a_full_decode(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, noisy(75), **SPARSE[name])
    for sampling in (Sampling(fps=5), Sampling(frames=7)):
        for cut in ({}, {"start": 0.7}, {"start": 1.31, "end": 2.2}):
            sparse, full = (VideoReader(path, sampling, **cut) for _ in range(2))
            assert sparse.plan.needed is not None
            full.plan = dataclasses.replace(full.plan, needed=None, entry=full.index.zero)
            pairs = list(zip(sparse, full, strict=True))
            assert len(pairs) == sparse.expected
            for got, reference in pairs:
                assert (got.start, got.end, got.index) == (reference.start, reference.end, reference.index)
                assert np.array_equal(got.image, reference.image)


def test_only_selected_frames_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from affectkit.media import reader as module

    made = []

    class Counting(module.Converter):
        def __call__(self, frame: av.VideoFrame) -> np.ndarray:
            made.append(frame.pts)
            return super().__call__(frame)

    monkeypatch.setattr(module, "Converter", Counting)
    assert len(read(make_clip(tmp_path / "a.mp4", 90), Sampling(fps=1))) == 3
    assert len(made) == 3


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", noisy(40), options=B_FRAMES)
    one, four = (read(path, Sampling(fps=10), threads=threads) for threads in (1, 4))
    assert all(np.array_equal(a.image, b.image) and a.start == b.start for a, b in zip(one, four, strict=True))


def test_a_reader_can_be_read_again_and_left_early(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 60)
    with VideoReader(path, NATIVE) as reader:
        iterator = iter(reader)
        assert [next(iterator).index for _ in range(3)] == [0, 1, 2]
        assert [frame.index for frame in reader] == list(range(60))
        iterator = iter(reader)
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert not any(path == fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and fd.exists())


# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 90, -90, 180])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, flips: tuple[bool, bool]) -> None:
    (upright_image,) = numbered(1, 96, 64, first=1234)
    stored = upright_image
    for flip, axis in zip(flips, (1, 0), strict=True):  # undo the flips, then the counter-clockwise rotation
        stored = np.flip(stored, axis) if flip else stored
    stored = np.ascontiguousarray(np.rot90(stored, -degrees // 90))
    path = make_clip(tmp_path / "turned.mp4", [stored, stored], rotation=(degrees, *flips))
    frames = read(path)
    assert frames[0].image.shape == (64, 96, 3)
    assert frames[0].image.flags.c_contiguous
    assert number_of(frames[0].image) == 1234
    info = probe(path)
    assert (info.width, info.height) == (96, 64)


def test_display_matrices_of_other_angles_go_to_the_nearest_quarter() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    def at(degrees: float) -> np.ndarray:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return upright(image, (np.array([c, -s, 0, s, c, 0, 0, 0, 1]) * 65536).astype(np.int32))

    assert np.array_equal(at(80), np.rot90(image))
    assert np.array_equal(at(-100), np.rot90(image, -1))
    assert np.array_equal(at(10), image)
    assert np.array_equal(at(170), np.rot90(image, 2))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("odd.mp4", {"pix_fmt": "yuv444p"}), ("odd.mkv", {"codec": "ffv1", "options": {}}),
     ("odd.avi", {"codec": "mpeg4", "options": {"b": "2M"}})],
)  # fmt: skip
def test_odd_sizes(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    frames = read(make_clip(tmp_path / name, 3, size=(321, 241), **settings))
    assert [frame.image.shape for frame in frames] == [(241, 321, 3)] * 3
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("ten.mp4", {"pix_fmt": "yuv420p10le"}), ("prores.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
     ("gif.gif", {"codec": "gif", "pix_fmt": "rgb8", "time_base": Fraction(1, 10)})],
)  # fmt: skip
def test_other_pixel_formats(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    frames = read(make_clip(tmp_path / name, 3, **settings))
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
    assert all(frame.image.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "tolerance"), [("qtrle", "argb", 0), ("png", "rgba", 0), ("prores_ks", "yuva444p10le", 8)]
)
def test_alpha_is_composited_onto_black(tmp_path: Path, codec: str, pix_fmt: str, tolerance: int) -> None:
    (colour,) = numbered(1, 96, 64, first=77)
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[32:], alpha[48:] = 128, 0
    options = {"profile": "4444"} if codec == "prores_ks" else {}
    path = make_clip(
        tmp_path / "alpha.mov", [np.concatenate([colour, alpha], axis=2)], codec=codec, pix_fmt=pix_fmt, options=options
    )
    (frame,) = read(path)
    expected = colour * (alpha / 255)
    inside = np.ones((64, 96), bool)
    inside[29:35], inside[45:51] = False, False  # blocks of the lossy codec across the edges
    assert np.abs(frame.image - expected)[inside].max() <= tolerance + 0.5


def test_compositing_rounds_exactly() -> None:
    rgba = np.array([[[200, 100, 3, 255], [200, 100, 3, 0], [200, 100, 3, 128]]], np.uint8)
    assert on_black(rgba).tolist() == [[[200, 100, 3], [0, 0, 0], [100, 50, 2]]]


def matrix_rgb(y: float, u: float, v: float, kr: float, kb: float, full: bool) -> np.ndarray:
    """ITU-R BT.601/709/2020 by their luma coefficients; full range as in JPEG."""
    y, u, v = (
        (y / 255, (u - 128) / 255, (v - 128) / 255) if full else ((y - 16) / 219, (u - 128) / 224, (v - 128) / 224)
    )
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue]).clip(0, 1) * 255


@pytest.mark.parametrize(
    ("space", "kr", "kb"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (2, 0.299, 0.114), (9, 0.2627, 0.0593)]
)
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_the_streams_matrix_and_range(
    tmp_path: Path, space: int, kr: float, kb: float, full: bool
) -> None:
    colours = [(60, 110, 150), (120, 100, 170), (180, 140, 110), (200, 128, 128)]
    path = tmp_path / "colours.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=30)  # lossless: the samples come back as they went in
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full else 1
        for number, samples in enumerate(colours):
            frame = av.VideoFrame(32, 32, "yuv444p")
            frame.colorspace, frame.color_range = space, 2 if full else 1
            for plane, value in zip(frame.planes, samples, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    for frame, samples in zip(read(path), colours, strict=True):
        assert np.abs(frame.image[16, 16] - matrix_rgb(*samples, kr, kb, full)).max() <= 3


# --- damage ----------------------------------------------------------------------------------------------------------

TORN: dict[str, dict[str, object]] = {
    "front.mp4": {"options": B_FRAMES, "container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"options": B_FRAMES, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "torn.mkv": {"options": B_FRAMES},
    "torn.ts": {"options": B_FRAMES},
    "torn.flv": {"options": B_FRAMES},
    "torn.avi": {"codec": "mpeg4", "options": {"b": "2M"}},
    "torn.mpg": {"codec": "mpeg2video", "options": {"b": "2M"}},
    "torn.wmv": {"codec": "wmv2", "options": {"b": "2M"}},
}


@pytest.mark.parametrize("name", TORN)
def test_a_truncated_file_gives_what_decodes_and_says_so(tmp_path: Path, name: str) -> None:
    whole = make_clip(tmp_path / f"whole-{name}", 90, size=(160, 96), **TORN[name])
    assert not VideoReader(whole, NATIVE).partial
    path = cut_off(whole, tmp_path / name, 0.613)
    reader = VideoReader(path, NATIVE)
    frames = list(reader)
    assert reader.partial
    assert reader.problem
    assert 20 < len(frames) < 75
    assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames] == list(range(len(frames)))
    sparse = VideoReader(path, Sampling(fps=5))
    assert [frame.index for frame in sparse] == list(range(0, len(frames), 6))
    assert sparse.partial
    with pytest.raises(ClipError, match=r"cut off|damaged"):
        read(path, on_truncated="fail")


def test_a_clip_before_the_damage_is_whole(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", 90, options=B_FRAMES)
    path = cut_off(whole, tmp_path / "torn.mkv", 0.6)
    reader = VideoReader(path, NATIVE, start=0.2, end=0.6, on_truncated="fail")
    assert [frame.index for frame in reader] == list(range(6, 18))
    assert not reader.partial


def test_garbage_in_the_middle_leaves_the_rest(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", 90, codec="mjpeg", pix_fmt="yuvj420p", options={})
    data = bytearray(path.read_bytes())
    parts = data.split(b"\xff\xd8\xff")  # JPEG pictures begin with it
    start = sum(len(part) + 3 for part in parts[:31]) - 3
    data[start : start + len(parts[31]) - 20] = bytes(len(parts[31]) - 20)  # the next block's header stays
    path.write_bytes(data)
    reader = VideoReader(path, NATIVE)
    numbers = [number_of(frame.image) for frame in reader]
    assert numbers == [*range(30), *range(31, 90)]
    assert reader.partial
    assert "do not decode" in str(reader.problem)


def test_an_mp4_cut_off_before_its_index_says_so(tmp_path: Path) -> None:
    path = cut_off(make_clip(tmp_path / "a.mp4", 30), tmp_path / "b.mp4", 0.5)
    with pytest.raises(ClipError, match="without its index"):
        VideoReader(path, NATIVE)
    path = cut_off(make_clip(tmp_path / "a.mp4", 30), tmp_path / "c.mp4", 0.95)
    with pytest.raises(ClipError, match=r"ends .* bytes early"):
        VideoReader(path, NATIVE)


def test_declared_lengths(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi", "a.ts"):
        whole = make_clip(tmp_path / name, 20)
        assert layout(whole).missing == 0
        short = tmp_path / f"short-{name}"
        short.write_bytes(whole.read_bytes()[:-100])
        assert 90 <= layout(short).missing <= 100
    unknown = tmp_path / "live.mkv"
    make_clip(unknown, 20, container_options={"live": "1"})
    assert layout(unknown).missing == 0
    assert not VideoReader(unknown, NATIVE).partial


def test_random_damage_is_never_more_than_a_clip_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = [make_clip(tmp_path / name, 20, **settings) for name, settings in list(CONTAINERS.items())[:5]]
    outcomes = {"frames": 0, "error": 0}
    for round_ in range(60):
        data = bytearray(sources[round_ % len(sources)].read_bytes())
        for at in rng.integers(0, min(len(data), 700) if round_ % 2 else len(data), 8):
            data[at] = rng.integers(256)
        path = tmp_path / f"fuzz{sources[round_ % len(sources)].suffix}"
        path.write_bytes(data)
        try:
            starts = [frame.start for frame in VideoReader(path, Sampling(fps=10))]
            assert starts == sorted(set(starts))
            outcomes["frames"] += 1
        except ClipError as error:
            assert str(error)
            assert "\n" not in str(error)
            outcomes["error"] += 1
    assert min(outcomes.values()) > 5


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(path: Path, message: str) -> None:
    for call in (probe, open_media, lambda path: VideoReader(path, NATIVE)):
        with pytest.raises(ClipError, match=message) as caught:
            call(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"hello, this is text\n" * 200, "not a media file.*text"),
        (bytes(range(256)) * 40, "not a media file"),
        (b"<html><body>404</body></html>", "not a media file.*text"),
    ],
)
def test_files_that_are_no_media(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    refused(path, message)


PLAYLISTS: dict[str, tuple[Callable[[str], str], str]] = {
    "list.m3u8": (
        lambda name: f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{name}\n#EXT-X-ENDLIST\n",
        "HLS playlist",
    ),
    "list.mp4": (
        lambda name: f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{name}\n#EXT-X-ENDLIST\n",
        "HLS playlist",
    ),
    "concat.mp4": (lambda name: f"ffconcat version 1.0\nfile {name}\n", "ffconcat list"),
    "list.mpd": (lambda name: f'<?xml version="1.0"?><MPD><BaseURL>{name}</BaseURL></MPD>', "XML"),
    "session.sdp": (lambda name: "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n", "SDP session"),
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_cannot_lead_to_other_files(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / "other.ts", 10)
    write, what = PLAYLISTS[name]
    path = tmp_path / name
    path.write_text(write("other.ts"))
    refused(path, f"container format refused: .*{what}.*accepted: mp4")


def test_a_playlist_that_ffmpeg_itself_would_follow(tmp_path: Path) -> None:
    """The refusal is ours: without it, FFmpeg opens the other file."""
    make_clip(tmp_path / "other.ts", 10)
    path = tmp_path / "concat.mp4"
    path.write_text("ffconcat version 1.0\nfile other.ts\n")
    with av.open(str(path)) as container:
        assert container.format.name == "concat"
        assert len(container.streams.video) == 1
    refused(path, "ffconcat")


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "raw.h264"])
def test_still_pictures_and_raw_streams_are_refused(tmp_path: Path, name: str) -> None:
    if name == "raw.h264":
        path = make_clip(tmp_path / name, 5, container="h264")
    else:
        from PIL import Image

        path = tmp_path / name
        Image.new("RGB", (64, 64)).save(path)
    refused(path, "container format refused.*accepted: mp4")


def test_names_that_look_like_protocols_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", 3).rename(tmp_path / "concat:a|b.mp4")
    assert len(read(Path("concat:a|b.mp4"))) == 3
    refused(Path("https://example.org/a.mp4"), "no such file")
    refused(Path("a\0b.mp4"), "cannot be read")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    refused(tmp_path, "directory")
    refused(tmp_path / "missing.mp4", "no such file")
    refused(Path("/dev/zero"), "device")
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    refused(pipe, "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        refused(tmp_path / "s", "socket")
    link = tmp_path / "link.mp4"
    link.symlink_to(make_clip(tmp_path / "a.mp4", 3))
    assert len(read(link)) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 3)
    path.chmod(0)
    refused(path, "Permission denied")


def test_denied_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", 3)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused(path, "cannot be read: Permission denied")


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = make_audio(tmp_path / "speech.mp4")
    with open_media(path) as container:
        assert len(container.streams.audio) == 1
    with pytest.raises(ClipError, match=r"no video stream \(streams: audio\)"):
        probe(path)


def test_frames_of_absurd_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from affectkit.media import decode

    monkeypatch.setattr(decode, "MAX_PIXELS", 96 * 64 - 1)
    reader = VideoReader(make_clip(tmp_path / "a.mp4", 5), NATIVE)
    with pytest.raises(ClipError, match="no frame decodes"):
        list(reader)


def test_absurd_presentation_times_are_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", 3, pts=[0, 1, 10**8])
    with pytest.raises(ClipError, match="presentation times make no sense"):
        scan(path)


def test_non_ascii_names_and_metadata(tmp_path: Path) -> None:
    assert len(read(make_clip(tmp_path / "Grüße 表情 🙂.mp4", 3))) == 3
    bytes_name = Path(os.fsdecode(bytes(tmp_path) + b"/latin-\xe9.mp4"))
    make_clip(tmp_path / "a.mp4", 3).rename(bytes_name)
    assert len(read(bytes_name)) == 3
    tagged = tmp_path / "tagged.mkv"
    with av.open(str(tagged), "w") as output:
        output.metadata["title"] = "QQQQ"
        stream = output.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(96, 64, "yuv420p")))
        output.mux(stream.encode(None))
    tagged.write_bytes(tagged.read_bytes().replace(b"QQQQ", b"\xe9\xff\xfe\xe9"))
    assert len(read(tagged)) == 1


def test_ffmpeg_keeps_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = cut_off(make_clip(tmp_path / "a.mkv", 60, options=B_FRAMES), tmp_path / "b.mkv", 0.5)
    capfd.readouterr()
    read(path)
    with pytest.raises(ClipError):
        read(cut_off(path, tmp_path / "c.mp4", 0.02))
    assert capfd.readouterr() == ("", "")


# --- the rest --------------------------------------------------------------------------------------------------------


def test_probe(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", 60, audio=True))
    assert (info.width, info.height, info.frames, info.codec) == (96, 64, 60, "h264")
    assert info.duration == pytest.approx(2.0)
    assert info.fps == pytest.approx(30.0)
    assert info.has_audio
    assert info.damage == ""
    assert not probe(make_clip(tmp_path / "b.mkv", 3)).has_audio


def test_a_file_that_changes_is_scanned_again(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 10)
    assert len(scan(path)) == 10
    assert scan(path) is scan(path)
    make_clip(path, 20)
    assert len(scan(path)) == 20


def test_written_videos_come_back(tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    tone = (0.1 * np.sin(np.arange(32000) * 0.2)).astype(np.float32)
    write_video(path, numbered(50, 96, 64), fps=25, audio=(tone, 16000))
    assert list(tmp_path.iterdir()) == [path]
    frames = read(path)
    assert [number_of(frame.image) for frame in frames] == list(range(50))
    assert frames[-1].end == pytest.approx(2.0)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.sample_rate == 16000
        assert sum(frame.samples for frame in container.decode(stream)) / 16000 == pytest.approx(2.0, abs=0.1)


def test_written_colours_come_back(tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    (image,) = numbered(1, 320, 240, first=0xABC)
    write_video(path, [image] * 5, fps=25, crf=10)
    got = read(path)[2].image
    assert np.abs(got[30::60, 40::80].astype(int) - image[30::60, 40::80]).max() <= 6
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    path.write_bytes(b"old")

    def broken() -> object:
        yield from numbered(3)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_video(path, broken(), fps=25)  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    for images, message in (([], "at least one"), (numbered(1, 95, 64), "even size"),
                            ([*numbered(1, 96, 64), *numbered(1, 64, 64)], "image 1")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            write_video(path, images, fps=25)
    assert list(tmp_path.iterdir()) == [path]


def test_the_decoders_version_needs_no_decoder() -> None:
    code = (
        "import sys; from affectkit.media import decoder_version, Sampling, VideoReader; print(decoder_version());"
        "sys.exit(any(name in sys.modules for name in ('av', 'torch', 'cv2')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == decoder_version() == f"pyav-{av.__version__}"


def test_suffixes_are_lower_case_with_their_dot() -> None:
    assert {".mp4", ".mkv", ".webm", ".avi", ".mov", ".wav"} <= MEDIA_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in MEDIA_SUFFIXES)
    assert not {".m3u8", ".mpd", ".jpg", ".png", ".txt", ".csv"} & MEDIA_SUFFIXES


@pytest.mark.skipif(not MEDIA.is_dir(), reason="needs ../shared/media")
@pytest.mark.parametrize(
    ("name", "size", "count"), [("single_face.mp4", (640, 360), 72), ("no_face.mp4", (960, 540), 95)]
)
def test_real_clips(name: str, size: tuple[int, int], count: int) -> None:
    info = probe(MEDIA / name)
    assert (info.width, info.height) == size
    assert info.frames == count
    assert info.has_audio
    reader = VideoReader(MEDIA / name, Sampling(fps=5))
    frames = list(reader)
    assert not reader.partial
    assert len(frames) == reader.expected
    with av.open(str(MEDIA / name)) as container:
        reference = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert len(reference) == count
    times = np.array([time for time, _ in reference]) - reference[0][0]
    nearest = {int(np.abs(times - instant).argmin()) for instant in np.arange(0, info.duration, 0.2)}
    assert [frame.index for frame in frames] == sorted(nearest)
    assert all(np.array_equal(frame.image, reference[frame.index][1]) for frame in frames)


MEMORY = """
import re, sys
from affectkit.media import Sampling, VideoReader
frames = sum(1 for _ in VideoReader(sys.argv[1], Sampling(fps=1), threads=2))
status = open("/proc/self/status").read()
print(frames, re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])  # ru_maxrss would count the parent, before exec
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    peaks = []
    short = make_clip(tmp_path / "short.mp4", noisy(50, 320, 240), time_base=Fraction(1, 25), options=B_FRAMES)
    for minutes in (5, 30):
        path = repeated(short, tmp_path / f"{minutes}.mp4", minutes * 30)
        done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
        frames, peak = map(int, done.stdout.split())
        assert frames == minutes * 60
        peaks.append(peak)
    print(f"peak memory (KiB): 5 min {peaks[0]}, 30 min {peaks[1]}")
    assert peaks[1] < 1.1 * peaks[0]
