"""Pictures and sound into an MP4: times, duration, sound and colours of the result against the source."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import Image, beep_time, make_clip, make_flash_and_beep, number_of

from affectkit.errors import ClipError
from affectkit.media import Sampling, VideoReader, read_audio, scan
from affectkit.media.mp4 import Mp4Writer
from affectkit.media.source_sound import SourceSound

UNEVEN = [0, 40, 73, 140, 160, 233, 301, 340, 400, 477, 520, 601]


def copied(source: Path, target: Path, *, start: float | None = None, end: float | None = None) -> str:
    """Every picture of a clip into an MP4 at its own time, with its sound; how that came into it."""
    reader = VideoReader(source, Sampling(fps="native"), start=start, end=end, threads=1)
    index, writer, sound, zero = reader.index, None, None, 0
    for frame in reader:
        tick = int(index.ticks[frame.index])
        if writer is None:
            zero = tick
            last = None if reader.plan.stop is None else float((int(reader.plan.stop) - zero) * index.tick)
            sound = SourceSound(source, zero * Fraction(index.tick), last) if index.has_audio else None
            height, width = frame.image.shape[:2]
            writer = Mp4Writer(target, width, height, index.tick, sound=sound, threads=1).__enter__()
        writer.write(frame.image, tick - zero, index.following(tick) - zero)
    assert writer is not None
    writer.__exit__(None, None, None)
    return "none" if sound is None else sound.how


def test_a_variable_rate_is_kept_to_the_tick(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", len(UNEVEN), pts=UNEVEN, time_base=Fraction(1, 1000))
    copied(source, tmp_path / "b.mp4")
    before, after = scan(source), scan(tmp_path / "b.mp4")
    assert np.allclose(before.times, after.times, atol=1e-9)
    assert after.duration == pytest.approx(before.duration, abs=1e-6)
    numbers = [number_of(frame.image) for frame in VideoReader(tmp_path / "b.mp4", Sampling(fps="native"), threads=1)]
    assert numbers == list(range(len(UNEVEN)))


@pytest.mark.parametrize(("codec", "suffix", "how"), [
    ("aac", "mp4", "copied"), ("libmp3lame", "mp4", "copied"), ("flac", "mkv", "copied"), ("aac", "mkv", "copied"),
    ("aac", "ts", "aac"), ("libopus", "mkv", "aac"), ("pcm_s16le", "mkv", "aac"),
])  # fmt: skip
@pytest.mark.parametrize("video_start", [0.0, 0.4])
def test_sound_that_starts_late_or_early_stays_in_its_place(
    tmp_path: Path, codec: str, suffix: str, how: str, video_start: float
) -> None:
    source = make_flash_and_beep(
        tmp_path / f"a.{suffix}", codec=codec, channels=2, video_start=video_start,
        audio_start=0.0 if video_start else 0.7,
    )  # fmt: skip
    assert copied(source, tmp_path / "b.mp4") == how
    before, after = read_audio(source), read_audio(tmp_path / "b.mp4")
    times = [beep_time(each.samples, each.sampling_rate) + each.offset for each in (before, after)]
    assert times[1] == pytest.approx(times[0], abs=0.002)
    assert times[1] == pytest.approx(1.5 - video_start, abs=0.01)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.audio[0].codec_context.channels == 2


def test_copied_packets_are_the_bytes_of_the_source(tmp_path: Path) -> None:
    source = make_flash_and_beep(tmp_path / "a.mp4")
    copied(source, tmp_path / "b.mp4")
    packets = []
    for path in (source, tmp_path / "b.mp4"):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]


def test_a_cut_has_the_sound_of_its_pictures(tmp_path: Path) -> None:
    source = make_flash_and_beep(tmp_path / "a.mp4")
    copied(source, tmp_path / "b.mp4", start=1.0, end=2.0)
    sound = read_audio(tmp_path / "b.mp4")
    assert scan(tmp_path / "b.mp4").duration == pytest.approx(1.0, abs=1e-6)
    assert beep_time(sound.samples, sound.sampling_rate) + sound.offset == pytest.approx(0.5, abs=0.002)
    assert len(sound.samples) / sound.sampling_rate == pytest.approx(1.0, abs=0.03)


def test_colours_come_back(tmp_path: Path) -> None:
    colours = [(200, 40, 40), (40, 180, 60), (50, 60, 200), (240, 240, 240), (10, 10, 10), (230, 159, 0)]
    picture: Image = np.repeat(np.array(colours, np.uint8)[None], 64, axis=0).repeat(32, axis=1)
    with Mp4Writer(tmp_path / "a.mp4", 192, 64, Fraction(1, 25), quality=95, threads=1) as writer:
        for number in range(3):
            writer.write(picture, number, number + 1)
    frame = next(iter(VideoReader(tmp_path / "a.mp4", Sampling(fps="native"), threads=1)))
    middles = frame.image[32, 16::32].astype(int)
    assert np.abs(middles - colours).max() <= 8


def test_a_file_without_sound_and_one_that_breaks_off(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no audio stream"):
        SourceSound(make_clip(tmp_path / "a.mp4", 3), Fraction(0))
    with pytest.raises(ZeroDivisionError), Mp4Writer(tmp_path / "b.mp4", 64, 48, Fraction(1, 25), threads=1):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="even size"):
        Mp4Writer(tmp_path / "c.mp4", 63, 48, Fraction(1, 25))
