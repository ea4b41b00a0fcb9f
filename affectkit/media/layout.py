"""What a file's outermost structure declares about its length: how a cut-off file is told without decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class FileParts:
    """`missing`: bytes that the file declares and does not have (0 also where its format declares nothing);
    `parts`: the names of the outermost boxes or chunks met."""

    kind: str = "unknown"
    missing: int = 0
    parts: frozenset[bytes] = frozenset()


def layout(path: Path) -> FileParts:
    """The outermost structure of an ISO (mp4/mov), RIFF (avi, wav), EBML (matroska/webm) or MPEG-TS file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(204 * 2 + 5)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
            return _iso(file, size)
        if head[:4] == b"RIFF":
            return _riff(file, size)
        if head[:4] == b"\x1aE\xdf\xa3":
            return _ebml(head, size)
        for packet, sync in ((188, 0), (192, 4), (204, 0)):
            if head[sync : sync + 1] == head[sync + packet : sync + packet + 1] == b"G":
                return FileParts("mpegts", -size % packet)
    return FileParts()


def _iso(file: BinaryIO, size: int) -> FileParts:
    at, parts = 0, set()
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        parts.add(header[4:8])
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - at
        if length < 8:
            break
        at += length
    return FileParts("mp4/mov", max(0, at - size), frozenset(parts))


def _riff(file: BinaryIO, size: int) -> FileParts:
    at, parts = 0, set()
    while at + 12 <= size:  # long AVI files are several RIFF chunks
        file.seek(at)
        header = file.read(12)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):  # not finished by its recorder: no length given
            break
        parts.add(header[8:12])
        at += 8 + length + length % 2
    return FileParts("riff", max(0, at - size - 1), frozenset(parts))


def _ebml(head: bytes, size: int) -> FileParts:
    length, at = _vint(head, 4)
    at += length or 0
    if head[at : at + 4] != b"\x18\x53\x80\x67":  # Segment
        return FileParts("ebml")
    length, at = _vint(head, at + 4)
    return FileParts("ebml", 0 if length is None else max(0, at + length - size))


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML length (RFC 8794, section 4; None = unknown) and the position after it."""
    width = 9 - data[at].bit_length() if at < len(data) else 9
    if width > 8:
        return None, at
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width
