"""openSMILE: the same numbers and times as the package itself gives."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affectkit import plugins
from affectkit.config import Numerics
from affectkit.errors import MissingExtra, UsageError

RATE = 16000
KINDS = [(name, level) for name in ("egemaps", "compare") for level in ("functionals", "lld")]
SIZES = {
    ("egemaps", "functionals"): 88,
    ("egemaps", "lld"): 25,
    ("compare", "functionals"): 6373,
    ("compare", "lld"): 65,
}


def parsed(*given: str) -> tuple[Any, Any]:
    _, plugin, options = plugins.backbone("opensmile", given)
    return plugin, options


def voice(samples: int, seed: int = 0) -> NDArray[np.float32]:
    """[S] harmonics of a gliding pitch, with noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * (1 + seed) * time)) / RATE
    tones = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    return (0.2 * tones + 0.01 * rng.standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("opensmile")
    return request.param


@pytest.fixture(scope="module")
def backbone(kind: tuple[str, str]) -> Any:
    plugin, options = parsed(f"set={kind[0]}", f"level={kind[1]}")
    return plugin(options, plugin.weights(options, "auto"), Numerics(device="cpu", batch_size=8))


@pytest.fixture(scope="module")
def smile(kind: tuple[str, str]) -> Any:
    import opensmile

    features = opensmile.FeatureSet.eGeMAPSv02 if kind[0] == "egemaps" else opensmile.FeatureSet.ComParE_2016
    levels = opensmile.FeatureLevel
    return opensmile.Smile(features, levels.Functionals if kind[1] == "functionals" else levels.LowLevelDescriptors)


class TestInstalled:
    def test_the_values_and_their_names_are_the_packages_own(self, backbone: Any, smile: Any) -> None:
        windows = np.stack([voice(24000), voice(24000, 1)])
        values = backbone(windows)["values"]
        for window, rows in zip(windows, values, strict=True):
            frame = smile.process_signal(window, RATE)
            assert list(frame.columns) == backbone.names["values"]
            np.testing.assert_array_equal(rows, frame.to_numpy(np.float32))
        assert values.dtype == np.float32 and np.isfinite(values).all()

    def test_the_size_is_as_published(self, backbone: Any, kind: tuple[str, str]) -> None:
        assert backbone.outputs == {"values": SIZES[kind]}

    def test_the_times_are_those_that_opensmile_states(self, backbone: Any, smile: Any, kind: tuple[str, str]) -> None:
        start, end = backbone.frames(24000)
        index = smile.process_signal(voice(24000), RATE).index
        began = index.get_level_values("start").total_seconds()
        ended = index.get_level_values("end").total_seconds()
        np.testing.assert_allclose(start, began, atol=1e-9)
        until = len(end) - (kind[1] == "lld")  # process_signal stretches its last row to the end of the signal
        np.testing.assert_allclose(end[:until], ended[:until], atol=1e-9)

    @pytest.mark.parametrize("samples", [0, 1, 512, 959, 960, 961, 1119, 1120, 1279, 1280, 1599, 7999, 8000, 16161])
    def test_frames_agree_with_the_rows(self, backbone: Any, smile: Any, samples: int) -> None:
        start, end = backbone.frames(samples)
        assert len(start) == len(end) == backbone(voice(samples)[None])["values"].shape[1]
        assert (end > start).all() and (end <= samples / RATE).all() and (np.diff(start) >= 0).all()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Segment too short"
            told = smile.process(voice(samples)[None], RATE)[2]
        assert len(start) == (0 if np.isnan(told).all() else len(told))

    def test_neighbours_change_no_bit_and_the_windows_stay(self, backbone: Any) -> None:
        windows = np.stack([voice(8000, seed) for seed in range(3)])
        before = windows.copy()
        together = backbone(windows)["values"]
        np.testing.assert_array_equal(windows, before)
        for window, rows in zip(windows, together, strict=True):
            np.testing.assert_array_equal(backbone(window[None])["values"][0], rows)

    def test_silence_gives_finite_values(self, backbone: Any) -> None:
        assert np.isfinite(backbone(np.zeros((1, 16000), np.float32))["values"]).all()

    def test_loud_samples_are_cut_off_instead_of_wrapping_round(self, backbone: Any) -> None:
        loud = 20 * voice(8000)[None]
        cut = np.clip(loud, -1, 32767 / 32768)
        np.testing.assert_array_equal(backbone(loud)["values"], backbone(cut)["values"])


class TestChoices:
    def test_a_set_may_be_given_by_its_own_name(self) -> None:
        for given, meant in {"eGeMAPSv02": "egemaps", "ComParE_2016": "compare", "compare": "compare"}.items():
            assert parsed(f"set={given}")[1].set == meant

    def test_another_set_is_refused_with_what_is_accepted(self) -> None:
        with pytest.raises(UsageError, match="'egemaps' or 'compare'"):
            parsed("set=gemaps")

    def test_the_version_of_the_package_stands_for_the_weights(self) -> None:
        package = pytest.importorskip("opensmile")
        plugin, options = parsed("set=compare")
        file = plugin.weights(options, "auto")
        assert (file.path, file.sha256, file.name) == (None, package.__version__, "ComParE_2016")
        assert "non-commercial" in file.licence

    @pytest.mark.parametrize("choice", ["random", "some/file.pth"])
    def test_weights_are_refused(self, choice: str) -> None:
        plugin, options = parsed()
        with pytest.raises(UsageError, match=f"opensmile has no weights .given {choice}."):
            plugin.weights(options, choice)

    def test_without_the_package_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        plugin, options = parsed()
        with pytest.raises(MissingExtra, match=r"pip install 'affectkit\[opensmile\]'"):
            plugin.weights(options, "auto")

    def test_asking_for_the_weights_loads_nothing(self) -> None:
        pytest.importorskip("opensmile")
        program = (
            "import sys; from affectkit import plugins; _, p, o = plugins.backbone('opensmile'); p.weights(o, 'auto');"
            "print([m for m in ('opensmile', 'pandas', 'torch', 'numba') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"
