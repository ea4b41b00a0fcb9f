"""The command line as a shell sees it: what goes to stdout, what to stderr, exit codes, and the looks at the cache."""

from __future__ import annotations

import csv
import json
import math
import os
import pty
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, Here, child_environment
from media_factory import cut_off, make_clip
from stage_factory import crop_folder, face_clips, portrait

from affectkit import plugins
from affectkit.cli._results import columns, log, log_table, print_table
from affectkit.practice.sets import SETS
from affectkit.store import Artifact, Cache, names
from affectkit.store.atomic import temporary_name

SPLITS = {"a": "train", "b": "train", "c": "val", "d": "test"}
ROWS = 10
PIPELINE = """
set -eu
affectkit() { "$PYTHON" -m affectkit "$@"; }
F=$(affectkit extract faces clips/ --detector centerface --fps native --size 32 --device cpu)
E=$(affectkit embed "$F" --backbone mean-pixel --device cpu)
H=$(affectkit train-head "$E" --labels va.csv --task va -o width=8 -o heads=1 -o layers=1 -o epochs=2 --device cpu)
P=$(affectkit predict "$H" "$E" --device cpu)
U=$(affectkit fuse "$P" other.csv --labels va.csv --task va -o draws=5)
R=$(affectkit evaluate "$U" --labels va.csv --task va --json)
printf '%s\\n' "$F" "$E" "$H" "$P" "$U" "$R"
"""


def run(command: Command, *arguments: object, code: int = 0) -> str:
    """stdout of a command that ends as expected."""
    done = command(*arguments)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, Path, list[str]]:
    """The shell pipeline on four clips: the command, its folder, and what each step printed."""
    folder = tmp_path_factory.mktemp("shell")
    face_clips(folder / "clips", SPLITS, frames=ROWS)
    lines, guesses = ["clip,split,start,end,valence,arousal"], ["clip,start,end,valence,arousal"]
    for clip, split in SPLITS.items():
        for row in range(ROWS):
            times = f"{row / 30},{(row + 1) / 30}"
            lines.append(f"{clip},{split},{times},{math.sin(row):.3f},{math.cos(row):.3f}")
            guesses.append(f"{clip},{times},{math.sin(row) / 2:.3f},{math.cos(row) / 3:.3f}")
    (folder / "va.csv").write_text("\n".join(lines) + "\n")
    (folder / "other.csv").write_text("\n".join(guesses) + "\n")
    command = Here(folder, child_environment(folder))
    done = subprocess.run(
        ["bash", "-c", PIPELINE], cwd=folder, env=command.environment | {"PYTHON": sys.executable},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return command, folder, done.stdout.splitlines()


def table(folder: Path, line: str) -> Path:
    """The folder of the artifact whose selection a command printed."""
    return Artifact(folder / line).folder


# The shell pipeline


def test_the_shell_pipeline_passes_paths_on(made: tuple[Command, Path, list[str]]) -> None:
    _, folder, printed = made
    assert len(printed) == 6
    stages = [table(folder, line).parent.name for line in printed[:5]]
    assert stages == ["faces", "embed", "train-head", "predict", "fuse"]
    assert all((table(folder, line) / "stage.json").is_file() for line in printed[:5])
    report = json.loads(printed[5])
    assert (report["split"], report["rows"]) == ("test", ROWS)
    assert isinstance(report["scores"]["ccc"], float)


def test_media_are_predicted_in_one_command(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    assert run(command, "predict", printed[2], "clips", "--device", "cpu").strip() == printed[3]
    (folder / "new").mkdir()
    shutil.copy(folder / "clips" / "a.mp4", folder / "new" / "again.mp4")
    (folder / "new" / "broken.mp4").write_text("no video")
    elsewhere = ["--device", "cpu", "--json", "--cache", "elsewhere"]
    done = command("predict", printed[2], "new", *elsewhere)
    report = json.loads(done.stdout)
    assert (done.returncode, report["computed"], list(report["failed"])) == (3, 1, ["broken"])
    again, known = Artifact(folder / report["artifact"]), Artifact(folder / printed[3])
    assert again.clips == ["again"]
    # Not bit-equal: this process may run torch with other threads than the shell's.
    assert np.allclose(again.column("again", "scores"), known.column("a", "scores"), atol=1e-5)
    one = json.loads(run(command, "predict", printed[2], "new/again.mp4", *elsewhere))
    assert (one["cached"], one["failed"]) == (1, {})
    for inputs, given, words in (
        ("new", "detector=x", "unknown name in --weights-of"),
        (printed[1], "embed=x", "--weights-of is for media"),
    ):
        done = command("predict", printed[2], inputs, "--weights-of", given)
        assert (done.returncode, words in done.stderr) == (2, True)


def test_clips_by_pattern_or_file(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    line = ["embed", printed[0], "--backbone", "mean-pixel", "--device", "cpu", "--json", "--cache", "some"]
    assert json.loads(run(command, *line, "--clips", "[ab]"))["computed"] == 2
    (folder / "ids.txt").write_text("a\n\nd\n")
    report = json.loads(run(command, *line, "--clips", "ids.txt"))
    assert (report["computed"], report["cached"]) == (1, 1)
    for given, words in (("x*", "matches none of 4"), ("other.csv", "unknown clips"), ("clips/a.mp4", "a list of ids"),
                             ("x" * 300, "matches none")):  # fmt: skip
        done = command(*line, "--clips", given)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_json_is_one_object_on_stdout(made: tuple[Command, Path, list[str]]) -> None:
    command, _, printed = made
    line = ["extract", "faces", "clips", "--detector", "centerface", "--fps", "native", "--size", "32"]
    report = json.loads(run(command, *line, "--device", "cpu", "--json"))
    assert report["artifact"] == printed[0]
    assert (report["computed"], report["cached"], report["rows"], report["failed"]) == (0, 4, 0, {})
    labels = ["--labels", "va.csv", "--task", "va"]
    small = [part for option in ("width=8", "heads=1", "layers=1", "epochs=2") for part in ("-o", option)]
    head = json.loads(run(command, "train-head", printed[1], *labels, *small, "--json"))
    assert (head["artifact"], head["cached"], head["clips"]["train"]) == (printed[2], True, 2)
    fused = json.loads(run(command, "fuse", printed[3], "other.csv", *labels, "-o", "draws=5", "--json"))
    assert (fused["artifact"], fused["cached"]) == (printed[4], True)
    assert fused["fitted_on"] == {"split": "val", "rows": ROWS, "clips": 1}


def test_paths_on_stdin(affectkit: Command, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["Zoë", "b"], frames=1)
    line = ["extract", "faces", "-", "--detector", "centerface", "--size", "32", "--device", "cpu", "--json"]
    done = affectkit(*line, input="clips/Zoë.mp4\nclips/b.mp4\n")
    assert (done.returncode, json.loads(done.stdout)["computed"]) == (0, 2)


def test_progress_is_a_bar_on_terminals_only(child: Command, tmp_path: Path, environment: dict[str, str]) -> None:
    face_clips(tmp_path / "clips", ["a", "b"], frames=4)
    line = ["extract", "faces", "clips", "--detector", "centerface", "--size", "32", "--device", "cpu"]
    quiet = child(*line)
    assert quiet.stdout.count("\n") == 1
    assert quiet.stderr.splitlines()[-1].startswith("2 clips computed, 0 cached, 0 failed, ")
    terminal, side = pty.openpty()
    del environment["NO_COLOR"]
    shell = subprocess.Popen(
        [sys.executable, "-m", "affectkit", *line, "--cache", "other"], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=side, env=environment | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(side)
    shown = b""
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        shown += block
    out, _ = shell.communicate(timeout=60)
    os.close(terminal)
    assert (shell.returncode, out.count(b"\n")) == (0, 1)
    assert Artifact(tmp_path / out.decode().strip()).clips == ["a", "b"]
    text = shown.decode()
    assert "extract faces" in text
    assert "2 clips computed, 0 cached, 0 failed" in text


def test_a_damaged_clip_is_said_with_its_cause(affectkit: Command, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", [portrait()] * 30, options={"g": "5"})
    cut_off(whole, tmp_path / "cut.mkv", 0.6)
    line = ["extract", "faces", "cut.mkv", "--detector", "centerface", "--size", "32", "--device", "cpu"]
    done = affectkit(*line)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    note, told, summary = done.stderr.splitlines()
    assert note.startswith("note: a face in ") and told.startswith("partial: cut: ")
    assert summary.startswith("1 clips computed, 1 partial, 0 cached, 0 failed, ")
    report = json.loads(affectkit(*line, "--cache", "other", "--json").stdout)
    assert (report["partial"], list(report["damaged"])) == (1, ["cut"])


# Mistakes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["embd"], ["No such command 'embd'", "'embed'"]),
        (["embed"], ["Missing argument"]),
        (["extract", "faces", "a.mp4", "--detektor", "centerface"], ["--detektor", "--detector"]),
        (["extract", "faces", "a.mp4", "--detector", "centreface"], ["unknown detector 'centreface'", "'centerface'"]),
        (["extract", "faces", "a.mp4", "--detector", "centerface", "-o", "max_siz=64"], ["'max_siz'", "'max_size'"]),
        (["extract", "faces", "a.mp4", "--fps", "fast"], ["fps", "'native'", "(given 'fast')"]),
        (["extract", "faces", "a.mp4", "--fps", "5", "--frames", "3"], ["give either fps or frames"]),
        (["extract", "faces", "a.mp4", "--margin", "3cm"], ["margin", "0.2", "10px", "'3cm'"]),
        (["extract", "faces", "a.mp4", "--detector", "centerface", "--device", "gpu"], ["device 'gpu'", "cpu, cuda"]),
        (["extract", "faces", "a.mp4", "--source-fps", "5"], ["--source-fps", "media have their own"]),
        (["extract", "faces", "crops"], ["--videos", "--source-fps"]),
        (["extract", "faces", "crops", "--source-fps", "0"], ["--source-fps 0", "above 0"]),
        (["extract", "faces", "crops", "--source-fps", "nan"], ["--source-fps nan"]),
        (["extract", "faces", "crops", "--videos", "a.mp4"], ["--videos a.mp4 is not a folder"]),
        (["cache", "gc", "--older-than", "-1"], ["--older-than"]),
        (["extract", "faces", "crops", "a.mp4"], ["use two"]),
        (["embed", "crops", "--backbone", "resnet18"], ["crops is not an artifact"]),
        (["evaluate", "x.csv", "--labels", "x.csv", "--task", "av"], ["unknown task 'av'", "va, "]),
        (["evaluate", "no.csv", "--labels", "x.csv", "--task", "va"], ["no.csv"]),
        (["fuse", "x.csv", "x.csv", "--labels", "x.csv", "--task", "va", "--method", "dwff"], ["'dwff'", "'dwf'"]),
        (["list", "head"], ["unknown group 'head'", "'heads'"]),
        (["list", "heads", "lsmt"], ["unknown head 'lsmt'", "'lstm'"]),
        (["list", "tasks", "av"], ["unknown task 'av'", "va"]),
        (["weights", "fetch", "centreface"], ["'centreface'", "'centerface'"]),
        (["cache", "show", "nowhere"], ["nowhere is not an artifact"]),
        (["export", "nowhere"], ["nowhere is not an artifact"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    affectkit: Command, tmp_path: Path, line: list[str], words: list[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "x.csv").write_text("clip,valence,arousal\na,0,0\n")
    crop_folder(tmp_path / "crops", [portrait()])
    done = affectkit(*line)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    for word in words:
        assert word in done.stderr


def test_a_mistake_in_a_process_of_its_own(child: Command) -> None:
    done = child("embed", "nowhere", "--backbone", "resnet18")
    assert (done.returncode, done.stdout) == (2, "")
    absent = "nowhere is not an artifact (it does not exist)"
    assert done.stderr == f"affectkit: {absent}: give what an affectkit command printed\n"


def test_an_unknown_backbone_has_a_suggestion(made: tuple[Command, Path, list[str]]) -> None:
    command, _, printed = made
    done = command("embed", printed[0], "--backbone", "mean-pixl", "--weights", "random")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "did you mean mean-pixel?" in done.stderr


# Looking around


def test_listings(made: tuple[Command, Path, list[str]]) -> None:
    command, *_ = made
    for group, name in (("detectors", "centerface"), ("backbones", "mean-pixel"), ("heads", "lstm"), ("fusers", "dwf"),
                        ("tasks", "va")):  # fmt: skip
        lines = run(command, "list", group).splitlines()
        assert [line.split("\t")[0] for line in lines] == sorted(
            line.split("\t")[0] for line in lines
        ) or group == "tasks"
        about = dict(line.split("\t", 1) for line in lines)
        assert len(about[name]) > 10
    every = [line.split("\t") for line in run(command, "list").splitlines()]
    assert list(dict.fromkeys(group for group, *_ in every)) == [*plugins.GROUPS, "tasks", "practice", "formats"]
    assert all(len(line) == 3 and len(line[2]) > 10 for line in every)
    assert {name for group, name, _ in every if group == "practice"} == set(SETS)
    assert run(command, "list", "formats", "affwild2-va").startswith(
        "affwild2-va\ttask va, a row a frame: image_location"
    )
    for group in plugins.GROUPS:
        assert [name for of, name, _ in every if of == group] == plugins.names(group)
    options = run(command, "list", "heads", "transformer")
    assert "epochs" in options
    assert "adamw" in options


def test_status(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, _ = made
    report = json.loads(run(command, "status", "--json"))
    assert report["cache"]["folder"] == str(folder / "cache")
    assert report["cache"]["artifacts"] >= 6
    assert "cpu" in report["devices"]
    assert report["weights"]["centerface"] == "at hand"
    assert "torch" in run(command, "status")
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(report["extras"]) == set(extras) - {"dev"}


def test_cache_list_and_show(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    rows = {row["artifact"]: row for row in json.loads(run(command, "cache", "list", "--json"))}
    faces = rows[str(table(folder, printed[0]))]
    assert (faces["stage"], faces["name"], faces["unsealed"]) == ("faces", "centerface", 0)
    assert faces["clips"] >= 4
    assert rows[str(folder / printed[2])]["clips"] is None
    assert table(folder, printed[0]).name in run(command, "cache", "list")
    about = json.loads(run(command, "cache", "show", printed[1], "--json"))
    assert about["inputs"]["backbone"]["name"] == "mean-pixel"
    assert about["rows"] == about["clips"] * ROWS
    assert about["provenance"]["command"][-1] == "cpu"


def test_cache_list_says_when_from_what_by_which_name_and_how_good(
    made: tuple[Command, Path, list[str]],
) -> None:
    command, folder, printed = made
    names.keep(Cache(folder / "cache"), folder / printed[0], "faces", "train-faces")
    rows = json.loads(run(command, "cache", "list", "--json"))
    assert [row["created"] for row in rows] == sorted((row["created"] for row in rows), reverse=True)
    by_path = {row["artifact"]: row for row in rows}
    faces, features, head = (by_path[str(table(folder, printed[place]))] for place in range(3))
    assert str(folder / "clips") in [str(folder / source) for source in faces["source"]]
    assert faces["names"] == ["train-faces"]
    assert (features["source"], features["names"]) == ([faces["artifact"]], [])
    assert head["score"]["metric"] == "ccc" and isinstance(head["score"]["mean"], float)
    shown = run(command, "cache", "list")
    line = next(line for line in shown.splitlines() if line.lstrip().startswith("train-head/"))
    assert f"ccc {head['score']['mean']:.3f}" in line and head["created"][:10] in line


def test_cache_show_for_people(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    names.keep(Cache(folder / "cache"), folder / printed[0], "faces", "train-faces")
    shown = run(command, "cache", "show", "train-faces")
    for words in ("face crops, made by affectkit extract faces", "train-faces", "--fps native", "4 of 40 rows",
                  "centerface, licence: MIT", printed[0]):  # fmt: skip
        assert words in shown, shown
    head = run(command, "cache", "show", printed[2])
    assert "on validation clips" in head and "centerface, licence: MIT" in head, "weights of all that it was made from"


def test_a_damaged_artifact_hides_no_other(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    shutil.copytree(table(folder, printed[0]), folder / "cache" / "faces" / "damaged")
    (folder / "cache" / "faces" / "damaged" / "stage.json").write_text("{")
    try:
        done = command("cache", "list", "--json")
        assert done.returncode == 0
        assert "damaged/stage.json is not a stage file" in done.stderr
        assert str(table(folder, printed[0])) in {row["artifact"] for row in json.loads(done.stdout)}
        assert run(command, "status", "--json")
        assert run(command, "cache", "gc", "--dry-run").strip() == "0.0 MB to free"
    finally:
        shutil.rmtree(folder / "cache" / "faces" / "damaged")


def test_cache_verify_says_what_is_damaged(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    assert run(command, "cache", "verify", printed[1]) == "0 damaged\n"
    shutil.copytree(table(folder, printed[1]), folder / "copy")
    artifact = Artifact(folder / "copy")
    data = bytearray((folder / "copy" / "data.h5").read_bytes())
    at = bytes(data).index(np.ascontiguousarray(artifact.column("c", "values")).tobytes())
    data[at] ^= 1
    (folder / "copy" / "data.h5").write_bytes(data)
    done = command("cache", "verify", "copy")
    assert (done.returncode, done.stdout) == (3, "1 damaged\n")
    assert "damaged: c: data.h5" in done.stderr


def test_cache_why_miss(made: tuple[Command, Path, list[str]]) -> None:
    command, _, printed = made
    line = ["extract", "faces", "clips/a.mp4", "--detector", "centerface", "--fps", "native", "--size", "32"]
    other = run(command, *line, "--device", "cpu", "--margin", "0.3").strip()
    told = run(command, "cache", "why-miss", printed[0], other).splitlines()
    assert told[:2] == [printed[0], other]
    assert told[2:] == ["  config.margin: '0.2' -> '0.3'"]
    assert run(command, "cache", "why-miss", other).splitlines()[2:] == ["  config.margin: '0.3' -> '0.2'"]
    assert "the recipes are the same" in run(command, "cache", "why-miss", other, other)
    shutil.rmtree(table(made[1], other))


def test_cache_compact_merges_segments(affectkit: Command, tmp_path: Path) -> None:
    line = ["extract", "faces", "crops", "--source-fps", "5", "--size", "32"]
    for clip in ("b", "a"):
        crop_folder(tmp_path / "crops" / clip, [portrait()])
        printed = run(affectkit, *line).strip()
    faces = table(tmp_path, printed)
    assert (faces / "data.1.h5").exists()
    assert run(affectkit, "cache", "compact", printed).strip() == printed
    assert [path.name for path in faces.glob("data*.h5")] == ["data.2.h5"]
    assert Artifact(faces).clips == ["a", "b"]


def test_cache_gc_removes_what_the_dead_left(affectkit: Command, tmp_path: Path) -> None:
    crop_folder(tmp_path / "crops" / "a", [portrait()])
    faces = table(tmp_path, run(affectkit, "extract", "faces", "crops", "--source-fps", "5", "--size", "32").strip())
    dead = subprocess.Popen(["true"])
    dead.wait()
    (faces / "parts").mkdir(exist_ok=True)
    alive = temporary_name(faces / "parts" / "x.h5")
    left = alive.with_name(alive.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    for path in (left, alive):
        path.write_bytes(b"x" * 200_000)
    assert run(affectkit, "cache", "gc", "--dry-run").strip() == "0.2 MB to free"
    assert left.exists()
    assert run(affectkit, "cache", "gc").strip() == "0.2 MB freed"
    assert (left.exists(), alive.exists(), faces.exists()) == (False, True, True)
    run(affectkit, "cache", "gc", "--older-than", "1")
    assert faces.exists()
    run(affectkit, "cache", "gc", "--older-than", "0")
    assert not faces.exists()


def test_export_reads_back_as_predictions(made: tuple[Command, Path, list[str]]) -> None:
    command, folder, printed = made
    assert run(command, "export", printed[3], "--to", "csv", "--out", "mine.csv").strip() == "mine.csv"
    with (folder / "mine.csv").open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert len(rows) % ROWS == 0
    by_path = json.loads(run(command, "evaluate", printed[3], "--labels", "va.csv", "--task", "va", "--json"))
    by_csv = json.loads(run(command, "evaluate", "mine.csv", "--labels", "va.csv", "--task", "va", "--json"))
    assert by_csv["scores"] == pytest.approx(by_path["scores"], abs=1e-7)  # decimals of float32
    run(command, "export", printed[1], "--to", "npz", "--out", "features.npz", "--clips", "d")
    with np.load(folder / "features.npz") as arrays:
        assert arrays["values"].shape == (ROWS, 192)


def test_brackets_and_colons_of_tables_and_lines_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = "pip install 'affectkit[mesh]' [red]clip[/] :smile:"
    table = columns(text)
    table.add_row(text)
    print_table(table)
    log_table(table)
    log(text)
    out, err = capsys.readouterr()
    assert (out.count(text), err.count(text)) == (2, 3)
