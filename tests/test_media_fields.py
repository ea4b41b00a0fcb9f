"""Interlaced video: frames are counted and timed as the decoder gives them, whatever the packets hold."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from media_factory import make_clip
from paff_factory import grey, make_paff

from affectkit.datasets import _frame_times
from affectkit.media import Frame, Sampling, VideoReader, scan
from affectkit.media.fields import FieldPairs

RATE = Fraction(1, 25)


def agreed(path: Path, frames: int) -> list[Frame]:
    """The rows of a clip of 25 frames a second, once index, decoder and label rows agree on them."""
    index = scan(path)
    reader = VideoReader(path, Sampling(fps="native"), threads=1)
    rows = list(reader)
    expected = np.arange(frames) / 25
    assert len(index) == frames
    assert np.allclose(index.times, expected, atol=1e-4)
    assert index.duration == pytest.approx(frames / 25, abs=1e-4)
    assert [row.index for row in rows] == list(range(frames))
    assert np.allclose([row.start for row in rows], expected, atol=1e-4)
    assert rows[-1].end == pytest.approx(index.duration)
    labels = _frame_times.of_index(index)
    assert [row.start for row in rows] == labels.start.tolist()
    assert [row.end for row in rows] == labels.end.tolist()
    assert not reader.partial
    return rows


@pytest.mark.parametrize("packets", ["pair", "field"])
@pytest.mark.parametrize("suffix", ["mts", "mkv", "mp4", "mov", "avi"])
def test_two_fields_are_one_frame(
    tmp_path: Path, packets: Literal["pair", "field"], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if (packets, suffix) == ("pair", "avi"):
        pytest.skip("the muxer writes another rate than it was given")
    path = make_paff(tmp_path / f"a.{suffix}", packets, container="mpegts" if suffix == "mts" else None)
    rows = agreed(path, 50)
    assert [round(float(row.image.mean())) for row in rows] == pytest.approx(
        [(grey(number) - 16) * 255 / 219 for number in range(50)], abs=3
    )


@pytest.mark.parametrize("packets", ["pair", "field"])
def test_sampled_fields_are_those_of_the_whole(tmp_path: Path, packets: Literal["pair", "field"]) -> None:
    path = make_paff(tmp_path / "a.ts", packets, key_every=10)
    every = list(VideoReader(path, Sampling(fps="native")))
    fifth = list(VideoReader(path, Sampling(fps=5)))
    assert [row.index for row in fifth] == list(range(0, 50, 5))
    assert all(np.array_equal(row.image, every[row.index].image) for row in fifth)
    cut = list(VideoReader(path, Sampling(fps="native"), start=1.0, end=1.2))
    assert [row.index for row in cut] == list(range(25, 30))


@pytest.mark.parametrize("packets", ["pair", "field"])
def test_intra_fields_before_the_first_key_frame_decode(tmp_path: Path, packets: Literal["pair", "field"]) -> None:
    whole = make_paff(tmp_path / "whole.ts", packets, key_every=10)
    path = make_paff(tmp_path / "a.ts", packets, key_every=10, first=3)
    rows = agreed(path, 47)
    assert np.array_equal(rows[0].image, list(VideoReader(whole, Sampling(fps="native")))[3].image)


@pytest.mark.parametrize("order", ["tff=1", "bff=1", "fake-interlaced=1"])
@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv"])
def test_interlaced_frames_in_one_picture_stay_frames(tmp_path: Path, order: str, suffix: str) -> None:
    path = make_clip(
        tmp_path / f"a.{suffix}",
        50,
        time_base=RATE,
        options={"preset": "veryfast", "x264-params": f"{order}:bframes=3"},
    )
    agreed(path, 50)


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_interlaced_mpeg2(tmp_path: Path, suffix: str) -> None:
    options = {"bf": "2", "flags": "+ildct+ilme", "b": "1M"}
    agreed(make_clip(tmp_path / f"a.{suffix}", 50, codec="mpeg2video", options=options, time_base=RATE), 50)


def test_repeated_fields_keep_their_times(tmp_path: Path) -> None:
    """Film at 24 frames a second, flagged for 30: shown for 3, 2, 3, 2 ... fields."""
    path = make_clip(
        tmp_path / "a.ts", 40, time_base=Fraction(1, 24), options={"preset": "veryfast", "x264-params": "pulldown=32"}
    )
    rows = list(VideoReader(path, Sampling(fps="native")))
    assert [row.index for row in rows] == list(range(40)) and len(scan(path)) == 40
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert np.allclose([row.start for row in rows], np.array(times) - times[0])


def test_parameter_sets_that_make_no_sense_are_no_fields() -> None:
    packet = av.Packet(b"\0\0\1\x65" + bytes(40))
    packet.is_keyframe = True
    for extradata in (None, b"", b"\1", b"\1" + b"\xff" * 9, b"\0\0\1\x67", b"\0\0\1\x67" + bytes(60), b"\0\0\1\x68"):
        pairs = FieldPairs(extradata)
        assert pairs.begun(packet) and not pairs.interlaced
