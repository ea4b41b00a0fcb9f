"""The `affectkit` command: parse, call a stage, print where the result lies."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from affectkit import __version__
from affectkit.errors import AffectkitError

INTERRUPTED = 130


def main() -> None:
    """Run the command line; errors that a user can act on are one line on stderr and exit code 2."""
    try:
        build_app()()
    except AffectkitError as error:
        print(f"affectkit: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("affectkit: interrupted; finished clips are kept, repeat the command to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def build_app() -> typer.Typer:
    """The application with all its commands."""
    from affectkit.cli import cache, data, models, workspace

    app = typer.Typer(
        name="affectkit", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_root)
    for room in (data, models, cache, workspace):
        room.register(app)
    return app


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
