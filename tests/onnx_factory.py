"""Small ONNX files, written by hand: a network whose every number is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.learning.onnx_files import value_info
from affectkit.learning.protobuf import message_field, number_field

Array = NDArray[np.float32]


def tensor(name: str, values: Any) -> bytes:
    """A float32 or int64 initializer."""
    array = np.asarray(values)
    kind, array = (7, array.astype("<i8")) if array.dtype.kind == "i" else (1, array.astype("<f4"))
    dims = b"".join(number_field(1, size) for size in array.shape)
    return dims + number_field(2, kind) + message_field(8, name.encode()) + message_field(9, array.tobytes())


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> bytes:
    """A node; attributes are whole numbers or lists of them, or a graph as bytes."""
    parts = [message_field(1, name.encode()) for name in inputs] + [message_field(2, name.encode()) for name in outputs]
    parts.append(message_field(4, operator.encode()))
    for name, value in attributes.items():
        content = message_field(1, name.encode())
        if isinstance(value, bytes):
            content += message_field(6, value) + number_field(20, 5)
        elif isinstance(value, int):
            content += number_field(3, value) + number_field(20, 2)
        else:
            content += b"".join(number_field(8, each) for each in value) + number_field(20, 7)
        parts.append(message_field(5, content))
    return b"".join(parts)


def model(
    nodes: Sequence[bytes],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
) -> bytes:
    """A whole file, opset 11."""
    graph = b"".join(message_field(1, each) for each in nodes) + message_field(2, b"graph")
    graph += b"".join(message_field(5, tensor(name, values)) for name, values in weights.items())
    graph += b"".join(message_field(11, value_info(name, tuple(shape))) for name, shape in inputs.items())
    graph += b"".join(message_field(12, value_info(name, ("batch", "width"))) for name in outputs)
    return number_field(1, 6) + message_field(7, graph) + message_field(8, number_field(2, 11))


class Pooled:
    """Mean of each channel, a layer of 5 with ReLU (`features`), and a last layer of K (`output`); as numpy too."""

    def __init__(self, columns: int, channels: int = 3, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.first, self.last = draw.normal(0, 1, (5, channels)), draw.normal(0, 1, (columns, 5))
        self.bias, self.shift = draw.uniform(0.2, 1, 5), draw.normal(0, 0.3, columns)
        self.channels = channels

    def file(self, shape: Sequence[int | str] = ("batch", 3, 16, 16), more: Sequence[bytes] = ()) -> bytes:
        """NCHW, or NHWC where the last axis has the channels."""
        axes = [2, 3] if shape[1] == self.channels else [1, 2]
        nodes = [
            node("ReduceMean", ["input"], ["means"], axes=axes, keepdims=0),
            node("Gemm", ["means", "first", "bias"], ["hidden"], transB=1),
            node("Relu", ["hidden"], ["features"]),
            node("Gemm", ["features", "last", "shift"], ["output"], transB=1),
            *more,
        ]
        weights = {"first": self.first, "bias": self.bias, "last": self.last, "shift": self.shift}
        return model(nodes, weights, {"input": shape}, ["output"])

    def features(self, means: Any) -> Any:
        """[N,C] -> [N,5]."""
        return np.maximum(np.asarray(means) @ self.first.T + self.bias, 0)

    def output(self, means: Any) -> Any:
        """[N,C] -> [N,K]."""
        return self.features(means) @ self.last.T + self.shift


CARD = """
name = "lab-faces"
summary = "A small network of ours: three expressions, valence and arousal."
kind = "image"
trained_on = "nothing: random numbers"

[licences]
weights = "CC0-1.0"

[image]
size = 16
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[contract]
margin = 0
shape = "square"

[[tasks]]
name = "faces"
kind = "multiclass"
targets = ["Happiness", "Sadness", "Neutral"]
activation = "softmax"

[[tasks]]
name = "va"
kind = "regression"
targets = ["valence", "arousal"]
activation = "none"
"""


def save(folder: Path, network: bytes, card: str = CARD, name: str = "lab") -> Path:
    """NAME.onnx with its card beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(network)
    (folder / f"{name}.toml").write_text(card)
    return folder / f"{name}.onnx"
