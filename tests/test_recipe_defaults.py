"""[defaults] of recipes: what several steps have in common, and how it meets their own settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_factory import RECIPE, write_recipe

from affectkit.recipes import check, read
from affectkit.recipes.check import RecipePlan

COMMON = '\n[defaults]\nlabels = "main"\ntask = "va"\n'
SAID_ONCE = RECIPE.replace('labels = "main"\n', "").replace('task = "va"\n', "") + COMMON
HEADS = "\n[defaults.train-head]\nseeds = 2\noption = { epochs = 9, batch_size = 4 }\n"


def plan(tmp_path: Path, text: str, *changes: str, tiny: bool = False) -> RecipePlan:
    return check.plan(read.read(str(write_recipe(tmp_path / "r.toml", text)), changes, tiny=tiny))


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(part))


def test_a_recipe_with_defaults_is_the_one_without(tmp_path: Path) -> None:
    given, plain = plan(tmp_path, SAID_ONCE), plan(tmp_path, RECIPE)
    assert not given.draft.problems
    assert given.draft.steps == plain.draft.steps
    assert "labels" not in given.draft.steps["faces"], "a stage that knows no labels is given none"


def test_a_stages_defaults_come_before_those_of_all_and_after_the_steps_own(tmp_path: Path) -> None:
    text = (
        RECIPE
        + HEADS.replace("option = { epochs = 9, batch_size = 4 }", "option = { epochs = 9 }")
        + ("\n[defaults.predict]\nsmooth = 'hamming'\nhalf_width = 0.5\n\n[defaults]\nseeds = 5\n")
    )
    steps = plan(tmp_path, text.replace('head = "kernel-elm"', 'head = "mlp"')).draft.steps
    assert steps["net"]["seeds"] == steps["kernel"]["seeds"] == 2
    assert steps["net"]["option"] == {"epochs": 3, "hidden": "8"}, "its own epochs win"
    assert steps["kernel"]["option"] == {"epochs": 9}
    assert steps["net-scores"]["half_width"] == 0.5


def test_tiny_and_set_change_defaults_and_steps_still_win(tmp_path: Path) -> None:
    text = (RECIPE + HEADS).replace('head = "kernel-elm"', 'head = "mlp"')
    steps = plan(tmp_path, text, "defaults.train-head.option.epochs=1", "defaults.train-head.seeds=3").draft.steps
    assert steps["kernel"]["option"]["epochs"] == "1" and steps["net"]["option"]["epochs"] == 3
    assert steps["kernel"]["seeds"] == "3"
    tiny = text.replace("[tiny]\n", '[tiny]\n"defaults.train-head.option.batch_size" = 2\n', 1)
    assert plan(tmp_path, tiny, tiny=True).draft.steps["kernel"]["option"]["batch_size"] == 2


@pytest.mark.parametrize(
    ("default", "words"),
    [
        ("[defaults]\nsedes = 3\n", "did you mean 'seeds'?"),
        ("[defaults.train-haed]\nseeds = 3\n", "did you mean 'train-head'?"),
        ("[defaults.train-head]\nsedes = 3\n", "did you mean 'seeds'?"),
        ("[defaults.train-head]\nseeds = 0\n", "seeds: Input should be greater than or equal to 1"),
        ("[defaults]\ntrain-head = 3\n", "defaults.train-head is a table: defaults.train-head.setting"),
        ("[defaults.train-head]\noption = { epohcs = 3 }\n", "unknown option of mlp 'epohcs'"),
    ],
)
def test_a_mistake_is_found_on_the_line_of_the_default(default: str, words: str, tmp_path: Path) -> None:
    text = RECIPE + "\n" + default
    problems = [str(one) for one in plan(tmp_path, text).problems]
    wrong = default.splitlines()[-1] if "train-haed" not in default else "[defaults.train-haed]"
    at = f"r.toml:{line_of(text, wrong)}: "
    assert problems and all(at in one for one in problems), problems
    assert any(words in one for one in problems), problems


def test_defaults_is_a_table(tmp_path: Path) -> None:
    problems = plan(tmp_path, 'defaults = "va"\n' + RECIPE).problems
    assert [one.what for one in problems] == ["defaults is a table: [defaults], or [defaults.STAGE]"]


def test_a_relative_root_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    draft = read.read(str(write_recipe(tmp_path / "elsewhere.toml", RECIPE)))
    monkeypatch.chdir(tmp_path / "here")
    found = check.plan(draft, ["data"]).data["main"].root
    assert found == tmp_path / "here" / "data"
