"""The application as Typer knows it: every command by name, loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from affectkit import __version__
from affectkit.cli import COMMANDS


def build_app() -> typer.Typer:
    """The application: every command by name, its module still to be imported."""
    app = typer.Typer(
        name="affectkit", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False,
        rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )  # fmt: skip
    app.callback()(_root)
    for name, (_, summary, _) in COMMANDS.items():
        app.command(name, short_help=summary)(_not_loaded)
    return app


def load(name: str) -> Any:
    """The command or group of commands itself, as Typer makes it."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")
    import_module(f"affectkit.cli.{COMMANDS[name][0]}").register(app)
    return get_group(app).commands[name]


class _Commands(TyperGroup):
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

    Every command prints the path of the artifact that it made, and repeating a command resumes it.
    """
