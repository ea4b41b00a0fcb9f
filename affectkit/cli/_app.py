"""The application as Typer knows it: every command by name, loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from affectkit import __version__
from affectkit.cli._help import Commands
from affectkit.stages.catalogue import StageEntry, entries

_OWN = {
    "run": ("run", "Run a recipe: a whole system, from a data set to scores and a submission."),
    "recipe": ("run", "The built-in recipes: list them, read one."),
    "dataset": ("dataset", "Look over a data set in its own layout."),
    "contract": ("contract", "Look at what another crop does to a model's scores."),
    "cache": ("cache", "Look at and look after artifacts."),
    "export": (
        "cache",
        "Write an artifact's table to csv, parquet or npz, its crops to image files, or a model to one file.",
    ),
    "view": ("view", "Serve the folder of a report to this machine alone, until Ctrl-C."),
    "list": ("workspace", "List plugins, tasks, practice sets and formats, or the options of a plugin."),
    "check-plugin": ("check_plugin", "Hold a plugin to the contract of its group."),
    "status": ("workspace", "Devices, extras, weights at hand, cache size."),
    "demo": ("workspace", "Make a small labelled data set and run the whole pipeline on it, video and audio."),
    "practice": ("practice", "Write a small synthetic set in the layout of a real data set."),
    "weights": ("workspace", "Weight files: what they are, their licences, fetching them."),
}
"""Commands that are no stage: their module in this package, and what they do."""
_GROUPS = {"extract": "Decode media: face tracks and sound."}
_ORDER = (
    "analyze", "extract", "embed", "import", "functionals", "finetune", "train-head", "predict", "fuse", "evaluate",
    "compare", "plot", "report", "submit",
)  # fmt: skip
_STEPS_KEPT = "finished steps and clips are kept, repeat the command to go on"


def commands() -> dict[str, str]:
    """What each command does, stages first, in the order of a pipeline."""
    stages = {entry.command.partition(" ")[0]: entry.summary for entry in entries().values()} | _GROUPS
    known = {name: stages[name] for name in (*_ORDER, *stages)}
    return known | {name: summary for name, (_, summary) in _OWN.items()}


def kept(name: str, words: list[str]) -> str:
    """What is kept of a command when it is interrupted; `words`: the arguments."""
    if name in _OWN:
        return _STEPS_KEPT if name in ("run", "demo") else ""
    stages = [entry for entry in _stages(name) if entry.command.split()[-1] in words]
    return stages[0].load().kept if stages else ""


def build_app() -> typer.Typer:
    """The application: every command by name, its module still to be imported."""
    app = typer.Typer(
        name="affectkit", cls=_LoadedWhenCalled, no_args_is_help=True, pretty_exceptions_enable=False,
        rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )  # fmt: skip
    app.callback()(_root)
    for name, summary in commands().items():
        app.command(name, short_help=summary)(_not_loaded)
    return app


def load(name: str) -> Any:
    """The command or group of commands itself, as Typer makes it."""
    app = Commands(pretty_exceptions_enable=False, rich_markup_mode=None)
    if name in _OWN:
        import_module(f"affectkit.cli.{_OWN[name][0]}").register(app)
        return get_group(app).commands[name]
    from affectkit.cli._command import command_of

    group = app
    if name in _GROUPS:
        group = Commands(no_args_is_help=True, help=_GROUPS[name], rich_markup_mode=None)
        app.add_typer(group, name=name)
    for entry in _stages(name):
        group.command(entry.command.split()[-1])(command_of(entry))
    return get_group(app).commands[name]


def _stages(name: str) -> list[StageEntry]:
    """The stages of a command or of a group of commands."""
    return [entry for entry in entries().values() if entry.command.partition(" ")[0] == name]


class _LoadedWhenCalled(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, loaded."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else known, rest


def _not_loaded() -> None:
    raise AssertionError("commands are loaded when they are resolved")


def _version(given: bool) -> None:
    if given:
        typer.echo(f"affectkit {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Audio-visual affect recognition: staged, cached, resumable.

    clips -> `extract faces` -> `embed` -> `train-head` -> `predict` -> `fuse` -> `evaluate`

    Every command prints the path of the artifact that it made (--as NAME names it), and repeating a command resumes it.
    """
