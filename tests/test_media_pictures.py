"""Pixels: rotation, odd sizes, pixel formats, alpha, colours; and videos that affectkit writes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import make_clip, number_of, numbered

from affectkit.media import (
    Frame,
    Sampling,
    VideoReader,
    probe,
    write_video,
)
from affectkit.media.picture import on_black, upright

NATIVE = Sampling(fps="native")


def read(path: Path, sampling: Sampling = NATIVE, **options: object) -> list[Frame]:
    return list(VideoReader(path, sampling, **options))  # type: ignore[arg-type]


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
