"""Truncated and damaged files: what decodes is kept and the rest is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_factory import B_FRAMES, cut_off, make_clip, number_of

from affectkit.errors import ClipError
from affectkit.media import (
    Frame,
    Sampling,
    VideoReader,
)
from affectkit.media.layout import layout

NATIVE = Sampling(fps="native")


def read(path: Path, sampling: Sampling = NATIVE, **options: object) -> list[Frame]:
    return list(VideoReader(path, sampling, **options))  # type: ignore[arg-type]


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
    sources = [make_clip(tmp_path / name, 20, **settings) for name, settings in list(TORN.items())]
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
