"""Every recipe that comes with affectkit: right, pinned, described, and at hand offline where it is tiny."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command

from affectkit import plugins
from affectkit.recipes import at_hand, checking, reading
from affectkit.recipes.checking import Plan

BUILT_IN = reading.built_in()
EACH = pytest.mark.parametrize("name", BUILT_IN)
EITHER = pytest.mark.parametrize("tiny", [False, True], ids=["full", "tiny"])


def planned(name: str, tiny: bool = False) -> Plan:
    return checking.plan(reading.read(name, tiny=tiny))


@EACH
@EITHER
def test_it_has_no_mistake(name: str, tiny: bool) -> None:
    plan = planned(name, tiny)
    assert [str(one) for one in plan.problems] == []
    assert set(plan.steps) == set(plan.draft.steps)


@EACH
@EITHER
def test_it_ends_with_scores_side_by_side_and_a_submission(name: str, tiny: bool) -> None:
    stages = {step.kind.name for step in planned(name, tiny).steps.values()}
    assert {"fuse", "compare", "submit"} <= stages


@EACH
def test_it_says_what_it_is(name: str) -> None:
    draft = reading.read(name)
    assert draft.title
    assert draft.practice
    known = {name.replace("_", "-") for name in plugins.names("datasets")}
    assert set(draft.practice) <= known


@EACH
def test_every_data_set_is_used(name: str) -> None:
    plan = planned(name)
    used = {getattr(step.places, key, None) for step in plan.steps.values() for key in ("data", "labels")}
    used |= {along.labels for step in plan.steps.values() for along in step.aux}
    assert set(plan.data) <= used


@EACH
def test_timm_models_are_pinned_by_their_tag(name: str) -> None:
    for step in planned(name).steps.values():
        if step.kind.plugin is None or step.kind.plugin[0] not in ("backbones", "networks"):
            continue
        backbone = step.settings.get("option", {}).get("backbone", step.plugin)
        if backbone not in (*plugins.names("backbones"), *plugins.names("networks")) and not step.weights_of:
            assert "." in backbone, f"{step.name}: {backbone} names no weights"


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


@EACH
def test_it_is_shown_as_it_is_written(name: str, affectkit: Command) -> None:
    assert affectkit("recipe", "show", name).stdout == (reading.BUILT_IN / f"{name}.toml").read_text()
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
