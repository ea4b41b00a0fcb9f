"""Recipes as they are written: lines of keys, what --tiny and --set change, where each setting comes from."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from recipe_factory import RECIPE, write_recipe

from affectkit.errors import UsageError
from affectkit.recipes import read
from affectkit.recipes._lines import key_lines
from affectkit.recipes.draft import Draft, leaves, recipe_text

TRICKY = '''\
title = "x # [no]"  # a comment = 1
[data.main]
dataset = 'it''s' # '
option = { }
[ steps . v3 ] # spaces
from = ["a",
  # "no.thing = 1"
  "b:c"]
option.net = { layer = "}", "q.z" = 1 }
text = """
a = 1
[b]
\\""" "" """""
literal = \'\'\'
"c = 2
\'\'\'
aux = [
  { from = "x", labels = "y" },
  { from = "z", labels = "]" },
]
last = 1979-05-27T07:32:00Z
[[arr]]
a = 1
[[arr]]
a = -1e5
'''.replace("'it''s'", "'it'")


def draft(tmp_path: Path, text: str = RECIPE, *changes: str, tiny: bool = False) -> Draft:
    return read.read(str(write_recipe(tmp_path / "r.toml", text)), changes, tiny=tiny)


# lines


def test_every_key_is_found_on_its_line() -> None:
    lines, text = key_lines(TRICKY), TRICKY.splitlines()
    assert lines["steps", "v3"] == 5
    assert lines["steps", "v3", "from", "1"] == 8
    assert lines["steps", "v3", "option", "net", "q.z"] == 9
    assert text[lines["steps", "v3", "aux", "1", "labels"] - 1] == '  { from = "z", labels = "]" },'
    assert text[lines["steps", "v3", "last"] - 1].startswith("last")
    assert text[lines["arr", "1", "a"] - 1] == "a = -1e5"


@pytest.mark.parametrize("text", [TRICKY, RECIPE, RECIPE.replace("\n", "\r\n")], ids=["tricky", "recipe", "crlf"])
def test_the_keys_are_those_that_tomllib_reads(text: str) -> None:
    """No more, no fewer: whatever it takes for a key, a comment or a text would show here."""
    lines = key_lines(text)
    assert {key for key in lines if not any(part.isdigit() for part in key)} == set(_paths(tomllib.loads(text)))


def _paths(tree: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    own = [(*above, key) for key in tree]
    return own + [p for key, value in tree.items() if isinstance(value, dict) for p in _paths(value, (*above, key))]


def test_a_text_written_by_us_is_read_as_it_was() -> None:
    tables = {
        "b-1": {"x": 'a "b" \\ \x7f\t\n é 🙂', "list": [1, 2.5, True, ["a"]], "option": {"a.b": {"c": -3}, "d": {}}}
    }
    assert tomllib.loads(recipe_text({"title": "T"}, {"steps": tables})) == {"title": "T", "steps": tables}


# --tiny and --set


def test_set_comes_after_tiny_and_tiny_after_the_recipe(tmp_path: Path) -> None:
    assert draft(tmp_path).steps["net"]["option"] == {"epochs": 3, "hidden": "8"}
    tiny = draft(tmp_path, tiny=True)
    assert tiny.steps["net"]["option"] == {"epochs": 2, "hidden": "4"}
    assert tiny.steps["grid"]["dtype"] == "float16"
    both = draft(tmp_path, RECIPE, "net.option.epochs=7", tiny=True)
    assert both.steps["net"]["option"] == {"epochs": "7", "hidden": "4"}
    assert [(one.key, one.before, one.after, one.by) for one in both.changed if one.key == "net.option.epochs"] == [
        ("net.option.epochs", 3, 2, "--tiny"),
        ("net.option.epochs", 2, "7", "--set"),
    ]


def test_tiny_leaves_steps_out_also_where_they_were_named(tmp_path: Path) -> None:
    text = RECIPE.replace('steps = ["submission"]', 'steps = ["kernel-scores", "kernel", "windows"]')
    tiny = draft(tmp_path, text, tiny=True)
    assert tiny.steps["systems"]["from"] == ["fused", "net-scores"]
    assert {"kernel", "kernel-scores", "windows"}.isdisjoint(tiny.steps)
    assert draft(tmp_path, text).steps["systems"]["from"] == ["fused", "net-scores", "kernel-scores"]


def test_a_recipe_without_tiny_cannot_be_tiny(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"r\.toml has no table \[tiny\]"):
        draft(tmp_path, RECIPE.partition("[tiny]")[0], tiny=True)


@pytest.mark.parametrize("drop", ['drop = ["grid"]', 'drop.steps = "grid"', 'drop = { steps = ["grid"], x = 1 }'])
def test_what_tiny_leaves_out_is_a_list(tmp_path: Path, drop: str) -> None:
    (problem,) = draft(tmp_path, f"{RECIPE.partition('[tiny]')[0]}[tiny]\n{drop}\n", tiny=True).problems
    assert problem.what == 'what --tiny leaves out is a table: [tiny.drop] with steps = ["step", ...]'


def test_tiny_leaves_out_steps_that_there_are(tmp_path: Path) -> None:
    text = RECIPE.replace('steps = ["submission"]', 'steps = ["submision", ["grid"]]')
    found = [one.what for one in draft(tmp_path, text, tiny=True).problems]
    assert found[0].startswith("unknown step 'submision': did you mean 'submission'?")
    assert found[1].startswith("unknown step '['grid']'")


@pytest.mark.parametrize(
    ("change", "step", "expected"),
    [
        ("net.option.epochs=5", "net", {"epochs": "5", "hidden": "8"}),
        ("net.option.net.layer=fc2", "net", {"epochs": 3, "hidden": "8", "net": {"layer": "fc2"}}),
        ("net.option.hidden=", "net", {"epochs": 3}),
        ("net.option={ epochs = 1 }", "net", {"epochs": 1}),
        ("fused.option.draws=1=2", "fused", {"draws": "1=2"}),
    ],
)
def test_what_is_set(tmp_path: Path, change: str, step: str, expected: dict[str, Any]) -> None:
    assert draft(tmp_path, RECIPE, change).steps[step]["option"] == expected


def test_a_nested_plugin_is_named_by_name_where_more_of_it_is_said(tmp_path: Path) -> None:
    text = RECIPE.replace('backbone = "mean-pixel"', 'backbone = "x"\noption = { net = "vgg16" }')
    assert draft(tmp_path, text, "grid.option.net.layer=fc2").steps["grid"]["option"] == {
        "net": {"name": "vgg16", "layer": "fc2"}
    }
    text = text.replace('"vgg16"', '{ name = "vgg16", layer = "fc2" }')
    assert draft(tmp_path, text, "grid.option.net=resnet18").steps["grid"]["option"]["net"]["name"] == "resnet18"


def test_options_may_be_a_list_of_texts(tmp_path: Path) -> None:
    text = RECIPE.replace('option = { epochs = 3, hidden = "8" }', 'option = ["epochs=3", "net.layer=fc2"]')
    assert draft(tmp_path, text).steps["net"]["option"] == {"epochs": "3", "net": {"layer": "fc2"}}


def test_data_sets_are_set_by_their_name(tmp_path: Path) -> None:
    assert draft(tmp_path, RECIPE, "data.main.option.media=crops").data["main"]["option"] == {"media": "crops"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nett.option.epochs=5", "--set nett.option.epochs=5: unknown step 'nett': did you mean 'net'?"),
        ("data.mane.option.x=5", "--set data.mane.option.x=5: unknown data set 'mane': did you mean 'main'?"),
        ("net=5", "--set net=5: 'net' says no setting: step.setting, or step.option.key"),
        ("net.option..x=5", "--set net.option..x=5: 'net.option..x' says no setting: step.setting, or step.option.key"),
        ("net.seed", "--set net.seed: is not step.setting=value"),
        ("net.option=x=5", "--set net.option=x=5: 'net.option' is a table: net.option.key=value"),
        ('net.option=["x=5"]', "--set net.option=[\"x=5\"]: 'net.option' is a table: net.option.key=value"),
    ],
)
def test_what_cannot_be_set(tmp_path: Path, change: str, message: str) -> None:
    (problem,) = draft(tmp_path, RECIPE, change).problems
    assert str(problem).startswith(message)


def test_a_setting_knows_where_it_comes_from(tmp_path: Path) -> None:
    found = draft(tmp_path, RECIPE, "net.option.epochs=9", tiny=True)

    def line(text: str) -> str:
        return f"{tmp_path / 'r.toml'}:{RECIPE.splitlines().index(text) + 1}"

    assert found.where("steps", "net", "option", "epochs") == "--set net.option.epochs=9"
    assert found.where("steps", "net", "option", "hidden") == line('net.option.hidden = "4"')
    assert found.where("steps", "net", "head") == line('head = "mlp"')
    assert found.where("steps", "net", "no", "such") == line("[steps.net]")


def test_what_a_setting_makes_a_table_of_comes_from_it(tmp_path: Path) -> None:
    """The recipe's line says nothing of the kind."""
    found = draft(tmp_path, RECIPE, "net.option.epochs.x=1", "net.head.x=2", "defaults.trian-head.seeds=3")
    assert found.where("steps", "net", "option", "epochs") == "--set net.option.epochs.x=1"
    assert found.where("steps", "net", "head") == "--set net.head.x=2"
    assert found.where("defaults", "trian-head") == "--set defaults.trian-head.seeds=3"
    assert found.where("steps", "net", "option", "hidden").startswith(str(tmp_path))


def test_leaves_of_nested_tables() -> None:
    assert [name for _, name, _ in leaves({"a": {"b": 1, "c": {}}, "d.e": [1]})] == ["a.b", "a.c", "d.e"]


# files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "is not TOML: Invalid value"),
        ("a = 1\na = 2", "is not TOML: Cannot overwrite a value"),
        ("\udcff", "is not UTF-8 text"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=message):
        read.read(str(tmp_path / "r.toml"))


def test_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE, encoding="utf-8-sig")
    assert read.read(str(tmp_path / "r.toml")).text == RECIPE


def test_unknown_recipes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'sun-2025'.*FILE\.toml"):
        read.read("sun-2025")
    with pytest.raises(UsageError, match=r"cannot read .*none\.toml: No such file"):
        read.read(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'\n[steps.a]", ":1: unknown key 'titel': did you mean 'title'?"),
        ("title = 'x'", ":1: a recipe has steps: [steps.NAME] with stage = ..."),
        ("steps = 3", ":1: steps is made of tables: [steps.NAME]"),
        ("[steps]\nb1 = 3", ":2: steps.b1 is a table: [steps.b1]"),
        ('[steps.b1]\nstage = "x"\n[steps."b.1"]', ":3: 'b.1' is no name"),
        ("[steps.data]", ":1: 'data' is no name"),
        ('[steps.b1]\noption = ["a"]', ":2: option 'a' is not key=value: write { key = value }"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    problems = [str(one) for one in draft(tmp_path, text).problems]
    assert any(one.startswith(f"{tmp_path / 'r.toml'}{message}") for one in problems), problems
