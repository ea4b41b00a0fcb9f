"""Recipes over plain folders: media and tables without a data set's reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command
from recipe_factory import FRAMES, RECIPE, SPLITS, write_recipe, write_set

from affectkit.config import Runtime
from affectkit.recipes import at_hand, check, read
from affectkit.recipes.folders import Folders
from affectkit.recipes.run import Session

PLAIN = 'media = "set/cropped_aligned"\nlabels = "set/labels.csv"'
TEXT = RECIPE.replace('dataset = "table"', PLAIN).replace("{main}/", "set/").replace('practice = "affwild2"\n', "")
LINE = ["run", "r.toml", "--cache", "cache", "--out", "run"]


def planned(folder: Path, text: str = TEXT, *changes: str, roots: tuple[str, ...] = ()) -> check.RecipePlan:
    plan = check.plan(read.read(str(write_recipe(folder / "r.toml", text)), changes), roots)
    at_hand.look(plan, fetch=False)
    return plan


def problems(folder: Path, text: str, *changes: str) -> list[str]:
    """Problems with the line's own text in place of its number."""
    found = []
    for one in planned(folder, text, *changes).problems:
        file, _, number = one.where.rpartition(":")
        found.append(f"{text.splitlines()[int(number) - 1] if file.endswith('r.toml') else one.where} -> {one.what}")
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with set/."""
    write_set(tmp_path / "set")
    return tmp_path


def test_a_whole_run_needs_no_reader_and_no_root(place: Path, affectkit: Command) -> None:
    write_recipe(place / "r.toml", TEXT)
    done = affectkit(*LINE, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    (scored,) = summary["scores"]
    assert scored["rows"] == FRAMES * SPLITS["test"]
    assert len((place / summary["submissions"]["submission"]).read_text().splitlines()) == 1 + FRAMES * SPLITS["test"]
    again = affectkit("run", "r.toml", "--cache", "cache", "--dry-run", "--json")
    rows = {row["step"]: row["state"] for row in json.loads(again.stdout)["steps"]}
    assert rows["systems"] == "cached"


def test_paths_are_relative_to_the_recipe_or_to_the_root(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    plan = planned(place)
    assert plan.problems == []
    data = plan.data["main"]
    assert isinstance(data, Folders)
    assert data.labels == place / "set/labels.csv"
    moved = TEXT.replace("set/cropped", "cropped").replace('"set/labels', '"labels')
    assert planned(place, moved, roots=(str(place / "set"),)).problems == []
    assert planned(place, moved.replace('media = "', 'root = "set"\nmedia = "')).problems == []
    (elsewhere / "mine.csv").write_bytes((place / "set/labels.csv").read_bytes())
    changed = planned(place, TEXT, "data.main.labels=mine.csv").data["main"]
    assert isinstance(changed, Folders)
    assert changed.labels == Path("mine.csv")


def test_a_manifest_is_media_and_splits_override(place: Path) -> None:
    rows = ["clip,path"] + [f"{split}0,cropped_aligned/{split}0" for split in SPLITS]
    (place / "set/clips.csv").write_text("\n".join(rows) + "\n")
    (place / "splits.csv").write_text("clip,split\ntrain0,test\nval0,val\ntest0,train\n")
    text = TEXT.replace(PLAIN, 'media = "set/clips.csv"\nlabels = "set/labels.csv"\nsplits = "splits.csv"')
    draft = read.read(str(write_recipe(place / "r.toml", text)))
    plan = check.plan(draft)
    session = Session(plan, at_hand.look(plan, fetch=False), place / "cache", Runtime())
    assert [clip.id for clip in session.media(plan.steps["faces"])] == [f"{split}0" for split in SPLITS]
    assert plan.steps["net"].paths["splits"] == place / "splits.csv"
    assert "splits" not in plan.steps["net-scores"].paths
    own = check.plan(read.read(str(place / "r.toml"), ["net.splits=other.csv"]))
    assert own.steps["net"].paths["splits"] == Path("other.csv")


def test_several_folders_are_media(place: Path) -> None:
    folders = ", ".join(f'"set/cropped_aligned/{split}{n}"' for split, count in SPLITS.items() for n in range(count))
    plan = planned(place, TEXT.replace('"set/cropped_aligned"', f"[{folders}]"))
    assert plan.problems == []


def test_sound_files_are_media_of_extract_audio(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("a.wav", "b.mp4", "c.txt"):
        (tmp_path / "clips" / name).touch()
    text = '[data.main]\nmedia = "clips/"\n[steps.a]\nstage = "extract-audio"\ndata = "main"\n'
    text += '[steps.f]\nstage = "extract-faces"\ndata = "main"\n'
    plan = planned(tmp_path, text)
    session = Session(plan, at_hand.look(plan, fetch=False), tmp_path / "cache", Runtime())
    assert [clip.id for clip in session.media(plan.steps["a"])] == ["a", "b"]
    assert [clip.id for clip in session.media(plan.steps["f"])] == ["b"]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (PLAIN.replace("media", "medai"), "medai = \"set/cropped_aligned\" -> unknown key of a data set 'medai'"),
        (PLAIN + "\noption = {}", "option = {} -> unknown key of a data set 'option'"),
        (PLAIN + '\ndataset = "table"', 'media = "set/cropped_aligned" -> dataset brings its own media and labels'),
        (PLAIN.replace('"set/cropped_aligned"', "3"), "media = 3 -> media"),
        (PLAIN.replace('"set/labels.csv"', '""'), 'labels = "" -> labels is empty'),
        ('media = "set/cropped_aligned"', 'labels = "main" -> data set main has no labels: labels = "FILE.csv" in'),
        ('labels = "set/labels.csv"', 'data = "main" -> data set main has no media: media = "FOLDER/" in [data.main]'),
        (PLAIN.replace("aligned", "aligend"), 'media = "set/cropped_aligend" -> no such file or directory'),
        (PLAIN.replace("labels.csv", "lables.csv"), "lables.csv is not a file"),
        (PLAIN + '\nsplits = "folds.csv"', 'splits = "folds.csv" -> splits '),
        (PLAIN.replace("set/labels.csv", "set/template.txt"), 'labels = "main" -> '),
    ],
)  # fmt: skip
def test_a_mistake_has_its_line(place: Path, new: str, expected: str) -> None:
    found = problems(place, TEXT.replace(PLAIN, new))
    assert any(expected in one for one in found), found


def test_what_is_missing_is_told_once(place: Path) -> None:
    found = problems(place, TEXT.replace("labels.csv", "lables.csv").replace("cropped_aligned", "crops"))
    told = [one.split(" -> ")[0] for one in found if "weights" not in one]
    assert told == ['media = "set/crops"', 'labels = "set/lables.csv"']
