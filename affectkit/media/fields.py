"""Which packets of an H.264 stream begin a frame: interlaced material may be coded as two fields, each a picture.

Cameras (AVCHD) and broadcasts write a frame as one picture or as two (ITU-T H.264, PAFF). A packet then holds a frame,
one field or both; a decoder joins two fields and gives one frame at the first one's presentation time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import Packet

_SLICE, _PARTITION, _IDR, _SPS, _PPS = 1, 2, 5, 7, 8
_HEADER = 64
"""Bytes of a slice that its header's beginning surely lies in; those of parameter sets are read whole."""
_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


@dataclass(frozen=True)
class Picture:
    """A coded picture: `field`: 0 for a whole frame, 1 for its top, 2 for its bottom field; `frame_num` as coded."""

    field: int
    frame_num: int


class FieldPairs:
    """Counts the frames that an H.264 stream's packets begin, packet after packet in the order of the file.

    A second field is one of other parity and the same `frame_num` that follows a first field (H.264, 3.30); FFmpeg
    joins by the same rule. Streams whose parameter sets allow no fields are not looked into (`interlaced` is False).
    `in_fields`: whether the last packet held a field.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self.interlaced = self.in_fields = False
        self._sequences: dict[int, _Sequence] = {}
        self._sequence_of: dict[int, int] = {}
        self._first: Picture | None = None
        data = extradata or b""
        self._length = (data[4] & 3) + 1 if data[:1] == b"\1" and len(data) > 6 else 0  # as in mp4, else start codes
        for unit in _configuration(data) if self._length else _annex_b(data):
            self._learn(unit)

    def begun(self, packet: Packet) -> bool:
        """Whether a packet begins a frame: not where it completes the frame before."""
        if not (self.interlaced or packet.is_keyframe):  # key frames may bring other parameter sets
            return True
        pictures = list(self._pictures(bytes(packet)))
        self.in_fields = any(picture.field for picture in pictures)
        begins = [self._begins(picture) for picture in pictures]  # each of them, in order
        return not pictures or any(begins)

    def _begins(self, picture: Picture) -> bool:
        first, self._first = self._first, None
        if first is not None and picture.field == 3 - first.field and picture.frame_num == first.frame_num:
            return False
        self._first = picture if picture.field else None
        return True

    def _pictures(self, data: bytes) -> Iterator[Picture]:
        last: Picture | None = None
        for unit in _prefixed(data, self._length) if self._length else _annex_b(data):
            kind = unit[0] & 31
            if kind in (_SPS, _PPS):
                self._learn(unit)
            elif kind in (_SLICE, _PARTITION, _IDR) and self.interlaced:
                picture = self._picture(unit)
                if picture is not None and picture != last:
                    last = picture
                    yield picture

    def _learn(self, unit: bytes) -> None:
        """Takes in a parameter set; one that cannot be read is passed over."""
        bits = _Bits(unit[1:])
        try:
            if unit[0] & 31 == _SPS:
                number, sequence = _read_sequence(bits)
                self._sequences[number] = sequence
                self.interlaced |= sequence.may_be_fields
            elif unit[0] & 31 == _PPS:
                number = bits.golomb()
                self._sequence_of[number] = bits.golomb()
        except EOFError:
            return

    def _picture(self, unit: bytes) -> Picture | None:
        bits = _Bits(unit[1:_HEADER])
        try:
            bits.golomb(), bits.golomb()  # first_mb_in_slice, slice_type
            sequence = self._sequences.get(self._sequence_of.get(bits.golomb(), -1))
            if sequence is None:
                return None
            bits.take(2 if sequence.separate_planes else 0)
            frame_num = bits.take(sequence.frame_num_bits)
            field = 1 + bits.take(1) if sequence.may_be_fields and bits.take(1) else 0
        except EOFError:
            return None
        return Picture(field, frame_num)


@dataclass(frozen=True)
class _Sequence:
    """What a slice header's reader must know of the sequence parameter set."""

    frame_num_bits: int
    may_be_fields: bool
    separate_planes: bool


def _read_sequence(bits: _Bits) -> tuple[int, _Sequence]:
    """The number and content of a sequence parameter set (H.264, 7.3.2.1.1). Raises EOFError."""
    profile = bits.take(8)
    bits.take(16)
    number = bits.golomb()
    separate = False
    if profile in _WITH_CHROMA:
        chroma = bits.golomb()
        separate = chroma == 3 and bool(bits.take(1))
        bits.golomb(), bits.golomb(), bits.take(1)
        if bits.take(1):
            for which in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _pass_scaling_list(bits, 16 if which < 6 else 64)
    frame_num_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1), bits.golomb(), bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    bits.golomb(), bits.take(1), bits.golomb(), bits.golomb()  # reference frames, gaps, width, height
    return number, _Sequence(frame_num_bits, not bits.take(1), separate)


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            coded = bits.golomb()
            following = (last + ((coded + 1) // 2 if coded % 2 else -(coded // 2))) % 256
        last = following or last


class _Bits:
    """Reads a NAL unit's payload bit by bit. Raises EOFError at its end."""

    def __init__(self, payload: bytes) -> None:
        data = payload.replace(b"\0\0\3", b"\0\0")
        self._left = len(data) * 8
        self._value = int.from_bytes(data, "big")

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """An unsigned Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _annex_b(data: bytes) -> Iterator[bytes]:
    """NAL units between start codes; of pictures only the beginning."""
    at = data.find(b"\0\0\1") + 3
    while at > 2:
        following = data.find(b"\0\0\1", at)
        end = len(data) if following < 0 else following
        if at < end:
            yield data[at : end if data[at] & 31 in (_SPS, _PPS) else min(end, at + _HEADER)]
        at = following + 3


def _prefixed(data: bytes, size: int) -> Iterator[bytes]:
    """NAL units that each follow their length in `size` bytes; of pictures only the beginning."""
    at = size
    while at < len(data):
        end = at + int.from_bytes(data[at - size : at], "big")
        if at < end:
            yield data[at : end if data[at] & 31 in (_SPS, _PPS) else min(end, at + _HEADER)]
        at = end + size


def _configuration(data: bytes) -> Iterator[bytes]:
    """The parameter sets of an AVCDecoderConfigurationRecord (ISO 14496-15)."""
    at = 5
    for mask in (31, 255):
        if at >= len(data):
            return
        count, at = data[at] & mask, at + 1
        for _ in range(count):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if at + 2 < min(end, len(data)):
                yield data[at + 2 : end]
            at = end
