"""Give an ONNX model another input shape, without the onnx package.

Exported models often carry the sizes of the export. Only the declarations are rewritten, in protobuf's wire format
(https://protobuf.dev/programming-guides/encoding, field numbers from onnx.proto3): the graph's inputs become the one
real input with the wanted dimensions, outputs lose their shapes (the runtime infers them), and weights stop being
inputs that a caller could override, so that the runtime may fold them.
"""

from __future__ import annotations

from collections.abc import Iterator

from affectkit.errors import HostileFile

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO, _GRAPH_SPARSE = 5, 11, 12, 13, 15
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_VALUE_NAME = 1
_FLOAT = 1  # TensorProto.DataType.FLOAT

Shape = tuple[int | str, ...]
"""Sizes; a name stands for one that is known only at run time."""

Field = tuple[int, int, bytes, bytes]
"""Field number, wire type, payload, and the bytes of the whole field."""


def with_input_shape(model: bytes, name: str, shape: Shape) -> bytes:
    """The same model with one float input `name` of `shape`.

    Raises ValueError when these bytes are no ONNX model or have no such input, HostileFile when its weights lie in
    other files.
    """
    parts = list(_fields(model))
    if sum(number == _MODEL_GRAPH for number, *_ in parts) != 1:
        raise ValueError("it has no graph")
    return b"".join(
        _message(_MODEL_GRAPH, _graph(payload, name, shape)) if number == _MODEL_GRAPH else raw
        for number, _, payload, raw in parts
    )


def _graph(graph: bytes, name: str, shape: Shape) -> bytes:
    kept, inputs, outputs = [], set(), []
    for number, _, payload, raw in _fields(graph):
        if number == _GRAPH_INPUT:
            inputs.add(_name(payload))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_message(_GRAPH_OUTPUT, _message(_VALUE_NAME, _name(payload))))
        elif number != _GRAPH_VALUE_INFO:
            if number == _GRAPH_SPARSE or (number == _GRAPH_INITIALIZER and _is_external(payload)):
                raise HostileFile("an ONNX model whose weights are sparse or lie in other files: refused")
            kept.append(raw)
    if name.encode() not in inputs:
        raise ValueError(f"it has no input '{name}'")
    return b"".join([*kept, _message(_GRAPH_INPUT, _value_info(name, shape)), *outputs])


def _value_info(name: str, shape: Shape) -> bytes:
    dims = b"".join(_message(1, _dimension(size)) for size in shape)
    tensor = _number(1, _FLOAT) + _message(2, dims)
    return _message(_VALUE_NAME, name.encode()) + _message(2, _message(1, tensor))


def _dimension(size: int | str) -> bytes:
    return _number(1, size) if isinstance(size, int) else _message(2, size.encode())


def _name(value_info: bytes) -> bytes:
    return next((payload for number, _, payload, _ in _fields(value_info) if number == _VALUE_NAME), b"")


def _is_external(tensor: bytes) -> bool:
    return any(
        number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and payload != b"\x00")
        for number, _, payload, _ in _fields(tensor)
    )


def _fields(message: bytes) -> Iterator[Field]:
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            begin, (_, at) = at, _varint(message, at)
        elif wire == 2:
            length, begin = _varint(message, at)
            at = begin + length
        elif wire in (1, 5):
            begin, at = at, at + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        if at > len(message):
            raise ValueError(f"a field of {at - begin} bytes at byte {start} goes beyond the end")
        yield key >> 3, wire, message[begin:at], message[start:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends within a number")
        byte, at = message[at], at + 1
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


def _number(number: int, value: int) -> bytes:
    return _encoded(number << 3) + _encoded(value)


def _message(number: int, payload: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(payload)) + payload
