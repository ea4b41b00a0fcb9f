"""Every recipe that comes with affectkit: right, pinned, described, and at hand offline where it is tiny."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from affectkit import plugins
from affectkit.recipes import at_hand, check, read
from affectkit.recipes._settings import chosen
from affectkit.recipes.check import RecipePlan
from affectkit.recipes.models import BuiltModel, models

BUILT_IN = read.built_in()
EACH = pytest.mark.parametrize("name", BUILT_IN)
EITHER = pytest.mark.parametrize("tiny", [False, True], ids=["full", "tiny"])


def planned(name: str, tiny: bool = False, *changes: str) -> RecipePlan:
    return check.plan(read.read(name, changes, tiny=tiny))


@EACH
@EITHER
def test_it_has_no_mistake(name: str, tiny: bool) -> None:
    plan = planned(name, tiny)
    assert [str(one) for one in plan.problems] == []
    assert set(plan.steps) == {name for name, step in plan.draft.steps.items() if not step.get("optional")}


@pytest.mark.parametrize("name", ["sun-2024-va", "sun-2024-expr"])
@EITHER
def test_sun_may_gate_the_voice_by_the_mouth(name: str, tiny: bool) -> None:
    plan = planned(name, tiny, "voice.vad=mouth", "voice.mouth=@mesh:mouth_opening")
    assert [str(one) for one in plan.problems] == []
    assert set(plan.steps["voice"].needs) == {"mesh"} and set(plan.steps) == set(plan.draft.steps)


@EACH
@EITHER
def test_it_ends_with_scores_side_by_side_and_a_submission(name: str, tiny: bool) -> None:
    plan = planned(name, tiny)
    stages = {step.stage.name for step in plan.steps.values()}
    assert {"fuse", "compare"} <= stages
    assert "submit" in stages or plan.draft.practice == ["table"]  # whose test clips have labels


@EACH
def test_it_says_what_it_is(name: str) -> None:
    draft = read.read(name)
    assert draft.title
    assert draft.practice
    known = {name.replace("_", "-") for name in plugins.names("datasets")}
    assert set(draft.practice) <= known


@EACH
def test_every_data_set_is_used(name: str) -> None:
    plan = planned(name)
    used = {getattr(step.keys, key, None) for step in plan.steps.values() for key in ("data", "labels")}
    used |= {along.labels for step in plan.steps.values() for along in step.aux}
    assert set(plan.data) <= used


@EACH
def test_timm_models_are_pinned_by_their_tag(name: str) -> None:
    for step in planned(name).steps.values():
        if step.stage.plugin is None or step.stage.plugin[0] not in ("backbones", "networks"):
            continue
        backbone = step.settings.get("option", {}).get("backbone", step.plugin)
        known = [name for group in ("backbones", "models", "networks") for name in plugins.names(group)]
        if backbone not in known and not step.weights_of:
            assert "." in backbone, f"{step.name}: {backbone} names no weights"


@pytest.mark.parametrize(
    ("name", "step", "options"),
    [
        # the MuSe-2022 baseline's
        ("eri-2023", "resnet50-lstm", {
            "hidden": 64, "layers": 1, "dropout": 0.5, "optimiser": "adam", "learning_rate": 1e-4, "weight_decay": 0,
            "clip_norm": 0, "schedule": "plateau", "plateau_patience": 5, "patience": 15, "batch_size": 64,
            "epochs": 30, "normalise": "standard",
        }),
        ("sun-2024-expr", "b1", {
            "optimiser": "adamw", "weight_decay": 1e-4, "warmup_steps": 100, "warmup_rate": 1e-5, "learning_rate": 5e-3,
            "final_rate": 1e-4, "epochs": 100, "patience": 10, "dropout": 0.1, "width": 256, "augment": 0.05,
            "loss": "focal", "focal_gamma": 2, "class_weights": "balanced", "pixels": "imagenet",
        }),
        ("sun-2024-expr", "b1-v3", {"layers": 3, "heads": "8", "batch_norm": True, "dropout": 0.1, "window": 4}),
        ("sun-2024-expr", "pdem-tuned", {
            "window": 4, "optimiser": "adam", "learning_rate": 1e-4, "batch_size": 16, "class_weights": "max",
            "label_smoothing": 0.2, "tail": "gru", "layers": 2, "hidden": 256, "augment": 1,
        }),
        ("sun-2024-expr", "forest", {"preset": "sun"}),
        ("sun-2024-va", "forest", {"preset": "sun"}),
        ("tlhn-2024", "tlhn", {
            "strides": "2,4,clip", "steps": 15, "dropout": 0.5, "joint": 256, "optimiser": "sgd", "learning_rate": 5e-4,
            "weight_decay": 1e-5, "schedule": "step", "step_epochs": 5, "step_factor": 0.9, "batch_size": 90,
            "epochs": 50, "class_weights": "none",
        }),
    ],
)  # fmt: skip
def test_settings_are_those_that_the_pages_call_published(name: str, step: str, options: dict[str, Any]) -> None:
    found = chosen(planned(name).steps[step])
    assert found is not None
    assert {key: getattr(found[1], key) for key in options} == options


@EACH
@EITHER
def test_a_dry_run_without_data_ends_well(name: str, tiny: bool, affectkit: Command) -> None:
    said = affectkit("run", name, "--dry-run", "--json", *(["--tiny"] if tiny else []))
    assert said.returncode == 0, said.stderr
    report = json.loads(said.stdout)
    assert {row["step"] for row in report["steps"]} == set(planned(name, tiny).steps)
    assert all(one["is_missing"] for one in report["problems"])


@EACH
def test_tiny_needs_data_and_nothing_else(name: str) -> None:
    """All weights come with packages, or are random because the recipe says so."""
    plan = planned(name, tiny=True)
    at_hand.look(plan, fetch=False)
    assert [str(one) for one in plan.problems if "is not said" not in one.what] == []


def test_what_to_do_about_missing_weights_is_an_option_of_run() -> None:
    plan = planned("sun-2024-va")
    at_hand.look(plan, fetch=False)
    said = [one.what for one in plan.problems if "PATH" in one.what]
    assert said and all("--set STEP.weights=PATH" in one for one in said)


def test_suns_page_says_how_to_take_the_official_crops(affectkit: Command, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    text = (read.BUILT_IN / "sun-2024-va.toml").read_text()
    text = text.replace(
        "[defaults]", '[data.crops]\ndataset = "affwild2"\noption = { media = "crops" }\n\n[defaults]', 1
    )
    text = text.replace('data = "main"', 'data = "crops"\nvideos = "{main}/videos"', 1)
    (tmp_path / "mine.toml").write_text(text)
    affectkit("practice", "affwild2", "set", "--count", 6, "--seconds", 0.5, "--fps", 4, "--size", 96)
    roots = ["--root", "set", "--root", "crops=set"]
    report = json.loads(affectkit("run", "mine.toml", "--tiny", *roots, "--dry-run", "--json").stdout)
    assert report["problems"] == []
    assert affectkit("run", "mine.toml", "--tiny", *roots, "--until", "faces").returncode == 0


@EACH
def test_it_is_shown_as_it_is_written(name: str, affectkit: Command) -> None:
    assert affectkit("recipe", "show", name).stdout == (read.BUILT_IN / f"{name}.toml").read_text()
    assert name in affectkit("recipe", "list").stdout


@pytest.mark.slow
@EACH
def test_tiny_runs_on_its_practice_set(name: str, tmp_path: Path, child: Command) -> None:
    """From nothing to a submission; the fusion is no worse than noise below the best, and heads beat the constant."""
    plan = planned(name, tiny=True)
    roots = []
    for data, one in plan.data.items():
        made = child("practice", one.dataset, data, timeout=600)
        assert made.returncode == 0, made.stderr
        roots += ["--root", f"{data}={data}"]
    line = ["run", name, "--tiny", *roots, "--out", "run"]
    said = child(*line, timeout=1800)
    assert said.returncode == 0, said.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all((tmp_path / path).is_file() for path in summary["submissions"].values())
    for scored in summary["scores"]:
        metric = scored["metric"]
        constant = scored["constant"]["scores"][metric]
        assert all(system["scores"][metric] > constant for system in scored["systems"].values()), scored
    again = child(*line, timeout=120)
    assert again.returncode == 0
    steps = json.loads((tmp_path / "run" / "summary.json").read_text())["steps"]
    assert all(step["cached"] for step in steps if step["stage"] != "submit")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step", "millions", "takes", "gives"),
    [
        # torchvision's and timm's published sizes, classifier and all, for frozen backbones
        ("eri-2023", "resnet50", 25.56, "[N,3,224,224]", "[N,2048]"),
        ("eri-2023", "vgg16", 138.36, "[N,3,224,224]", "[N,4096]"),
        ("eri-2023", "deepspectrum", 138.36, "[N,16000]", "values [N,1,4096]"),
        ("tlhn-2024", "resnet18", 11.69, "[N,3,224,224]", "[N,512]"),
        # fine-tuned: 7.79 and 19.34 millions less the classifier, and 256 dimensions before the output
        ("sun-2024-va", "b1", 7.79 - 1.281 + 0.329, "resized to 240 x 240", "[N,1,2]"),
        ("sun-2024-va", "b4", 19.34 - 1.793 + 0.460, "resized to 380 x 380", "[N,1,2]"),
        ("sun-2024-va", "vit", 86.57 + 0.257, "resized to 224 x 224", "[N,1,2]"),  # its 1000 logits are read
        ("sun-2024-va", "pdem", 165.3, "[N,64000]", "dimensions [N,1,3]"),  # wav2vec2-large, 12 of its 24 layers
    ],
)
def test_models_have_the_sizes_that_are_published(
    name: str, step: str, millions: float, takes: str, gives: str
) -> None:
    built = _models(name)[step]
    assert built.parameters is not None, built.problem
    assert built.parameters / 1e6 == pytest.approx(millions, abs=0.01 if millions < 100 else 0.1)
    assert takes in built.takes
    assert gives in built.gives


@cache
def _models(name: str) -> dict[str, BuiltModel]:
    return {one.step: one for one in models(planned(name))}
