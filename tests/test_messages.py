"""What a newcomer gets who gives the wrong thing: one line that says what it is, and what is needed instead."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, Here, child_environment
from stage_factory import face_clips

from affectkit.cli._app import commands, load
from affectkit.cli._results import as_line
from affectkit.store.kinds import MAKES
from affectkit.store.selection import folder_of

LABELS = ["--labels", "va.csv", "--task", "va"]
CPU = ["--device", "cpu"]
KINDS = ("faces", "audio", "embed", "functionals", "train-head", "predict", "fuse", "evaluate", "compare")
FEATURES, PREDICTIONS = {"embed", "functionals"}, {"predict", "fuse"}
TAKES = {
    "embed": (["embed", "{}", "--backbone", "mean-pixel"], {"faces"}),
    "embed sound": (["embed", "{}", "--backbone", "log-mel"], {"audio"}),
    "functionals": (["functionals", "{}"], FEATURES),
    "finetune": (["finetune", "{}", *LABELS], {"faces"}),
    "finetune sound": (["finetune", "{}", *LABELS, "--network", "speech"], {"audio"}),
    "train-head": (["train-head", "{}", *LABELS], FEATURES),
    "predict": (["predict", "{}", "{embed}"], {"train-head"}),
    "predict from": (["predict", "{train-head}", "{}"], FEATURES),
    "predict from media": (["predict", "{}", "clips"], {"train-head"}),
    "fuse": (["fuse", "{predict}", "{}", *LABELS], PREDICTIONS),
    "evaluate": (["evaluate", "{}", *LABELS], PREDICTIONS),
    "evaluate against": (["evaluate", "{predict}", *LABELS, "--against", "{}"], PREDICTIONS),
    "compare": (["compare", "{predict}", "{}", *LABELS], PREDICTIONS),
    "extract faces": (["extract", "faces", "{}"], set[str]()),
    "extract audio": (["extract", "audio", "{}"], set[str]()),
    "export muse": (["export", "{}", "--to", "muse", "--out", "out"], FEATURES),
    "export images": (["export", "{}", "--to", "images", "--out", "out"], {"faces"}),
    "export csv": (["export", "{}", "--to", "csv", "--out", "out"], {"faces", "audio", *FEATURES, *PREDICTIONS}),
}  # fmt: skip
"""Commands, and the stages whose artifacts they take."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, dict[str, str]]:
    """A command in a folder of its own, and one artifact of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    splits = {"a": "train", "b": "train", "c": "val", "d": "test"}
    face_clips(folder / "clips", splits, frames=4)
    rows = [
        f"{clip},{split},{row / 30},{(row + 1) / 30},{math.sin(row):.3f},{math.cos(row):.3f}"
        for (clip, split), row in itertools.product(splits.items(), range(4))
    ]
    (folder / "va.csv").write_text("\n".join(["clip,split,start,end,valence,arousal", *rows]) + "\n")
    (folder / "sound").mkdir()
    _tone(folder / "sound" / "a.wav")
    command = Here(folder, child_environment(folder))

    def run(*line: str) -> str:
        done = command(*line)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    found = {"faces": run("extract", "faces", "clips", "--detector", "centerface", "--fps", "native", "--size", "32")}
    found["audio"] = run("extract", "audio", "sound")
    found["embed"] = run("embed", found["faces"], "--backbone", "mean-pixel", *CPU)
    found["functionals"] = run("functionals", found["embed"], "--window", "clip")
    small = [part for option in ("hidden=4", "epochs=1") for part in ("-o", option)]
    found["train-head"] = run("train-head", found["embed"], *LABELS, "--head", "lstm", *small, *CPU)
    found["predict"] = run("predict", found["train-head"], found["embed"], *CPU)
    found["fuse"] = run("fuse", found["predict"], found["predict"], *LABELS, "--method", "equal")
    found["evaluate"] = run("evaluate", found["predict"], *LABELS, "--draws", "0")
    found["compare"] = run("compare", found["predict"], found["fuse"], *LABELS)
    assert set(found) == set(KINDS)
    return command, found


def _tone(path: Path) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * 8000))


def one_line(command: Command, *line: str) -> str:
    """What a command says that does nothing else."""
    done = command(*line)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), (line, done.stderr)
    return done.stderr


# The wrong kind


@pytest.mark.parametrize(
    ("name", "given"), [(name, kind) for name, (_, takes) in TAKES.items() for kind in KINDS if kind not in takes]
)
def test_an_artifact_of_the_wrong_kind(made: tuple[Command, dict[str, str]], name: str, given: str) -> None:
    command, paths = made
    line, takes = TAKES[name]
    said = one_line(command, *(part.replace("{}", paths[given]).format(**paths) for part in line))
    if name == "predict from" and given == "train-head":
        return  # a head in both places
    noun, maker = MAKES[given]
    assert f"{paths[given]} holds {noun}, made by {maker}" in said
    assert "needed" in said
    for stage in takes:
        assert MAKES[stage][0] in said and MAKES[stage][1] in said
    assert " a embed" not in said and " a evaluate" not in said


def test_a_head_that_is_not_given_first(made: tuple[Command, dict[str, str]]) -> None:
    command, paths = made
    head, features = paths["train-head"], paths["embed"]
    for inputs in (features, "clips", "clips/a.mp4"):
        said = one_line(command, "predict", inputs, head)
        assert f"the head comes first, then what it is to predict from: affectkit predict {head} {inputs}" in said


# No artifact


@pytest.mark.parametrize("name", [name for name in TAKES if not name.startswith(("extract", "predict from"))])
def test_a_path_that_is_no_artifact(made: tuple[Command, dict[str, str]], name: str) -> None:
    command, paths = made
    line, takes = TAKES[name]
    right = paths[sorted(takes)[0]]
    folder = folder_of(Path(command.folder, right))
    for given, words in {
        f"{right[:-1]}_": f"it does not exist: did you mean {right}?",
        str(folder.parent): "did you mean ",
        str(folder / "data.h5"): f"it is a part of one: did you mean {folder}?",
        "clips/a.mp4": "it is a file",
        "": "nor is an empty argument",
    }.items():
        is_csv = takes == PREDICTIONS and not Path(command.folder, given).is_dir()
        said = one_line(command, *(part.replace("{}", given).format(**paths) for part in line))
        if not is_csv:  # these commands take tables as well
            assert "is not an artifact" in said and words in said, said


# Nothing at all


def leaves() -> Iterator[list[str]]:
    """Every command, without arguments."""
    for name in commands():
        found = load(name)
        below = getattr(found, "commands", None)
        yield from ([name, one] for one in below) if below else ([name],)


@pytest.mark.parametrize("line", list(leaves()), ids=" ".join)
def test_a_command_without_arguments(line: list[str], affectkit: Command) -> None:
    if line in (["demo"], ["cache", "gc"]):
        pytest.skip("it has all that it needs")
    done = affectkit(*line)
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        if "Missing argument" in done.stderr:
            assert "': " in done.stderr, "it says what the argument is"


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fps", "0"], "--fps should be greater than 0 or should be 'native' (given '0')"),
        (["--fps", "-3"], "(given '-3')"),
        (["--frames", "0"], "--frames should be greater than or equal to 1 (given 0)"),
        (["--detect-every", "0"], "--detect-every should be greater than or equal to 1 (given 0)"),
        (["--margin", "-1"], "--margin: a fraction of the box's side such as 0.2, or pixels such as 10px (given '-1')"),
        (["--workers", "-1"], "--workers should be greater than or equal to 0 (given -1)"),
    ],
)
def test_an_option_out_of_range(made: tuple[Command, dict[str, str]], options: list[str], words: str) -> None:
    assert words in one_line(made[0], "extract", "faces", "clips", *options)


def test_two_files_of_one_id_in_one_folder(affectkit: Command, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["x"], frames=1)
    shutil.copy(tmp_path / "clips" / "x.mp4", tmp_path / "clips" / "x.mov")
    said = one_line(affectkit, "extract", "faces", "clips", "--detector", "centerface")
    assert "clips/x.mov" in said and "clips/x.mp4" in said
    assert "rename one of them" in said and "manifest CSV" in said and "common directory" not in said


# JSON


def test_results_are_json_whatever_they_hold() -> None:
    given = {"score": math.nan, "rows": [1, math.inf, {"x": -math.inf}], "path": "Zoë \udce4\n", "t": (0.5, None)}
    line = as_line(given)
    assert "\n" not in line
    read = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read == {"score": None, "rows": [1, None, {"x": None}], "path": "Zoë \udce4\n", "t": [0.5, None]}


def test_json_is_one_line_with_notices_and_failures(made: tuple[Command, dict[str, str]]) -> None:
    command, paths = made
    folder = command.folder / "mixed"
    shutil.copytree(command.folder / "clips", folder, dirs_exist_ok=True)
    (folder / "broken.mp4").write_text("no video")
    for code, line in (
        (3, ["extract", "faces", "mixed", "--detector", "centerface", "--size", "32", *CPU]),
        (3, ["extract", "audio", "mixed"]),
        (0, ["embed", paths["faces"], "--backbone", "mean-pixel", *CPU]),
        (0, ["functionals", paths["embed"]]),
        (0, ["train-head", paths["embed"], *LABELS, "--head", "lstm", "-o", "hidden=4", "-o", "epochs=1", *CPU]),
        (3, ["predict", paths["train-head"], "mixed", *CPU]),
        (0, ["fuse", paths["predict"], paths["fuse"], *LABELS, "--method", "equal"]),
        (0, ["evaluate", paths["predict"], *LABELS]),
        (0, ["compare", paths["predict"], paths["fuse"], *LABELS]),
        (0, ["cache", "list"]),
        (0, ["status"]),
        (0, ["run", "eri-2023", "--tiny", "--dry-run", "--root", "nowhere"]),
    ):
        done = command(*line, "--json")
        if line[0] != "run":
            assert done.returncode == code, (line, done.stderr)
        assert done.stdout.count("\n") == 1, line
        json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
