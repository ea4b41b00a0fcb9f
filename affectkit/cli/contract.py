"""`affectkit contract`: whether a model is given the crop that it was trained on, and what another would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli._complete import artifacts, models
from affectkit.cli._help import Commands
from affectkit.cli._options import OUTPUT, CacheOption, ClipsOption, JsonOption, with_configs
from affectkit.cli._results import columns, log, print_json, print_table
from affectkit.config import Numerics, Runtime
from affectkit.stages.contract_check import ContractCheckConfig, ContractReport, check_contract, draw_contract
from affectkit.store import Cache, names, open_artifact
from affectkit.tables.ids import choose


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Commands(
        rich_markup_mode=None, no_args_is_help=True, help="Look at what another crop does to a model's scores."
    )
    group.command("check")(check)
    app.add_typer(group, name="contract")


@with_configs(config=ContractCheckConfig, numerics=Numerics, runtime=("workers", "progress"))
def check(
    model: Annotated[
        str, typer.Argument(help="a published model (affectkit list models), or FILE.py:CLASS", autocompletion=models)
    ],
    faces_of: Annotated[
        str,
        typer.Argument(metavar="FACES", help="what extract faces printed", autocompletion=artifacts(("faces",))),
    ],
    config: ContractCheckConfig,
    numerics: Numerics,
    runtime: Runtime,
    clips: ClipsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="draw the choices into this folder", rich_help_panel=OUTPUT)
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what each choice of margin, shape, alignment and colour does to a model's scores of these clips.

    A model is always given the crop that its contract says; this shows what would come of others, cut again from what
    is stored: mean scores, faces of another class, and the valence index (happiness minus the strongest of anger,
    disgust, fear and sadness). Choices that the stored crops don't show in full are named.

    Example:

    `affectkit contract check mini-xception "$FACES" --out contract/`
    """
    crops = open_artifact(names.resolve(Cache(cache), faces_of))
    report = check_contract(model, crops, choose(clips, crops.clips) or crops.clips, config, numerics, runtime)
    figure = draw_contract(report, out) if out is not None else None
    for line in report.notices:
        log(f"note: {line}")
    if as_json:
        print_json(report.as_dict() | {"figures": [] if figure is None else [str(figure)]})
    else:
        _print(report)
    if figure is not None:
        log(f"figure: {figure}")


def _print(report: ContractReport) -> None:
    has_classes, has_valence = report.task is not None, report.choices[0].valence is not None
    headers = ["choice", *(["another class"] if has_classes else []), "difference"]
    headers += ["valence index", "sign turned"] if has_valence else []
    table = columns(*headers, *report.card.columns)
    for outcome in report.choices:
        cells = [
            outcome.name,
            *([f"{100 * (outcome.changed or 0):.1f} %"] if has_classes else []),
            f"{outcome.difference:.3f}",
        ]
        if outcome.valence is not None:
            cells += [f"{outcome.valence.mean():+.3f}", f"{100 * (outcome.turned or 0):.1f} %"]
        table.add_row(*cells, *(f"{score:.3f}" for score in outcome.mean))
    print_table(table)
    for name, why in report.left_out.items():
        log(f"not shown: {name}: {why}")
