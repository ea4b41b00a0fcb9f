"""`affectkit check-plugin`: what a plugin breaks is told, obligation by obligation, wherever the plugin comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dataset_factory as factory
import pytest
from conftest import Command
from test_plugin_faults import DETECTOR, FUSER, HEAD, HEADER
from tuned_networks import SMALL

from affectkit import plugins, tasks
from affectkit.plugins import contracts
from affectkit.plugins.contracts.checking import WEIGHTS
from affectkit.plugins.contracts.networks import OBLIGATIONS as OF_NETWORKS

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
CONTRAST, PEAKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def broken(affectkit: Command, folder: Path, code: str, *more: str) -> dict[str, str]:
    """What a file's plugin breaks: obligation to cause."""
    (folder / "mine.py").write_text(code)
    done = affectkit("check-plugin", "mine.py", "--json", *more)
    found = {one["obligation"]: one["broken"] for one in json.loads(done.stdout)["obligations"] if one["broken"]}
    assert done.returncode == (2 if found else 0)
    return found


@pytest.mark.parametrize(
    ("old", "new", "obligation", "cause"),
    [
        (', description="what the deviations are multiplied by"', "", "Its docstring begins", "description: gain"),
        ('    """Standard deviation of red, green and blue, 0..1."""\n', "", "Its docstring begins", "no docstring"),
        ("version: ClassVar[int] = 1", "version = None", "It has all that its group has", "its version is None"),
        ("import numpy as np\n", "import numpy as np\nimport sklearn\n", "Importing it loads nothing", "sklearn"),
        ('"Apache-2.0"', '""', "`weights` says what they are", "the weights' licence is ''"),
        ('if choice not in ("auto", "random")', "if False", "`weights` of a path", "was accepted; needed is"),
        ("dim = 3", "dim = 4", "It gives a finite float32 vector", "it gives [8, 3], and its dim is 4"),
        ("astype(np.float32)", "astype(float)", "It gives a finite float32 vector", "float64, not float32"),
        ("self.gain = options.gain", "self.gain = np.random.rand()", "The same images give", "a second instance"),
        ("images = np.asarray(batch)\n", "images = np.asarray(batch)\n        self.gain += 0.1\n",
         "The same images give", "a second call: values differ"),
        ("self.gain * images.std", "images.mean() * images.std", "Neither the other images", "values differ (by up to"),
        ("images = np.asarray(batch)\n", "images = np.asarray(batch)\n        assert len(images) == 8\n",
         "A batch of 0, 1, 3, 8 or 11", "AssertionError"),
        ("images = np.asarray(batch)\n", "images = np.asarray(batch)\n        images[:] = images // 2 * 2\n",
         "Torch tensors, read-only arrays", "read-only"),
        ("if images.dtype != np.uint8 or", "if", "Anything but uint8", "was accepted; needed is a ValueError"),
    ],
)  # fmt: skip
def test_what_a_backbone_breaks(
    affectkit: Command, tmp_path: Path, old: str, new: str, obligation: str, cause: str
) -> None:
    assert old in CONTRAST
    found = broken(affectkit, tmp_path, CONTRAST.replace(old, new))
    assert any(name.startswith(obligation) and cause in why for name, why in found.items()), found


def test_what_a_head_that_is_a_network_breaks(affectkit: Command, tmp_path: Path) -> None:
    """A layer that takes the mean over all steps, padding too."""
    leaky = "class Leaky(nn.Module):\n            def forward(self, x):\n                return x - x.mean(1, True)\n"
    code = PEAKS.replace("        pool = ", f"        {leaky}        pool = ").replace(
        "pool, nn.", "Leaky(), pool, nn."
    )
    found = broken(affectkit, tmp_path, code)
    assert any(name.startswith("Of a head that is a network: neither padding") for name in found), found


@pytest.mark.parametrize(
    ("code", "obligation", "cause"),
    [
        (DETECTOR, "Anything but uint8 [N,H,W,3]", "was accepted"),
        (
            DETECTOR.replace("for _ in frames", "for _ in frames[1:]"),
            "It gives Detections for every frame",
            "no list of",
        ),
        (HEAD, "NaN or infinity in a valid row", "was accepted"),
        (
            HEAD.replace("return [Epoch", "return np.random.rand() and [Epoch"),
            "`fit` neither sets nor draws",
            "numpy's",
        ),
        (HEAD.replace("[Epoch(1", "[Epoch(seed"), "`fit` tells the monitor", "was told 0 epochs, and 1 are returned"),
        (FUSER.replace("axis=0)", "axis=0) + 0 * scores.mean()"), "A model's missing scores", "are not bridged"),
        (FUSER.replace("return {}", "return {'w': float('nan')}"), "`state` is a dictionary", "not JSON compliant"),
        (
            FUSER.replace("np.nanmean(scores, axis=0)", "scores[0] - scores[0].mean(0)"),
            "A row does not depend",
            "alone",
        ),
    ],
)
def test_what_others_break(affectkit: Command, tmp_path: Path, code: str, obligation: str, cause: str) -> None:
    found = broken(affectkit, tmp_path, f"{HEADER}{code}\nPLUGIN = Bright\n")
    assert any(name.startswith(obligation) and cause in why for name, why in found.items()), found


def test_a_reader_is_tried_on_a_data_set(affectkit: Command, tmp_path: Path) -> None:
    factory.dfew(tmp_path / "dfew")
    done = affectkit("check-plugin", "dfew", "--root", "dfew")
    assert done.returncode == 0, done.stdout
    half = affectkit("check-plugin", "dfew")
    assert half.returncode == 0 and "only half of the contract" in half.stderr


def test_lines_are_for_people(affectkit: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CONTRAST.replace("dim = 3", "dim = 4"))
    done = affectkit("check-plugin", "mine.py:Contrast")
    assert done.returncode == 2
    assert {line[:8] for line in done.stdout.splitlines()} == {"ok      ", "failed  "}
    assert re.search(r"backbone mine.py:Contrast: \d of 12 obligations are broken", done.stderr)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("absent.py", "absent.py is not a file"),
        ("no_such_module", "no_such_module is no plugin"),
        ("json", "json is no plugin"),
        ("mine.py:Other", "unknown class of"),
        ("mine.py:ContrastOptions", "has the methods of no group; say which by --group"),
    ],
)
def test_what_is_no_plugin(affectkit: Command, tmp_path: Path, module: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(CONTRAST)
    done = affectkit("check-plugin", module)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_plugin_that_lacks_something_is_told_so_first(affectkit: Command, tmp_path: Path) -> None:
    code = CONTRAST.replace("Options: ClassVar[type[Config]] = ContrastOptions", "")
    found = broken(affectkit, tmp_path, code)
    assert list(found) == ["It has all that its group has: methods, `Options`, a whole `version`, a known `kind`"]


@pytest.mark.parametrize("name", plugins.names("networks"))
@pytest.mark.parametrize("obligation", [*WEIGHTS, *OF_NETWORKS], ids=contracts.sentence)
def test_networks(name: str, obligation: contracts.Obligation) -> None:
    import speech_models  # noqa: F401 - it makes the name tiny known

    plugin = plugins.get("networks", name)
    options = plugins.parse_options(plugin, SMALL[name], name)
    obligation(contracts.Candidate("networks", name, plugin, options, "random", task=tasks.get("va")))


def test_every_obligation_has_a_sentence() -> None:
    plugin = plugins.get("backbones", "mean-pixel")
    for group in plugins.GROUPS:
        told = contracts.obligations(contracts.Candidate(group, "x", plugin, plugin.Options()))
        assert told and all(re.fullmatch(r"[A-Z`].{15,118}", contracts.sentence(one)) for one in told)
