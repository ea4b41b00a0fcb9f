"""`affectkit run`: a recipe from crops to scores and a submission; dry, in part, gone on with, with clips that fail."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from conftest import Command
from recipe_factory import FRAMES, OTHER_FACES, RECIPE, SPLITS, write_recipe, write_set
from test_imports import HEAVY, NEVER
from test_imports import run as run_lines

from affectkit import metrics, tasks
from affectkit.datasets import table
from affectkit.stages.sink import Sink
from affectkit.store import Artifact, Cache, names

TWICE = RECIPE.replace(
    "[tiny]",
    """\
[steps.mean]
stage = "fuse"
method = "equal"
from = ["net-scores", "fused"]
labels = "main"
task = "va"

[tiny]""",
    1,
)
LINE = ["run", "r.toml", "--root", "set", "--cache", "cache"]
CLIPS = sum(SPLITS.values())
STEPS = ["faces", "grid", "windows", "net", "kernel", "net-scores", "kernel-scores", "fused", "systems", "submission"]


@pytest.fixture
def place(tmp_path: Path, affectkit: Command) -> Path:
    """Where the command runs: r.toml and set/."""
    write_recipe(tmp_path / "r.toml")
    write_set(tmp_path / "set")
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that is finished; tests copy it."""
    folder = tmp_path_factory.mktemp("done")
    write_recipe(folder / "r.toml")
    write_set(folder / "set")
    line = [sys.executable, "-m", "affectkit", "run", "r.toml", "--root", "set", "--cache", "cache", "--out", "run"]
    said = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    (folder / "stdout").write_text(said.stdout)
    (folder / "stderr").write_text(said.stderr)
    return folder


@pytest.fixture
def finished(done: Path, tmp_path: Path) -> Path:
    """The same, to be gone on with: paths are relative, so that they stay true."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text())
    return found


def scores(folder: Path) -> dict[str, Any]:
    return {name: one["scores"] for name, one in summary(folder)["scores"][0]["systems"].items()}


def states(out: str) -> dict[str, str]:
    """Step and state of a dry run's table."""
    report = json.loads(out)
    return {row["step"]: row["state"] for row in report["steps"]}


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


# the whole


def test_a_run_ends_with_scores_and_a_submission(done: Path) -> None:
    where = (done / "stdout").read_text().splitlines()
    assert len(where) == 1
    assert (done / where[0]).name == "summary.md"
    found = summary(done)
    assert [row["step"] for row in found["steps"]] == STEPS
    rows = (done / found["submissions"]["submission"]).read_text().splitlines()
    assert len(rows) == 1 + FRAMES * SPLITS["test"]
    table = (done / "stderr").read_text()
    for part in ("fused", "net-scores", "kernel-scores", "best constant", "systems: va, split test"):
        assert part in table


def test_steps_have_names_that_commands_take(done: Path) -> None:
    steps = summary(done)["steps"]
    recipe = summary(done)["recipe"]["name"]
    assert [row["name"] for row in steps] == [*(f"{recipe}.{step}" for step in STEPS[:-1]), ""]
    kept = names.paths(Cache(done / "cache"))
    assert {name: path.name for name, path in kept.items()} == {
        row["name"]: Path(row["path"]).name for row in steps if row["name"]
    }
    assert f"| {recipe}.net-scores |" in (done / "run" / "summary.md").read_text()


def test_the_summary_says_what_was_done(done: Path) -> None:
    found = summary(done)
    (scored,) = found["scores"]
    assert list(scored["systems"]) == ["fused", "net-scores", "kernel-scores"]
    low, high = scored["systems"]["fused"]["intervals"]["ccc"]
    assert low <= scored["systems"]["fused"]["scores"]["ccc"] <= high
    assert scored["constant"]["scores"]["ccc"] == 0
    assert scored["rows"] == FRAMES * SPLITS["test"]
    by_name = {row["step"]: row for row in found["steps"]}
    assert by_name["faces"]["clips"] == {"computed": CLIPS, "cached": 0, "failed": 0}
    assert by_name["grid"]["rate"] == pytest.approx(by_name["grid"]["rows"] / by_name["grid"]["seconds"], rel=0.05)
    assert by_name["net"]["val_score"]["metric"] == "ccc"
    assert all((done / row["path"]).exists() for row in found["steps"])
    assert found["weights"] == [
        {"name": "mean-pixel", "path": None, "sha256": "none", "licence": "Apache-2.0", "source": "no weights",
         "steps": ["grid"]}
    ]  # fmt: skip
    assert {"affectkit", "git", "python", "packages"} <= found["versions"].keys()
    assert found["fusions"][0]["held_out"]["scores"].keys() >= {"fused", "best single", "net-scores"}
    assert found["recipe"]["steps"]["net"]["option"]["epochs"] == 3


def test_the_constant_is_the_mean_of_the_labels_that_are_scored(done: Path) -> None:
    lines = [line.split(",") for line in (done / "set" / "labels.csv").read_text().splitlines()[1:]]
    truth = [[float(cell) for cell in line[4:]] for line in lines if line[3] == "test"]
    mean = [sum(column) / len(truth) for column in zip(*truth, strict=True)]
    constant = summary(done)["scores"][0]["constant"]
    assert constant["value"] == pytest.approx(mean)
    expected = metrics.score(tasks.get("va"), truth, [mean] * len(truth))
    assert constant["scores"]["mae"] == pytest.approx(expected["mae"])


def test_the_recipe_of_a_summary_can_be_run(finished: Path, affectkit: Command) -> None:
    said = affectkit("run", "run/recipe.toml", "--root", "set", "--cache", "cache", "--dry-run", "--json")
    assert said.returncode == 0, said.stderr
    assert set(list(states(said.stdout).values())[:-1]) == {"cached", f"cached, {CLIPS} clips"}


def test_a_rerun_computes_nothing_and_loads_nothing_heavy(finished: Path, environment: dict[str, str]) -> None:
    before = scores(finished)
    kept = files_below(finished / "cache" / "embed")
    (said,) = run_lines([[*LINE, "--out", "run"]], finished, environment)
    assert said.code == 0
    assert not said.loaded & (HEAVY | NEVER)
    assert scores(finished) == before
    assert files_below(finished / "cache" / "embed").keys() == kept.keys()
    again = {row["step"]: row for row in summary(finished)["steps"]}
    assert all(row["cached"] for name, row in again.items() if name != "submission")
    assert again["grid"]["rows"] == CLIPS * FRAMES  # time and rate of when it was computed


def test_help_and_listings_load_nothing_heavy(place: Path, environment: dict[str, str]) -> None:
    lines = [["run", "--help"], ["recipe", "list"], ["recipe", "show", str(place / "r.toml")]]
    lines += [["run", str(place / "r.toml"), "--root", "set", "--dry-run"]]
    for said in run_lines(lines, place, environment):
        assert said.code == 0
        assert not said.loaded & (HEAVY | NEVER), said.line


def test_a_fusion_is_not_praised_for_rows_that_it_was_fitted_on(place: Path, affectkit: Command) -> None:
    """Without test clips all is scored on validation clips, which the weights were fitted on."""
    labels = place / "set" / "labels.csv"
    labels.write_text("".join(line for line in labels.read_text().splitlines(True) if ",test," not in line))
    shutil.rmtree(place / "set" / "cropped_aligned" / "test0")
    said = affectkit("run", "r.toml", "--root", "set", "--out", "run", "--until", "systems")
    assert said.returncode == 0, said.stderr
    found = summary(place)
    assert found["scores"][0]["split"] == "val"
    assert "fused: fitted on these rows, so optimistic; see held out" in found["scores"][0]["cautions"]
    assert found["fusions"][0]["held_out"]["how"].startswith("4 folds of the validation clips")
    assert found["notes"]["net"] == ["left out, features but no labels: 3 (test1, test2, test3)"]
    assert "note: left out, features but no labels: 3 (test1, test2, test3)" in said.stderr


def test_a_fusion_of_fusions_is_not_held_out_of_validation_clips(place: Path, affectkit: Command) -> None:
    """The inner one has been fitted on all of them."""
    labels = place / "set" / "labels.csv"
    labels.write_text("".join(line for line in labels.read_text().splitlines(True) if ",test," not in line))
    write_recipe(place / "r.toml", TWICE)
    affectkit("run", "r.toml", "--root", "set", "--out", "run", "--until", "mean")
    assert [one["cautions"] for one in summary(place)["fusions"]] == [
        [], ["fused: fitted on these rows, so optimistic"],
    ]  # fmt: skip
    assert (
        "validation clips; fused: fitted on these rows, so optimistic\n" in (place / "run" / "summary.md").read_text()
    )


def test_labels_are_read_once_for_all_steps(finished: Path, affectkit: Command) -> None:
    with patch.object(table.LabelTable, "labels", autospec=True, side_effect=table.LabelTable.labels) as read:
        assert affectkit(*LINE).returncode == 0
    assert read.call_count == 1


def test_json_holds_the_summary(finished: Path, affectkit: Command) -> None:
    said = affectkit(*LINE, "--json")
    found = json.loads(said.stdout)
    assert found["scores"][0]["systems"]["fused"]["scores"] == scores(finished)["fused"]
    assert Path(found["summary"]).name == "summary.md"


def test_out_takes_summary_and_submission(finished: Path, affectkit: Command) -> None:
    said = affectkit(*LINE, "--out", "here")
    assert said.stdout.strip() == "here/summary.md"
    assert sorted(path.name for path in (finished / "here").iterdir()) == [
        "recipe.toml", "submission.txt", "summary.json", "summary.md", "times.jsonl",
    ]  # fmt: skip


def test_differences_say_from_what(finished: Path, affectkit: Command) -> None:
    """The best system, or the one that a step names."""
    own = '[steps.own]\nstage = "evaluate"\nfrom = "fused"\nagainst = "net-scores"\nlabels = "main"\ntask = "va"\n\n'
    write_recipe(finished / "r.toml", RECIPE.replace("[tiny]", f"{own}[tiny]", 1))
    affectkit(*LINE, "--out", "run")
    compared, evaluated = summary(finished)["scores"]
    best = compared["reference"]
    assert compared["systems"].keys() - {best} == {
        name for name, one in compared["systems"].items() if one.get("differences")
    }
    assert evaluated["reference"] == "net-scores"
    scores = [compared["systems"][name]["scores"]["ccc"] for name in ("fused", "net-scores")]
    gap = evaluated["systems"]["fused"]["differences"]["ccc"]["difference"]
    assert gap == pytest.approx(scores[0] - scores[1])


def test_held_out_scores_are_named_by_the_step_that_fuses(finished: Path, affectkit: Command) -> None:
    """Of two fusions, `fused` may be the other one."""
    write_recipe(finished / "r.toml", TWICE)
    affectkit(*LINE, "--out", "run", "--until", "mean")
    first, second = (one["held_out"]["scores"] for one in summary(finished)["fusions"])
    assert list(second) == ["mean", "best single", "equal weights", "net-scores", "fused"]
    assert second["fused"] == pytest.approx(first["fused"])
    assert not any(one["cautions"] for one in summary(finished)["fusions"]), "held out are test clips"


def test_a_step_that_another_run_computed_has_no_time(finished: Path, affectkit: Command) -> None:
    """Nor none at all: 0 s."""
    said = affectkit(*LINE, "--out", "here", "--json")
    steps = {row["step"]: row for row in json.loads(said.stdout)["steps"]}
    assert steps["grid"]["cached"] and steps["grid"]["seconds"] is None and "rate" not in steps["grid"]
    assert "| 13 cached |  |  |" in (finished / "here" / "summary.md").read_text().replace("0 computed, ", "")


def test_a_cache_may_be_named_otherwise_or_moved(finished: Path, affectkit: Command) -> None:
    before = summary(finished)
    (finished / "cache").rename(finished / "moved")
    said = affectkit("run", "r.toml", "--root", "set", "--cache", str(finished / "moved"), "--out", "run")
    assert said.returncode == 0, said.stderr
    found = summary(finished)
    assert found["fusions"] == before["fusions"]
    times = [{row["step"]: row["seconds"] for row in one["steps"][:-2]} for one in (before, found)]
    assert times[0] == times[1]


def test_changed_settings_are_told(finished: Path, affectkit: Command) -> None:
    said = affectkit(*LINE, "--out", "tiny", "--tiny", "--set", "systems.draws=20", "--until", "grid")
    assert said.returncode == 0, said.stderr
    found = json.loads((finished / "tiny" / "summary.json").read_text())
    changed = {one["key"]: (one["before"], one["after"], one["by"]) for one in found["changed"]}
    assert changed["net.option.epochs"] == (3, 2, "--tiny")
    assert changed["systems.draws"] == (50, "20", "--set")
    assert changed["submission"] == ("a step", None, "--tiny")
    assert "| net.option.epochs | 3 | 2 | --tiny |" in (finished / "tiny" / "summary.md").read_text()


@pytest.mark.parametrize("line", [["--out", "r.toml"], ["--out", "r.toml/run"], ["--set", "submission.out=r.toml/x"]])
def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    finished: Path, affectkit: Command, line: list[str]
) -> None:
    said = affectkit(*LINE, *line)
    assert (said.returncode, said.stdout) == (2, "")
    assert "cannot be written" in said.stderr.splitlines()[-1] and "Traceback" not in said.stderr


# dry


def test_a_dry_run_of_nothing_computed(place: Path, affectkit: Command) -> None:
    before = files_below(place)
    said = affectkit("run", "r.toml", "--root", "set", "--dry-run", "--json")
    assert said.returncode == 0, said.stderr
    found = states(said.stdout)
    assert found["faces"] == f"{CLIPS} of {CLIPS} clips to compute"
    assert found["grid"] == "waits for faces"
    assert found["net-scores"] == "waits for net, grid"
    assert files_below(place) == before


def test_a_dry_run_is_exact(finished: Path, affectkit: Command) -> None:
    line = [*LINE, "--dry-run", "--json"]
    found = states(affectkit(*line).stdout)
    assert found["submission"].startswith("writes ")
    assert {name: state for name, state in found.items() if name != "submission"} == {
        name: "cached" if name in ("net", "kernel", "fused", "systems") else f"cached, {CLIPS} clips"
        for name in STEPS[:-1]
    }
    write_set(finished / "set2", {"test": 2})
    shutil.move(finished / "set2" / "cropped_aligned" / "test0", finished / "set" / "cropped_aligned" / "new")
    (finished / "set" / "cropped_aligned" / "val0" / "00001.png").write_bytes(b"not what it was")
    before = files_below(finished)
    found = states(affectkit(*line).stdout)
    assert found["faces"] == f"2 of {CLIPS + 1} clips to compute"
    assert found["grid"] == "waits for faces"
    found = states(affectkit(*line, "--set", "net.option.epochs=4").stdout)
    assert found["net"] == "waits for grid"
    assert files_below(finished) == before


def test_a_dry_run_after_a_setting_has_changed(finished: Path, affectkit: Command) -> None:
    line = [*LINE, "--dry-run", "--json"]
    found = states(affectkit(*line, "--set", "net.option.epochs=4").stdout)
    assert (found["grid"], found["net"]) == (f"cached, {CLIPS} clips", "to compute")
    assert (found["net-scores"], found["kernel-scores"]) == ("waits for net", f"cached, {CLIPS} clips")
    found = states(affectkit(*line, "--set", "windows.window=2").stdout)
    assert found["windows"] == f"{CLIPS} of {CLIPS} clips to compute"
    assert found["net"] == "cached"


def test_a_dry_run_lists_what_is_missing_and_ends_well(place: Path, affectkit: Command) -> None:
    said = affectkit("run", "r.toml", "--dry-run")
    assert said.returncode == 0
    assert "needs --root DIR" in said.stdout
    assert "before it can run:" in said.stderr
    assert "r.toml:4: where data set main (table) lies is not said: --root DIR" in said.stderr
    assert not (place / "cache").exists()


def test_mistakes_stop_a_run_and_a_dry_run(place: Path, affectkit: Command) -> None:
    for more in ([], ["--dry-run"]):
        said = affectkit("run", "r.toml", "--set", "grid.dtyp=float16", "--set", "net.head=mpl", *more)
        assert said.returncode == 2
        assert "--set grid.dtyp=float16: unknown option of embed 'dtyp': did you mean 'dtype'?" in said.stderr
        assert "--set net.head=mpl: unknown head 'mpl'" in said.stderr
    assert not (place / "cache").exists()


def test_numbers_that_json_has_not_are_a_mistake_like_others(place: Path, affectkit: Command) -> None:
    write_recipe(place / "r.toml", RECIPE.replace("window = 1.0", "window = inf"))
    said = affectkit("run", "r.toml", "--root", "set")
    assert said.returncode == 2 and "window: Input should be a finite number" in said.stderr


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_device_that_is_not_here_is_told_first(place: Path, affectkit: Command, more: list[str]) -> None:
    said = affectkit("run", "r.toml", "--root", "set", "--device", "gpu", *more)
    assert (said.returncode, said.stdout) == (2, "")
    assert "unknown device 'gpu' (accepted: auto, cpu, cuda, cuda:N)" in said.stderr
    assert not (place / "cache").exists()


def test_what_is_missing_stops_a_run(place: Path, affectkit: Command) -> None:
    said = affectkit("run", "r.toml")
    assert (said.returncode, said.stdout) == (2, "")
    assert "where data set main (table) lies is not said" in said.stderr
    assert not (place / "cache").exists()


# in part


def test_one_of_several_processes_is_refused(place: Path, affectkit: Command, environment: dict[str, str]) -> None:
    environment |= {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    said = affectkit("run", "r.toml", "--root", "set")
    assert said.returncode == 2 and "only finetune takes several GPUs" in said.stderr
    assert not (place / "cache").exists()


def test_until_runs_what_a_step_needs(place: Path, affectkit: Command) -> None:
    said = affectkit("run", "r.toml", "--root", "set", "--until", "windows", "--json")
    assert said.returncode == 0, said.stderr
    assert [row["step"] for row in json.loads(said.stdout)["steps"]] == ["faces", "grid", "windows"]
    assert {path.parent.name for path in (place / "cache").glob("*/*/stage.json")} <= {
        path.name for stage in ("faces", "embed", "functionals") for path in (place / "cache" / stage).iterdir()
    }
    dry = states(affectkit("run", "r.toml", "--root", "set", "--dry-run", "--json").stdout)
    assert (dry["windows"], dry["net"], dry["kernel"]) == (f"cached, {CLIPS} clips", "to compute", "to compute")


def test_a_step_that_cannot_be_done_is_named(place: Path, affectkit: Command) -> None:
    labels = place / "set" / "labels.csv"
    labels.write_text(labels.read_text().replace(",val,", ",train,"))
    said = affectkit("run", "r.toml", "--root", "set")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.splitlines()[-1].startswith("affectkit: step net (train-head): no labelled clip with features")
    dry = affectkit("run", "r.toml", "--root", "set", "--dry-run")
    assert dry.returncode == 2
    assert f"cached, {CLIPS} clips" in dry.stdout
    assert "step net (train-head): no labelled clip" in dry.stderr


def test_clips_that_fail_do_not_stop_the_others(place: Path, affectkit: Command) -> None:
    (place / "set" / "cropped_aligned" / "train1" / "00003.png").write_bytes(b"no picture")
    line = ["run", "r.toml", "--root", "set", "--out", "run", "--until", "kernel-scores"]
    for _ in range(2):
        said = affectkit(*line)
        assert said.returncode == 3
        assert said.stderr.splitlines()[-1] == "1 clips failed on the way; the others went on without them"
    found = summary(place)
    assert "00003.png" in found["failed"]["faces"]["train1"]
    assert len(Artifact(place / found["steps"][1]["path"])) == CLIPS - 1
    assert "| faces | train1 |" in (place / "run" / "summary.md").read_text()
    dry = affectkit("run", "r.toml", "--root", "set", "--dry-run")
    assert f"cached, {CLIPS - 1} clips, 1 failed before" in dry.stdout


# two data sets


def test_two_data_sets_may_share_an_artifact_and_ids(place: Path, affectkit: Command) -> None:
    """The same settings make one artifact; each step sees the selection of its own clips."""
    more = RECIPE.replace("[steps.windows]", TWO, 1).partition("[tiny]")[0]
    write_recipe(place / "two.toml", more)
    write_set(place / "other", {"train": 2, "val": 1})
    line = ["run", "two.toml", "--root", "set", "--root", "other=other", "--until", "along"]
    said = affectkit(*line, "--json")
    assert said.returncode == 0, said.stderr
    steps = {row["step"]: row for row in json.loads(said.stdout)["steps"]}
    assert set(Artifact(place / steps["other-grid"]["path"]).clips) < set(Artifact(place / steps["grid"]["path"]).clips)
    rename(place / "other")
    said = affectkit(*line, "--json")
    assert said.returncode == 0, said.stderr
    steps = {row["step"]: row for row in json.loads(said.stdout)["steps"]}
    grid, other = (Artifact(place / steps[name]["path"]) for name in ("grid", "other-grid"))
    assert (grid.folder, len(grid), len(other)) == (other.folder, CLIPS, 3)
    assert not set(grid.clips) & set(other.clips)
    assert steps["grid"]["clips"]["cached"] == CLIPS
    assert steps["other-grid"]["clips"]["computed"] == 3
    head = Artifact(place / steps["along"]["path"])
    splits = json.loads((head.path / "head.json").read_text())["splits"]
    assert len(splits) == CLIPS  # none of the other set's
    again = affectkit("run", "r.toml", "--root", "set", "--until", "net-scores", "--json")
    assert json.loads(again.stdout)["steps"][1]["clips"] == {"computed": 0, "cached": CLIPS, "failed": 0}


TWO = f"""\
[data.other]
dataset = "table"
{OTHER_FACES}[steps.other-grid]
stage = "embed"
from = "other-faces"
backbone = "mean-pixel"
[steps.along]
stage = "train-head"
from = "grid"
labels = "main"
task = "va"
head = "mlp"
option = {{ epochs = 1, hidden = "4" }}
aux = [ {{ from = "other-grid", labels = "other", task = "va" }} ]

[steps.windows]"""


def rename(root: Path) -> None:
    """Other ids."""
    for folder in (root / "cropped_aligned").iterdir():
        folder.rename(folder.with_name(f"o-{folder.name}"))
    lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join([lines[0], *(f"o-{line}" for line in lines[1:])]) + "\n")


# gone on with


@pytest.mark.slow
@pytest.mark.parametrize("trace", ["embed/*/parts/*", "train-head/.*.state/training/*/*"])
def test_a_run_that_was_killed_is_gone_on_with(done: Path, place: Path, child: Command, trace: str) -> None:
    """Killed in the middle of a step; the same line again comes to the scores of a run that nothing disturbed."""
    line = [*LINE, "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *line], cwd=place, env=child.environment, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not list((place / "cache").glob(trace)) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.communicate()[1]
    assert not list((place / "cache").glob("fuse/*"))
    said = child(*line)
    assert said.returncode == 0, said.stderr
    assert scores(place) == scores(done)


SLOW = """
import time
import affectkit.stages.sink as m
from affectkit.training import resume
m._COMMIT_SECONDS, resume.SECONDS, resume.SHARE = 0, 0.0, 1e9
end = m.Sink.end
m.Sink.end = lambda *a, **k: (time.sleep(0.05), end(*a, **k))[1]
from affectkit.cli import main
main()
"""


def test_an_interrupted_run_is_gone_on_with(
    done: Path, place: Path, affectkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Sink.end

    def stop(self: Sink, clip: str, *rest: Any) -> None:
        ended(self, clip, *rest)
        if clip == "train2":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Sink, "end", stop)
        said = affectkit(*LINE)
    assert said.returncode == 130
    assert "interrupted; finished steps and clips are kept, repeat the command to go on" in said.stderr
    there = sorted(path.name for path in (place / "set" / "cropped_aligned").iterdir())
    left = len(there) - 1 - there.index("train2")
    assert states(affectkit(*LINE, "--dry-run", "--json").stdout)["faces"] == f"{left} of {CLIPS} clips to compute"
    said = affectkit(*LINE, "--out", "run")
    assert said.returncode == 0, said.stderr
    assert scores(place) == scores(done)


# listing


def test_recipes_are_listed_and_shown(place: Path, affectkit: Command) -> None:
    assert affectkit("recipe", "list").returncode == 0
    said = affectkit("recipe", "show", place / "r.toml")
    assert said.stdout == RECIPE
    assert affectkit("recipe", "show", "none").returncode == 2


def test_a_recipe_is_not_shown_with_changes_that_it_cannot_have(place: Path, affectkit: Command) -> None:
    for change in ("net", "nett.seeds=2", "net.sedes=2", "net.seeds=x"):
        said = affectkit("recipe", "show", "r.toml", "--set", change)
        assert (said.returncode, said.stdout) == (2, "")
        assert f"--set {change}: " in said.stderr
    said = affectkit("recipe", "show", "r.toml", "--set", "net.seeds=2", "--tiny")
    assert said.returncode == 0 and 'seeds = "2"' in said.stdout
