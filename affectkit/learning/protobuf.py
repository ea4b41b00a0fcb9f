"""Messages in protobuf's wire format (https://protobuf.dev/programming-guides/encoding): taken apart and put together.

Enough for rewriting declarations in files whose weights nobody wants to parse. Everything read is bounded by its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

WireField = tuple[int, int, bytes, bytes]
"""Field number, wire type, payload, and the bytes of the whole field."""


def fields(content: bytes) -> Iterator[WireField]:
    """The fields of a message, in order. Raises ValueError where these bytes are no message."""
    at = 0
    while at < len(content):
        start = at
        key, at = _varint(content, at)
        wire = key & 7
        if wire == 0:
            begin, (_, at) = at, _varint(content, at)
        elif wire == 2:
            length, begin = _varint(content, at)
            at = begin + length
        elif wire in (1, 5):
            begin, at = at, at + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        if at > len(content):
            raise ValueError(f"a field of {at - begin} bytes at byte {start} goes beyond the end")
        yield key >> 3, wire, content[begin:at], content[start:at]


def payloads(content: bytes, number: int) -> list[bytes]:
    """The payloads of every field of this number. Raises ValueError, as `fields`."""
    return [payload for field, _, payload, _ in fields(content) if field == number]


def numbers(content: bytes, number: int) -> list[int]:
    """The whole numbers in every field of this number. Raises ValueError, as `fields`."""
    return [_varint(payload, 0)[0] for field, wire, payload, _ in fields(content) if (field, wire) == (number, 0)]


def number_field(number: int, value: int) -> bytes:
    """A field that holds a whole number.

    >>> number_field(1, 150)
    b'\\x08\\x96\\x01'
    """
    return _encoded(number << 3) + _encoded(value)


def message_field(number: int, payload: bytes) -> bytes:
    """A field that holds a message, a text or bytes.

    >>> message_field(2, b"testing")
    b'\\x12\\x07testing'
    """
    return _encoded(number << 3 | 2) + _encoded(len(payload)) + payload


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("it ends within a number")
        byte, at = content[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than 10 bytes at byte {at}")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
