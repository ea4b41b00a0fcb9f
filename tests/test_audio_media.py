"""Decoding of sound: sample formats, the clock that it shares with the pictures, cuts, gaps, damage."""

from __future__ import annotations

import struct
import tracemalloc
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soxr
from media_factory import (
    audio_block,
    beep,
    beep_time,
    cut_off,
    make_clip,
    make_flash_and_beep,
    make_sound,
)
from scipy.io import wavfile

from affectkit.errors import ClipError
from affectkit.media import Sampling, VideoReader, Waveform, read_audio, stretch
from affectkit.media.resample import entry, joined, resampled
from affectkit.media.sound import Line, Timed, mono

NOISE = np.random.default_rng(7)


def tones(seconds: float, sampling_rate: int, channels: int = 1) -> np.ndarray:
    """[C,S] float32: a different mixture of tones below 3 kHz in each channel."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    rows = [
        sum(0.2 * np.sin(2 * np.pi * hz * (1 + row / 3) * times) for hz in (220, 770, 1900)) for row in range(channels)
    ]
    return np.array(rows, np.float32)


def whole(path: Path, **options: Any) -> Waveform:
    waveform = read_audio(path, **options)
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.ndim == 1
    return waveform


@pytest.mark.parametrize(
    ("codec", "fmt", "suffix", "step"),
    [
        ("pcm_u8", "u8", "wav", 2.0**-8),
        ("pcm_s16le", "s16", "wav", 2.0**-16),
        ("pcm_s24le", "s32", "wav", 2.0**-23),
        ("pcm_s32le", "s32", "wav", 2.0**-25),
        ("pcm_f32le", "flt", "wav", 1e-7),
        ("pcm_f64le", "dbl", "wav", 1e-7),
        ("flac", "s16", "flac", 2.0**-16),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sample_formats_are_read_to_their_last_bit(
    tmp_path: Path, codec: str, fmt: str, suffix: str, step: float, channels: int
) -> None:
    sound = tones(0.3, 16000, channels)
    path = make_sound(tmp_path / f"a.{suffix}", sound, 16000, codec=codec, fmt=fmt)
    waveform = whole(path)
    assert len(waveform) == sound.shape[1]
    assert np.abs(waveform.samples - sound.mean(axis=0, dtype=np.float64)).max() <= step
    assert (waveform.offset, waveform.origin, waveform.problem) == (0.0, 0.0, None)


@pytest.mark.parametrize("fmt", ["u8", "s16", "s32", "flt", "dbl", "u8p", "s16p", "s32p", "fltp", "dblp"])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_frames_of_every_format(fmt: str, channels: int) -> None:
    sound = tones(0.05, 16000, channels)
    step = {"u8": 2.0**-8, "s16": 2.0**-16}.get(fmt.removesuffix("p"), 1e-7)
    assert np.abs(mono(audio_block(sound, 16000, 0, fmt)) - sound.mean(axis=0, dtype=np.float64)).max() <= step
    with pytest.raises(ClipError, match="s64 are not understood"):
        mono(av.AudioFrame(format="s64", layout="mono", samples=4))
    with pytest.raises(ClipError, match="16 audio channels in fltp are refused"):
        mono(av.AudioFrame(format="fltp", layout="hexadecagonal", samples=4))


def test_full_scale_is_one_and_the_channels_are_averaged(tmp_path: Path) -> None:
    left = np.array([32767, -32768, 16384, 100], np.int16)
    right = np.array([32767, -32768, -16384, 101], np.int16)
    wavfile.write(tmp_path / "a.wav", 16000, np.stack([left, right], axis=1))
    expected = np.array([32767, -32768, 0, 100.5]) / 32768
    assert whole(tmp_path / "a.wav").samples.tolist() == expected.astype(np.float32).tolist()


def test_opposite_channels_cancel_and_six_are_averaged(tmp_path: Path) -> None:
    sound = tones(0.2, 16000)[0]
    opposed = whole(make_sound(tmp_path / "a.wav", np.stack([sound, -sound]), 16000, codec="pcm_f32le"))
    assert not opposed.samples.any()
    six = np.stack([sound, *np.zeros((5, len(sound)), np.float32)])
    assert np.allclose(
        whole(make_sound(tmp_path / "b.wav", six, 16000, codec="pcm_f32le")).samples, sound / 6, atol=1e-7
    )


@pytest.mark.parametrize("sampling_rate", [8000, 11025, 22050, 32000, 44100, 48000, 96000])
def test_resampling_equals_one_shot_and_the_tones_themselves(tmp_path: Path, sampling_rate: int) -> None:
    sound = tones(2, sampling_rate)[0]
    waveform = whole(make_sound(tmp_path / "a.wav", sound, sampling_rate, codec="pcm_f32le"))
    reference = soxr.resample(sound, sampling_rate, 16000, quality="HQ")
    assert len(waveform) == len(reference) == 32000
    assert np.abs(waveform.samples - reference).max() < 1e-6
    # Not soxr's word alone: the tones, written at 16 kHz, away from the ends.
    inside = slice(1600, -1600)
    assert np.abs(waveform.samples[inside] - tones(2, 16000)[0][inside]).max() < 1e-4


def test_eight_channels(tmp_path: Path) -> None:
    """Where PyAV's own conversion reads beyond the planes."""
    waveform = whole(make_sound(tmp_path / "a.m4a", np.stack([beep(1, 0.5, 48000)] * 8), 48000, codec="aac"))
    assert beep_time(waveform.samples, 16000) == pytest.approx(0.5, abs=1e-3)
    assert np.abs(waveform.samples).max() < 0.7


def test_equal_rates_change_nothing(tmp_path: Path) -> None:
    sound = NOISE.uniform(-1, 1, 5000).astype(np.float32)
    path = make_sound(tmp_path / "a.wav", sound, 44100, codec="pcm_f32le")
    assert np.array_equal(whole(path, sampling_rate=44100).samples, sound)


@pytest.mark.parametrize("blocks", [1, 7, 1000])
def test_resampling_does_not_depend_on_the_blocks(blocks: int) -> None:
    sound = NOISE.uniform(-1, 1, 44100).astype(np.float32)
    once = joined(resampled([sound], 44100, 16000))
    assert np.array_equal(joined(resampled(np.array_split(sound, blocks), 44100, 16000)), once)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 44101])
@pytest.mark.parametrize("first", [0, 1, 4000, 16001])
def test_resampling_from_an_entry_is_part_of_the_whole(rate: int, first: int) -> None:
    sound = NOISE.uniform(-1, 1, 2 * rate).astype(np.float32)
    begin = entry(first, rate, 16000)
    assert begin * 16000 % rate == 0
    part = joined(resampled([sound[begin:]], rate, 16000))[first - begin * 16000 // rate :]
    assert np.abs(part - joined(resampled([sound], rate, 16000))[first:]).max() < 2e-6


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [
        ("wav", "pcm_s16le", 44100), ("wav", "pcm_s16le", 8000), ("flac", "flac", 48000), ("m4a", "aac", 44100),
        ("m4a", "aac", 48000), ("mp3", "libmp3lame", 44100), ("ogg", "vorbis", 44100), ("opus", "libopus", 48000),
        ("mka", "aac", 48000), ("mov", "pcm_s16le", 48000),
    ],
)  # fmt: skip
def test_a_beep_lands_within_a_millisecond(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    path = make_sound(tmp_path / f"a.{suffix}", np.stack([beep(2, 1.25, rate)] * 2), rate, codec=codec)
    waveform = whole(path)
    assert waveform.offset == 0
    assert waveform.problem is None
    assert beep_time(waveform.samples, 16000) == pytest.approx(1.25, abs=1e-3)
    assert waveform.end == pytest.approx(2, abs=0.05)


SHIFTS = [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0), (0.4, 0.4), (1.0, 0.2)]
SHARED_CLOCK = [
    ("mp4", "aac"),
    ("mkv", "aac"),
    ("mkv", "flac"),
    ("mov", "pcm_s16le"),
    ("ts", "aac"),
    ("mkv", "libopus"),
]


@pytest.mark.parametrize(("video_start", "audio_start"), SHIFTS)
@pytest.mark.parametrize(("suffix", "codec"), SHARED_CLOCK)
def test_sound_and_pictures_share_one_clock(
    tmp_path: Path, suffix: str, codec: str, video_start: float, audio_start: float
) -> None:
    path = make_flash_and_beep(
        tmp_path / f"a.{suffix}", at=1.6, video_start=video_start, audio_start=audio_start, codec=codec
    )
    waveform = whole(path)
    (flash,) = [frame.start for frame in VideoReader(path, Sampling(fps="native")) if frame.image.mean() > 128]
    heard = waveform.offset + beep_time(waveform.samples, 16000)
    assert flash == pytest.approx(1.6 - video_start, abs=2e-3)
    assert heard == pytest.approx(1.6 - video_start, abs=2e-3)
    assert waveform.offset == pytest.approx(max(0, audio_start - video_start), abs=0.03)  # encoders delay a frame
    assert waveform.origin == VideoReader(path, Sampling(fps="native")).origin
    assert waveform.problem is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cut_is_exactly_a_part_of_the_whole(tmp_path: Path, suffix: str) -> None:
    path = make_flash_and_beep(tmp_path / f"a.{suffix}", seconds=4, at=1.6, video_start=0.4, sampling_rate=44100)
    everything = whole(path)
    for start, end in ((0.0, 1.0), (0.5, 1.5), (1.0, None), (1.23456, 2.34567), (3.0, 99.0)):
        part = whole(path, start=start, end=end)
        times = everything.offset + np.arange(len(everything)) / 16000
        inside = (times >= start - 1e-6) & (times < (np.inf if end is None else end) - 1e-6)
        assert len(part) == inside.sum()
        assert np.abs(part.samples - everything.samples[inside]).max() < 1e-6
        assert part.offset == pytest.approx(times[inside][0] - start, abs=1e-6)
        assert 0 <= part.offset < 1 / 16000
        assert part.origin == pytest.approx(everything.origin + start)
    assert 0.7 + beep_time(whole(path, start=0.7).samples, 16000) == pytest.approx(1.2, abs=1e-3)


def test_consecutive_cuts_tile_the_sound(tmp_path: Path) -> None:
    sound = NOISE.uniform(-1, 1, 88200).astype(np.float32)
    path = make_sound(tmp_path / "a.wav", sound, 44100, codec="pcm_f32le")
    edges = [0, 0.1, 0.333, 1.0000313, 1.7, 5]
    parts = [whole(path, start=a, end=b).samples for a, b in pairwise(edges)]
    assert np.abs(np.concatenate(parts) - whole(path).samples).max() < 2e-6


def test_cuts_without_sound_say_why(tmp_path: Path) -> None:
    path = make_flash_and_beep(tmp_path / "a.mp4", seconds=3, audio_start=1.0)
    with pytest.raises(ClipError, match=r"it begins 0\.9\d* s after the clip's start, when the clip is over"):
        read_audio(path, end=0.5)
    with pytest.raises(ClipError, match=r"no sound in the clip: it ends 1\.9\d* s before"):
        read_audio(path, start=5)
    for start, end in ((1, 1), (2, 1), (-1, 1), (float("nan"), None)):
        with pytest.raises(ClipError, match="is empty"):
            read_audio(path, start=start, end=end)


def blocks_with(path: Path, starts: list[float], rate: int = 16000, block: int = 1600) -> Path:
    """A matroska file of PCM blocks of 0.1 s, each of one loudness: 0.1, 0.2, ..."""
    levels = 0.1 * np.repeat(np.arange(1, len(starts) + 1), block)
    return make_sound(path, levels.astype(np.float32), rate, codec="pcm_f32le", starts=starts, block=block)


def test_a_gap_is_filled_with_silence_and_reported(tmp_path: Path) -> None:
    waveform = whole(blocks_with(tmp_path / "a.mkv", [0, 0.1, 0.5, 0.6]))
    levels = waveform.samples.reshape(-1, 1600)
    assert np.allclose(levels[:, 0], [0.1, 0.2, 0, 0, 0, 0.3, 0.4])
    assert (levels == levels[:, :1]).all()
    assert waveform.problem == "silence put in where sound is missing: 0.3 s"
    with pytest.raises(ClipError, match=r"silence put in .* 0\.3 s"):
        read_audio(tmp_path / "a.mkv", on_truncated="fail")
    assert read_audio(tmp_path / "a.mkv", end=0.2, on_truncated="fail").problem is None
    assert read_audio(tmp_path / "a.mkv", start=0.5, on_truncated="fail").problem is None
    assert np.allclose(read_audio(tmp_path / "a.mkv", start=0.45).samples[:801:800], [0, 0.3])


def hours_between(path: Path, hours: float) -> Path:
    """Three stretches of a quarter of a second of AAC, so many hours apart."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        for number in range(12):
            tone = np.sin(np.arange(1024) / 9).astype(np.float32) * 0.3
            for packet in stream.encode(audio_block(tone, 16000, number * 1024)):
                packet.pts = packet.dts = packet.pts + int(number // 4 * hours * 3600 * 16000)
                output.mux(packet)
    return path


def test_hours_without_sound_are_not_filled(tmp_path: Path) -> None:
    path = hours_between(tmp_path / "a.m4a", 8)
    tracemalloc.start()
    waveform = read_audio(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6 and waveform.duration < 1
    assert "goes on at 28800" in str(waveform.problem) and "start and end" in str(waveform.problem)
    with pytest.raises(ClipError, match="sound stops"):
        read_audio(path, on_truncated="fail")
    later = read_audio(path, start=28800, end=28801)
    assert np.abs(later.samples).max() > 0.1 and later.duration < 1


def test_gaps_may_take_some_minutes_in_all(tmp_path: Path) -> None:
    line = Line(100, 0.0)
    blocks = [Timed(at, 100, lambda: np.ones(100, np.float32)) for at in (0, 301, 599, 605, 900, 1300)]
    samples = joined(line(blocks))
    assert len(samples) == 60_600 and line.gap == (606, 900)
    recording = [Timed(float(at), 6000, lambda: np.ones(6000, np.float32)) for at in range(0, 60 * 60, 120)]
    line = Line(100, 0.0)
    assert len(joined(line(recording))) == 100 * 59 * 60 and line.gap is None  # half of it is sound


def with_lengths(path: Path, riff: int | None, data: int) -> Path:
    """The same WAV file with other lengths in its header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    if riff is not None:
        content[4:8] = riff.to_bytes(4, "little")
    content[at : at + 4] = data.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_s24le", "pcm_f32le", "adpcm_ima_wav"])
@pytest.mark.parametrize(("riff", "data"), [(2**32 - 1, 2**32 - 1), (0, 0), (None, 2**32 - 1)])
def test_a_wav_from_a_pipe_keeps_its_last_block(tmp_path: Path, codec: str, riff: int | None, data: int) -> None:
    samples = NOISE.uniform(-0.5, 0.5, 16000 + 778).astype(np.float32)
    path = make_sound(tmp_path / "a.wav", samples, 16000, codec=codec)
    expected = whole(path)
    piped = read_audio(with_lengths(path, riff, data))
    assert np.array_equal(piped.samples, expected.samples) and piped.problem is None
    if codec == "pcm_s16le":
        path.write_bytes(path.read_bytes() + b"\1")  # half a sample
        assert np.array_equal(read_audio(path).samples, expected.samples)


def test_a_cut_off_wav_keeps_what_is_there_and_says_so(tmp_path: Path) -> None:
    samples = NOISE.uniform(-0.5, 0.5, 16777).astype(np.float32)
    path = make_sound(tmp_path / "a.wav", samples, 16000)
    path.write_bytes(path.read_bytes()[:-1001])
    waveform = read_audio(path)
    assert len(waveform) == 16777 - 501 and "cut off" in str(waveform.problem)


@pytest.mark.parametrize(("suffix", "options"), [("wav", {"rf64": "always"}), ("w64", {})])
def test_wav_beyond_4_gigabytes(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    samples = NOISE.uniform(-0.5, 0.5, 16000).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w", options=options) as output:
        stream = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        output.mux(stream.encode(audio_block(samples, 16000, 0, "s16")))
        output.mux(stream.encode(None))
    waveform = read_audio(path)
    assert waveform.problem is None and len(waveform) == 16000
    assert np.abs(waveform.samples - samples).max() < 1e-4


def test_an_overlap_is_left_out_and_reported() -> None:
    starts = [0, 0.1, 0.05, 0.15, 0.25]
    blocks = [Timed(start, 100, partial(np.full, 100, number, np.float32)) for number, start in enumerate(starts)]
    line = Line(1000, 0.0)
    assert joined(line(blocks)).reshape(-1, 50)[:, 0].tolist() == [0, 0, 1, 1, 3, 4, 4]
    assert line.problems() == ["sound left out where presentation times go back: 0.15 s"]
    line = Line(1000, 0.0, wanted=250)
    assert joined(line(blocks)).reshape(-1, 50)[:, 0].tolist() == [4, 4]
    assert line.problems() == []


def test_two_recordings_in_one_file_sound_once(tmp_path: Path) -> None:
    """MPEG-TS files can be joined by their bytes; the times of the second begin anew."""
    path = make_flash_and_beep(tmp_path / "a.ts", seconds=2, at=1)
    alone = whole(path)
    path.write_bytes(path.read_bytes() * 2)
    twice = whole(path)
    assert twice.duration == pytest.approx(alone.duration, abs=0.05)
    assert beep_time(twice.samples, 16000) == beep_time(alone.samples, 16000)
    assert twice.problem is not None
    assert "presentation times go back" in twice.problem


def test_small_jumps_of_the_times_are_rounding(tmp_path: Path) -> None:
    starts = [0, 0.11, 0.195, 0.315, 0.4]
    waveform = whole(blocks_with(tmp_path / "a.mkv", starts))
    assert np.allclose(waveform.samples.reshape(-1, 1600)[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert waveform.problem is None


def test_absurd_times_are_refused(tmp_path: Path) -> None:
    path = blocks_with(tmp_path / "a.mkv", [0, 0.1, 40 * 24 * 3600.0])
    with pytest.raises(ClipError, match="presentation times make no sense"):
        read_audio(path)


def test_no_audio_stream(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"^no audio stream \(streams: video\)$"):
        read_audio(make_clip(tmp_path / "a.mp4", 5))


def test_a_video_without_pictures_still_sounds(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        sound = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 1600), 99, np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        output.mux(sound.encode(frame))
    waveform = whole(path)
    assert len(waveform) == 1600
    assert waveform.problem is not None
    assert "no video frame" in waveform.problem


def test_a_cut_off_file_gives_what_is_there(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", tones(2, 16000)[0], 16000)
    half = cut_off(path, tmp_path / "half.wav", 0.5)
    waveform = whole(half)
    assert waveform.duration == pytest.approx(1, abs=0.1)
    assert np.array_equal(waveform.samples, whole(path).samples[: len(waveform)])
    assert waveform.problem is not None
    assert "cut off: the file ends" in waveform.problem
    with pytest.raises(ClipError, match="cut off"):
        read_audio(half, on_truncated="fail")
    assert read_audio(half, end=0.5, on_truncated="fail").problem is None


def test_damaged_bytes_leave_the_rest_in_its_place(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.flac", beep(4, 3.5, 16000) + 0.01 * tones(4, 16000)[0], 16000, codec="flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = NOISE.integers(0, 256, 400, np.uint8).tobytes()
    path.write_bytes(data)
    waveform = whole(path)
    assert waveform.problem
    assert beep_time(waveform.samples[-12000:], 16000) + waveform.end - 0.75 == pytest.approx(3.5, abs=0.02)
    with pytest.raises(ClipError):
        read_audio(path, on_truncated="fail")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello " * 100)
    for name, cause in (("empty.wav", "empty file"), ("text.wav", "text"), ("gone.wav", "no such file")):
        with pytest.raises(ClipError, match=cause):
            read_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("aac", "aac"), ("m4a", "aac"), ("flac", "flac"), ("mp3", "libmp3lame"), ("mka", "libopus")]
)
def test_any_damage_is_told_or_gives_finite_sound(tmp_path: Path, suffix: str, codec: str) -> None:
    good = make_sound(tmp_path / f"a.{suffix}", beep(1, 0.5, 48000), 48000, codec=codec).read_bytes()
    draw = np.random.default_rng(11)
    for _ in range(25):
        data = np.frombuffer(good, np.uint8).copy()
        places = draw.integers(0, draw.choice([200, len(data)]), draw.choice([1, 3, 30]))
        data[places] = draw.integers(0, 256, len(places))
        (tmp_path / f"b.{suffix}").write_bytes(data[: draw.integers(len(data) // 2, len(data) + 1)].tobytes())
        try:
            waveform = read_audio(tmp_path / f"b.{suffix}")
        except ClipError as error:
            assert str(error)
        else:
            assert np.isfinite(waveform.samples).all()


def raw_wav(
    path: Path, *, kind: int = 3, channels: int = 1, rate: int = 16000, bits: int = 32, data: bytes = b""
) -> Path:
    """A wav file with any header."""
    block = channels * bits // 8
    header = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits
    )
    body = b"WAVE" + header + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_absurd_headers_are_refused(tmp_path: Path) -> None:
    for rate in (2, 999, 1_000_000, 2_000_000_000):
        with pytest.raises(ClipError, match="sampling rate"):
            read_audio(raw_wav(tmp_path / "rate.wav", rate=rate, data=bytes(8000)))
    with pytest.raises(ClipError, match="channels"):
        read_audio(raw_wav(tmp_path / "channels.wav", channels=200, data=bytes(800 * 100)))


def test_samples_that_are_no_numbers_become_silence(tmp_path: Path) -> None:
    values = np.array([0.5, np.nan, np.inf, -np.inf, 0.25], "<f4")
    waveform = whole(raw_wav(tmp_path / "a.wav", data=values.tobytes()))
    assert waveform.samples.tolist() == [0.5, 0, 0, 0, 0.25]
    assert waveform.problem == "samples that are no numbers, taken as silence"


def test_sound_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretch, "MAX_SAMPLES", 16000)
    path = make_sound(tmp_path / "a.wav", tones(3, 16000)[0], 16000)
    with pytest.raises(ClipError, match="cut it by start and end"):
        read_audio(path)
    assert len(read_audio(path, start=1, end=1.9)) == 14400


def long_file(path: Path, codec: str, rate: int = 44100, **options: str) -> Path:
    """12 s of a rising tone that grows louder, in noise."""
    times = np.arange(12 * rate) / rate
    sound = (times + 1) / 13 * 0.5 * np.sin(2 * np.pi * (200 + 40 * times) * times)
    sound += 0.03 * np.random.default_rng(1).standard_normal(len(times))
    return make_sound(path, sound.astype(np.float32), rate, codec=codec, options=options)


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Files are worth entering from 2 s on; whether each one was."""
    answers: list[bool] = []

    def noted(self: stretch.Stretch, path: Path, enter: Any = stretch.Stretch.enter) -> bool:
        head = self.line
        assert enter(self, path)
        answers.append(self.line is not head)
        return True

    monkeypatch.setattr(stretch, "WORTHWHILE", 2.0)
    monkeypatch.setattr(stretch.Stretch, "enter", noted)
    return answers


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [
        ("m4a", "aac", 44100), ("mka", "aac", 44100), ("mka", "aac", 48000), ("mka", "flac", 44100),
        ("mov", "pcm_s16le", 44100), ("mka", "pcm_s16le", 44100), ("mka", "libopus", 48000),
        ("mka", "libmp3lame", 44100), ("mp4", "libmp3lame", 44100),
    ],
)  # fmt: skip
def test_entering_a_long_file_gives_the_same_samples(
    tmp_path: Path, suffix: str, codec: str, rate: int, entered: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long_file(tmp_path / f"a.{suffix}", codec, rate, **{"aac_pns": "0"} if codec == "aac" else {})
    cuts = [(1.0, 2.0), (4.4321, 5.0), (9.9, None)]
    near = [whole(path, start=start, end=end) for start, end in cuts]
    assert entered == [False, True, True]
    monkeypatch.setattr(stretch, "WORTHWHILE", 1e9)
    for part, (start, end) in zip(near, cuts, strict=True):
        beginning = whole(path, start=start, end=end)
        assert (part.offset, part.origin, part.problem) == (beginning.offset, beginning.origin, None)
        assert np.abs(part.samples).max() > 0.05
        assert np.abs(part.samples - beginning.samples).max() < 1e-6


def test_files_with_gaps_are_not_entered(tmp_path: Path, entered: list[bool]) -> None:
    starts = [0.1 * n + 0.4 * (n > 15) for n in range(100)]
    gap = whole(blocks_with(tmp_path / "gap.mka", starts), start=5)
    assert gap.samples[0] == pytest.approx(4.7)
    assert entered == [False]


def test_entering_changes_no_more_of_aac_than_its_random_noise(tmp_path: Path, entered: list[bool]) -> None:
    """AAC may leave noise to the decoder's random numbers, which depend on where it began."""
    path = long_file(tmp_path / "a.m4a", "aac", aac_pns="1")
    everything = whole(path)
    part = whole(path, start=4.5, end=5.5)
    same = everything.samples[72000:88000]
    assert 0 < np.abs(part.samples - same).max() < 0.09
    assert np.corrcoef(part.samples, same)[0, 1] > 0.99
    assert np.array_equal(whole(path, start=4.5, end=5.5).samples, part.samples)
    assert entered == [False, True, True]


def test_a_file_that_cannot_be_entered_is_decoded_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long_file(tmp_path / "a.mka", "flac")
    expected = whole(path, start=7, end=8)
    monkeypatch.setattr(stretch, "WORTHWHILE", 2.0)
    for wrong in (lambda *_: False, lambda container, stream, time: not container.seek(int((time + 1) * 1e6))):
        monkeypatch.setattr(stretch, "seek", wrong)
        assert np.array_equal(whole(path, start=7, end=8).samples, expected.samples)


def test_a_cut_after_the_end_of_a_long_file(tmp_path: Path, entered: list[bool]) -> None:
    path = long_file(tmp_path / "a.m4a", "aac")
    with pytest.raises(ClipError, match=r"it ends (17\.9\d*|18) s before the clip's start"):
        read_audio(path, start=30)
    assert len(whole(path, start=11.9)) == pytest.approx(1600, abs=500)
    assert entered == [True, True]


@pytest.mark.slow
def test_memory_is_that_of_the_result(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    make_sound(path, np.zeros((2, 300 * 48000), np.int8), 48000, codec="flac", block=48000)
    tracemalloc.start()
    waveform = read_audio(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(waveform) == 300 * 16000
    assert peak < 2.1 * waveform.samples.nbytes + (32 << 20)
