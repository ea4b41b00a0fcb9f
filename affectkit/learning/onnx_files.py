"""ONNX files of strangers by onnxruntime: read within bounds, their declarations rewritten, run with stated threads.

Exported models often carry the sizes of the export. Only the declarations are rewritten, in protobuf's wire format
(field numbers from onnx.proto3), without the onnx package: the graph's inputs become the one real input with the wanted
dimensions, outputs lose their shapes (the runtime infers them), tensors inside may become outputs as well, and weights
stop being inputs that a caller could override, so that the runtime may fold them.

**Threads.** OMP_NUM_THREADS, else as many as the process may use; they never spin.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import HostileFile
from affectkit.learning.protobuf import fields, message_field, number_field, numbers, payloads
from affectkit.untrusted import read_bytes

if TYPE_CHECKING:
    import onnxruntime

MAX_BYTES = 1 << 30
"""Protobuf itself ends at 2 GiB; larger models keep their weights in files beside, which are never followed."""

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO, _GRAPH_SPARSE = 1, 5, 11, 12, 13, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_FUNCTION_NODE = 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIMENSION, _DIMENSION_SIZE = 1, 2, 1, 2, 1, 1
_FLOAT = 1  # TensorProto.DataType.FLOAT
_DEEPEST = 16  # graphs inside graphs

_LAST_LAYER = ("Gemm", "MatMul")
_BEHIND_IT = frozenset(
    ("Add", "Cast", "Clip", "Dropout", "Flatten", "Identity", "LogSoftmax", "Mul", "Reshape", "Sigmoid", "Softmax",
     "Squeeze", "Tanh")
)  # fmt: skip
"""What may stand between the last layer and an output."""

Shape = tuple[int | str, ...]
"""Sizes; a name stands for one that is known only at run time."""

log = logging.getLogger(__name__)


def read(path: Path) -> bytes:
    """The bytes of an ONNX file. Raises UsageError where there is none, or it is larger than `MAX_BYTES`."""
    return read_bytes(path, "an ONNX model", MAX_BYTES)


def with_input_shape(model: bytes, name: str, shape: Shape, outputs: Iterable[str] = ()) -> bytes:
    """The same model with one float input `name` of `shape`, and these tensors of its graph among its outputs.

    Raises ValueError when these bytes are no ONNX model or have no such input, HostileFile when its weights lie in
    other files.
    """
    parts = list(fields(model))
    _graph_of(model)
    for number, _, payload, _ in parts:
        if number == _MODEL_FUNCTION:
            _refuse_outside(payloads(payload, _FUNCTION_NODE), 0)
    return b"".join(
        message_field(_MODEL_GRAPH, _rewritten(payload, name, shape, outputs)) if number == _MODEL_GRAPH else raw
        for number, _, payload, raw in parts
    )


def inputs(model: bytes) -> list[str]:
    """The names of what a caller must give. Raises ValueError when these bytes are no ONNX model."""
    graph = _graph_of(model)
    constants = {_text(tensor, _TENSOR_NAME) for tensor in payloads(graph, _GRAPH_INITIALIZER)}
    named = [_text(info, _VALUE_NAME) for info in payloads(graph, _GRAPH_INPUT)]
    return [name for name in named if name not in constants]


def declared_shape(model: bytes, name: str) -> tuple[int | None, ...] | None:
    """The shape that a file states for an input, None for each size that it leaves open; None where it states no shape.
    Raises ValueError when these bytes are no ONNX model."""
    for info in payloads(_graph_of(model), _GRAPH_INPUT):
        if _text(info, _VALUE_NAME) == name:
            parts = [info]
            for number in (_VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE):
                parts = [part for outer in parts for part in payloads(outer, number)]
            return tuple(map(_size, payloads(parts[0], _SHAPE_DIMENSION))) if parts else None
    return None


def outputs(model: bytes) -> list[str]:
    """The names of its results. Raises ValueError when these bytes are no ONNX model."""
    return [_text(info, _VALUE_NAME) for info in payloads(_graph_of(model), _GRAPH_OUTPUT)]


def tensors(model: bytes) -> set[str]:
    """The names of everything that is computed. Raises ValueError when these bytes are no ONNX model."""
    return {name for node in payloads(_graph_of(model), _GRAPH_NODE) for name in _texts(node, _NODE_OUTPUT)}


def penultimate(model: bytes, output: str) -> str | None:
    """The tensor that the last layer before an output reads: the input of the last Gemm or MatMul. None where an output
    comes from anything else. Raises ValueError when these bytes are no ONNX model."""
    makers = {name: node for node in payloads(_graph_of(model), _GRAPH_NODE) for name in _texts(node, _NODE_OUTPUT)}
    for _ in range(len(makers)):
        node = makers.get(output)
        if node is None:
            return None
        operator, read_by_it = _text(node, _NODE_OPERATOR), _texts(node, _NODE_INPUT)
        computed = [name for name in read_by_it if name in makers]
        if operator in _LAST_LAYER:
            return read_by_it[0] if read_by_it else None
        if operator not in _BEHIND_IT or not computed:
            return None
        output = computed[0]
    return None


def session(model: bytes, device: str, name: str) -> onnxruntime.InferenceSession:
    """The model on a device. Raises what onnxruntime raises, which has a type for each kind of broken model."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors; warnings are about unused entries of the file
    settings.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding threads need the cores too
    return onnxruntime.InferenceSession(model, settings, providers=_providers(device, name))


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _providers(device: str, name: str) -> list[Any]:
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        log.warning("%s runs on the CPU: the installed onnxruntime has no CUDA provider", name)
        return ["CPUExecutionProvider"]
    index = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _graph_of(model: bytes) -> bytes:
    graphs = payloads(model, _MODEL_GRAPH)
    if len(graphs) != 1:
        raise ValueError("it has no graph")
    return graphs[0]


def _rewritten(graph: bytes, name: str, shape: Shape, more: Iterable[str]) -> bytes:
    kept, named, results = [], set(), list[str]()
    for number, _, payload, raw in fields(graph):
        if number == _GRAPH_INPUT:
            named.add(_text(payload, _VALUE_NAME))
        elif number == _GRAPH_OUTPUT:
            results.append(_text(payload, _VALUE_NAME))
        elif number != _GRAPH_VALUE_INFO:
            kept.append(raw)
    _refuse_outside_graph(graph, 0)
    if name not in named:
        raise ValueError(f"it has no input '{name}'")
    results += [tensor for tensor in more if tensor not in results]
    declared = [message_field(_GRAPH_OUTPUT, message_field(_VALUE_NAME, result.encode())) for result in results]
    return b"".join([*kept, message_field(_GRAPH_INPUT, value_info(name, shape)), *declared])


def value_info(name: str, shape: Shape) -> bytes:
    """The declaration of a float tensor."""
    dims = b"".join(message_field(1, _dimension(size)) for size in shape)
    tensor = number_field(1, _FLOAT) + message_field(2, dims)
    return message_field(_VALUE_NAME, name.encode()) + message_field(2, message_field(1, tensor))


def _dimension(size: int | str) -> bytes:
    return number_field(1, size) if isinstance(size, int) else message_field(2, size.encode())


def _size(dimension: bytes) -> int | None:
    """A dimension's size; None for one with a name, and for the 0 or -1 that some exporters write instead."""
    size = next(iter(numbers(dimension, _DIMENSION_SIZE)), 0)
    return size if 0 < size < 1 << 63 else None


def _refuse_outside_graph(graph: bytes, depth: int) -> None:
    """Raises HostileFile where a graph's weights are sparse or lie in other files, at any depth."""
    if depth > _DEEPEST:
        raise HostileFile(f"an ONNX model with more than {_DEEPEST} graphs inside each other: refused")
    if payloads(graph, _GRAPH_SPARSE) or any(map(_is_external, payloads(graph, _GRAPH_INITIALIZER))):
        _refuse()
    _refuse_outside(payloads(graph, _GRAPH_NODE), depth)


def _refuse_outside(nodes: Sequence[bytes], depth: int) -> None:
    for node in nodes:
        for attribute in payloads(node, _NODE_ATTRIBUTE):
            for number, wire, payload, _ in fields(attribute):
                if wire != 2:
                    continue
                if number in _ATTRIBUTE_SPARSE or (number in _ATTRIBUTE_TENSORS and _is_external(payload)):
                    _refuse()
                if number in _ATTRIBUTE_GRAPHS:
                    _refuse_outside_graph(payload, depth + 1)


def _refuse() -> None:
    raise HostileFile("an ONNX model whose weights are sparse or lie in other files: refused")


def _is_external(tensor: bytes) -> bool:
    return any(
        number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and payload != b"\x00")
        for number, _, payload, _ in fields(tensor)
    )


def _text(content: bytes, number: int) -> str:
    return next(iter(_texts(content, number)), "")


def _texts(content: bytes, number: int) -> list[str]:
    return [payload.decode("utf-8", "replace") for payload in payloads(content, number)]


def by_name(session: onnxruntime.InferenceSession, names: Sequence[str], feed: Mapping[str, Any]) -> dict[str, Any]:
    """The results of a session that are asked for, by name."""
    return dict(zip(names, session.run(list(names), dict(feed)), strict=True))
