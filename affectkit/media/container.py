"""Opening untrusted media files: regular files of accepted formats, and nothing that they point to."""

from __future__ import annotations

import stat
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import ClipError
from affectkit.media.layout import layout

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".mpg", ".mpeg", ".ts", ".mts",
     ".m2ts", ".flv", ".ogv", ".gif"]
)  # fmt: skip
AUDIO_SUFFIXES = frozenset([".wav", ".w64", ".mp3", ".flac", ".aac", ".m4a", ".ogg", ".oga", ".opus", ".mka", ".wma"])
MEDIA_SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES
"""Lower-case suffixes that count as media when a directory is walked. What a file is, its content decides."""

_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf", "mpegts", "mpeg", "flv", "ogg", "gif",
    "wav", "w64", "mp3", "flac", "aac",
)  # fmt: skip
ACCEPTED = "mp4/mov, matroska/webm, avi, asf/wmv, mpegts, mpeg, flv, ogg, gif, wav, w64, mp3, flac, aac"

# What FFmpeg would follow or treat as a still picture. It does not say which format its whitelist refused.
_REFUSED = {
    b"#EXTM3U": "an HLS playlist",
    b"ffconcat": "an ffconcat list",
    b"<?xml": "an XML document, such as a DASH manifest",
    b"<MPD": "a DASH manifest",
    b"v=0": "an SDP session",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
}


def decoder_version() -> str:
    """The decoder's identity for fingerprints, such as "pyav-18.1.0".

    PyAV's wheels fix their FFmpeg build; reading the version without importing PyAV keeps cache hits quick.
    """
    return f"pyav-{version('av')}"


def regular_file(path: Path) -> tuple[int, int]:
    """Size (bytes) and mtime (ns) of a regular file that holds something. Raises ClipError otherwise."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ClipError(f"not a regular file but {kind}")
        path.open("rb").close()
    except FileNotFoundError:
        raise ClipError("no such file") from None
    except (OSError, ValueError) as error:
        raise ClipError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not status.st_size:
        raise ClipError("empty file")
    return status.st_size, status.st_mtime_ns


def open_media(path: Path) -> InputContainer:
    """An open PyAV container (a context manager) of an accepted format.

    FFmpeg gets the name as a `file:` URL, may use no protocol but that one, and only the accepted demuxers, so a
    playlist cannot make it read another file. Raises ClipError with the cause.
    """
    import av

    path = Path(path)
    regular_file(path)
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(_DEMUXERS)}
    # From PyAV 19 on titles and tags that are not UTF-8 never raise, and there is no such argument.
    lenient: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
    try:
        container: InputContainer = av.open(f"file:{path.absolute()}", container_options=options, **lenient)
    except av.error.FFmpegError as error:
        raise ClipError(_why_unreadable(path, error)) from error
    if container.format.name not in _DEMUXERS:
        container.close()
        raise ClipError(f"container format {container.format.name} refused (accepted: {ACCEPTED})")
    return container


def _why_unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(512)
    for magic, what in _REFUSED.items():
        if head.lstrip().startswith(magic):
            return f"container format refused: {what} (accepted: {ACCEPTED})"
    if type(error).__name__ == "ArgumentError":  # what FFmpeg's whitelist answers
        return f"container format refused (accepted: {ACCEPTED})"
    found = layout(path)
    if found.kind == "mp4/mov" and b"moov" not in found.parts:
        return "cut off: an mp4/mov file without its index (moov), which is written last"
    cause = getattr(error, "strerror", None) or str(error)
    if found.missing:
        return f"cut off: the file ends {found.missing:,} bytes early, and what is there cannot be read: {cause}"
    return f"not a media file that FFmpeg can read: {'text' if _is_text(head) else cause}"


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
