"""`--json` of every command: one line, an object (or a list) that says everything, notices included."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from conftest import Command, Here, child_environment
from recipe_factory import RECIPE, write_recipe, write_set
from test_words import leaves

from affectkit.errors import Notice
from affectkit.store import Cache

LABELS = "--labels set/labels.csv --task va"
LISTS = {"cache list", "recipe list", "weights list", "list"}
"""Commands whose JSON is a list."""
LINES = {
    "extract faces": "set/cropped_aligned --size 32 --source-fps 10 --as faces",
    "extract audio": "sound --vad energy",
    "embed": "faces --backbone mean-pixel --as features",
    "import": "files --name mine",
    "functionals": "features --window 1",
    "finetune": f"faces {LABELS} --network static -o epochs=1 -o backbone=resnet18 --weights random -o input_size=32 "
    "-o batch_size=8",
    "train-head": f"features {LABELS} --head mlp -o epochs=1 -o hidden=4 --as head",
    "predict": "head features --as scores",
    "analyze": "film.mp4 --weights random --detector centerface --no-figures --out results",
    "overlay": "results --style bars --out videos",
    "fuse": f"scores scores {LABELS} --method equal",
    "evaluate": f"scores {LABELS} --draws 0",
    "report": "scores --out page",
    "label-lag": f"scores {LABELS} --draws 5 --least 0 --most 0.2",
    "compare": f"scores scores {LABELS} --draws 5",
    "plot": "scores --kind circumplex --out drawn",
    "submit": "scores --format affwild2-va --template set/template.txt --out submission.txt --fps 10",
    "run": "small.toml --root set --until grid",
    "recipe list": "",
    "recipe show": "strong-baseline",
    "dataset check": "table --root set --task va --no-media",
    "dataset clips": "table --root set",
    "contract check": "mini-xception faces --weights random --crops-are matching",
    "cache list": "",
    "cache show": "head",
    "cache verify": "features",
    "cache why-miss": "features features",
    "cache compact": "features",
    "cache gc": "--dry-run",
    "export": "scores --out scores.csv",
    "status": "",
    "demo": "demo",
    "practice": "dfew practised --count 10 --seconds 0.5 --fps 4 --size 96",
    "check-plugin": "mean-pixel --group backbones",
    "weights list": "",
    "weights fetch": "centerface",
}
"""Every command that has `--json`, with arguments, in an order in which each finds what it takes."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A folder with a small data set, sound, features made elsewhere, and a recipe."""
    from media_factory import make_audio, make_clip

    folder = tmp_path_factory.mktemp("json")
    (folder / "set").mkdir()
    write_set(folder / "set")
    write_recipe(folder / "small.toml", RECIPE)
    (folder / "sound").mkdir()
    make_audio(folder / "sound" / "a.wav")
    make_clip(folder / "film.mp4", 6)
    (folder / "files").mkdir()
    (folder / "files" / "a.csv").write_text("timestamp,x,y\n0.0,1,2\n0.5,3,4\n")
    return Here(folder, child_environment(folder))


def said(done: Any) -> Any:
    """What one line of JSON says."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, done.stdout
    return json.loads(done.stdout)


def test_every_command_is_tried() -> None:
    has_json = {name for name, command in leaves() if any("--json" in option.opts for option in command.params)}
    assert has_json - {"list"} == set(LINES)
    assert {name for name, _ in leaves()} - has_json <= {"list", "view"}  # a server prints where it is, and goes on


def test_json_is_one_line(place: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from affectkit.practice import demo

    monkeypatch.setattr(demo, "run_demo", lambda folder: {"scores": [], "steps": [], "failed": {}, "by_hand": ""})
    for name, arguments in LINES.items():
        answer = said(place(*name.split(), *arguments.split(), "--json"))
        assert isinstance(answer, list if name in LISTS else dict), name
        assert name in LISTS or isinstance(answer["notices"], list), name


def test_notices_are_in_json_too(place: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Cache.digests

    def digests(self: Cache, rehash: bool = False) -> Any:
        warnings.warn("the memo cannot be used", Notice, stacklevel=2)
        return before(self, rehash)

    monkeypatch.setattr(Cache, "digests", digests)
    line = ["extract", "faces", *LINES["extract faces"].split(), "--json"]
    for _ in range(2):
        done = place(*line)
        assert said(done)["notices"].count("the memo cannot be used") == 1
        assert done.stderr.count("note: the memo cannot be used") == 1
    moved = said(
        place(
            "extract", "faces", "set/cropped_aligned", "--size", "48", "--source-fps", "10", "--as", "faces", "--json"
        )
    )
    assert any(notice.startswith("faces was ") for notice in moved["notices"])


@pytest.mark.parametrize(("name", "command"), list(leaves()))
def test_options_stand_in_panels(name: str, command: Any) -> None:
    panels = {"What is computed", "Inputs", "Training", "Run", "Output"}
    loose = [option.name for option in command.params
             if option.param_type_name == "option" and option.rich_help_panel not in panels]  # fmt: skip
    assert loose == [], name
