"""Reading clips: times, order, cuts, and what need not be decoded. Clips are made here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import dropwhile, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media_factory import B_FRAMES, make_clip, number_of, numbered, repeated

from affectkit.errors import ClipError
from affectkit.media import (
    Frame,
    Sampling,
    VideoReader,
    decode,
    probe,
    scan,
)
from affectkit.media.packets import presentation_ticks

NATIVE = Sampling(fps="native")
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


def test_a_file_that_cannot_be_entered_at_a_key_frame_is_decoded_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4", 60, options={**B_FRAMES, "g": "10"})
    expected = [frame.index for frame in read(path, start=1.03)]
    enter, entries = decode._from_key_frame, []

    def too_late(packets: Iterator[av.Packet], entry: int) -> Iterator[av.Packet]:
        entries.append(entry)
        return dropwhile(lambda packet: not packet.is_keyframe or packet.pts <= entry, enter(packets, entry))

    for wrong in (too_late, lambda packets, entry: iter(())):
        monkeypatch.setattr(decode, "_from_key_frame", wrong)
        frames = read(path, start=1.03)
        assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames] == expected
    assert len(entries) == 1


def test_only_a_key_frame_shown_by_then_is_an_entry() -> None:
    def packets(is_keyframe: bool, pts: int | None) -> Iterator[Any]:
        return iter([SimpleNamespace(is_keyframe=is_keyframe, pts=pts), SimpleNamespace(is_keyframe=False, pts=12)])

    assert len(list(decode._from_key_frame(packets(True, 10), 10))) == 2
    for unfit in (packets(True, 11), packets(False, 9), packets(True, None), iter(())):
        assert list(decode._from_key_frame(unfit, 10)) == []


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
