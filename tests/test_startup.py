"""What `affectkit --help` says without loading the commands, and that it loads nothing else either."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from affectkit.cli._app import build_app, commands, load

LIST_MODULES = """
import json, sys
from affectkit.cli._app import build_app
try:
    build_app()({arguments})
finally:
    print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})), file=sys.stderr)
"""
HEAVY = {"torch", "timm", "transformers", "librosa", "sklearn", "scipy", "pandas", "av", "onnxruntime", "PIL"}


def loaded_by(*arguments: str) -> set[str]:
    """Top-level packages in a fresh interpreter after a command."""
    code = LIST_MODULES.format(arguments=list(arguments))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize("name", commands())
def test_summary_is_the_start_of_the_commands_own_help(name: str) -> None:
    first_line = load(name).help.partition("\n")[0]
    assert first_line.startswith(commands()[name].removesuffix("."))


def test_root_help_lists_every_command() -> None:
    shown = CliRunner().invoke(build_app(), ["--help"])
    assert shown.exit_code == 0
    words = " ".join(shown.output.split())
    for name, summary in commands().items():
        assert f"{name} {summary}" in words


def test_every_command_answers_to_its_name() -> None:
    for name in commands():
        shown = CliRunner().invoke(build_app(), [name, "--help"])
        assert shown.exit_code == 0 and f" {name} " in shown.output, shown.output


def test_misspelt_command_names_the_nearest_and_exits_with_2() -> None:
    shown = CliRunner().invoke(build_app(), ["embd"])
    assert shown.exit_code == 2 and "'embed'" in shown.output


def test_root_help_loads_typer_and_little_else() -> None:
    loaded = loaded_by("--help")
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"numpy", "pydantic", "h5py", "rich"})


@pytest.mark.parametrize("arguments", [["extract", "faces", "--help"], ["list", "heads"], ["list", "backbones"]])
def test_listings_load_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded_by(*arguments) & HEAVY
