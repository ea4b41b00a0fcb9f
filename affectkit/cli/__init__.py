"""The `affectkit` command: parse, call a stage, print where the result lies.

A command's module, and with it numpy, pydantic and the stages, is imported when the command is called. What
`affectkit --help` says of it stands here.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from affectkit import __version__
from affectkit.cli._interrupt import interrupts_kept
from affectkit.errors import AffectkitError, Notice

USAGE, INTERRUPTED = 2, 130
COMMANDS = {
    "extract": ("data", "Decode media: face tracks and sound."),
    "embed": ("data", "Run a frozen backbone over cached crops or waveforms and keep the embeddings."),
    "import": ("submit", "Take over features that were made elsewhere, one file a clip."),
    "functionals": ("functionals", "Summarise features over windows: means, deviations, extremes, fitted curves."),
    "finetune": ("finetune", "Train a backbone and its head together, on cached crops or waveforms."),
    "train-head": ("models", "Train a light head on cached features."),
    "predict": ("models", "Predict for every clip of the features given, or for new media in one go."),
    "fuse": ("fusion", "Combine the predictions of several models."),
    "evaluate": ("scores", "Score predictions against labels."),
    "compare": ("scores", "Lay prediction sets side by side and say which differences are beyond noise."),
    "run": ("run", "Run a recipe: a whole system, from a data set to scores and a submission."),
    "recipe": ("run", "The built-in recipes: list them, read one."),
    "dataset": ("dataset", "Look over a data set in its own layout."),
    "submit": ("submit", "Write predictions as the file that a challenge takes, or check one."),
    "cache": ("cache", "Look at and look after artifacts."),
    "export": ("cache", "Write an artifact's table to csv, parquet or npz, or its crops to image files."),
    "list": ("workspace", "List plugins, or the options of one."),
    "status": ("workspace", "Devices, extras, weights at hand, cache size."),
    "demo": ("workspace", "Make a small labelled data set and run the whole pipeline on it, video and audio."),
    "practice": ("practice", "Write a small synthetic set in the layout of a real data set."),
    "weights": ("workspace", "Weight files: what they are, their licences, fetching them."),
}
"""The module of each command in this package, and what it does."""


def main() -> None:
    """Run the command line; errors that a user can act on are one line on stderr and exit code 2."""
    # Before torch loads: its idle threads must not spin on the cores that decode (several times slower if they do).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.showwarning = _note_or(warnings.showwarning)
    warnings.filterwarnings("always", category=Notice)
    try:
        with interrupts_kept():
            code = build_app()(standalone_mode=False, prog_name="affectkit")
    except AffectkitError as error:
        print(f"affectkit: {error}", file=sys.stderr)
        code = USAGE
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _explain(error)
        code = USAGE
    if code == INTERRUPTED:  # Typer has caught the KeyboardInterrupt
        print("affectkit: interrupted; finished clips are kept, repeat the command to go on", file=sys.stderr)
    sys.exit(code or 0)


def _note_or(show: Any) -> Any:
    """A `warnings.showwarning` that prints our notices as notes, and any other warning as `show` does."""

    def note(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if issubclass(category, Notice):
            print(f"note: {message}", file=sys.stderr)
        else:
            show(message, category, *where, **more)

    return note


def _explain(error: Any) -> None:
    """What click found wrong with the command line, as one line; a command without arguments prints its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    command = getattr(getattr(error, "ctx", None), "command_path", "affectkit")
    message = " ".join(error.format_message().split()).removesuffix(".")
    print(f"{command}: {message} (see {command} --help)", file=sys.stderr)


def build_app() -> typer.Typer:
    """The application: every command by name, its module still to be imported."""
    app = typer.Typer(
        name="affectkit", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False,
        rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )  # fmt: skip
    app.callback()(_root)
    for name, (_, summary) in COMMANDS.items():
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
