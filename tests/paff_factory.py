"""Field-coded H.264 (PAFF), as camcorders record 50i: 25 frames a second, two field pictures a frame. No encoder makes
it, so every macroblock is I_PCM. Frame n is grey, 20 + 4 n."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

SIDE = 4
"""Macroblocks along each side."""
GREY = 20, 4


def grey(frame: int) -> int:
    """The luma of frame `frame`."""
    return GREY[0] + GREY[1] * frame


def make_paff(
    path: Path, packets: Literal["pair", "field"], *, frames: int = 50, key_every: int = 1000, first: int = 0,
    container: str | None = None,
) -> Path:  # fmt: skip
    """Writes frames `first` to `frames` at 25 a second. `packets`: one timed packet a frame that holds both of its
    fields, or one a field; `key_every`: frames from one key frame to the next."""
    sources = list(_fields(frames, key_every))
    elementary = path.with_name(path.name + ".h264")
    elementary.write_bytes(b"".join(a + b for a, b, _ in sources))
    with av.open(str(elementary)) as raw, av.open(str(path), "w", format=container) as output:
        stream = output.add_stream_from_template(raw.streams.video[0])
        for number, (top, bottom, key) in list(enumerate(sources))[first:]:
            for field, data in enumerate([top + bottom] if packets == "pair" else [top, bottom]):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts = packet.dts = 90000 + number * 3600 + field * 1800
                packet.duration = 3600 if packets == "pair" else 1800
                packet.is_keyframe = key and not field
                output.mux(packet)
    elementary.unlink()
    return path


def _fields(frames: int, key_every: int) -> Iterator[tuple[bytes, bytes, bool]]:
    """(top field, bottom field, whether it is a key frame) of each frame, with delimiters and parameter sets."""
    delimiter = b"\0\0\0\1\x09\x10"
    timing = "1" + format(1, "032b") + format(50, "032b") + "1"
    sequence = "01001101" + "0" * 8 + "00101000" + "".join(map(_golomb, (0, 0, 0, 4, 1))) + "0"
    sequence += _golomb(SIDE - 1) + _golomb(SIDE // 2 - 1) + "00101" + "0000" + timing + "0000" + "1"
    picture = "".join(map(_golomb, (0, 0))) + "00" + "".join(map(_golomb, (0, 0, 0))) + "000"
    picture += "".join(map(_golomb, (0, 0, 0))) + "0001"
    for number in range(frames):
        since = number % key_every
        sets = b"" if since else _unit(7, _packed(sequence)) + _unit(8, _packed(picture))
        top, bottom = (_field(since, parity, grey(number)) for parity in (0, 1))
        yield delimiter + sets + top, delimiter + bottom, not since


def _field(number: int, bottom: int, luma: int) -> bytes:
    """A field's slice; `number`: frames since the key frame."""
    key = number == 0 and not bottom
    bits = _golomb(0) + _golomb(7) + _golomb(0) + format(number % 16, "04b") + "1" + str(bottom)
    bits += (_golomb(0) if key else "") + format((2 * number + bottom) % 256, "08b") + ("00" if key else "0")
    block = bytes([luma]) * 256 + bytes([128]) * 128
    first = _packed(bits + _golomb(0) + _golomb(25))  # no deblocking change, I_PCM
    return _unit(5 if key else 1, first + block + (b"\x0d\x00" + block) * (SIDE * SIDE // 2 - 1) + b"\x80")


def _golomb(value: int) -> str:
    return "0" * ((value + 1).bit_length() - 1) + format(value + 1, "b")


def _packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _unit(kind: int, payload: bytes) -> bytes:
    data, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            data.append(3)
            zeros = 0
        data.append(byte)
        zeros = 0 if byte else zeros + 1
    return b"\0\0\0\1" + bytes([0x60 | kind]) + bytes(data)
