"""What each stage makes, in words: to say what was given in place of what is needed, and what makes that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from affectkit.errors import UsageError

STAGE_FILE = "stage.json"
MAKES = {
    "faces": ("face crops", "extract faces"),
    "audio": ("sound", "extract audio"),
    "embed": ("features", "embed"),
    "functionals": ("features", "functionals"),
    "import": ("features", "import"),
    "train-head": ("a trained head", "train-head"),
    "finetune": ("a fine-tuned network", "finetune"),
    "predict": ("predictions", "predict"),
    "cross-validate": ("predictions", "train-head --folds"),
    "fuse": ("predictions", "fuse"),
    "evaluate": ("scores", "evaluate"),
    "compare": ("compared scores", "compare"),
    "system": ("a fused system", "export --to bundle"),
}
"""Of each stage, what its artifacts hold, and the command."""
FEATURES = ("embed", "functionals", "import")
PREDICTIONS = ("predict", "fuse")
TRAINED = ("train-head", "finetune")
STAGES_OF = {
    "crops": ("faces",), "sound": ("audio",), "features": FEATURES, "head": ("train-head",), "network": ("finetune",),
    "system": ("system",),
    "predictions": (*PREDICTIONS, "cross-validate"), "report": ("evaluate", "compare"),
}  # fmt: skip
"""Of what stages read, those that make it."""
_MOST_NAMES = 10_000


def wrong_kind(path: Path, stage: str, *wanted: str) -> UsageError:
    """For an artifact of `stage` where one of the `wanted` stages is needed.

    >>> print(wrong_kind(Path("cache/embed/x"), "embed", "train-head", "finetune"))
    cache/embed/x holds features, made by embed; needed is a trained head or a fine-tuned network: give what train-head
    or finetune printed
    """
    noun, command = MAKES.get(stage, ("something else", stage))
    needed = " or ".join(dict.fromkeys(MAKES[one][0] for one in wanted))
    verb = "is" if needed.startswith("a ") or needed == "sound" else "are"
    commands = " or ".join(MAKES[one][1] for one in wanted)
    return UsageError(f"{path} holds {noun}, made by {command}; needed {verb} {needed}: give what {commands} printed")


def no_artifact(path: Path) -> UsageError:
    """For a path that is no artifact's folder: what it is, and what may be meant."""
    give = "give what an affectkit command printed"
    if str(path) == ".":
        return UsageError(f". is not an artifact (nor is an empty argument: did the command before print one?): {give}")
    return UsageError(f"{path} is not an artifact{''.join(f' ({why})' for why in _why(path))}: {give}")


def _why(path: Path) -> Iterator[str]:
    """What is found at the path, and artifacts near it."""
    try:
        near = [] if os.path.lexists(path) else get_close_matches(path.name, _names(path.parent), n=1)
        if near:
            yield f"it does not exist: did you mean {path.parent / near[0]}?"
        elif any((folder / STAGE_FILE).is_file() for folder in list(path.parents)[:2]):
            whole = next(folder for folder in path.parents if (folder / STAGE_FILE).is_file())
            yield f"it is a part of one: did you mean {whole}?"
        elif path.is_dir():
            inside = sorted(name for name in _names(path) if (path / name / STAGE_FILE).is_file())
            if inside:
                yield f"it holds {len(inside)}: did you mean {path / inside[0]}?"
        elif path.exists():
            yield "it is a file"
        elif not os.path.lexists(path):
            yield "it does not exist"
    except OSError:  # not to be looked into
        return


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        some = [entry for entry, _ in zip(entries, range(_MOST_NAMES), strict=False)]
    return [entry.name for entry in some if entry.is_dir() or (folder.name == "selections" and entry.is_file())]
