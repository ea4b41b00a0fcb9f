"""What is found wrong with a recipe before anything starts, with its line; and what is only missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from recipe_factory import RECIPE, write_recipe, write_set

from affectkit.downloads import _IS_OFFLINE
from affectkit.errors import MissingExtra
from affectkit.recipes import at_hand, check, read
from affectkit.recipes.check import RecipePlan

MORE = """
[steps.more]
stage = "{stage}"
"""


def planned(
    tmp_path: Path, text: str = RECIPE, *changes: str, roots: Sequence[str] = (), until: str | None = None
) -> RecipePlan:
    draft = read.read(str(write_recipe(tmp_path / "r.toml", text)), changes)
    return check.plan(draft, roots, until)


def problems(tmp_path: Path, text: str, *changes: str, **options: str) -> list[str]:
    """Problems with the line's own text in place of its number."""
    lines = text.splitlines()
    found = []
    for one in planned(tmp_path, text, *changes, **options).problems:  # type: ignore[arg-type]
        file, _, number = one.where.rpartition(":")
        where = lines[int(number) - 1] if file.endswith("r.toml") else one.where
        found.append(f"{where} -> {one.what}")
    return found


def test_a_good_recipe_has_none(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.problems == []
    assert list(plan.steps) == [
        "faces", "grid", "windows", "net", "kernel", "net-scores", "kernel-scores", "fused", "systems", "submission",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('stage = "embed"', 'stage = "embd"', 'stage = "embd" -> unknown stage \'embd\': did you mean \'embed\'?'),
        ('stage = "embed"\n', "", "[steps.grid] -> step grid needs stage = NAME"),
        ("size = 32", "sise = 32", "sise = 32 -> unknown option of extract-faces 'sise': did you mean 'size'?"),
        ("size = 32", 'size = "big"', 'size = "big" -> size: Input should be a valid integer'),
        ("size = 32", "size = 32\nfps = 5\nframes = 3", "[steps.faces] -> give either fps or frames"),
        ('"mean-pixel"', '"mean-pixl"', "backbone = \"mean-pixl\" -> unknown backbone 'mean-pixl': no plugin"),
        ('"mean-pixel"', '"log-mel"', 'from = "faces" -> the plugin reads sound; faces makes crops'),
        ('"mean-pixel"', '"mean-pixel"\nwindow = -1', "window = -1 -> window: a window lasts more than 0 and up"),
        ('"mlp"', '"mpl"', "head = \"mpl\" -> unknown head 'mpl': did you mean 'mlp'?"),
        ("epochs = 3", "epoch = 3", "unknown option of mlp 'epoch': did you mean 'epochs'?"),
        ("epochs = 3", "epochs = 0", "epochs: Input should be greater than or equal to 1 (given '0')"),
        ("draws = 50 }", "draw = 50 }", "unknown option of dwf 'draw': did you mean 'draws'?"),
        ('dataset = "table"', 'dataset = "tabel"', "unknown dataset 'tabel': did you mean 'table'?"),
        ('dataset = "table"', 'option = { file = "x" }', "[data.main] -> data.main needs dataset = NAME"),
        ('"table"', '"table"\noption.fil = "x"', "option.fil = \"x\" -> unknown option of table 'fil': did you mean"),
        ('data = "main"', 'data = "mian"', "data = \"mian\" -> unknown data set 'mian': did you mean 'main'?"),
        ('data = "main"\n', "", "[steps.faces] -> needs data"),
        ('"{main}/template.txt"', '"{mian}/x.txt"', "unknown data set 'mian': did you mean 'main'?"),
        ('from = ["net", "grid"]', 'from = ["nat", "grid"]', "unknown input 'nat': did you mean 'net'?"),
        ('from = ["net", "grid"]', 'from = ["grid", "net"]', "predict takes a head and its features, or a network"),
        ('from = ["net", "grid"]', 'from = ["net"]', "given net (a head)"),
        ('from = ["windows"]', "from = []", "train-head takes features, one or more; given nothing"),
        ('from = ["windows"]', 'from = ["faces"]', "train-head takes features, one or more; given faces (crops)"),
        ('from = ["net-scores", "kernel-scores"]', 'from = ["net-scores", "net-scores"]', "names net-scores twice"),
        ('from = ["windows"]', "from = [3]", "from = [3] -> from names a step, or a list of steps"),
        ('from = "faces"', 'from = "faces:layer_07"', "only features have outputs to choose from; faces makes crops"),
        ('from = ["net-scores", "kernel-scores"]', 'from = "net-scores"', "fuse combines two or more predictions; 1"),
        ('from = ["fused", "net-scores", "kernel-scores"]', 'from = "fused"', "compare takes two or more predictions"),
        ('"affwild2-va"', '"affwild2-expr"', 'fused predicts task va, format affwild2-expr takes expr'),
        ('task = "va"\ndraws', 'task = "expr"\ndraws', "fused predicts task va, not expr"),
        ('from = "fused"\nformat', 'from = "systems"\nformat', "submit takes predictions; given systems (a report)"),
        ('format = "affwild2-va"', 'format = "affwild-va"', "format: Input should be 'affwild2-va'"),
        ('task = "va"\nhead', 'task = "av"\nhead', "task = \"av\" -> unknown task 'av'"),
        ('from = "grid"', 'from = "windows"', 'from = "windows" -> steps wait for each other: windows -> windows'),
        ('from = "faces"', 'from = "windows"', "steps wait for each other: grid -> windows -> grid"),
        ("size = 32", 'size = 32\nfrom = "grid"', "extract-faces takes no input; given grid (features)"),
        ("window = 1.0", "window = inf", "window = inf -> window: Input should be a finite number"),
        ("draws = 50\n", "draws = 50\nseed = 2024-01-01\n", "seed = 2024-01-01 -> seed: Input should be a valid"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in RECIPE
    found = problems(tmp_path, RECIPE.replace(old, new, 1))
    assert any(expected in one for one in found), found


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ('stage = "train-head"\nfrom = "grid"\nhead = "mlp"\ntask = "va"', "[steps.more] -> needs labels"),
        ('stage = "evaluate"\nfrom = "fused"\nlabels = "main"\ntask = "va"\nagainst = "grid"',
         'against = "grid" -> predictions needed; grid makes features'),
        ('stage = "evaluate"\nfrom = "fused"\nlabels = "main"\ntask = "va"\nagainst = "non"',
         "against = \"non\" -> unknown input 'non'"),
        ('stage = "embed"\nfrom = "faces"\nbackbone = "timm"\nweights = "@grid"',
         'weights = "@grid" -> a network needed; grid makes features'),
        ('stage = "embed"\nfrom = "faces"\nbackbone = "mean-pixel"\nprecision = "float8"', "precision: Input should"),
        ('stage = "embed"\nfrom = "faces"\nbackbone = "mean-pixel"\ndevice = "cpu"', "option of embed 'device'"),
        ('stage = "train-head"\nfrom = "grid"\nlabels = "main"\ntask = "va"\n'
         'aux = [\n{ from = "faces", labels = "main", task = "va" },\n{ from = "grid", labels = "main", task = "va" }]',
         '{ from = "faces", labels = "main", task = "va" }, -> features needed; faces makes crops'),
        ('stage = "train-head"\nfrom = "grid"\nlabels = "main"\ntask = "va"\n'
         'aux = [\n{ from = "grid", labels = "main", task = "vaa" }]',
         "{ from = \"grid\", labels = \"main\", task = \"vaa\" }] -> unknown task 'vaa'"),
        ('stage = "train-head"\nfrom = "grid"\nlabels = "main"\ntask = "va"\naux = [{ from = "grid", task = "va" }]',
         "needs aux.0.labels"),
        ('stage = "fuse"\nfrom = ["fused", "net-scores"]\nlabels = "main"\ntask = "va"\nbeside = ["dvf"]',
         "unknown fuser 'dvf': did you mean 'dwf'?"),
        ('stage = "fuse"\nfrom = ["fused", "net-scores"]\nlabels = "main"\ntask = "va"\nbeside = [1]',
         "beside = [1] -> beside.0: Input should be a valid string"),
        ('stage = "functionals"\nfrom = "grid"\nset = "fun"\nfunctional = ["mean"]', "give either a set or"),
        ('stage = "functionals"\nfrom = "grid"\nfunctional = ["mea"]', "unknown functional 'mea': did you mean"),
    ],
)  # fmt: skip
def test_a_mistake_of_another_step(tmp_path: Path, step: str, expected: str) -> None:
    found = problems(tmp_path, f"{RECIPE.partition('[tiny]')[0]}[steps.more]\n{step}\n")
    assert any(expected in one for one in found), found


def test_all_mistakes_are_told_at_once_also_of_one_step(tmp_path: Path) -> None:
    text = RECIPE.replace('from = "faces"', 'from = "face"\nsise = 1').replace('"mean-pixel"', '"mean-pixel"\nhop = 0')
    text = text.replace('head = "kernel-elm"', 'head = "kernel"').replace('"table"', '"tables"')
    said = "\n".join(problems(tmp_path, text, "net.option.epochs=x", "nix.x=1", until="nix"))
    for part in (
        "unknown input 'face'", "'sise'", "hop: Input", "unknown head 'kernel'", "unknown dataset 'tables'",
        "--set net.option.epochs=x -> epochs: Input should be a valid integer", "--set nix.x=1 -> unknown step",
        "--until nix -> unknown step 'nix'",
    ):  # fmt: skip
        assert part in said


def test_steps_with_a_mistake_are_left_out_of_the_plan(tmp_path: Path) -> None:
    """A dry run would run them, with what is wrong."""
    assert "kernel" not in planned(tmp_path, RECIPE.replace('from = ["windows"]', "from = []")).steps
    assert "kernel-scores" not in planned(tmp_path, RECIPE.replace('["kernel", "windows"]', '["kernel"]')).steps
    plan = planned(tmp_path, RECIPE, "defaults.train-head.seeds=x")
    assert not {"net", "kernel"} & plan.steps.keys()
    assert len(plan.problems) == 1


# the order


def test_steps_run_after_what_they_need_else_in_the_file_s_order(tmp_path: Path) -> None:
    head, *steps = RECIPE.partition("[tiny]")[0].split("[steps.")
    text = head + "".join(f"[steps.{step.rstrip()}\n" for step in reversed(steps))
    order = list(planned(tmp_path, text).steps)
    assert order == [
        "faces", "grid", "net", "net-scores", "windows", "kernel", "kernel-scores", "fused", "submission", "systems",
    ]  # fmt: skip


def test_until_takes_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    assert list(planned(tmp_path, until="kernel-scores").steps) == [
        "faces", "grid", "windows", "kernel", "kernel-scores",
    ]  # fmt: skip


def test_aux_weights_and_against_count_as_inputs(tmp_path: Path) -> None:
    text = RECIPE.replace(
        'head = "mlp"', 'head = "mlp"\naux = [{ from = "windows", labels = "main", task = "va" }]'
    ).replace('stage = "compare"\nfrom = ["fused", "net-scores", "kernel-scores"]',
              'stage = "evaluate"\nagainst = "kernel-scores"\nfrom = "net-scores"')  # fmt: skip
    plan = planned(tmp_path, text)
    assert plan.problems == []
    assert plan.steps["net"].needs == ("grid", "windows")
    assert plan.steps["systems"].needs == ("net-scores", "kernel-scores")


# settings that are right


def test_settings_are_typed_by_the_stage_s_own_models(tmp_path: Path) -> None:
    from affectkit.stages.faces import FacesConfig
    from affectkit.stages.train_head import TrainConfig

    plan = planned(tmp_path, RECIPE, "faces.fps=native", "faces.size=64", "net.half_width=0.5", "net.smooth=hamming")
    assert plan.problems == []
    faces = plan.steps["faces"].config(FacesConfig)
    assert (faces.fps, faces.size) == ("native", 64)
    assert plan.steps["net"].config(TrainConfig).half_width == 0.5
    assert sorted(plan.steps["net"].config(TrainConfig).option) == ["epochs=3", "hidden=8"]


def test_relative_paths_are_relative_to_the_recipe_but_for_set(tmp_path: Path) -> None:
    text = RECIPE.replace('"{main}/template.txt"', '"t/template.txt"')
    assert planned(tmp_path, text).steps["submission"].paths["template"] == tmp_path / "t" / "template.txt"
    by_hand = planned(tmp_path, text, "submission.template=t/template.txt")
    assert by_hand.steps["submission"].paths["template"] == Path("t/template.txt")


def test_roots_stand_for_names_in_braces(tmp_path: Path) -> None:
    text = RECIPE.replace('"table"', '"table"\noption = { crops = "{other}/crops" }').replace(
        "[steps.faces]", '[data.other]\ndataset = "table"\nroot = "{main}/below"\n[steps.faces]'
    )
    plan = planned(tmp_path, text, roots=["x=y/z"])
    assert "unknown data set 'x'" in str(plan.problems[0])
    plan = planned(tmp_path, text, roots=[str(tmp_path)])
    assert plan.data["other"].root == tmp_path / "below"
    assert plan.data["main"].option == (f"crops={tmp_path / 'below'}/crops",)
    plan = planned(tmp_path, text, roots=["other=elsewhere", "main=here"])
    assert (plan.data["main"].root, plan.data["other"].root) == (Path.cwd() / "here", Path.cwd() / "elsewhere")


@pytest.mark.parametrize(
    ("roots", "message"),
    [
        ([""], "--root : says no folder for data set main: --root DIR, or main=DIR"),
        (["main="], "--root main=: says no folder for data set main"),
        (["/a", "/b"], "--root /b: data set main has /a already: one --root for each"),
        (["main=/a", "/b"], "--root /b: data set main has /a already: one --root for each"),
    ],
)
def test_a_root_is_a_folder_and_one_for_each_data_set(tmp_path: Path, roots: list[str], message: str) -> None:
    """An empty one, as of a variable that is not set, would be the working directory."""
    assert str(planned(tmp_path, roots=roots).problems[0]).startswith(message)
    assert not planned(tmp_path, roots=["/a", "main=/a"]).problems


# what is missing


def looked(
    tmp_path: Path, text: str = RECIPE, *changes: str, root: bool = True, until: str | None = None
) -> RecipePlan:
    roots = [str(write_set(tmp_path / "set", {"train": 1}))] if root else []
    plan = planned(tmp_path, text, *changes, roots=roots, until=until)
    at_hand.look(plan, fetch=False)
    return plan


def test_nothing_is_missing(tmp_path: Path) -> None:
    plan = looked(tmp_path)
    assert (plan.problems, plan.lacks) == ([], {})


def test_a_root_that_nobody_said(tmp_path: Path) -> None:
    plan = looked(tmp_path, root=False, until="grid")
    assert plan.is_sound
    assert "--root DIR" in plan.lacks["faces"]
    assert "where data set main (table) lies is not said: --root DIR" in str(plan.problems[0])


def test_everything_missing_is_told_at_once(tmp_path: Path) -> None:
    text = RECIPE.replace('labels = "main"\ntask = "va"\nhead = "mlp"', 'labels = "no.csv"\ntask = "va"\nhead = "mlp"')
    text = text.replace("template.txt", "none.txt")
    (tmp_path / "bad.csv").write_text("clip,happy\na,1\n")
    changes = [f"kernel.labels={tmp_path}/bad.csv", "grid.backbone=resnet18.a1_in1k", "fused.splits=splits.csv"]
    plan = looked(tmp_path, text, *changes)
    said = "\n".join(map(str, plan.problems))
    assert plan.is_sound
    for part in (
        f"labels {tmp_path}/no.csv is not a file", "template", "none.txt is not a file",
        "bad.csv: no column valence, arousal among clip, happy",
        "--set fused.splits=splits.csv: splits splits.csv is not a file",
        "--set grid.backbone=resnet18.a1_in1k: model.safetensors of huggingface.co/timm/resnet18.a1_in1k is not in",
    ):  # fmt: skip
        assert part in said
    assert set(plan.lacks) == {"net", "kernel", "grid", "fused", "submission"}


@pytest.mark.parametrize("labels", ["main", "labels.csv"])
def test_labels_and_templates_of_something_else_are_not_at_hand(tmp_path: Path, labels: str) -> None:
    """Else hours of embedding come before it is found."""
    root = write_set(tmp_path / "set", {"train": 1})
    (tmp_path / "labels.csv").write_text("clip,happy\na,1\n")
    (root / "labels.csv").write_text("clip,happy\na,1\n")
    (root / "template.txt").write_text("image_location,compound\n")
    text = RECIPE.replace('labels = "main"', f'labels = "{labels}"')
    plan = planned(tmp_path, text, roots=[str(root)])
    at_hand.look(plan, fetch=False)
    found = [str(one) for one in plan.problems]
    assert plan.is_sound and len(found) == 2
    assert "labels.csv: no column" in found[0] and "labels for va need clip, valence, arousal" in found[0]
    assert "template.txt has the columns image_location, compound; a template of affwild2-va has" in found[1]
    assert set(plan.lacks) == {"net", "kernel", "fused", "systems", "submission"}


def test_what_several_steps_lack_is_told_once(tmp_path: Path) -> None:
    plan = planned(tmp_path, roots=[str(tmp_path / "nowhere")])
    at_hand.look(plan, fetch=False)
    assert sum("nowhere is not a folder" in str(one) for one in plan.problems) == 1
    assert {"faces", "net", "kernel", "fused", "systems"} <= plan.lacks.keys()
    plan = planned(tmp_path, RECIPE, "data.main.dataset=tabel", roots=[str(tmp_path)])
    at_hand.look(plan, fetch=False)
    assert sum("unknown dataset 'tabel'" in str(one) for one in plan.problems) == 1


def test_a_root_that_is_none(tmp_path: Path) -> None:
    plan = planned(tmp_path, roots=[str(tmp_path / "nowhere")])
    at_hand.look(plan, fetch=False)
    assert plan.is_sound
    assert "nowhere is not a folder" in "\n".join(map(str, plan.problems))


def test_a_detector_is_not_needed_for_crops_but_for_videos(tmp_path: Path) -> None:
    """The full-size detector's weights are not here; the set is made of crops."""
    assert "faces" not in looked(tmp_path).lacks
    plan = looked(tmp_path, RECIPE, "faces.weights=nothing.pth", root=False)
    assert "weights of retinaface" in plan.lacks["faces"]


def test_a_missing_package_is_missing_and_no_mistake(tmp_path: Path) -> None:
    text = RECIPE.replace(
        "[steps.windows]", '[steps.sound]\nstage = "extract-audio"\ndata = "main"\nvad = "silero"\n\n[steps.windows]'
    )

    def absent(name: str) -> str:
        raise MissingExtra("silero-vad", "vad", "--vad silero")

    with patch("affectkit.speech.version", absent):
        plan = looked(tmp_path, text)
    assert plan.is_sound
    assert "pip install 'affectkit[vad]'" in str(plan.problems[-1])
    assert plan.lacks["sound"] == ["packages of vad silero"]


def test_weights_are_fetched_last_and_only_where_nothing_else_is_missing(tmp_path: Path) -> None:
    text = RECIPE.replace('"mean-pixel"', '"resnet18.a1_in1k"')
    seen = []

    def asked(*_: object, **__: object) -> None:
        seen.append(_IS_OFFLINE.get())

    with patch("affectkit.backbones.timm.Timm.weights", asked):
        for change, root in (([], True), (["submission.template=none.txt"], True), ([], False)):
            roots = [str(write_set(tmp_path / f"set{len(seen)}", {"train": 1}))] if root else []
            plan = planned(tmp_path, text, *change, roots=roots)
            seen.clear()
            at_hand.look(plan, fetch=True)
            assert seen == [bool(change) or not root]


def test_only_what_until_needs_may_be_missing(tmp_path: Path) -> None:
    text = RECIPE.replace("template.txt", "none.txt")
    assert looked(tmp_path, text, until="systems").problems == []
