"""What a shell offers for an unfinished word, asked as shells ask it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from typer.testing import CliRunner

from affectkit import plugins
from affectkit.cli._app import build_app
from affectkit.recipes import read
from affectkit.store import Cache, features_schema, names

FACES, EMBED = {"stage": "faces"}, {"stage": "embed"}


def offered(line: str) -> list[str]:
    """What is offered for the last word of a line."""
    asked = {"_AFFECTKIT_COMPLETE": "complete_bash", "COMP_WORDS": f"affectkit {line}"}
    shown = CliRunner().invoke(
        build_app(), prog_name="affectkit", env=asked | {"COMP_CWORD": str(len(line.split(" ")))}
    )
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
    return shown.stdout.split()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A folder with a file and a cache of two artifacts, one of them named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AFFECTKIT_CACHE", "cache")
    (tmp_path / "clips").mkdir()
    (tmp_path / "trial.csv").touch()
    cache = Cache(Path("cache"))
    faces = cache.create("faces", "centerface", FACES, features_schema(2))
    cache.create("embed", "resnet50", EMBED, features_schema(2))
    names.keep(cache, faces.path, "faces", "train-faces")
    return cache


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("emb", ["embed"]),
        ("extract fa", ["faces"]),
        ("embed x --backbone mean", ["mean-pixel"]),
        ("train-head x --head tra", ["transformer"]),
        ("extract faces --detector cent", ["centerface"]),
        ("extract faces --dataset affw", ["affwild2"]),
        ("fuse a b --method dw", ["dwf"]),
        ("finetune x --network spe", ["speech"]),
        ("evaluate x --task v", ["va", "valence-2"]),
        ("embed x --dtype float1", ["float16"]),
        ("run strong", ["strong-baseline"]),
        ("recipe show strong", ["strong-baseline"]),
        ("weights fetch --recipe strong", ["strong-baseline"]),
        ("weights fetch centerf", ["centerface"]),
        ("list bac", ["backbones"]),
        ("list heads lst", ["lstm"]),
        ("list tasks e", ["expr", "eri"]),
        ("list form", ["formats"]),
        ("list formats hume", ["hume-reaction"]),
        ("list models mini", ["mini-xception"]),
        ("export x --to p", ["parquet"]),
        ("export x --to bu", ["bundle"]),
        ("check-plugin x --group fus", ["fusers"]),
        ("dataset check dfe", ["dfew"]),
        ("practice dfe", ["dfew"]),
    ],
)
def test_names_of_plugins_recipes_and_files(line: str, some: list[str]) -> None:
    assert offered(line) == some


def test_every_plugin_is_offered() -> None:
    assert offered("embed x --backbone ") == sorted([*plugins.names("backbones"), *plugins.names("models")])
    assert offered("run ")[: len(read.built_in())] == read.built_in()


def test_artifacts_of_the_kind_that_is_needed(place: Cache) -> None:
    faces, features = (f"{folder.parent.name}/{folder.name}" for folder in reversed(place.folders()))
    assert offered("embed tr") == ["train-faces", "trial.csv"]
    assert offered("embed ") == ["train-faces", "latest", faces, "cache/", "clips/", "trial.csv"]
    assert offered("embed faces/") == [faces]
    assert offered("train-head emb") == [features]
    assert offered("train-head x --aux emb") == [features]
    assert offered("predict x faces/cent") == [faces]
    assert offered("embed x --weights fac") == []
    assert offered("cache show ")[:4] == ["train-faces", "latest", features, faces]
    assert offered("cache show --cache elsewhere tra") == []


def test_published_models_stand_beside_what_was_trained(place: Cache) -> None:
    head = place.create("train-head", "mlp", {"stage": "train-head"}, features_schema(2))
    names.keep(place, head.path, "train-head", "mimi")
    (Path() / "mine.affect").touch()
    assert offered("predict mi") == offered("analyze x --model mi") == ["mimi", "mini-xception", "mine.affect"]
    every = offered("analyze x --model ")
    assert [name for name in every if name in plugins.names("models")] == plugins.names("models")
    assert offered("predict x mi") == ["mine.affect"], "a model is no input"
    (place.root / names.FILE).write_text("{")
    assert offered("predict mini") == ["mini-xception"]


def test_a_damaged_cache_offers_nothing(place: Cache) -> None:
    (place.root / names.FILE).write_text("{")
    assert offered("embed tr") == []


def test_shells_get_a_script_and_answers(child: Command) -> None:
    child.environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    assert "_AFFECTKIT_COMPLETE=complete_bash" in child("--show-completion", "bash").stdout
    child.environment.update(
        {"_AFFECTKIT_COMPLETE": "complete_bash", "COMP_WORDS": "affectkit embed x --backbone mean", "COMP_CWORD": "4"}
    )
    assert child().stdout.split() == ["mean-pixel"]
