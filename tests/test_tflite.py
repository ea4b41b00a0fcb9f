"""TensorFlow Lite files: what is run, and what is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from published_weights import wheel_weights

from affectkit.errors import MissingExtra, UsageError
from affectkit.learning import tflite

RUN = """
import sys
from pathlib import Path
import affectkit.learning.tflite as tflite
light = sorted({"torch", "tensorflow", "ai_edge_litert", "PIL"} & set(sys.modules))
network = tflite.interpreter(Path(sys.argv[1]))
print(light, network.input_shape, "tensorflow" in sys.modules, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def short() -> Path:
    pytest.importorskip("ai_edge_litert")
    return wheel_weights("blazeface-short")


def test_equal_bits_with_one_thread_and_two_and_twice(short: Path) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    network = tflite.interpreter(short)
    first = network(values)
    assert [each.shape for each in first] == list(network.output_shapes.values())
    network(np.zeros_like(values))
    for outputs in (network(values), tflite.interpreter(short, threads=2)(values)):
        for one, two in zip(first, outputs, strict=True):
            np.testing.assert_array_equal(one, two)


def test_it_is_light_and_says_nothing(short: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, str(short)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] (1, 128, 128, 3) False False"
    assert done.stderr == ""


def test_another_network_is_refused(short: Path) -> None:
    with pytest.raises(UsageError, match=r"not the network of detector x: its input 1x128x128x3, where 1x9x9x3"):
        tflite.interpreter(short, what="detector x", input_shape=(1, 9, 9, 3))
    with pytest.raises(UsageError, match="its outputs 1x896x16, 1x896x1, where 1x2 is needed"):
        tflite.interpreter(short, output_shapes=((1, 2),))


def test_files_that_are_no_network(short: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    content, path = short.read_bytes(), tmp_path / "network.tflite"
    flipped = bytearray(content)
    flipped[4000:4200] = bytes(200)
    for bad in (b"", b"TFL3", b"x" * 1000, content[:1000], content[:-1000], bytes(flipped)):
        path.write_bytes(bad)
        try:
            tflite.interpreter(path, what="detector x")
        except UsageError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert bad == bytes(flipped), "weights may be any numbers"
    with pytest.raises(UsageError, match="No such file"):
        tflite.interpreter(tmp_path / "absent")
    with pytest.raises(UsageError, match="folder"):
        tflite.interpreter(tmp_path)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"detector x needs .*pip install 'affectkit\[mesh\]'"):
        tflite.interpreter(tmp_path / "x", what="detector x")
