"""What an outside plugin does wrong in a real run is one line that names it and what it broke, and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from stage_factory import crop_folder, portrait

from affectkit import plugins, tasks
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.plugins import faults

HEADER = """
import numpy as np
from affectkit.config import Config
from affectkit.plugins import Epoch
from affectkit.types import Detections
from affectkit.weights import WeightsFile


class Options(Config):
    pass


class Weighted:
    version, Options = 1, Options

    @classmethod
    def weights(cls, options, choice):
        return WeightsFile("none", None, "none", "none", "none")

    def __init__(self, options, weights, last):
        pass

"""
IMAGE = """
class Bright(Weighted):
    kind, dim = "image", 1

    def __call__(self, batch):
        return batch.mean(axis=(1, 2, 3))[:, None].astype(np.float32)
"""
DETECTOR = """
class Bright(Weighted):
    def __call__(self, frames):
        return [Detections.none() for _ in frames]
"""
HEAD = """
class Bright:
    version, Options = 1, Options

    def __init__(self, options, task):
        self.task = task

    def fit(self, train, val, *, seed, device, monitor, auxiliary=(), state=None):
        return [Epoch(1, 1, 0.0, 0.0, 0.0)]

    def predict(self, examples, *, device):
        return [np.zeros((len(one.inputs[0]), self.task.outputs)) for one in examples]

    def save(self, folder):
        pass

    @classmethod
    def load(cls, folder, task):
        return cls(Options(), task)
"""
FUSER = """
class Bright:
    version, Options = 1, Options

    def __init__(self, options, task):
        self.task = task

    def fit(self, scores, truth, groups, *, seed):
        pass

    def combine(self, scores):
        return np.nanmean(scores, axis=0)

    def state(self):
        return {}
"""
Install = Callable[[str, str], Path]


def installed(package: Install, group: str, code: str) -> None:
    package(f"{HEADER}{code}\nPLUGIN = Bright\n", f"[affectkit.{group}]\nbright = bright\n")


def changed(code: str, old: str, new: str) -> str:
    assert old in HEADER + code
    return (HEADER + code).replace(old, new)


def refusal(affectkit: Command, *line: object) -> str:
    """What the command says, in one line."""
    done = affectkit(*line)
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("affectkit: ") and "Traceback" not in done.stderr
    return last.removeprefix("affectkit: ")


@pytest.fixture
def crops(affectkit: Command, tmp_path: Path) -> str:
    crop_folder(tmp_path / "crops" / "a", [portrait()[:32, :32]] * 3)
    return affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32").stdout.strip()


@pytest.fixture
def features(affectkit: Command, tmp_path: Path) -> tuple[str, Path]:
    """Features of three clips, and labels of them."""
    lines = ["clip,start,end,split,valence,arousal"]
    for number, (clip, split) in enumerate((("a", "train"), ("b", "val"), ("c", "test"))):
        crop_folder(tmp_path / "crops" / clip, [portrait()[:32, :32] // (number + 1 + n) for n in range(3)])
        lines += [f"{clip},{n / 5},{(n + 1) / 5},{split},{0.1 * n},{-0.1 * n}" for n in range(3)]
    (tmp_path / "va.csv").write_text("\n".join(lines) + "\n")
    faces = affectkit("extract", "faces", "crops", "--source-fps", "5", "--size", "32").stdout.strip()
    return affectkit("embed", faces, "--backbone", "mean-pixel").stdout.strip(), tmp_path / "va.csv"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dim = \"image\", 1", "dim = \"image\", 0", "its dim is 0; needed is a number of 1 or more"),
        ("dim = \"image\", 1", "dim = \"image\", 2", "for 32 crops and its dim of 2 it returned float32 [32,1]"),
        ("kind, dim = \"image\", 1", 'kind = "image"', "its dim is None"),
        ("[:, None]", "", "returned float32 [32]; needed is a numpy array of floats [32,1]"),
        (".astype(np.float32)", ".tolist()", "returned a list of 32"),
        (".astype(np.float32)", ".astype(int)", "returned int64 [32,1]"),
        ("return batch", "return 1 / 0 * batch", "a call raised ZeroDivisionError: division by zero (bright.py:"),
        ("        pass", "        raise KeyError('x')", "its construction raised KeyError: 'x' (bright.py:"),
        ('return WeightsFile("none", None, "none", "none", "none")', "return None", "weights returned None; needed is"),
        ('None, "none", "none", "none"', 'None, "none", "", "none"', "its weights have no licence ('')"),
        ('kind, dim = "image"', 'kind, dim = "video"', "its kind is 'video'; needed is 'image' or 'audio'"),
        ("import numpy", "1 / 0\nimport numpy", "cannot be loaded: ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_a_backbone(affectkit: Command, package: Install, crops: str, old: str, new: str, words: str) -> None:
    package(changed(IMAGE, old, new) + "\nPLUGIN = Bright\n", "[affectkit.backbones]\nbright = bright\n")
    told = refusal(affectkit, "embed", crops, "--backbone", "bright", "--device", "cpu")
    assert told.startswith("backbone 'bright' (bright)") and words in told


def test_one_that_is_mended_and_keeps_its_version_is_told_to_bump_it(
    affectkit: Command, package: Install, crops: str, tmp_path: Path
) -> None:
    installed(package, "backbones", IMAGE.replace('"image", 1', '"image", 2'))
    line = ["embed", crops, "--backbone", "bright", "--device", "cpu"]
    refusal(affectkit, *line)
    (tmp_path / "site/bright.py").write_text(f"{HEADER}{IMAGE}\nPLUGIN = Bright\n")
    sys.modules.pop("bright")
    told = refusal(affectkit, *line)
    assert "it gives values [1], and " in told and "made by its version 1, holds [2]: bump its version" in told
    (tmp_path / "site/bright.py").write_text(f"{HEADER}{IMAGE}    version = 2\n\nPLUGIN = Bright\n")
    sys.modules.pop("bright")
    done = affectkit(*line)
    assert (done.returncode, "1 clips computed" in done.stderr) == (0, True), done.stderr


def test_values_that_are_not_finite_fail_the_clip(affectkit: Command, package: Install, crops: str) -> None:
    installed(package, "backbones", IMAGE.replace("return batch", "return np.nan * batch"))
    done = affectkit("embed", crops, "--backbone", "bright", "--device", "cpu")
    assert done.returncode == 3 and "the backbone gave values that are not finite" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[Detections.none() for _ in frames]", "[]", "frames it returned a list of 0; needed is a list of as many"),
        ("[Detections.none() for _ in frames]", "[None for _ in frames]", "it returned None for a frame"),
        ("return [", "return [][0] or [", "a call raised IndexError"),
    ],
)
def test_a_detector(affectkit: Command, package: Install, tmp_path: Path, old: str, new: str, words: str) -> None:
    make_clip(tmp_path / "a.mp4", [portrait()] * 3)
    installed(package, "detectors", DETECTOR.replace(old, new))
    told = refusal(affectkit, "extract", "faces", "a.mp4", "--detector", "bright", "--device", "cpu")
    assert told.startswith("detector 'bright' (bright): ") and words in told


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return [Epoch(1, 1, 0.0, 0.0, 0.0)]", "return None", "fit returned None; needed is a list of Epochs"),
        ("return [Epoch", "raise TypeError('no') or [Epoch", "fit raised TypeError: no (bright.py:"),
        ("        pass", "        open(folder / 'no' / 'such')", "save raised FileNotFoundError"),
        ("def predict", "def predicts", "Bright has no predict"),
    ],
)
def test_a_head_in_training(
    affectkit: Command, package: Install, features: tuple[str, Path], old: str, new: str, words: str
) -> None:
    installed(package, "heads", HEAD.replace(old, new))
    line = ["train-head", features[0], "--labels", features[1], "--task", "va", "--head", "bright"]
    told = refusal(affectkit, *line)
    assert told.startswith("head 'bright' (bright)") and words in told


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("self.task.outputs", "3", "predict returned float64 [3,3]; needed is a numpy array of floats [3,2]"),
        ("for one in examples", "for one in ()", "predict returned a list of 0; needed is a list of as many arrays"),
        ("cls(Options(), task)", "None + cls", "load raised TypeError"),
    ],
)  # fmt: skip
def test_a_head_that_predicts(
    affectkit: Command, package: Install, features: tuple[str, Path], old: str, new: str, words: str
) -> None:
    installed(package, "heads", HEAD.replace(old, new))
    made = affectkit("train-head", features[0], "--labels", features[1], "--task", "va", "--head", "bright")
    assert made.returncode == 0, made.stderr
    told = refusal(affectkit, "predict", made.stdout.strip(), features[0])
    assert told.startswith("head 'bright' (bright): ") and words in told


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("axis=0", "axis=1", "combine returned"),
        ("return {}", "return {1: np.zeros(2)}", "what state returned is no JSON"),
        ("        pass", "        raise ValueError('no such rows')", "fit raised ValueError: no such rows (bright.py:"),
    ],
)
def test_a_fuser(affectkit: Command, package: Install, tmp_path: Path, old: str, new: str, words: str) -> None:
    random = np.random.default_rng(0)
    for name in ("labels", "one", "two"):
        lines = ["clip,start,end,split,valence,arousal"]
        for clip in "abcd":
            for n, (valence, arousal) in enumerate(random.uniform(-1, 1, (20, 2))):
                lines.append(f"{clip},{n / 5},{(n + 1) / 5},val,{valence:.3f},{arousal:.3f}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    installed(package, "fusers", FUSER.replace(old, new))
    told = refusal(
        affectkit, "fuse", "one.csv", "two.csv", "--labels", "labels.csv", "--task", "va", "--method", "bright"
    )
    assert told.startswith("fuser 'bright' (bright): ") and words in told


def test_a_reader_of_a_data_set(package: Install, tmp_path: Path) -> None:
    methods = "".join(f"    def {name}(self, *_): return None\n"
                      for name in ("clips", "labels", "rows", "splits", "label_files", "notes"))  # fmt: skip
    init = "    version, Options, tasks = 1, Options, ()\n    def __init__(self, options, root): pass\n"
    installed(package, "datasets", f"class Bright:\n{init}{methods}")
    plugin = plugins.get("datasets", "bright")
    reader = plugins.instance("datasets", "bright", plugin, plugin.Options(), tmp_path)
    with pytest.raises(plugins.PluginFault, match=r"dataset 'bright' \(bright\): clips returned None"):
        reader.clips()
    with pytest.raises(plugins.PluginFault, match="labels returned None; needed are ClipLabels by clip"):
        reader.labels(tasks.get("va"))


def test_our_own_bugs_show_their_traceback() -> None:
    plugin = plugins.get("fusers", "equal")
    fuser = plugins.instance("fusers", "equal", plugin, plugin.Options(), tasks.get("va"))
    with pytest.raises((TypeError, AttributeError, ValueError)):
        fuser.fit(None, None, None, seed=0)
    with pytest.raises(plugins.PluginFault, match=r"fuser 'equal': for scores \[2, 3, 2\] combine returned"):
        faults.instance("fusers", "equal", Wrong, Config(), None).combine(np.zeros((2, 3, 2)))


class Wrong:
    """Says that it is ours."""

    __module__ = "affectkit.fusers.wrong"

    def __init__(self, options: Config, task: object) -> None:
        self.task = tasks.get("va")

    def combine(self, scores: np.ndarray) -> np.ndarray:
        return scores


def test_a_usage_error_of_a_plugin_stays_what_it_is(package: Install) -> None:
    code = IMAGE + "    @classmethod\n    def weights(cls, options, choice):\n"
    code += "        from affectkit.errors import UsageError\n        raise UsageError('give a path')\n"
    installed(package, "backbones", code)
    name, plugin, options = plugins.backbone("bright")
    with pytest.raises(UsageError, match=r"^give a path$"):
        plugins.weights("backbones", name, plugin, options, "auto")
