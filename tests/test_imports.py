"""What commands load: a cache hit, a listing or a help page must not wait for torch and its like."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from media_factory import make_audio
from stage_factory import face_clips

HEAVY = {"torch", "timm", "transformers", "librosa", "sklearn", "onnxruntime", "av", "torchvision", "opensmile"}
HEAVY |= {"numba", "matplotlib", "optuna"}
NEVER = {"cv2", "torchaudio", "deface"}

SOURCE = Path(__file__).parents[1] / "affectkit"
TORCH = {"torch", "torchvision", "timm", "transformers"}
TORCH_ROOMS = ("nets", "training")
LIGHT = "affectkit.training.temporal_head"

# Runs command lines one after the other; says after each what it printed and which packages have been loaded so far.
PROGRAM = """
import contextlib, io, json, sys
from affectkit.cli._app import build_app

for line in json.load(sys.stdin):
    line = [told if word == "<last>" else word for word in line]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = build_app()(line, standalone_mode=False, prog_name="affectkit")
        except SystemExit as stop:
            code = stop.code
    told = out.getvalue().strip()
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps({"line": line, "code": code or 0, "out": told, "loaded": loaded}), flush=True)
"""


class Said(NamedTuple):
    """A command line, its exit code, what it printed, and the packages loaded once it was over."""

    line: list[str]
    code: int
    out: str
    loaded: set[str]


def run(lines: list[list[str]], folder: Path, environment: dict[str, str]) -> list[Said]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(lines), cwd=folder, env=environment,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [Said(one["line"], one["code"], one["out"], set(one["loaded"])) for one in found]


def imported_at_the_top(path: Path) -> Iterator[str]:
    """The modules that a file imports when it is imported itself: not within functions, not for types alone."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module or ""
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def test_torch_is_imported_at_the_top_in_its_rooms_alone() -> None:
    light = SOURCE.parent.joinpath(*LIGHT.split(".")).with_suffix(".py")
    heavy_rooms = tuple(f"affectkit.{room}." for room in TORCH_ROOMS)
    for path in sorted(SOURCE.rglob("*.py")):
        names = set(imported_at_the_top(path))
        if path.relative_to(SOURCE).parts[0] not in TORCH_ROOMS or path == light:
            assert not {name.partition(".")[0] for name in names} & TORCH, path
            rooms = {name for name in names if name.startswith(heavy_rooms) and not name.startswith(LIGHT)}
            assert not rooms, f"{path} imports {rooms}: within a function only"


def test_help_and_listings_load_nothing_heavy(tmp_path: Path, environment: dict[str, str]) -> None:
    commands = [["extract", "faces"], ["extract", "audio"], ["cache", "list"], ["cache", "gc"], ["weights", "fetch"]]
    commands += [
        [name]
        for name in (
            "import",
            "submit",
            "functionals",
            "embed",
            "train-head",
            "predict",
            "fuse",
            "evaluate",
            "compare",
            "export",
            "list",
            "status",
        )
    ]
    lines = [[*command, "--help"] for command in ([], ["demo"], *commands)]
    lines += [["--version"], ["list"], ["list", "tasks"], ["list", "heads", "transformer"], ["weights", "list"]]
    lines += [["list", group] for group in ("detectors", "backbones", "heads", "fusers", "datasets")]
    lines += [["cache", "list"], ["cache", "gc", "--dry-run"]]
    for said in run(lines, tmp_path, environment):
        assert said.code == 0, said
        assert not said.loaded & (HEAVY | NEVER), said.line


def test_a_cache_hit_of_sound_loads_nothing_heavy(tmp_path: Path, environment: dict[str, str]) -> None:
    make_audio(tmp_path / "tone.mp4", seconds=2.0)
    lines = [
        ["extract", "audio", "tone.mp4", "--vad", "energy", "--out", "sound"],
        ["embed", "sound", "--backbone", "deepspectrum", "-o", "net=mean-pixel", "--window", "0.5"],
        ["embed", "sound", "--backbone", "opensmile", "--window", "0.5", "--out", "smile"],
        ["embed", "sound", "--backbone", "log-mel", "--window", "0.5", "--hop", "0.25"],
        ["functionals", "<last>", "--set", "sun-audio", "--window", "1"],
    ]
    first = run(lines, tmp_path, environment)
    assert {said.code for said in first} == {0}, first
    assert first[-1].loaded >= {"torch", "librosa", "av", "opensmile"}
    assert not first[-1].loaded & NEVER
    again = run([*lines, ["cache", "verify", "sound"]], tmp_path, environment)
    assert [said.out for said in again[: len(lines)]] == [said.out for said in first]
    for said in again:
        assert said.code == 0, said
        assert not said.loaded & (HEAVY | NEVER), said.line


def test_a_cache_hit_loads_nothing_heavy(tmp_path: Path, environment: dict[str, str]) -> None:
    face_clips(tmp_path / "clips", ["a", "b", "c"], frames=8)
    rows = [f"{clip},{split},{row / 30},{(row + 1) / 30},{row / 9},{-row / 9}\n"
            for clip, split in (("a", "train"), ("b", "val"), ("c", "test")) for row in range(8)]  # fmt: skip
    (tmp_path / "va.csv").write_text("clip,split,start,end,valence,arousal\n" + "".join(rows))
    labels = ["--labels", "va.csv", "--task", "va"]
    small = ["-o", "epochs=1", "-o", "width=8", "-o", "heads=1", "-o", "layers=1"]
    lines = [
        ["extract", "faces", "clips", "--detector", "centerface", "--size", "32", "--fps", "native"],
        [
            "embed",
            "<last>",
            "--backbone",
            "test_resnet",
            "--weights",
            "random",
            "--batch-size",
            "8",
            "--out",
            "features",
        ],
        ["train-head", "features", *labels, *small, "--out", "head"],
        ["predict", "head", "features", "--out", "one"],
        ["predict", "head", "clips", "--out", "one"],
        ["fuse", "one", "va.csv", *labels, "-o", "draws=5"],
        ["fuse", "one", "va.csv", *labels, "--method", "random-forest", "-o", "trees=3"],
        ["evaluate", "<last>", *labels, "--split", "test", "--draws", "20"],
        ["compare", "one", "va.csv", *labels, "--draws", "20"],
    ]
    first = run(lines, tmp_path, environment)
    assert {said.code for said in first} == {0}, first
    assert first[-1].loaded >= {"torch", "timm", "sklearn", "onnxruntime", "av"}  # or the next assertion means nothing
    assert not first[-1].loaded & NEVER
    looks = [["cache", "verify", "features"], ["cache", "show", "head"], ["cache", "list"], ["cache", "compact", "one"]]
    looks += [["export", "one", "--out", "one.csv"], ["export", "features", "--to", "npz", "--out", "x.npz"]]
    again = run([*lines, *looks], tmp_path, environment)
    assert [said.out for said in again[: len(lines)]] == [said.out for said in first]
    for said in again:
        assert said.code == 0, said
        assert not said.loaded & (HEAVY | NEVER), said.line


@pytest.mark.parametrize("module", ["affectkit", "affectkit.types", "affectkit.store", "affectkit.stages.predict"])
def test_importing_a_module_loads_nothing_heavy(module: str, tmp_path: Path, environment: dict[str, str]) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert not set(done.stdout.split()) & (HEAVY | NEVER | {"scipy", "pandas", "PIL"})
