"""Untrusted files: what is opened, and with what message the rest is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from media_factory import B_FRAMES, cut_off, make_audio, make_clip

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
)

NATIVE = Sampling(fps="native")


def read(path: Path, sampling: Sampling = NATIVE, **options: object) -> list[Frame]:
    return list(VideoReader(path, sampling, **options))  # type: ignore[arg-type]


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
    with pytest.raises(ClipError, match=r"pictures of 96 x 64: 6,143 pixels"):
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
