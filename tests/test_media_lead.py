"""Files that begin without a key frame: rows keep their times and numbers, and what is missing is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import make_clip, number_of

from affectkit.errors import ClipError
from affectkit.media import Sampling, VideoReader, scan

KEY_EVERY = 20
OPTIONS = {"preset": "veryfast", "bf": "3", "g": "20", "keyint_min": "20", "sc_threshold": "0"}


def without_first_packets(source: Path, path: Path, count: int) -> Path:
    with av.open(str(source)) as whole, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(packet for packet in whole.demux(video=0) if packet.size):
            if number >= count:
                packet.stream = stream
                output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4", "flv", "avi"])
@pytest.mark.parametrize("count", [3, 8])
def test_rows_keep_their_times_and_numbers(tmp_path: Path, suffix: str, count: int) -> None:
    source = make_clip(tmp_path / "whole.ts", 60, options=OPTIONS, time_base=Fraction(1, 25))
    path = without_first_packets(source, tmp_path / f"a.{suffix}", count)
    reader = VideoReader(path, Sampling(fps="native"))
    rows, index = list(reader), scan(path)
    lead = KEY_EVERY - count
    assert len(index) == 60 - count
    assert [row.index for row in rows] == list(range(lead, 60 - count))
    assert [number_of(row.image) for row in rows] == list(range(KEY_EVERY, 60))
    assert [row.start for row in rows] == pytest.approx(index.times[lead:].tolist())
    assert reader.partial and f"the first {lead} frames do not decode" in str(reader.problem)
    if suffix != "avi":  # AVI has no times of presentation
        gaps = np.diff([row.start for row in rows])
        assert np.allclose(gaps, 0.04, atol=2e-3)
    with pytest.raises(ClipError, match="do not decode"):
        list(VideoReader(path, Sampling(fps="native"), on_truncated="fail"))


@pytest.mark.parametrize("packets", [20, 75])
def test_a_cut_transport_stream(tmp_path: Path, packets: int) -> None:
    source = make_clip(tmp_path / "whole.ts", 60, options=OPTIONS, time_base=Fraction(1, 25))
    path = tmp_path / "a.ts"
    path.write_bytes(source.read_bytes()[188 * packets + 77 :])
    reader = VideoReader(path, Sampling(fps=5))
    rows, index = list(reader), scan(path)
    assert reader.partial and "not decode: the picture begins" in str(reader.problem)
    assert [row.start for row in rows] == pytest.approx(index.times[[row.index for row in rows]].tolist())
    assert {number_of(row.image) - row.index for row in rows} == {60 - len(index)}


def test_a_cut_after_the_undecodable_beginning_is_whole(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "whole.ts", 60, options=OPTIONS, time_base=Fraction(1, 25))
    path = without_first_packets(source, tmp_path / "a.ts", 3)
    reader = VideoReader(path, Sampling(fps="native"), start=1.2)
    assert [number_of(row.image) for row in reader] == list(range(32, 60)) and not reader.partial


def test_leading_pictures_of_an_open_group_are_counted(tmp_path: Path) -> None:
    options = OPTIONS | {"x264-params": "open-gop=1"}
    source = make_clip(tmp_path / "whole.ts", 60, options=options, time_base=Fraction(1, 25))
    with av.open(str(source)) as whole:
        keys = [n for n, packet in enumerate(p for p in whole.demux(video=0) if p.size) if packet.is_keyframe]
    path = without_first_packets(source, tmp_path / "a.mkv", keys[1])
    reader = VideoReader(path, Sampling(fps="native"))
    rows, index = list(reader), scan(path)
    assert [row.start for row in rows] == pytest.approx(index.times[[row.index for row in rows]].tolist())
    assert len({number_of(row.image) - row.index for row in rows}) == 1
    assert reader.partial == (len(rows) < len(index))
