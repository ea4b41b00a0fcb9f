"""What every audio backbone of the registry keeps, whoever wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import speech_models
from numpy.typing import NDArray

from affectkit import plugins
from affectkit.config import Numerics
from affectkit.errors import AffectkitError

torch = pytest.importorskip("torch")

AUDIO_BACKBONES = [name for name in plugins.names("backbones") if plugins.get("backbones", name).kind == "audio"]
RNG = np.random.default_rng(0)
SECONDS = 0.7
Given = tuple[list[str], str]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Given]:
    """Options and weights of small stand-ins for the plugins whose own models are large."""
    folder = tmp_path_factory.mktemp("models")
    speech = speech_models.save(speech_models.model("wav2vec2-stable"), folder / "speech", {"do_normalize": True})
    emotion = speech_models.save_pdem(folder / "emotion")
    return {
        "wav2vec2": ([f"model={speech}", "layers=all", "pool=none"], "auto"),
        "pdem": ([], str(emotion)),
        "deepspectrum": (["net=mean-pixel"], "auto"),
        "opensmile": ([], "auto"),
    }


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    """Products split over threads: where a row's position could matter."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=AUDIO_BACKBONES)
def make(request: pytest.FixtureRequest, models: dict[str, Given]) -> Callable[[], Any]:
    """Builds the backbone; a plugin that wants what is not here is skipped."""
    known = request.param in models

    def built() -> Any:
        options, choice = models.get(request.param, ([], "random"))
        _, plugin, parsed = plugins.backbone(request.param, options)
        return plugin(parsed, plugin.weights(parsed, choice), Numerics(device="cpu", batch_size=8))

    try:
        built()
    except AffectkitError as error:
        if known:
            raise
        pytest.skip(str(error))
    return built


@pytest.fixture(scope="module")
def backbone(make: Callable[[], Any]) -> Any:
    return make()


def windows(backbone: Any, count: int = 8, seconds: float = SECONDS) -> NDArray[np.float32]:
    samples = round(seconds * backbone.sampling_rate)
    level = RNG.uniform(0.01, 0.3, (count, 1))
    waves: NDArray[np.float32] = (level * RNG.standard_normal((count, samples))).clip(-1, 1).astype(np.float32)
    return waves


def same(found: Any, expected: Any, place: Any = slice(None)) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name][place], err_msg=name)


def test_the_registry_has_those_that_affectkit_ships() -> None:
    assert {"wav2vec2", "pdem"} <= set(AUDIO_BACKBONES)


def test_what_it_says_of_itself(backbone: Any) -> None:
    assert backbone.padding in ("zero", "none") and backbone.sampling_rate > 0
    assert backbone.outputs and all(dim > 0 for dim in backbone.outputs.values())
    assert backbone.names.keys() <= backbone.outputs.keys()
    assert all(len(names) == backbone.outputs[output] for output, names in backbone.names.items())
    assert isinstance(backbone.images, bool)


@pytest.mark.parametrize("seconds", [SECONDS, 0.5, 1.3])
def test_shapes_agree_with_frames_and_outputs(backbone: Any, seconds: float) -> None:
    batch = windows(backbone, 3, seconds)
    start, end = backbone.frames(batch.shape[1])
    found = backbone(batch)
    assert len(start) == len(end) >= 1
    assert (start >= 0).all() and (end > start).all() and (np.diff(start) > 0).all()
    assert end[-1] <= batch.shape[1] / backbone.sampling_rate + 1e-9
    assert found.keys() - {"image"} == backbone.outputs.keys()
    for name, dim in backbone.outputs.items():
        values = np.asarray(found[name])
        assert values.shape == (3, len(start), dim) and values.dtype == np.float32
        assert np.isfinite(values).all() and values.std() > 0


def test_the_same_bits_again_and_from_a_second_instance(backbone: Any, make: Callable[[], Any]) -> None:
    batch = windows(backbone)
    first = backbone(batch)
    same(backbone(batch), first)
    same(make()(batch), first)


def test_neighbours_and_position_change_no_bit(backbone: Any) -> None:
    batch = windows(backbone)
    first = backbone(batch)
    for shift in (1, 3):
        moved = backbone(np.roll(batch, shift, axis=0))
        same({name: np.roll(values, -shift, axis=0) for name, values in moved.items()}, first)
    others = windows(backbone)
    others[5] = batch[2]
    same({name: values[5] for name, values in backbone(others).items()}, first, 2)
    others[:] = 0
    others[5] = batch[2]
    same({name: values[5] for name, values in backbone(others).items()}, first, 2)


@pytest.mark.parametrize("count", [0, 3, 8, 11])
def test_a_batch_of_another_size_gives_the_same_bits(backbone: Any, count: int) -> None:
    batch = windows(backbone, 16)
    first = backbone(batch)
    same(backbone(batch[:count]), first, slice(count))


def test_a_window_alone(backbone: Any) -> None:
    """The same bits every time; those of a batch but for the last digits, as sums run in another order."""
    batch = windows(backbone)
    whole, alone = backbone(batch), backbone(batch[3:4])
    same(backbone(batch[3:4].copy()), alone)
    for name, values in alone.items():
        scale = np.abs(whole[name]).max()
        np.testing.assert_allclose(values[0], whole[name][3], rtol=0, atol=1e-5 * scale)


def test_too_short_for_a_frame(backbone: Any) -> None:
    for samples in (0, 1, 20):
        rows = len(backbone.frames(samples)[0])
        found = backbone(np.zeros((2, samples), np.float32))
        assert {name: found[name].shape for name in backbone.outputs} == {
            name: (2, rows, dim) for name, dim in backbone.outputs.items()
        }


def test_silence_is_finite(backbone: Any) -> None:
    found = backbone(np.zeros((2, round(SECONDS * backbone.sampling_rate)), np.float32))
    assert all(np.isfinite(found[name]).all() for name in backbone.outputs)


def test_the_windows_are_left_as_they_were_and_may_be_locked(backbone: Any) -> None:
    batch = windows(backbone)
    copy = batch.copy()
    batch.flags.writeable = False
    first = backbone(batch)
    np.testing.assert_array_equal(batch, copy)
    same(backbone(np.asfortranarray(copy)), first)


ASK_WEIGHTS = """
import sys
from affectkit import plugins
name, choice, *options = sys.argv[1:]
_, plugin, parsed = plugins.backbone(name, options)
print(plugin.weights(parsed, choice).sha256)
assert not {"torch", "timm", "transformers", "librosa"} & set(sys.modules), "heavy imports"
"""


@pytest.mark.parametrize("name", ["wav2vec2", "pdem"])
def test_asking_for_the_weights_loads_nothing_heavy(name: str, models: dict[str, Given], tmp_path: Path) -> None:
    """A cache hit needs the digest and nothing else."""
    options, choice = models[name]
    ran = subprocess.run(
        [sys.executable, "-c", ASK_WEIGHTS, name, choice, *options], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_the_shortest_sound_that_has_a_row(backbone: Any) -> None:
    """One sample less has none; nothing is padded behind the caller's back."""
    shortest = next(samples for samples in range(1, 4000) if len(backbone.frames(samples)[0]))
    batch = windows(backbone, 2, shortest / backbone.sampling_rate)
    assert batch.shape[1] == shortest
    for name, values in backbone(batch).items():
        if name != "image":
            assert np.asarray(values).shape[1] == len(backbone.frames(shortest)[0])
            assert np.isfinite(values).all() and np.asarray(values).any()
