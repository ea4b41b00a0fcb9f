"""TensorFlow Lite files, run by ai-edge-litert (extra `mesh`): no TensorFlow, and light to import.

The format: https://ai.google.dev/edge/litert/conversion/tensorflow/overview. The runtime checks the file's structure,
not its sense, so a network is only opened from a file whose digest is known or that the user named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import UsageError, require
from affectkit.types import Floats
from affectkit.untrusted import read_bytes

MAX_BYTES = 1 << 28  # the largest that is known here has 2.6 MB

_MARK = b"TFL3"


class TfliteNetwork:
    """A network with one float32 input. Calls on one network take turns: give every thread its own.

    input_shape: what a call must be given. output_shapes: by name, in the file's order.
    """

    def __init__(self, interpreter: Any) -> None:
        (entry,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        self.input_shape: tuple[int, ...] = _shape(entry)
        self.output_shapes: dict[str, tuple[int, ...]] = {each["name"]: _shape(each) for each in outputs}
        self._interpreter = interpreter
        self._entry: int = entry["index"]
        self._exits: list[int] = [each["index"] for each in outputs]

    def __call__(self, values: Floats) -> list[NDArray[np.float32]]:
        """float32 of `input_shape` -> the outputs, as arrays of their own, in the file's order."""
        self._interpreter.set_tensor(self._entry, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._exits]

    def __repr__(self) -> str:
        return f"TfliteNetwork({list(self.input_shape)} -> {self.output_shapes})"


def require_runtime(what: str) -> None:
    """Raises MissingExtra where ai-edge-litert is not installed. `what` needs it."""
    require("ai_edge_litert", "ai-edge-litert", "mesh", what)


def interpreter(
    path: Path,
    threads: int = 1,
    what: str = "a TensorFlow Lite file",
    *,
    input_shape: Sequence[int] | None = None,
    output_shapes: Sequence[Sequence[int]] | None = None,
) -> TfliteNetwork:
    """The network of a TensorFlow Lite file, on the CPU, by so many threads: equal to the last bit each time that it
    is run with the same number of them.

    `what` uses the file, for messages; shapes that are given must be the file's. Raises MissingExtra without
    ai-edge-litert, and UsageError for a file that is no such network.
    """
    require_runtime(what)
    content = read_bytes(path, f"the network of {what}", MAX_BYTES)
    if content[4:8] != _MARK:
        raise UsageError(f"{path} is not a TensorFlow Lite file; the network of {what} is needed")
    network = TfliteNetwork(_opened(path, content, threads))
    for kind, shapes, wanted in (
        ("input", [network.input_shape], None if input_shape is None else [input_shape]),
        ("outputs", list(network.output_shapes.values()), output_shapes),
    ):
        if wanted is not None and shapes != [tuple(shape) for shape in wanted]:
            raise UsageError(
                f"{path} is not the network of {what}: its {kind} {_listed(shapes)}, where {_listed(wanted)} is needed"
            )
    return network


def _opened(path: Path, content: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _unannounced():
            runtime = Interpreter(model_content=content, num_threads=threads)
            runtime.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is not a TensorFlow Lite network that can be run: {line}") from None
    kinds = [each["dtype"] for each in runtime.get_input_details()]
    if kinds != [np.float32]:
        raise UsageError(f"{path} takes {len(kinds)} inputs, not one of 32-bit floats: another network is needed")
    return runtime


_OPENING = Lock()


@contextmanager
def _unannounced() -> Iterator[None]:
    """In here the runtime's own lines do not reach standard error: it greets, by the file descriptor, and nothing else
    turns that off. Its errors are raised too."""
    with _OPENING:
        try:
            kept = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        try:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _shape(details: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in details["shape"])


def _listed(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
