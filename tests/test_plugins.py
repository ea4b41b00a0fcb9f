"""The registry: a plugin is a module; outside packages join by entry points; names are helped along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from stage_factory import crop_folder, portrait
from typer.testing import CliRunner

from affectkit import plugins
from affectkit.cli._app import build_app
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.plugins import contracts
from affectkit.plugins.contracts import checking

BACKBONE = '''
"""Brightness: the mean of each image."""
import numpy as np
from affectkit.config import Config
from affectkit.weights import WeightsFile


class Options(Config):
    scale: float = 1.0


class Brightness:
    """The mean of all pixels."""

    version, kind, Options, dim = 3, "image", Options, 1

    @classmethod
    def weights(cls, options, choice):
        return WeightsFile("brightness", None, "none", "none", "none")

    def __init__(self, options, weights, numerics):
        self.scale = options.scale

    def __call__(self, batch):
        return (self.scale * batch.mean(axis=(1, 2, 3)))[:, None].astype(np.float32)


PLUGIN = Brightness
'''


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_every_plugin_has_what_a_plugin_has(group: plugins.Group) -> None:
    names = plugins.names(group)
    assert names == sorted(set(names)) and not any("_" in name for name in names)
    for name in names:
        plugin = plugins.get(group, name)
        candidate = contracts.Candidate(group, name, plugin, Config())
        checking.is_whole(candidate)
        checking.is_described(candidate)


def test_no_plugin_loads_anything_heavy_before_it_is_used() -> None:
    checking.loads_nothing_heavy(
        [plugins.get(group, name) for group in plugins.GROUPS for name in plugins.names(group)]
    )


def test_shared_code_is_no_plugin() -> None:
    assert not any(name.startswith(("-", "_")) for group in plugins.GROUPS for name in plugins.names(group))
    assert {"transformer", "lstm"} <= set(plugins.names("heads"))
    assert {"centerface", "retinaface", "retinaface-mobilenet"} <= set(plugins.names("detectors"))
    assert {"timm", "mean-pixel", "efficientnet-lite0"} <= set(plugins.names("backbones"))
    assert {"dwf", "random-forest"} <= set(plugins.names("fusers"))


@pytest.mark.parametrize(
    ("group", "given", "meant"),
    [("heads", "transfomer", "transformer"), ("detectors", "retinafce", "retinaface"), ("fusers", "dfw", "dwf")],
)
def test_an_unknown_name_has_a_suggestion(group: plugins.Group, given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown {group[:-1]} '{given}': did you mean '{meant}'") as error:
        plugins.get(group, given)
    assert all(name in str(error.value) for name in plugins.names(group))


def test_options_are_parsed_by_the_plugins_own_config() -> None:
    class Net(Config):
        name: str = "vgg16"

    class Options(Config):
        rate: float = 1.0
        net: Net = Net()

    class Plugin:
        pass

    Plugin.Options = Options  # type: ignore[attr-defined]
    parsed = plugins.parse_options(Plugin, ["rate=2.5", "net.name=a=b"], "x")
    assert parsed == Options(rate=2.5, net=Net(name="a=b"))
    assert plugins.describe(parsed) == {"rate": 2.5, "net": {"name": "a=b"}}
    assert plugins.parse_options(Plugin, ["rate=1", "rate=2"], "x").rate == 2  # type: ignore[attr-defined]
    for wrong, words in (
        (["rate"], "'rate' is not key=value"), (["=3"], "not key=value"), (["rate=fast"], "given 'fast'"),
        (["rat=3"], "did you mean 'rate'"), (["rate=3", "rate.x=4"], "rate: Input should be"), (["net=3"], "net"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as error:
            plugins.parse_options(Plugin, wrong, "x")
        assert words in str(error.value)


def test_a_timm_model_is_a_backbone_by_its_own_name() -> None:
    name, plugin, options = plugins.backbone("resnet18")
    assert (name, plugin) == ("resnet18", plugins.get("backbones", "timm"))
    assert plugins.describe(options)["model"] == "resnet18"
    assert plugins.backbone("mean-pixel")[1] is plugins.get("backbones", "mean-pixel")
    with pytest.raises(UsageError, match="unknown option of resnet18 'layr': did you mean 'layer'"):
        plugins.backbone("resnet18", ["layr=x"])


def test_an_outside_package_joins_by_an_entry_point(package: Callable[[str, str], Path]) -> None:
    package(BACKBONE, "[affectkit.backbones]\nbright = bright\nmean-pixel = bright\nwith-name = bright:PLUGIN\n")
    assert {"bright", "with-name"} <= set(plugins.names("backbones"))
    assert plugins.get("backbones", "bright").__name__ == "Brightness"
    assert plugins.get("backbones", "with-name").__name__ == "Brightness"
    assert plugins.get("backbones", "mean-pixel").__name__ == "MeanPixel"  # ours is not replaced


def test_an_outside_plugin_works_from_the_shell(
    child: Command, environment: dict[str, str], package: Callable[[str, str], Path], tmp_path: Path
) -> None:
    folder = package(BACKBONE, "[affectkit.backbones]\nbright = bright\n")
    environment["PYTHONPATH"] += f":{folder}"
    crop_folder(tmp_path / "crops" / "a", [portrait()[:32, :32]] * 2)
    faces = child("extract", "faces", "crops", "--source-fps", "5", "--size", "32").stdout.strip()
    done = child("embed", faces, "--backbone", "bright", "-o", "scale=2", "--device", "cpu")
    assert done.returncode == 0 and "1 clips computed, 0 cached, 0 failed" in done.stderr
    assert "bright\tThe mean of all pixels." in child("list", "backbones").stdout
    assert "scale" in child("list", "backbones", "bright").stdout


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("x = 1", "PLUGIN"),
        ("PLUGIN = 3", "its PLUGIN is not a class"),
        ("def", "invalid syntax"),
    ],
)
def test_a_broken_package_is_said_and_harms_no_other(
    package: Callable[[str, str], Path], code: str, words: str
) -> None:
    package(code, "[affectkit.heads]\nbroken = bright\n")
    with pytest.raises(UsageError, match=r"head 'broken' \(bright\)") as error:
        plugins.get("heads", "broken")
    assert words in str(error.value)
    assert plugins.get("heads", "lstm")
    listed = CliRunner().invoke(build_app(), ["list", "heads"])
    assert listed.exit_code == 0, listed
    assert "lstm\t" in listed.output
    assert "broken\t(head 'broken' (bright)" in listed.output
