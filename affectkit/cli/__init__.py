"""The `affectkit` command: what it can be called with, and how its process begins and ends.

Nothing is imported here but what Python has loaded anyway, so that Ctrl-C is answered from the first moment on. Typer
comes with `main`; a command's module, and with it numpy, pydantic and the stages, when the command is called. What
`affectkit --help` says of it stands here.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import typer

INTERRUPTED = 130
CLIPS_KEPT = "finished clips are kept, repeat the command to go on"
TRAINING_KEPT = "what was trained is kept, repeat the command to go on"
COMMANDS = {
    "extract": ("data", "Decode media: face tracks and sound.", CLIPS_KEPT),
    "embed": ("data", "Run a frozen backbone over cached crops or waveforms and keep the embeddings.", CLIPS_KEPT),
    "import": ("submit", "Take over features that were made elsewhere, one file a clip.", CLIPS_KEPT),
    "functionals": (
        "functionals", "Summarise features over windows: means, deviations, extremes, fitted curves.", CLIPS_KEPT
    ),
    "finetune": ("finetune", "Train a backbone and its head together, on cached crops or waveforms.", TRAINING_KEPT),
    "train-head": ("models", "Train a light head on cached features.", TRAINING_KEPT),
    "predict": ("models", "Predict for every clip of the features given, or for new media in one go.", CLIPS_KEPT),
    "fuse": ("fusion", "Combine the predictions of several models.", ""),
    "evaluate": ("scores", "Score predictions against labels.", ""),
    "compare": ("scores", "Lay prediction sets side by side and say which differences are beyond noise.", ""),
    "run": (
        "run", "Run a recipe: a whole system, from a data set to scores and a submission.",
        "finished steps and clips are kept, repeat the command to go on",
    ),
    "recipe": ("run", "The built-in recipes: list them, read one.", ""),
    "dataset": ("dataset", "Look over a data set in its own layout.", ""),
    "submit": ("submit", "Write predictions as the file that a challenge takes, or check one.", ""),
    "cache": ("cache", "Look at and look after artifacts.", ""),
    "export": ("cache", "Write an artifact's table to csv, parquet or npz, or its crops to image files.", ""),
    "list": ("workspace", "List plugins, tasks, practice sets and formats, or the options of a plugin.", ""),
    "check-plugin": ("check_plugin", "Hold a plugin to the contract of its group.", ""),
    "status": ("workspace", "Devices, extras, weights at hand, cache size.", ""),
    "demo": (
        "workspace", "Make a small labelled data set and run the whole pipeline on it, video and audio.",
        "finished steps and clips are kept, repeat the command to go on",
    ),
    "practice": ("practice", "Write a small synthetic set in the layout of a real data set.", ""),
    "weights": ("workspace", "Weight files: what they are, their licences, fetching them.", ""),
}  # fmt: skip
"""The module of each command in this package, what it does, and what is kept of it when it is interrupted."""


def main(standalone: bool = True) -> None:
    """Run the command line and exit: 2 and one line on stderr for what a user can mend, 130 for Ctrl-C.

    `standalone`: the process ends with it, so a signal that comes after the last line changes nothing any more.
    """
    try:
        from affectkit.cli._process import run

        code = run(standalone)
    except KeyboardInterrupt:  # while that was imported, or while an earlier one was answered
        if sys.stderr is not None:
            print("affectkit: interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def build_app() -> "typer.Typer":
    """The application: every command by name, its module still to be imported."""
    from affectkit.cli._app import build_app

    return build_app()


def load(name: str) -> "Any":
    """The command or group of commands itself, as Typer makes it."""
    from affectkit.cli._app import load

    return load(name)
