"""A backbone of one's own: a class in a file, a class or an instance that is passed; its code is its identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stage_factory import crop_folder, portrait

from affectkit import plugins
from affectkit.backbones.mean_pixel import MeanPixel
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.store import open_artifact
from affectkit.weights import WeightsFile

CODE = '''
import numpy as np
from affectkit.config import Config
from affectkit.weights import WeightsFile


class BrightOptions(Config):
    scale: float = 1.0


class Bright:
    """The mean of all pixels."""

    version, kind, Options, dim = 1, "image", BrightOptions, 1

    @classmethod
    def weights(cls, options, choice):
        return WeightsFile("bright", None, "none", "none", "none")

    def __init__(self, options, weights, numerics):
        self.scale = options.scale

    def __call__(self, batch):
        return (self.scale * batch.mean(axis=(1, 2, 3)))[:, None].astype(np.float32)


PLUGIN = Bright
'''


class Plain:
    """Written here: what is passed in code."""

    version, kind, Options, dim = 1, "image", Config, 1

    @classmethod
    def weights(cls, options: Config, choice: str) -> WeightsFile:
        return WeightsFile("plain", None, "none", "none", "none")

    def __init__(self, options: Any = None, weights: Any = None, numerics: Any = None, scale: Any = 1.0) -> None:
        self.scale = scale

    def __call__(self, batch: Any) -> Any:
        return (self.scale * batch.mean(axis=(1, 2, 3)))[:, None].astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def identity(given: Any, options: list[str] | None = None) -> dict[str, Any]:
    return plugins.identity(*plugins.backbone(given, options or []))


def test_a_class_in_a_file_is_its_bytes_its_name_and_its_options(file: Path, tmp_path: Path) -> None:
    first = identity(f"{file}:Bright", ["scale=2"])
    assert first["name"] == first["class"] == "Bright" and first["options"] == {"scale": 2.0}
    assert identity(str(file), ["scale=2"]) == first  # its PLUGIN
    moved = tmp_path / "elsewhere.py"
    moved.write_text(CODE)
    assert identity(f"{moved}:Bright", ["scale=2"]) == first
    moved.write_text(CODE + "# another line\n")
    assert identity(f"{moved}:Bright", ["scale=2"]) != first
    assert "code" not in identity("mean-pixel")  # what fingerprints were made of


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (CODE, "Brigt", r"unknown class of .*mine\.py 'Brigt': did you mean 'Bright'"),
        (CODE, "np", "np is not a class"),
        (CODE, "BrightOptions", "BrightOptions has no weights, __call__"),
        (CODE.replace("    def __call__", "    def call"), "Bright", "Bright has no __call__"),
        (CODE.replace('"image"', '"picture"'), "Bright", "its kind is 'picture'; needed is 'image' or 'audio'"),
        (
            CODE.replace("version, kind, Options, dim = 1", "version, kind, Options, dim = 1.5"),
            "Bright",
            "version is 1.5",
        ),
        ("1 / 0", "Bright", r"mine\.py cannot be loaded: ZeroDivisionError: division by zero"),
        ("def", "Bright", r"mine\.py cannot be loaded: SyntaxError"),
        ("import nothing_of_this_name", "Bright", "No module named 'nothing_of_this_name'"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(file: Path, code: str, name: str, words: str) -> None:
    file.write_text(code)
    with pytest.raises(UsageError, match=words) as error:
        plugins.backbone(f"{file}:{name}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.py is not a file"):
        plugins.backbone(f"{tmp_path / 'absent.py'}:Bright")


def test_a_class_that_is_passed() -> None:
    name, plugin, options = plugins.backbone(Plain)
    assert (name, plugin, options) == ("Plain", Plain, Config())
    assert set(identity(Plain)) == {"name", "version", "options", "code", "class"}
    assert plugins.backbone(MeanPixel)[0] == "mean-pixel"
    assert identity(MeanPixel) == identity("mean-pixel")
    with pytest.raises(UsageError, match="has no weights, __call__"):
        plugins.backbone(Config)
    with pytest.raises(UsageError, match="source of class Unseen cannot be read"):
        plugins.backbone(type("Unseen", (Plain,), {"__module__": "nowhere"}))


def test_an_instance_that_is_passed() -> None:
    own = Plain(scale=np.array([2.0]))
    name, plugin, options = plugins.backbone(own)
    weights = plugin.weights(options, "auto")
    assert name == "Plain" and plugin(options, weights, None) is own
    again = plugins.backbone(Plain(scale=np.array([2.0])))
    other = plugins.backbone(Plain(scale=np.array([3.0])))
    assert again[1].weights(again[2], "auto").sha256 == weights.sha256
    assert other[1].weights(other[2], "auto").sha256 != weights.sha256
    assert plugins.identity(*again) == plugins.identity(name, plugin, options)
    with pytest.raises(UsageError, match="an instance of Plain has its own"):
        plugins.backbone(own, ["scale=1"])
    with pytest.raises(UsageError, match=r"Plain\.scale is a generator, which has no digest"):
        plugins.backbone(Plain(scale=(n for n in "a")))


def test_an_instance_holds_a_torch_module() -> None:
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Linear(2, 2) for _ in range(2)]
    digests = [plugins.backbone(Plain(scale=one))[1].weights(Config(), "auto").sha256 for one in (*layers, layers[0])]
    assert digests[0] == digests[2] != digests[1]


def test_it_embeds_from_the_shell_and_from_a_recipe(affectkit: Command, file: Path, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "a", [portrait()[:32, :32]] * 2)
    faces = affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32").stdout.strip()
    line = ["embed", faces, "--backbone", "mine.py:Bright", "-o", "scale=2", "--device", "cpu"]
    done = affectkit(*line)
    assert done.returncode == 0, done.stderr
    assert "1 clips computed" in done.stderr
    assert "0 clips computed, 1 cached" in affectkit(*line).stderr
    stage = open_artifact(tmp_path / done.stdout.strip()).stage
    assert stage.provenance["config"]["backbone"] == f"{file}:Bright"  # heads run it again on new media
    file.write_text(CODE.replace("self.scale = options.scale", "self.scale = 3 * options.scale"))
    assert "1 clips computed" in affectkit(*line).stderr
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/r.toml").write_text(
        '[data.main]\nmedia = "../crops"\n[steps.faces]\nstage = "extract-faces"\ndata = "main"\nsize = 32\n'
        'source_fps = 5.0\n[steps.bright]\nstage = "embed"\nfrom = "faces"\nbackbone = "../mine.py:Bright"\n'
        "option = { scale = 2 }\n"
    )
    ran = affectkit("run", "recipes/r.toml", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert "bright (embed): 0 clips computed, 1 cached" in ran.stderr
    wrong = affectkit("run", "recipes/r.toml", "--set", "bright.backbone=mine.py:Brigt", "--dry-run")
    assert "unknown class of" in wrong.stderr and "did you mean 'Bright'" in wrong.stderr
